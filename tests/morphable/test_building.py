import itertools
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from click.testing import CliRunner
from numpy.typing import NDArray
from skimage.data import astronaut

from fvdeblur.cli.build_3dmm import build_3dmm
from fvdeblur.datasets import is_validation
from fvdeblur.errors import InputError, OutputError, UsageError
from fvdeblur.morphable import Coefficients, MorphableModel, load_default, project, render
from fvdeblur.morphable.building import Labelled, Report, alignment, build, read_material, topology, write
from fvdeblur.morphable.building.shapes import build_shapes, shape_errors
from fvdeblur.morphable.building.statistics import between_of_rank, choose_ranks, fit_covariances, reduce_rank
from fvdeblur.morphable.building.tessellation import EYELIDS, IRISES, LIPS, TRIANGLES
from fvdeblur.morphable.building.texture import principal_textures, read_colours, remove_light, visibility
from fvdeblur.morphable.building.unwrapping import rasterise
from fvdeblur.morphable.light import decode, spherical_harmonics

FLIP = np.array([-1.0, 1.0, 1.0])
IDENTITY_VECTORS, EXPRESSION_VECTORS = 4, 2
SIZE = 200
NOISE = 0.004


@pytest.fixture(scope="module")
def model() -> MorphableModel:
    return load_default()


@pytest.fixture(scope="module")
def mean(model) -> NDArray[np.float64]:
    return model.mean_shape.numpy().astype(float)


@pytest.fixture(scope="module")
def known(model, mean) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Symmetric identity and expression vectors of a made-up population, of about the real sizes."""
    mirror = alignment.find_mirror(mean)

    def symmetric(basis: torch.Tensor, count: int, size: float) -> NDArray[np.float64]:
        vectors = basis.numpy().astype(float)
        vectors = vectors + vectors[:, mirror] * FLIP
        order = np.argsort(-np.square(vectors).sum((1, 2)))[:count]
        unit = np.linalg.qr(vectors[order].reshape(count, -1).T)[0].T.reshape(count, *mean.shape)
        return unit * size * np.sqrt(mean.size) * np.linspace(1, 0.6, count)[:, None, None]

    return symmetric(model.identity_basis, IDENTITY_VECTORS, 0.02), symmetric(
        model.expression_basis, EXPRESSION_VECTORS, 0.012
    )


def labels_of(vertices: NDArray[np.float64]) -> NDArray[np.float64]:
    """The 478 points that would be labelled on a face [V, 3]."""
    points = np.zeros((478, 3))
    points[:468] = vertices[:468]
    for (centre, edge), vertex in zip(IRISES, topology.EYES, strict=True):
        points[centre] = vertices[vertex]
        points[list(edge)] = vertices[vertex] + 0.1 * np.array([[1, 0, 0], [0, 1, 0], [-1, 0, 0], [0, -1, 0]])
    return points


def turned(
    points: NDArray[np.float64], pose: tuple[float, float, float], scale: float
) -> NDArray[np.float32]:
    """Labels in pixels of a head that is turned, in a picture of `SIZE` pixels."""
    matrix = cv2.Rodrigues(np.array([pose[0], 0.0, 0.0]))[0]
    matrix = cv2.Rodrigues(np.array([0.0, pose[1], 0.0]))[0] @ matrix
    matrix = cv2.Rodrigues(np.array([0.0, 0.0, pose[2]]))[0] @ matrix
    placed = points @ matrix.T * scale
    return (placed * np.array([1, -1, 1]) + np.array([SIZE / 2, SIZE / 2, 0])).astype(np.float32)


def population(
    mean: NDArray[np.float64],
    known: tuple[NDArray[np.float64], NDArray[np.float64]],
    people: int,
    held_out: int = 0,
) -> tuple[list[Labelled], NDArray[np.float64]]:
    """Labels of people drawn from known bases, and their poses; the last people are held out."""
    rng = np.random.default_rng(1)
    made, poses = [], []
    for person in range(people):
        who = rng.normal(size=IDENTITY_VECTORS)
        for picture in range(4):
            moved = np.zeros(EXPRESSION_VECTORS) if picture == 0 else rng.normal(size=EXPRESSION_VECTORS)
            shape = mean + np.tensordot(who, known[0], 1) + np.tensordot(moved, known[1], 1)
            pose = (rng.normal() * 0.1, rng.normal() * 0.25, rng.normal() * 0.1)
            points = labels_of(shape) + NOISE * rng.normal(size=(478, 3))
            made.append(
                Labelled(
                    Path(f"{person}-{picture}.png"),
                    0,
                    turned(points, pose, rng.uniform(30, 60)),
                    (SIZE, SIZE),
                    str(person),
                    picture == 0,
                    person >= people - held_out,
                )
            )
            poses.append(pose)
    return made, np.array(poses)


def explained(found: NDArray[np.float64], wanted: NDArray[np.float64]) -> float:
    """Share of the square of the wanted vectors that lies in the span of those found."""
    span = np.linalg.qr(found.reshape(len(found), -1).T)[0]
    flat = wanted.reshape(len(wanted), -1)
    return float(np.square(flat @ span).sum() / np.square(flat).sum())


def test_shapes_are_recovered_from_turned_labels(mean, known, monkeypatch):
    monkeypatch.setattr("fvdeblur.morphable.building.shapes.MOST_AXES", 40)
    material, poses = population(mean, known, 70, held_out=10)
    used = [labelled for labelled in material if not labelled.held_out]
    shapes = build_shapes(used)
    # The alignment is not linear, and the noise of an iris is that of the ring around it: a few more directions are
    # real, but they are small beside those of the population.
    for found, wanted in ((shapes.identity, known[0]), (shapes.expression, known[1])):
        assert len(wanted) <= len(found) <= len(wanted) + 6
        sizes = np.sqrt(np.square(found).sum((1, 2)))
        assert sizes[len(wanted) :].max(initial=0) < 0.2 * np.sqrt(np.square(wanted).sum((1, 2))).min()
    surface = slice(0, topology.SURFACE)
    scale, rotation, offset = alignment.similarity(shapes.mean[surface], mean[surface])
    placed = scale * shapes.mean @ rotation.T + offset
    # A mean of 60 people lies about 0.06 / sqrt(60) from that of all.
    assert np.sqrt(np.square(placed - mean)[surface].sum(1).mean()) < 0.02
    assert explained((shapes.identity @ rotation.T)[:, surface], known[0][:, surface]) > 0.97
    assert explained((shapes.expression @ rotation.T)[:, surface], known[1][:, surface]) > 0.97
    # The size of the directions is that of the population.
    for found, wanted in ((shapes.identity, known[0]), (shapes.expression, known[1])):
        ratio = np.square(scale * found[:, surface]).sum() / np.square(wanted[:, surface]).sum()
        assert 0.7 < ratio < 1.4
    # The turn of each head was found, and nothing of it is left in the shapes.
    assert (
        np.abs(shapes.angles - poses[: len(used)] - (shapes.angles - poses[: len(used)]).mean(0)).max() < 0.1
    )
    within = alignment.within_people(shapes.aligned[:, surface], shapes.people).reshape(len(used), -1)
    yaw = alignment.within_people(shapes.angles[:, 1], shapes.people)
    share = np.square(yaw @ within).sum() / (yaw @ yaw) / np.square(within).sum()
    assert share < 0.01
    held = [labelled for labelled in material if labelled.held_out]
    by_identity, by_expression = shape_errors(held, shapes)
    floor = 100 * NOISE * 3**0.5 / shapes.eye_distance
    for errors in (by_identity, by_expression):
        assert errors[max(errors)] < 1.1 * floor < 1.5 * floor < errors[0]


def test_a_nearer_camera_is_no_identity(mean):
    seen_near = mean.copy()
    seen_near[:, :2] *= 1 + 0.05 * mean[:, 2:]
    aligned = alignment.align(np.stack([seen_near, mean]), mean)[0]
    corrected, closeness = alignment.without_perspective(aligned, mean)
    assert closeness == pytest.approx([0.05, 0], abs=0.005)
    assert np.abs(corrected[0] - mean).max() < 0.2 * np.abs(aligned[0] - mean).max()


def test_only_real_directions_are_kept():
    rng = np.random.default_rng(0)
    people = np.repeat(np.arange(300), rng.integers(1, 5, 300))
    outer = rng.normal(size=(30, 5)) * np.linspace(1, 0.3, 5)
    inner = rng.normal(size=(30, 3)) * np.linspace(0.6, 0.2, 3)
    values = (rng.normal(size=(300, 5)) @ outer.T)[people] + rng.normal(size=(len(people), 3)) @ inner.T
    values += 0.05 * rng.normal(size=values.shape)
    none = np.zeros(len(people), bool)
    between, within, gains, _ = choose_ranks(values, people, none, np.arange(300), 8)
    assert (between, within) == (5, 3)
    assert gains[0] == 0
    assert gains[5] == gains.max() > 5
    fitted = fit_covariances(values, people, none)
    basis, noise = reduce_rank(fitted.within, 3)
    assert noise == pytest.approx(0.05**2, rel=0.1)
    assert explained(basis.T, inner.T) > 0.99
    assert explained(np.linalg.svd(between_of_rank(fitted, 5))[0][:, :5].T, outer.T) > 0.99


def test_pure_noise_supports_nothing():
    rng = np.random.default_rng(0)
    people = np.repeat(np.arange(80), 3)
    values = rng.normal(size=(240, 20))
    assert choose_ranks(values, people, np.zeros(240, bool), np.arange(80), 5)[:2] == (0, 0)


def test_textures_with_hidden_parts():
    rng = np.random.default_rng(0)
    basis = np.linalg.qr(rng.normal(size=(300, 3)))[0].T * 300**0.5 * np.array([[0.06], [0.04], [0.03]])
    values = (0.4 + rng.normal(size=(90, 3)) @ basis + 0.003 * rng.normal(size=(90, 300))).astype(np.float32)
    seen = np.ones((90, 100), np.float32)
    hidden = rng.random((90, 100)) < 0.2
    seen[hidden] = 0
    spoilt = values.reshape(90, 100, 3).copy()
    spoilt[hidden] = rng.random((hidden.sum(), 3))
    found = principal_textures(spoilt, seen, np.arange(90), 10, 4)
    assert len(found.basis) == 3
    assert explained(found.basis, basis) > 0.98
    assert np.abs(found.mean - values.mean(0)).max() < 0.03
    assert np.square(found.basis).sum() == pytest.approx(np.square(basis).sum(), rel=0.3)


def test_light_is_divided_out():
    rng = np.random.default_rng(0)
    normals = rng.normal(size=(2000, 3))
    normals[:, 2] = np.abs(normals[:, 2]) + 0.3
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    light = np.array([0.2, 0.3, 0.1, 0.5, 0.1, 0, 0.1, -0.1, 0])
    shading = 1 + spherical_harmonics(torch.from_numpy(normals)).numpy() @ light
    guess = np.full((2000, 3), 0.4) * np.array([1, 0.8, 0.7])
    own = guess * rng.uniform(0.9, 1.1, (2000, 1))
    own[:100] = 0.02  # hair
    seen = np.ones(2000)
    albedo, usable = remove_light(own * shading[:, None], seen, normals, guess, seen)
    ratio = albedo[100:] / own[100:]
    assert ratio.mean() == pytest.approx(1, abs=0.03)
    assert ratio.std() < 0.03
    assert shading.std() > 0.1
    assert usable.min() >= 0
    assert usable.max() <= 1


def test_colours_are_read_in_linear_light_between_pixels():
    picture = astronaut()
    places = np.array([[223.0, 110.0], [223.5, 110.0]])
    linear = decode(torch.from_numpy(picture[110, 223:225] / np.float32(255))).numpy()
    assert read_colours(picture, places, 1.0) == pytest.approx(
        np.stack([linear[0], linear.mean(0)]), abs=1e-3
    )
    many = np.random.default_rng(0).uniform(0, 511, (40000, 2))
    smooth, sharp = read_colours(picture, many, 6.0), read_colours(picture, many, 1.0)
    assert smooth.std() < sharp.std()
    assert smooth.mean() == pytest.approx(sharp.mean(), rel=0.02)


def test_what_is_turned_away_hidden_or_outside_is_not_seen():
    places = np.array([[50.0, 50], [50.5, 50.5], [70, 70], [-3, 10], [90, 90]])
    depths = np.array([30.0, 0, 0, 0, 0])
    normals = np.array([[0, 0, 1.0], [0, 0, 1], [1, 0, 0], [0, 0, 1], [0, 0, 1]])
    seen = visibility(places, depths, normals, np.array([1, 1, 1, 1, 0.01]), (100, 100), 40.0)
    assert seen == pytest.approx([1, 0, 0, 0, 0])


def test_the_openings_are_filled_with_like_orientation():
    triangles = topology.mesh_triangles()
    directed = [tuple(edge) for edge in triangles[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2).tolist()]
    assert len(set(directed)) == len(directed)
    open_edges = {(a, b) for a, b in directed if (b, a) not in set(directed)}
    assert len(open_edges) == 36  # the outline of the face, once round
    for loop in (*EYELIDS, LIPS):
        assert not open_edges & set(itertools.pairwise(loop))
    assert set(triangles.ravel().tolist()) == set(range(topology.VERTICES))
    assert len(TRIANGLES) == 852


@pytest.fixture(scope="module")
def photographs(tmp_path_factory, model) -> tuple[Path, Path]:
    """Rendered faces before a grey wall and their labels, as files."""
    folder = tmp_path_factory.mktemp("photographs")
    meshes = tmp_path_factory.mktemp("meshes")
    generator = torch.Generator().manual_seed(3)
    vector = torch.zeros(30, 239)
    vector[:, :3] = torch.randn(30, 3, generator=generator)
    vector[:, 80:82] = torch.randn(30, 2, generator=generator)
    vector[:, 144:146] = torch.randn(30, 2, generator=generator)
    vector[:, 224:228] = 0.3 * torch.randn(30, 4, generator=generator)
    vector[:, 233:236] = 0.12 * torch.randn(30, 3, generator=generator)
    vector[:, 238] = float(np.log(0.5))
    coefficients = Coefficients.split(vector)
    drawn = render(model, coefficients, SIZE)
    pictures = drawn.rgb + 0.4 * (1 - drawn.mask)
    vertices = model.shape(coefficients.identity, coefficients.expression)
    labels = np.stack([labels_of(face) for face in vertices.numpy().astype(float)])
    places, depths = project(model, torch.from_numpy(labels).float(), coefficients.pose, SIZE)
    for number, picture in enumerate(pictures):
        bgr = (picture.permute(1, 2, 0).numpy()[:, :, ::-1] * 255).round().astype(np.uint8)
        cv2.imwrite(str(folder / f"{number}.png"), bgr)
        points = torch.cat([places[number], depths[number][:, None] * SIZE / 2], dim=1).numpy()
        save_mesh(meshes / f"{number}.mesh.npz", points[None])
    return folder, meshes


def save_mesh(path: Path, points: NDArray[np.float32]) -> None:
    frames = np.arange(len(points))
    np.savez(path, points=points, frames=frames, score=np.ones(len(points)), size=np.array([SIZE, SIZE]))


def test_the_command_builds_a_model_that_can_be_read(photographs, model, tmp_path):
    folder, meshes = photographs
    people = [f"person {number // 2}" for number in range(30)]
    table = tmp_path / "people.tsv"
    table.write_text("file\tidentity\n" + "".join(f"{n}.png\t{who}\n" for n, who in enumerate(people)))
    output = tmp_path / "new"
    given = [str(folder), "--meshes", str(meshes), "--people", str(table), "-o", str(output)]
    result = CliRunner().invoke(build_3dmm, [*given, "--side", "48", "--version", "test"])
    assert result.exit_code == 0, result.output
    path = output / "model.safetensors"
    assert result.output.splitlines()[-1] == str(path)
    read = MorphableModel.load(path)
    report = json.loads((output / "report.json").read_text())
    held_out = sum(is_validation(who) for who in people)
    assert held_out > 0
    assert (report["pictures"], report["held_out_pictures"]) == (30 - held_out, held_out)
    assert (report["people"], report["held_out_people"]) == (15 - held_out // 2, held_out // 2)
    assert (report["textures"], report["held_out_textures"]) == (30 - held_out, held_out)
    assert read.supported == tuple(report["supported"])
    assert read.version == "test"
    for basis, count in zip(
        (read.identity_basis, read.expression_basis, read.texture_basis), read.supported, strict=True
    ):
        assert not basis[count:].any()
        assert basis[:count].flatten(1).any(1).all()
    assert np.square(read.mean_shape.numpy()).sum(1).mean() == pytest.approx(1, abs=1e-4)
    # Mean and colours are those of the model that drew the photographs.
    scale, rotation, offset = alignment.similarity(read.mean_shape.numpy(), model.mean_shape.numpy())
    placed = scale * read.mean_shape.numpy() @ rotation.T + offset
    assert np.sqrt(np.square(placed - model.mean_shape.numpy())[:468].sum(1).mean()) < 0.06
    cheek = topology.RIGHT_68[2], 50
    for vertex in cheek:
        u, v = (read.uv[vertex] * 48 - 0.5).round().long().tolist()
        there = (model.uv[vertex] * len(model.mean_texture) - 0.5).round().long().tolist()
        assert torch.allclose(read.mean_texture[v, u], model.mean_texture[there[1], there[0]], rtol=0.3)


def test_a_person_with_a_photograph_of_the_other_split_is_held_out(photographs):
    folder, meshes = photographs
    people = {f"{number}.png": f"person {number // 2}" for number in range(30)}
    material = read_material([folder], meshes, people, ["4.png"], lambda name: name == "8.png")
    assert {labelled.source.name for labelled in material if labelled.held_out} == {"8.png", "9.png"}
    assert {labelled.source.name for labelled in material if labelled.neutral} == {"4.png"}
    people = {f"{number}.png": f"identity {number}" for number in range(30)}
    split = read_material([folder], meshes, people, [], is_validation)
    assert {labelled.held_out for labelled in split} == {True, False}
    assert all(labelled.held_out == is_validation(labelled.person) for labelled in split)


def test_errors_name_the_file_and_the_remedy(photographs, tmp_path, model):
    folder, meshes = photographs

    def read(photos: Path, labels: Path) -> list[Labelled]:
        return read_material([photos], labels, {}, [], lambda name: False)

    with pytest.raises(UsageError, match=r"nowhere: there is no such file"):
        read(tmp_path / "nowhere", meshes)
    with pytest.raises(UsageError, match=r"holds no mesh of these pictures.*label_meshes"):
        read(folder, tmp_path)
    broken = tmp_path / "0.mesh.npz"
    broken.write_bytes(b"PK\x03\x04 not an archive")
    with pytest.raises(InputError, match=r"0\.mesh\.npz: is no mesh file.*label it again"):
        read(folder / "0.png", tmp_path)
    save_mesh(broken, np.zeros((1, 468, 3), np.float32))
    with pytest.raises(InputError, match=r"holds \[1, 468, 3\] numbers, not \[T, 478, 3\]"):
        read(folder / "0.png", tmp_path)
    save_mesh(broken, np.full((1, 478, 3), np.nan, np.float32))
    with pytest.raises(InputError, match="not finite"):
        read(folder / "0.png", tmp_path)
    with pytest.raises(InputError, match="1 people with meshes are too few"):
        build(read(folder / "0.png", meshes))
    taken = tmp_path / "taken"
    taken.write_text("a file")
    with pytest.raises(OutputError, match=r"taken: cannot be written"):
        write(model, Report(), taken)


def test_meshes_of_something_else_are_refused():
    rng = np.random.default_rng(0)
    clouds = [
        Labelled(
            Path(f"{n}.png"), 0, rng.normal(size=(478, 3)).astype(np.float32), (9, 9), str(n), False, False
        )
        for n in range(20)
    ]
    with pytest.raises(InputError, match="are they meshes of faces"):
        build(clouds)


def test_the_shipped_model_has_what_was_promised(model):
    path = Path(__file__).parents[2] / "models" / "face3d" / "model.safetensors"
    assert path.stat().st_size < 15e6
    assert model.camera == "weak-perspective"
    assert model.identity_basis.shape == (80, topology.VERTICES, 3)
    assert model.expression_basis.shape == (64, topology.VERTICES, 3)
    assert model.texture_basis.shape[0] == 80
    assert min(model.supported) >= 40
    assert {kind: len(indices) for kind, indices in model.landmarks.items()}["68"] == 68
    assert 100 <= len(model.landmarks["dense"].unique()) <= 120
    assert model.mean_shape.mean(0).abs().max() < 1e-5
    assert model.mean_shape.square().sum(1).mean().item() == pytest.approx(1, abs=1e-4)
    assert 0 <= model.mean_texture.min() <= model.mean_texture.max() <= 1
    assert set(json.loads(json.dumps(model.supported))) <= set(range(81))


def test_the_shipped_mesh_is_a_symmetric_face_seen_from_outside(model, mean):
    triangles = model.triangles.numpy()
    a, b, c = (mean[triangles[:, k]] for k in range(3))
    normals = np.cross(b - a, c - a)
    surface = triangles.max(1) < topology.SURFACE
    assert (normals[surface, 2] > 0).mean() > 0.98
    uv = model.uv.numpy() * [1, -1]
    a, b, c = (uv[triangles[:, k]] for k in range(3))
    areas = (b - a)[:, 0] * (c - a)[:, 1] - (b - a)[:, 1] * (c - a)[:, 0]
    assert areas.min() > 0
    covered = rasterise(model.uv.numpy().astype(float), triangles, 96).covered
    assert 0.5 < covered.mean() < 0.9
    mirror = alignment.find_mirror(mean)
    assert np.abs(mean[mirror] * FLIP - mean).max() < 1e-3
    assert torch.allclose(
        model.uv[mirror] * torch.tensor([-1.0, 1]) + torch.tensor([1.0, 0]), model.uv, atol=1e-5
    )
    assert torch.allclose(model.mean_texture, model.mean_texture.flip(1), atol=0.03)
    sides = model.landmarks["68"].numpy()
    for right, left in topology.LEFT_OF_RIGHT_68.items():
        assert mirror[sides[right]] == sides[left]


def test_the_landmarks_of_the_shipped_model_lie_where_they_belong(model, mean):
    right_eye, left_eye, nose, right_mouth, left_mouth = mean[model.landmarks["5"].numpy()]
    assert right_eye[0] < right_mouth[0] < nose[0] < left_mouth[0] < left_eye[0]
    assert right_eye[1] > nose[1] > right_mouth[1]
    assert nose[2] == pytest.approx(mean[:, 2].max(), abs=0.02)
    points = mean[model.landmarks["68"].numpy()]
    jaw, brows, eyes, lips = points[:17], points[17:27], points[36:48], points[48:60]
    assert (np.diff(jaw[:, 0])[3:-3] > 0).all()
    assert jaw[:, 1].argmin() == 8
    assert brows[:, 1].min() > eyes[:, 1].max() > lips[:, 1].max()
    assert jaw[8, 1] < lips[:, 1].min()
    assert np.linalg.norm(points[36:42, :2].mean(0) - right_eye[:2]) < 0.1
    # The neutral mouth is closed.
    assert points[62, 1] - points[66, 1] < 0.02 * (left_eye - right_eye)[0]


def test_eyes_and_mouth_of_the_shipped_model_are_filled(model):
    vector = torch.zeros(1, 239)
    vector[:, 238] = float(np.log(0.5))
    drawn = render(model, Coefficients.split(vector), 256)
    assert drawn.mask[0, 0, 20:-20].amax(0)[60:-60].min() == 1
    five = model.landmarks["5"]
    places = project(model, model.mean_shape[None], vector[:, 233:], 256)[0][0].round().long()
    covered = [drawn.mask[0, 0, y, x].item() for x, y in places[five].tolist()]
    assert min(covered) == 1
    grey = drawn.rgb[0].mean(0)
    iris, cheek = places[five[0]].tolist(), places[50].tolist()
    assert grey[iris[1], iris[0]] < 0.7 * grey[cheek[1], cheek[0]]

    def skin_between(*vertices: int) -> float:
        u, v = (model.uv[list(vertices)].mean(0) * len(model.skin) - 0.5).round().long().tolist()
        return model.skin[v, u].item()

    assert skin_between(50) == skin_between(280) == 1
    assert [skin_between(vertex) for vertex in (*topology.EYES, topology.VERTICES - 1)] == [0, 0, 0]
    assert max(skin_between(*topology.RIGHT_BROW), skin_between(*topology.RIGHT_NOSTRIL)) < 0.01
