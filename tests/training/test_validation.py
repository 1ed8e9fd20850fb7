"""Validation while training: who is measured, how, and that it stays the same."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from face_material import panned_clip
from guide_material import GUIDED, PictureGuide
from torch import Tensor, nn

from fvdeblur.datasets import Clip
from fvdeblur.evaluation import psnr
from fvdeblur.networks import WindowShape
from fvdeblur.networks.fvd import aligned_neighbours
from fvdeblur.training import TrainConfig, train
from fvdeblur.training.guides import Guide, as_inputs
from fvdeblur.training.validation import Validation, decibels


class Weakened(nn.Module):
    """Adds a share of what is missing, as a network that knows the truth would."""

    frames, multiple = 5, 4

    def __init__(self, truth: dict[str, Tensor], share: float) -> None:
        super().__init__()
        self.share = nn.Parameter(torch.tensor(share))
        self._sharp = torch.cat([truth[name] for name in truth]).float() / 255
        self._next = 0

    def forward(self, windows: Tensor) -> Tensor:
        sharp = self._sharp[self._next : self._next + len(windows)]
        self._next += len(windows)
        return self.share * (sharp - windows[:, 6:9])


@pytest.fixture
def clips() -> list[Clip]:
    return [dataclasses.replace(panned_clip(40, 2, size=64), name=f"clip{i}") for i in range(3)]


def test_decibels_are_psnr() -> None:
    rng = np.random.default_rng(0)
    a, b = (rng.integers(60, 190, (2, 3, 32, 32)).astype(np.uint8) for _ in range(2))
    found = decibels(torch.from_numpy(a).float() / 255, torch.from_numpy(b).float() / 255)
    expected = [psnr(a[i].transpose(1, 2, 0), b[i].transpose(1, 2, 0)) for i in range(2)]
    assert found.tolist() == pytest.approx(expected, abs=1e-3)
    same = torch.full((1, 3, 8, 8), 0.5)
    assert float(decibels(same, same)) == pytest.approx(60)
    assert float(decibels(same + 1, torch.ones_like(same))) == pytest.approx(60)  # clipped to 1


def test_the_figures_are_those_of_the_windows(config: TrainConfig, clips: list[Clip]) -> None:
    validation = Validation.make(clips, config.blur, Guide(WindowShape(5, 4, takes_flow=False)))
    assert set(validation.windows) == {"motion", "motion-compressed"}
    for name, windows in validation.windows.items():
        assert windows.dtype == torch.uint8
        assert windows.shape == (3 * 2 * 1, 15, 48, 48)  # of six frames only the fourth is in the middle
        assert validation.sharp[name].shape == (6, 3, 48, 48)
    again = Validation.make(clips, config.blur, Guide(WindowShape(5, 4, takes_flow=False)))
    assert all(torch.equal(windows, again.windows[name]) for name, windows in validation.windows.items())

    for share, gain in ((0.0, 0.0), (0.5, 20 * np.log10(2))):
        network = Weakened(validation.sharp, share)
        figures = validation.measure(network, {"share": torch.tensor(share)})
        for name, figure in figures.items():
            central = validation.windows[name][:, 6:9].float() / 255
            expected = decibels(central, validation.sharp[name].float() / 255).mean()
            assert figure["blurred_db"] == pytest.approx(float(expected), abs=2e-3)
            assert figure["gain_db"] == pytest.approx(gain, abs=0.1)
        assert 15 < figures["motion"]["blurred_db"] < 40
    different = validation.windows["motion"] != validation.windows["motion-compressed"]
    assert different.float().mean() > 0.3


def test_flow_is_that_of_the_windows(config: TrainConfig, clips: list[Clip]) -> None:
    plain = Validation.make(clips, config.blur, Guide(WindowShape(5, 4, takes_flow=False)))
    assert plain.guides == {"motion": {}, "motion-compressed": {}}
    validation = Validation.make(clips, config.blur, Guide(WindowShape(5, 4, takes_flow=True)))
    for name, windows in validation.windows.items():
        assert torch.equal(windows, plain.windows[name])
        flow = as_inputs(validation.guides[name])["flow"]
        assert flow.shape == (6, 8, 12, 12)
        given = windows.float() / 255
        inner = (..., slice(8, -8), slice(8, -8))
        centre = given[:, 6:9].repeat(1, 4, 1, 1)
        neighbours = torch.cat([given[:, :6], given[:, 9:]], dim=1)
        apart = (neighbours - centre)[inner].abs().mean()
        assert (aligned_neighbours(given, flow) - centre)[inner].abs().mean() < 0.7 * apart


def test_the_faces_are_those_of_the_windows(config: TrainConfig, clips: list[Clip]) -> None:
    validation = Validation.make(clips, config.blur, PictureGuide(GUIDED))
    for name, windows in validation.windows.items():
        inputs = as_inputs(validation.guides[name])
        assert torch.equal(inputs["identity"][:, 0], torch.full((6,), 3.0 + 1))  # the fourth of six frames
        assert (inputs["prior"][:, :3] - windows[:, 6:9].float() / 255).abs().max() < 1e-6

    class Shown(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.zeros(()))

        def forward(self, windows: Tensor, prior: Tensor, identity: Tensor) -> Tensor:
            assert identity.shape == (len(windows), 80)
            return self.weight + prior[:, :3] - windows[:, 6:9]

    network = Shown()
    for figure in validation.measure(network, dict(network.named_parameters())).values():
        assert figure["gain_db"] == pytest.approx(0, abs=0.01)


def test_a_run_validates_on_the_people_held_out(
    config: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def load(_: str, split: str, limit: int | None = None) -> list[Clip]:
        asked.append(split)
        return [panned_clip(40, 2, size=64)]

    monkeypatch.setattr("fvdeblur.training.trainer.load_clips", load)
    said: list[str] = []
    config = dataclasses.replace(config, validate_every=5, stills_share=0.0)
    train(config, tmp_path, report=said.append)
    assert asked == ["train", "validation"]
    lines = [json.loads(line) for line in (tmp_path / "validation.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [5, 10, 12]
    assert set(lines[0]) == {"step", "motion", "motion-compressed"}
    assert lines[0]["motion"]["gain_db"] != lines[2]["motion"]["gain_db"]
    assert sum("validation at step" in line for line in said) == 3


def test_without_people_held_out_training_goes_on(
    config: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    clip = panned_clip(14, 2, size=64)  # six frames, and eight more at their ends for the exposure
    monkeypatch.setattr("fvdeblur.training.trainer.load_clips", lambda *_, **__: [clip])
    train(dataclasses.replace(config, steps=1), tmp_path, report=said.append)
    assert any("no validation clip of more than" in line for line in said)
    assert not (tmp_path / "validation.jsonl").exists()
