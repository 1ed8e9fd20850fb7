"""The benchmark of the regressor: its crops, its errors and what it says of doubts."""

import dataclasses
import json
import math
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import save_file

from benchmarks import regressor_cost
from benchmarks.regressor import main
from benchmarks.regressor_crops import (
    FACE_WIDTH,
    MEASURED,
    SIDE,
    Condition,
    Crop,
    make_crops,
    motion_kernel,
    see,
    write_crops,
)
from benchmarks.regressor_errors import (
    dense_points,
    detected_points,
    displacements,
    errors,
    estimate,
    five_points,
    half_covered,
    judge_doubts,
    own_offsets,
    reduction,
    shuffled,
)
from benchmarks.regressor_faces import Face, Region, draw_region, validation_faces
from benchmarks.regressor_measurements import (
    Material,
    judge_target,
    make_material,
    measure_doubts,
    measure_landmarks,
    read_crops,
)
from benchmarks.regressor_pictures import compare, draw_sheet, photographs
from fvdeblur.datasets import Clip
from fvdeblur.errors import InputError
from fvdeblur.faces import create_detector
from fvdeblur.morphable import Coefficients, landmarks, load_default, project, render
from fvdeblur.morphable.fitting import fit_shape
from fvdeblur.morphable.reader import FaceReader
from fvdeblur.morphable.regressor import Regressor, create_regressor

sys.path.append(str(Path(__file__).parents[1] / "datasets"))

from face_material import FACE, moving_frames, names_of_split, write_clip

LABELLED = [0, 8, 12]
"""Frames of the clips; the first is too near the beginning for an exposure."""

KERNEL = Condition("kernel-41", kernel=41)


@pytest.fixture(scope="module")
def regressor() -> Regressor:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        return create_regressor("light", widths=[8, 8], blocks=[1, 1], size=32).eval().requires_grad_(False)


@pytest.fixture(scope="module")
def reader(regressor: Regressor) -> FaceReader:
    return FaceReader(regressor)


@pytest.fixture(scope="module")
def mesh() -> np.ndarray:
    """A dense mesh [478, 2] of the portrait in the labels' order: the model laid on the five points of the detector."""
    model, picture = load_default(), photographs()[0]
    found = create_detector("centerface").detect(picture)[0].landmarks
    points = torch.from_numpy(found)[None] - 0.5
    fitted = fit_shape(model, points, len(picture), vertices=model.landmarks["5"], deviation=0.1)
    dense = project(model, model.shape(fitted.identity, fitted.expression), fitted.pose, len(picture))[0][0]
    mesh = np.zeros((478, 2), np.float32)
    mesh[:468] = dense[:468]
    mesh[[468, 473]] = dense[model.landmarks["5"][:2]]
    return mesh


@pytest.fixture(scope="module")
def face(mesh: np.ndarray) -> Face:
    points = mesh[[*range(468), 468, 473]]
    region = draw_region(points, np.random.default_rng(1))
    clip = Clip("astronaut.png", "astronaut", photographs()[0][None], 0.0)
    return Face(clip, 0, "astronaut", points, region)


def crop_of(face: Face, condition: Condition, seed: int = 7) -> Crop:
    (crop,) = make_crops(face, [condition], seed)
    return crop


@pytest.mark.parametrize("support", [21, 41])
def test_kernels_fill_their_support_and_do_not_shift(support: int) -> None:
    for seed in range(8):
        kernel = motion_kernel(support, np.random.default_rng(seed))
        assert kernel.shape == (support, support)
        assert kernel.sum() == pytest.approx(1)
        axis = np.arange(support) - support // 2
        x, y = (kernel.sum(0) * axis).sum(), (kernel.sum(1) * axis).sum()
        assert np.hypot(x, y) < 0.02
        grid = np.stack(np.meshgrid(axis, axis), axis=2)
        spread, directions = np.linalg.eigh(np.einsum("yx,yxi,yxj->ij", kernel, grid, grid))
        assert support - 6 < math.sqrt(12 * spread[1]) < support  # of a straight line
        assert spread[0] < 1.6  # of its width
        along = np.abs(grid @ directions[:, 1])[kernel > 1e-3 * kernel.max()].max()
        assert support / 2 - 1.5 < along < support / 2 + 1


@pytest.mark.parametrize("width", [80.0, 160.0])
def test_blur_has_the_stated_width_in_the_crop(width: float) -> None:
    """Seen at one bright spot, in linear light."""
    frame = np.zeros((240, 240, 3), np.uint8)
    cv2.circle(frame, (130, 110), 3, (255, 255, 255), -1)
    clip, region = Clip("spot.png", "spot", frame[None], 0.0), Region(125.0, 118.0, 200.0)

    def moments(condition: Condition) -> tuple[np.ndarray, np.ndarray]:
        picture = see(clip, 0, region, width, condition, np.random.default_rng(5))
        light = (picture[..., 0] / 255.0) ** 2.2
        light /= light.sum()
        axis = np.arange(SIDE)
        grid = np.stack(np.meshgrid(axis, axis), axis=2)
        middle = np.einsum("yx,yxi->i", light, grid)
        return middle, np.linalg.eigvalsh(np.einsum("yx,yxi,yxj->ij", light, grid - middle, grid - middle))

    sharp, blurred = moments(Condition("sharp")), moments(KERNEL)
    where = (np.array([130, 110]) + 0.5 - region[:2]) * SIDE / region.side + (SIDE - 1) / 2
    np.testing.assert_allclose(sharp[0], where, atol=0.3)
    np.testing.assert_allclose(blurred[0], where, atol=0.4)
    length = math.sqrt(12 * (blurred[1][1] - sharp[1][1]))
    unit = width / FACE_WIDTH * SIDE / region.side
    assert 35 * unit < length < 41 * unit


def test_crops_are_the_same_for_the_same_seed(face: Face) -> None:
    for condition in (Condition("sharp"), KERNEL, Condition("width-16", width=16)):
        one, again, other = (crop_of(face, condition, seed) for seed in (7, 7, 8))
        assert one.name == again.name != other.name
        np.testing.assert_array_equal(one.seen, again.seen)
        assert (one.seen != other.seen).mean() > 0.2
    assert list(make_crops(face, [Condition("exposure-4", exposure=4.0)], 7)) == []  # a still


def test_points_lie_on_the_crop_s_face(face: Face, reader: FaceReader) -> None:
    crop = crop_of(face, Condition("sharp"))
    found = detected_points(create_detector("centerface"), [crop.seen])
    truth = crop.points[None]
    assert errors(found - 0.5, five_points(reader, truth), truth[:, -2:])[0] < 8
    moved = errors(found + 8, five_points(reader, truth), truth[:, -2:])[0]
    assert moved > 12
    noise = crop.seen.astype(int) - crop.sharp
    assert 0.9 < noise[(crop.sharp > 10) & (crop.sharp < 245)].std() < 1.1


def test_a_method_s_own_offset_is_no_error(face: Face, reader: FaceReader) -> None:
    """However the face is turned and however large it is."""
    truth, found = [], []
    offset = np.array([0.05, -0.1])
    for turn, scale in ((0.0, 1.0), (0.4, 2.0), (-0.3, 0.7)):
        axes = scale * np.array([[math.cos(turn), math.sin(turn)], [-math.sin(turn), math.cos(turn)]])
        points = five_points(reader, (face.points @ axes)[None].astype(np.float32))[0]
        across = points[1] - points[0]
        truth.append(points)
        found.append(points + offset[0] * across + offset[1] * np.array([-across[1], across[0]]))
    true, seen = np.stack(truth), np.stack(found)
    eyes = true[:, :2]
    np.testing.assert_allclose(displacements(seen, true, eyes), np.broadcast_to(offset, (3, 5, 2)), atol=1e-5)
    assert errors(seen, true, eyes)[0] == pytest.approx(100 * np.hypot(*offset), abs=0.01)
    offsets = own_offsets(seen, true, eyes)
    assert errors(seen, true, eyes, offsets).max() < 0.01
    seen[1] = np.nan
    assert np.isnan(errors(seen, true, eyes, offsets)).tolist() == [False, True, False]
    np.testing.assert_allclose(own_offsets(seen, true, eyes), offsets)


def test_means_are_over_people() -> None:
    values, people = np.array([1.0, 3.0, 10.0, np.nan]), ["a", "a", "b", "c"]
    mean, low, high = estimate(values, people)
    assert mean == 6
    assert (low, high) == (2, 10)
    theirs = np.array([4.0, 4.0, np.nan, 9.0])
    assert reduction(values, theirs, people).mean == pytest.approx(0.5)  # of a alone
    with pytest.raises(ValueError, match="no face"):
        estimate(values[3:], people[3:])


def test_the_target_is_held_against_the_best_other_method() -> None:
    def methods(regressor: float, detector: float, mesh: float) -> dict:
        values = {"regressor": regressor, "detector": detector, "mesh": mesh}
        own = {name: np.array([value]) for name, value in values.items()}
        gains = {name: {"regressor_smaller": reduction(own["regressor"], own[name], ["a"])} for name in own}
        return {"five": gains, "dense": {"regressor": gains["regressor"]}}

    verdict = judge_target({"kernel-21": methods(4, 7, 9), "kernel-41": methods(4, 9, 5)})
    assert verdict["kernel-21 five"] == {"against": "detector", "smaller_by": 0.4286, "holds": True}
    assert verdict["kernel-41 five"] == {"against": "mesh", "smaller_by": 0.2, "holds": False}
    assert "kernel-21 dense" not in verdict  # no other method gives these points


def test_the_doubt_from_which_on_readings_are_wrong() -> None:
    doubts = np.linspace(0, 20, 401)
    judged = judge_doubts(doubts, 2 * doubts + np.random.default_rng(0).normal(0, 0.5, 401))
    assert judged.correlation > 0.99
    assert judged.threshold == pytest.approx(6, abs=0.4)
    assert sum(count for *_, count, _ in judged.bins) == 401
    assert judge_doubts(doubts, 0.2 * doubts).threshold is None


def test_covered_and_shuffled_faces(face: Face) -> None:
    crop = crop_of(face, Condition("sharp"))
    before = crop.points.copy()
    for seed in range(4):
        covered = half_covered(crop.sharp, crop.points, np.random.default_rng(seed))
        grey = (covered == 128).all(axis=2) & (covered != crop.sharp).any(axis=2)
        box = np.prod(np.ptp(crop.points, axis=0))
        assert grey.sum() == pytest.approx(box / 2, rel=0.05)
    np.testing.assert_array_equal(crop.points, before)
    mixed = shuffled(crop.sharp, np.random.default_rng(0))
    assert mixed.shape == crop.sharp.shape
    assert (mixed != crop.sharp).mean() > 0.5
    np.testing.assert_array_equal(np.sort(mixed, axis=None), np.sort(crop.sharp, axis=None))


def test_a_rendered_face_is_compared_inside_its_mask(face: Face, reader: FaceReader) -> None:
    vector = torch.zeros(1, 239)
    vector[:, -1] = -0.9
    rendering = render(reader.model, Coefficients.split(vector), SIDE)
    crop = crop_of(face, Condition("sharp"))
    over = rendering.rgb + (1 - rendering.mask) * torch.from_numpy(crop.sharp).permute(2, 0, 1) / 255
    sharp = (over[0].permute(1, 2, 0) * 255).round().to(torch.uint8).numpy()
    seen = sharp.copy()
    seen[rendering.mask[0, 0].numpy() > 0.5] //= 2
    rendered, given = compare(reader.model, vector, [dataclasses.replace(crop, sharp=sharp, seen=seen)])
    assert rendered.absolute[0] < 0.3
    assert rendered.decibels[0] > 55
    inside = rendering.mask[0, 0].numpy() > 0.99
    apart = np.abs(sharp.astype(float) - seen)[inside]
    assert given.absolute[0] == pytest.approx(apart.mean(), rel=0.001)
    assert given.decibels[0] == pytest.approx(10 * np.log10(255**2 / (apart**2).mean()), abs=0.01)


@pytest.fixture(scope="module")
def material(mesh: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A clip and two stills of validation people and of a training person, with labels, and a table of people."""
    folder = tmp_path_factory.mktemp("material")
    meshes = folder / "meshes"
    size = 160
    frames = moving_frames(24, step=(1, 0), size=size)
    for kind in ("clips", "portraits"):
        (folder / kind).mkdir()
        (meshes / kind).mkdir(parents=True)

    def mesh_in(frame: int) -> np.ndarray:
        way = abs((frame + 8) % 32 - 16) - 8  # of `moving_frames`
        return mesh - np.array([FACE[0] - size // 2 + way, FACE[1] - size // 2], np.float32)

    def write_labels(path: Path, points: np.ndarray, numbers: list[int]) -> None:
        np.savez(
            path,
            points=np.dstack([points, points[..., :1]]),
            frames=numbers,
            size=[size, size],
        )

    identities = names_of_split("person", True, 1) + names_of_split("person", False, 1)
    stills = names_of_split("still", True, 2) + names_of_split("still", False, 1)
    for number in range(2):
        write_clip(folder / "clips" / f"clip{number}.mp4", frames)
        moved = np.stack([mesh_in(frame) for frame in LABELLED])
        write_labels(meshes / "clips" / f"clip{number}.mesh.npz", moved, LABELLED)
    for name in stills:
        data = cv2.imencode(".png", cv2.cvtColor(frames[8], cv2.COLOR_RGB2BGR))[1]
        (folder / "portraits" / name).write_bytes(data.tobytes())
        write_labels(meshes / "portraits" / f"{name}.mesh.npz", mesh_in(8)[None], [0])
    rows = [f"clip{number}.mp4\t{identity}\t25" for number, identity in enumerate(identities)]
    (folder / "clips.tsv").write_text("\n".join(["file\tidentity\tfps", *rows]) + "\n")
    (folder / "portraits.tsv").write_text("\n".join(["file", *stills]) + "\n")
    table = ["file\tidentity", f"{stills[1]}\tsomebody", f"{stills[2]}\tsomebody"]
    (folder / "people.tsv").write_text("\n".join(table) + "\n")
    return folder, meshes


@pytest.fixture(scope="module")
def crops(reader: FaceReader, material: tuple[Path, Path]) -> Material:
    return make_material(reader, *material, material[0] / "people.tsv", 7)


def test_material_is_of_people_held_out(
    reader: FaceReader, material: tuple[Path, Path], crops: Material
) -> None:
    """And its coefficients fit the crops."""
    faces = list(validation_faces(reader.model, *material, material[0] / "people.tsv", 7))
    assert sorted({face.clip.name for face in faces}) == ["clip0.mp4", names_of_split("still", True, 2)[0]]
    assert [face.frame for face in faces] == [*LABELLED[1:], 0]
    assert {crop.condition for crop in crops.measured} == {condition.name for condition in MEASURED}
    fitted = torch.stack([crop.coefficients for crop in crops.measured])
    truth = np.stack([crop.points for crop in crops.measured])
    assert errors(dense_points(reader, fitted), truth, truth[:, -2:]).max() < 2
    five = landmarks(reader.model, Coefficients.split(fitted), SIDE, "5").numpy()
    np.testing.assert_allclose(five, five_points(reader, dense_points(reader, fitted)), atol=1e-3)


def test_exposures_blur_along_the_motion(crops: Material) -> None:
    exposed = [crop for crop in crops.measured if crop.condition == "exposure-4"]
    assert exposed
    for crop in exposed:
        seen, sharp = (cv2.GaussianBlur(p.astype(np.float32), (0, 0), 1) for p in (crop.seen, crop.sharp))
        across, down = (
            [np.abs(np.diff(picture[60:200, 60:200], axis=axis)).mean() for picture in (seen, sharp)]
            for axis in (1, 0)
        )
        assert across[0] < 0.85 * across[1]
        assert down[0] / down[1] > across[0] / across[1] + 0.05


def test_all_methods_are_measured_on_the_same_crops(
    reader: FaceReader, crops: Material, tmp_path: Path
) -> None:
    own = crops.measured + crops.training
    assert write_crops(own, tmp_path / "crops") == len(own)
    rows = json.loads((tmp_path / "crops" / "manifest.json").read_text())
    assert [row["file"] for row in rows] == [f"{crop.name}.png" for crop in own]
    picture = cv2.imread(str(tmp_path / "crops" / rows[0]["file"]))
    np.testing.assert_array_equal(picture[..., ::-1], own[0].seen)

    labels = tmp_path / "labels"
    labels.mkdir()
    missed = next(crop for crop in own if crop.condition == "kernel-41")
    for crop in own:
        points = np.zeros((1, 478, 3), np.float32)
        points[0, :, :2] = crop.points[-1]
        points[0, [*range(468), 468, 473], :2] = crop.points + 0.5
        if crop is not missed:
            np.savez(labels / f"{crop.name}.mesh.npz", points=points, frames=np.array([0]))
    read = read_crops(reader, crops.measured)
    found = measure_landmarks(reader, crops, read, labels)
    for condition in MEASURED:
        mesh, regressor = (found[condition.name]["dense"][name] for name in ("mesh", "regressor"))
        assert (
            mesh["error"].mean < 3 < regressor["error"].mean
        )  # of half a pixel; a network that knows nothing
        assert mesh["missed"] == (condition.name == "kernel-41")
        assert found[condition.name]["five"]["mesh"]["error"].mean < 0.2  # the offset was taken away
        assert found[condition.name]["five"]["detector"]["error"].mean < 25
    assert found["kernel-41"]["dense"]["mesh"]["error_all"].mean > 10
    assert not any(verdict["holds"] for verdict in judge_target(found).values())
    fewer = Material(crops.measured[1:], [], crops.training)
    with pytest.raises(InputError, match="holds labels of other crops"):
        measure_landmarks(reader, fewer, read_crops(reader, fewer.measured), labels)
    with pytest.raises(InputError, match="holds no labels"):
        measure_landmarks(reader, crops, read, tmp_path)


def test_doubts_of_faces_and_of_none(reader: FaceReader, crops: Material, tmp_path: Path) -> None:
    found = measure_doubts(reader, crops, read_crops(reader, crops.measured), 7)
    groups = found["groups"]
    assert {"sharp", "kernel-121", "half covered", "shuffled squares", "no face"} < set(groups)
    assert groups["no face"]["crops"] == 200
    assert groups["no face"]["error"] is None
    assert groups["half covered"]["crops"] == groups["sharp"]["crops"]
    if found["threshold"] is not None:
        assert all(0 <= group["beyond"] <= 1 for group in groups.values() if group["crops"])
    draw_sheet(reader, crops.measured, tmp_path / "sheet.png")
    assert cv2.imread(str(tmp_path / "sheet.png")).shape == (160, 3 * 3 * 160, 3)


def test_cost(regressor: Regressor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(regressor_cost, "ROUNDS", 1)
    monkeypatch.setattr(regressor_cost, "SECONDS", 0.0)
    cost = regressor_cost.measure_cost(create_regressor("light").eval().requires_grad_(False))
    assert 0.4 < cost["regressor_gmac"] < 1
    assert cost["reading_gmac"] == pytest.approx(2 * cost["regressor_gmac"], abs=0.002)
    times = cost["cpu, one core"]
    assert times["fvd"]["of_fvd"] == 1
    assert times["render_128_given_albedo"]["milliseconds"] > 0
    assert set(times) > {"read", "render_128", "render_256", "render_256_given_albedo"}


def test_the_command(tmp_path: Path) -> None:
    assert "--data and --meshes are needed" in CliRunner().invoke(main, []).output
    weights, picture = tmp_path / "weights.safetensors", tmp_path / "photographs.png"
    save_file(create_regressor("light").state_dict(), weights)
    given = ["--weights", str(weights), "--photographs", str(picture)]
    result = CliRunner().invoke(main, given, catch_exceptions=False)
    assert result.exit_code == 0
    assert picture.stat().st_size < 200_000
    height, width = cv2.imread(str(picture)).shape[:2]
    assert (height, width) == (3 * 112, 3 * 112)
