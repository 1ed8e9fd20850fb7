"""The ablation of the paper: its rows, where they begin, what is measured, and that its runs go on."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from face_material import moving_frames, photograph
from guide_material import FixedReader, PictureGuide, guide_with, write_regressor
from safetensors.torch import load_file

from benchmarks import ablation, ablation_figures
from benchmarks.ablation_figures import Measured, figures_of, mean_and_interval, restore, summary
from benchmarks.embedding import open_embedder
from fvdeblur import networks
from fvdeblur.datasets import Segment
from fvdeblur.networks import FVD, WindowShape
from fvdeblur.training.guides import as_inputs

SMALL = {"widths": [8, 16], "encoder_blocks": [1, 1], "decoder_blocks": [1]}


def test_the_rows_are_those_of_the_paper() -> None:
    for name, options in (("fvd", {**SMALL, "takes_flow": True}), ("ren2019", {"width": 4})):
        rows = ablation.table_rows(name, "with.safetensors", "without.safetensors")
        shapes = {
            row: WindowShape.of(networks.create(name, **{**options, **rows[row].options})) for row in rows
        }
        render = {"fvd": 7, "ren2019": 3}[name]
        assert {row: shape[3:] for row, shape in shapes.items()} == {
            **{"none": (0, 0), "identity": (0, 80), "render": (render, 0), "both": (render, 80)},
            **{"one-frame": (render, 80), "without-lr": (render, 80)},
        }
        assert [shape.frames for shape in shapes.values()] == [5, 5, 5, 5, 1, 5]
        assert {row: found.regressor for row, found in rows.items() if found.regressor[:5] != "with."} == {
            "without-lr": "without.safetensors"
        }
        assert "without-lr" not in ablation.table_rows(name, "", "")


def test_one_frame_begins_as_five_of_the_same() -> None:
    torch.manual_seed(0)
    network = FVD(**SMALL, takes_flow=True, prior_channels=4).eval()
    for module in (network.tail, network.flow_head, network.prior_head):
        torch.nn.init.normal_(module.weight, std=0.05)
        torch.nn.init.normal_(module.bias, std=0.05)
    picture = torch.from_numpy(photograph()[60:124, 190:254]).permute(2, 0, 1)[None].float() / 255
    weights = ablation.initial_weights(network.state_dict(), 1)
    single = FVD(**SMALL, frames=1).eval()
    single.load_state_dict(weights)
    with torch.no_grad():
        expected = network(picture.repeat(1, 5, 1, 1), flow=torch.zeros(1, 8, 16, 16))
        assert expected.abs().max() > 1e-3
        torch.testing.assert_close(single(picture), expected, atol=1e-5, rtol=1e-4)
    plain = ablation.initial_weights(network.state_dict(), 5)
    assert network.state_dict().keys() - plain.keys() == {"prior_head.weight", "prior_head.bias"}
    assert torch.equal(plain["flow_head.weight"], network.state_dict()["flow_head.weight"])


def test_frames_are_restored_by_their_own_guides() -> None:
    """A network that takes the face for the truth gives the faces of all frames, in their order."""

    class Copying(torch.nn.Module):
        frames, multiple, prior_channels, identity_size = 3, 4, 7, 80

        def __init__(self) -> None:
            super().__init__()
            self.weight = torch.nn.Parameter(torch.zeros(()))

        def forward(self, windows: torch.Tensor, prior: torch.Tensor, identity: torch.Tensor) -> torch.Tensor:
            assert identity.shape == (1, 80)
            return prior[:, :3] - windows[:, 3:6]

    frames = moving_frames(6)
    network = Copying()
    assert (
        np.abs(restore(network, PictureGuide(WindowShape.of(network)), frames).astype(int) - frames).max()
        <= 1
    )
    reader = FixedReader()
    guide = guide_with(reader, prior_channels=7, identity_size=80)
    restored = restore(network, guide, frames)
    given = torch.from_numpy(frames).permute(0, 3, 1, 2)
    faces = as_inputs(guide.of(given, np.arange(6)[:, None].repeat(3, axis=1)))["prior"][:, :3]
    assert np.abs(restored - faces.permute(0, 2, 3, 1).numpy() * 255).max() <= 1
    assert torch.equal(reader.shown[0], given.float() / 255)


def test_figures_are_taken_in_the_face_box() -> None:
    sharp = moving_frames(3)
    restored = sharp.copy()
    restored[:, :10] = 0  # outside of the box
    restored[:, 20:60, 20:60] = np.clip(sharp[:, 20:60, 20:60].astype(int) + 5, 0, 255)
    segment = Measured("clip", restored, sharp, [(20, 20, 60, 60)] * 3)
    figures = figures_of(restored, segment, None)
    assert set(figures) == {"psnr", "ssim"}
    assert figures["psnr"] == pytest.approx(20 * np.log10(255 / 5), abs=0.3)
    assert 0.9 < figures["ssim"] < 1
    assert figures_of(sharp, segment, None)["psnr"] == 99


def test_faces_alike_are_more_similar() -> None:
    embedder, missing = open_embedder()
    if embedder is None:
        assert "landmarks" in missing
        pytest.skip(missing)
    import cv2

    sharp = photograph()[None, :288, 80:368].copy()
    slight, strong = (cv2.GaussianBlur(sharp[0], (0, 0), sigma)[None] for sigma in (2, 8))
    same, near, far = (embedder.similarities(each, sharp)[0] for each in (sharp, slight, strong))
    assert same == pytest.approx(1, abs=1e-6)
    assert 1 > near > far + 0.01
    assert far > 0.5
    assert embedder.similarities(sharp[:, :40, :40], sharp[:, :40, :40]) == []


def test_intervals_are_those_of_a_mean() -> None:
    rng = np.random.default_rng(1)
    values = rng.normal(3, 2, 400)
    found = mean_and_interval(values)
    assert found["mean"] == pytest.approx(values.mean(), abs=1e-3)
    half = 1.96 * values.std() / 20
    assert found["interval"] == pytest.approx([values.mean() - half, values.mean() + half], abs=0.03)
    assert mean_and_interval([2.0] * 5)["interval"] == [2.0, 2.0]


def test_differences_are_paired_by_clip() -> None:
    clips = {f"clip{i}": 20.0 + 3 * i for i in range(8)}
    tables = {
        "none": [(clip, {"psnr": value, "ssim": 0.5}) for clip, value in clips.items()],
        "both": [
            (clip, {"psnr": value + gain, "ssim": 0.6})
            for clip, value in clips.items()
            for gain in (0.9, 1.1)  # two seeds
        ],
    }
    found = summary(tables, {"none": (), "both": ("none", "missing")})
    assert found["both"]["psnr"]["mean"] == pytest.approx(31.5)
    low, high = found["both"]["psnr"]["interval"]
    assert high - low > 5
    assert found["both"]["psnr"]["less none"] == {"mean": 1.0, "interval": [1.0, 1.0]}
    assert found["both"]["ssim"]["less none"]["mean"] == pytest.approx(0.1)
    assert "less missing" not in found["both"]["psnr"]
    assert "identity" not in found["none"]


@pytest.fixture
def run(material: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Run the command for a network of three channels, on one segment of few frames."""
    whole = ablation_figures.make_segment

    def short_segment(*given: Any) -> Segment:
        segment = whole(*given)
        return segment._replace(blurred=segment.blurred[:3], sharp=segment.sharp[:3])

    monkeypatch.setattr(ablation_figures, "make_segment", short_segment)
    monkeypatch.setattr(ablation_figures, "SEGMENTS", 1)
    monkeypatch.setattr(ablation, "POOL", 2)
    monkeypatch.setattr(ablation, "open_embedder", lambda: (None, "not wanted here"))
    monkeypatch.setattr(ablation, "BLUR", dataclasses.replace(ablation.BLUR, size=72, length=6))
    regressor = write_regressor(tmp_path / "regressor.safetensors")

    def invoke(*more: str, rows: tuple[str, ...] = ("none", "both")) -> Result:
        given = ["--data", str(material), "--network", "ren2019", "--width", "3", "--steps", "2"]
        given += ["--batch", "2", "--patch", "36", "--workers", "0", "--regressor", str(regressor)]
        given += [part for row in rows for part in ("--row", row)]
        return CliRunner().invoke(ablation.main, [*given, "--output", str(tmp_path / "runs"), *more])

    return invoke


def test_the_command_trains_measures_and_goes_on(run, tmp_path: Path) -> None:
    unfinished = json.loads(run("--minutes", "0").stdout)
    assert unfinished["rows"] == {}
    assert sum("not finished" in text for text in unfinished["left_out"]) == 2
    assert not list((tmp_path / "runs").glob("*/checkpoint.pt"))

    result = run()
    assert result.exit_code == 0, result.stderr
    found = json.loads(result.stdout)
    assert json.loads((tmp_path / "runs" / "results.json").read_text()) == found
    assert found["budget"] == {"steps": 2, "batch": 2, "patch": 36, "seeds": 1}
    assert found["measured"] == {"clips": 1, "segments": 2}
    assert set(found["rows"]) == {"blurred", "none", "both"}
    assert found["rows"]["both"]["identity_size"] == 80
    for name in ("none", "both"):
        assert 15 < found["rows"][name]["psnr"]["mean"] < 60
        assert 0.3 < found["rows"][name]["ssim"]["mean"] < 1
    difference = found["rows"]["both"]["psnr"]["less none"]["mean"]
    means = [found["rows"][name]["psnr"]["mean"] for name in ("both", "none")]
    assert difference == pytest.approx(means[0] - means[1], abs=2e-4)
    assert any("not wanted here" in text for text in found["left_out"])
    assert any("without-lr" in text for text in found["left_out"])

    times = {path: path.stat().st_mtime_ns for path in (tmp_path / "runs").glob("*/checkpoint.pt")}
    assert len(times) == 2
    assert json.loads(run().stdout)["rows"] == found["rows"]
    assert times == {path: path.stat().st_mtime_ns for path in times}  # nothing was trained again
    other = run("--learning-rate", "1e-4")
    assert other.exit_code == 1
    assert "this run has other settings; choose another --output" in str(other.exception)


def test_fvd_goes_on_from_the_released_weights(run, small_model: Path, tmp_path: Path) -> None:
    result = run("--network", "fvd", "--learning-rate", "1e-9", rows=("none",))
    assert result.exit_code == 0, result.exception
    released = load_file(small_model / "fvd" / "weights.safetensors")
    trained = load_file(tmp_path / "runs" / "none-0" / "weights.safetensors")
    assert trained.keys() == released.keys()
    for name, value in trained.items():
        torch.testing.assert_close(value.float(), released[name].float(), atol=1e-4, rtol=1e-3)
    found = json.loads(result.stdout)["rows"]
    assert found["none"]["psnr"]["mean"] != found["blurred"]["psnr"]["mean"]


def test_an_unknown_row_is_named(run) -> None:
    result = run("--row", "neither")
    assert result.exit_code == 2
    assert "neither; there are: none, identity, render, both, one-frame" in result.stderr
