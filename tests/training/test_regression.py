"""Training a regressor: labels, crops that stay true to them, and a network that learns from them."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from face_material import photograph
from face_model import coefficients, face_model
from safetensors.torch import load_file

from fvdeblur.cli.train_regressor import train_regressor as command
from fvdeblur.datasets import Clip
from fvdeblur.errors import InputError, UsageError
from fvdeblur.morphable import Coefficients, MorphableModel, load_default, project, render
from fvdeblur.morphable.mirror import find_mirror
from fvdeblur.training.config import read_recipe
from fvdeblur.training.regression import RegressionConfig, losses, train_regressor
from fvdeblur.training.regression import trainer as trainer_module
from fvdeblur.training.regression.labels import SHEET, SIDE, LabelledClip, label_clips
from fvdeblur.training.regression.samples import FacePool

WIDTH, FRAMES = 240, 6


def quiet(_: str) -> None:
    pass


@pytest.fixture(scope="module")
def model() -> MorphableModel:
    return face_model(side=22)  # as many vertices as the labels have points


def moving_face(model: MorphableModel, seed: int) -> Coefficients:
    """One person, whose head moves and turns over the frames."""
    first = coefficients(1, seed=seed)
    time = torch.linspace(-1, 1, FRAMES)[:, None]
    direction = torch.tensor([0.1, 0.2, 0.1, 0.15, 0.1, 0.05])
    pose = torch.tensor([0.0, 0.0, 0.0, 0.0, 0.0, -0.9]) + time * direction * (-1) ** seed
    parts = [part.expand(FRAMES, -1).clone() for part in first]
    for part, supported in zip(parts, model.supported, strict=False):
        part[:, supported:] = 0
    return Coefficients(*parts[:4], pose)


@pytest.fixture(scope="module")
def material(model: MorphableModel, tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Clip], Path]:
    """Clips of rendered faces before a photograph, and the folder of their labels."""
    folder = tmp_path_factory.mktemp("meshes")
    (folder / "clips").mkdir()
    background = torch.from_numpy(photograph()[:WIDTH, :WIDTH]).permute(2, 0, 1) / 255
    clips = []
    for number in range(3):
        truth = moving_face(model, number)
        picture = render(model, truth, WIDTH)
        frames = (picture.rgb + (1 - picture.mask) * background).mul(255).round().to(torch.uint8)
        mesh = project(model, model.shape(truth.identity, truth.expression), truth.pose, WIDTH)[0]
        points = torch.zeros(FRAMES, 478, 3)
        points[:, :SHEET, :2] = mesh[:, :SHEET]
        points[:, [468, 473], :2] = mesh[:, model.landmarks["5"][:2]]
        clips.append(Clip(f"face{number}.mp4", f"person{number}", frames.permute(0, 2, 3, 1).numpy(), 25.0))
        np.savez(
            folder / "clips" / f"face{number}.mesh.npz",
            points=points.numpy(),
            frames=np.arange(FRAMES),
            size=np.array([WIDTH, WIDTH]),
        )
    return clips, folder


@pytest.fixture(scope="module")
def labelled(model: MorphableModel, material: tuple[list[Clip], Path]) -> list[LabelledClip]:
    return label_clips(model, material[0], material[1] / "clips")


@pytest.fixture
def config(material: tuple[list[Clip], Path]) -> RegressionConfig:
    return RegressionConfig(
        network_options={"widths": [8, 16, 16], "blocks": [1, 1, 1], "size": 32},
        meshes=str(material[1]),
        steps=6,
        batch=6,
        pool=8,
        warmup=2,
        workers=0,
        sharp_steps=2,
        uses=3,
        log_every=2,
        save_every=3,
        validate_every=3,
        photometric_from=3,
        photometric_batch=2,
        photometric_size=32,
    )


@pytest.fixture(autouse=True)
def own_material(
    model: MorphableModel, material: tuple[list[Clip], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    clips = {"train": material[0][:2], "validation": material[0][2:]}
    monkeypatch.setattr(trainer_module, "load_default", lambda: model)
    monkeypatch.setattr(trainer_module, "load_clips", lambda _, split: clips[split])
    monkeypatch.setattr(trainer_module, "load_stills", lambda *_: [])


def test_labels_say_where_the_points_are(model: MorphableModel, labelled: list[LabelledClip]) -> None:
    assert [len(clip.frames) for clip in labelled] == [FRAMES] * 3
    for clip in labelled:
        found = Coefficients.split(clip.coefficients)
        apart = (losses.place(model, found, clip.vertices) - clip.points).norm(dim=2).mean()
        eyes = (clip.points[:, -1] - clip.points[:, -2]).norm(dim=1).mean()
        assert apart < 0.01 * eyes
        for part in (found.identity, found.texture):  # of the person
            assert torch.equal(part[0], part[-1])
        assert not torch.equal(found.pose[0], found.pose[-1])
        pictures = torch.from_numpy(clip.clip.frames).permute(0, 3, 1, 2) / 255
        rendered = render(model, found, SIDE)
        inside = (rendered.mask > 0.99).expand_as(pictures)
        assert (rendered.rgb - pictures).abs()[inside].mean() < 0.05


def test_labels_of_some_frames(model: MorphableModel, material: tuple[list[Clip], Path]) -> None:
    some = label_clips(model, material[0][:1], material[1] / "clips", every=4)
    assert some[0].frames.tolist() == [0, 4]
    nobody = dataclasses.replace(material[0][0], name="other.mp4")
    assert label_clips(model, [nobody], material[1] / "clips") == []


def test_spoilt_labels_are_named(
    model: MorphableModel, material: tuple[list[Clip], Path], tmp_path: Path
) -> None:
    (tmp_path / "face0.mesh.npz").write_bytes(b"no labels")
    with pytest.raises(InputError, match=r"face0\.mesh\.npz: is no file of labels"):
        label_clips(model, material[0][:1], tmp_path)
    smaller = dataclasses.replace(material[0][1], frames=material[0][1].frames[:, ::2, ::2])
    with pytest.raises(InputError, match=r"face1\.mesh\.npz: does not belong to face1\.mp4 \(120x120\)"):
        label_clips(model, [smaller], material[1] / "clips")


def test_crops_keep_coefficients_points_and_pictures_together(
    model: MorphableModel, labelled: list[LabelledClip], config: RegressionConfig
) -> None:
    """Whatever the crop's place, size and roll."""
    still = dataclasses.replace(
        config, noise=0.0, compression_share=0.0, sharp_steps=10, photometric_size=96, photometric_batch=6
    )
    faces = FacePool(still, labelled, 96, 0).batch(0)
    assert faces.blurred.shape == faces.sharp.shape == (6, 3, 96, 96)
    torch.testing.assert_close(faces.blurred, faces.sharp)
    found = Coefficients.split(faces.coefficients)
    apart = (losses.place(model, found, labelled[0].vertices) - faces.points).norm(dim=2).mean()
    assert apart < 0.01
    assert np.degrees(float(found.pose[:, 2].max() - found.pose[:, 2].min())) > 8
    rendered = render(model, found, 96)
    inside = (rendered.mask > 0.99).expand_as(faces.sharp)
    assert (rendered.rgb - faces.sharp).abs()[inside].mean() < 0.06
    turned = found._replace(pose=found.pose * torch.tensor([1, 1, -1, 1, 1, 1.0]))
    assert (losses.place(model, turned, labelled[0].vertices) - faces.points).norm(dim=2).mean() > 0.03


def test_mirrored_crops_keep_coefficients_points_and_pictures_together(config: RegressionConfig) -> None:
    model = load_default()
    mirror = find_mirror(model)
    assert mirror is not None
    truth = coefficients(1, seed=5)
    vertices = torch.cat([torch.arange(SHEET), model.landmarks["5"][:2]])
    picture = render(model, truth, SIDE)
    frames = (picture.rgb + 0.4 * (1 - picture.mask)).mul(255).round().to(torch.uint8)
    clip = Clip("face.png", "person", frames.permute(0, 2, 3, 1).numpy(), 0.0)
    labelled = LabelledClip(
        clip, np.array([0]), truth.vector(), losses.place(model, truth, vertices), vertices
    )
    recipe = dataclasses.replace(
        config,
        noise=0.0,
        compression_share=0.0,
        sharp_steps=9,
        photometric_size=96,
        photometric_batch=6,
        roll=0,
    )
    kept = FacePool(dataclasses.replace(recipe, mirror_share=0.0), [labelled], 96, 0, mirror).batch(0)
    faces = FacePool(dataclasses.replace(recipe, mirror_share=1.0), [labelled], 96, 0, mirror).batch(0)
    assert (kept.sharp - faces.sharp).abs().mean() > 0.02
    found = Coefficients.split(faces.coefficients)
    assert (losses.place(model, found, vertices) - faces.points).norm(dim=2).max() < 0.01
    rendered = render(model, found, 96)
    inside = (rendered.mask > 0.99).expand_as(faces.sharp)
    assert (rendered.rgb - faces.sharp).abs()[inside].mean() < 0.02
    half = FacePool(dataclasses.replace(recipe, batch=40), [labelled], 96, 0, mirror).batch(0)
    turned = Coefficients.split(half.coefficients).pose[:, 1] * truth.pose[0, 1] < 0
    assert 8 < int(turned.sum()) < 32


def test_blur_begins_after_the_sharp_steps(labelled: list[LabelledClip], config: RegressionConfig) -> None:
    config = dataclasses.replace(
        config, noise=0.0, compression_share=0.0, photometric_size=32, photometric_batch=6, pool=2, uses=1
    )
    pool = FacePool(config, labelled, 32, 0)
    apart = [float((faces.blurred - faces.sharp).abs().mean()) for faces in map(pool.batch, range(6))]
    assert max(apart[:2]) < 1e-4
    assert min(apart[4:]) > 0.002


@pytest.mark.parametrize("workers", [0, 1])
def test_a_pool_begun_later_goes_on_alike(
    labelled: list[LabelledClip], config: RegressionConfig, workers: int
) -> None:
    config = dataclasses.replace(config, workers=workers)
    whole, later = FacePool(config, labelled, 32, 0), FacePool(config, labelled, 32, 5)
    batches = [whole.batch(step) for step in range(7)]
    for step in (5, 6):
        again = later.batch(step)
        assert all(torch.equal(one, other) for one, other in zip(batches[step], again, strict=True))


def test_losses_vanish_for_the_truth_alone(model: MorphableModel, labelled: list[LabelledClip]) -> None:
    truth = coefficients(2, seed=3)
    vertices = labelled[0].vertices
    points = losses.place(model, truth, vertices)
    pictures = render(model, truth, 64)
    moved = truth._replace(pose=truth.pose + torch.tensor([0, 0, 0, 0.1, 0, 0.0]))
    assert losses.landmark_loss(model, truth, points, vertices) < 0.02
    assert losses.landmark_loss(model, moved, points, vertices) == pytest.approx(10, rel=0.01)
    assert losses.coefficient_loss(truth, truth, model.supported) == 0
    assert losses.coefficient_loss(moved, truth, model.supported) > 0.003
    beyond = truth._replace(identity=truth.identity + torch.eye(80)[-1])
    assert losses.coefficient_loss(beyond, truth, model.supported) == 0  # the model has no such vector
    assert losses.photometric_loss(model, truth, pictures.rgb) < 0.002
    assert losses.photometric_loss(model, moved, pictures.rgb) > 0.02


def test_attention_is_on_what_has_the_colour_of_the_skin() -> None:
    picture = torch.tensor([0.8, 0.6, 0.5])[None, :, None, None].expand(1, 3, 20, 20).clone()
    picture[..., :5] = torch.tensor([0.1, 0.3, 0.9])[None, :, None, None]
    picture[..., 5:10, :] *= 0.6  # a shadow
    attention = losses.skin_attention(picture, torch.ones(1, 1, 20, 20))
    assert attention[..., 5:].min() > 0.6
    assert attention[..., :5].max() < 0.01


def test_it_learns(config: RegressionConfig, tmp_path: Path) -> None:
    longer = dataclasses.replace(
        config, steps=60, learning_rate=1e-2, sharp_steps=100, log_every=20, ema=0.9, validate_every=60
    )
    train_regressor(longer, tmp_path, report=quiet)
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert lines[-1]["error_percent"] < 0.6 * lines[0]["error_percent"]
    assert lines[0]["photometric"] > lines[-1]["photometric"] > 0
    (figures,) = [json.loads(line) for line in (tmp_path / "validation.jsonl").read_text().splitlines()]
    assert set(figures) == {"step", "sharp", "blurred"}
    assert (tmp_path / "sample.png").stat().st_size > 1000


def test_an_interrupted_run_goes_on(config: RegressionConfig, tmp_path: Path) -> None:
    """To the same weights but for the order in which sums are rounded, which memory decides."""
    train_regressor(config, tmp_path / "whole", report=quiet)

    def interrupt(line: str) -> None:
        if '"step": 4' in line:
            raise KeyboardInterrupt

    def weights(name: str) -> torch.Tensor:
        file = load_file(tmp_path / name / "weights.safetensors")
        return torch.cat([file[key].float().flatten() for key in sorted(file)])

    with pytest.raises(KeyboardInterrupt):
        train_regressor(config, tmp_path / "halves", report=interrupt)
    half = weights("halves")
    train_regressor(config, tmp_path / "halves", report=quiet)
    steps = [
        json.loads(line)["step"] for line in (tmp_path / "halves" / "log.jsonl").read_text().splitlines()
    ]
    assert steps == [2, 4, 6]
    apart, gone = (weights("halves") - weights("whole")).abs().mean(), (half - weights("whole")).abs().mean()
    assert apart < 0.1 * gone


def test_the_command(config: RegressionConfig, tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.toml"
    values = {
        name: getattr(config, name)
        for name in ("steps", "batch", "pool", "workers", "validate_every", "photometric_batch")
    }
    lines = [f"{name} = {value}" for name, value in values.items()]
    recipe.write_text("\n".join([*lines, "[network_options]", "widths = [8]", "blocks = [1]", "size = 32"]))
    given = [str(recipe), "-o", str(tmp_path / "run"), "--meshes", config.meshes, "--steps", "2"]
    result = CliRunner().invoke(command, given, catch_exceptions=False)
    assert result.exit_code == 0
    assert "2 clips and stills, 12 faces, from step 0 to 2" in result.output
    assert (tmp_path / "run" / "weights.safetensors").exists()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("kernel_supports = [4, 8]", "kernel_supports must be odd"),
        ("exposure = [3.0, 1.0]", "exposure must be two numbers"),
        ("zoom = 0.5", "zoom must be at least 1"),
        ("photometric_batch = 99", "photometric_batch must not be larger than batch"),
        ("patch = 3", "unknown key 'patch'"),
        ("steps = 0", "steps must be at least 1"),
    ],
)
def test_a_mistake_in_the_recipe_is_named(tmp_path: Path, text: str, expected: str) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text(text)
    with pytest.raises(UsageError, match=expected):
        read_recipe(path, RegressionConfig)


def test_without_labels(config: RegressionConfig, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no labels of the material"):
        train_regressor(dataclasses.replace(config, meshes=str(tmp_path)), tmp_path / "run", report=quiet)
    with pytest.raises(UsageError, match="unknown regressor 'deep'; there are: light, resnet50"):
        train_regressor(dataclasses.replace(config, network="deep"), tmp_path / "run", report=quiet)
