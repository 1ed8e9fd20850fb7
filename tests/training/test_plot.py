"""The picture of the log."""

import json
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from fvdeblur.training.plot import plot_log


def write_log(folder: Path, steps: int, *, validated: bool = True) -> None:
    with (folder / "log.jsonl").open("w") as file:
        for step in range(1, steps + 1):
            line = {"step": step, "loss": 1 / step, "gain_db": step / 10, "learning_rate": 1e-3}
            line["loss"] = None if step == 2 else line["loss"]
            file.write(json.dumps(line) + "\n")
    if validated:
        line = {"step": steps, "motion": {"gain_db": 1.0}, "kernels": {"gain_db": 0.5}}
        (folder / "validation.jsonl").write_text(json.dumps(line) + "\n")


def test_the_picture_shows_the_log(tmp_path: Path) -> None:
    pictures = []
    for steps in (3, 30):
        write_log(tmp_path, steps)
        assert plot_log(tmp_path)
        pictures.append(cv2.imread(str(tmp_path / "log.png")))
    assert pictures[0].shape == (700, 1000, 3)
    assert np.mean(pictures[0] != pictures[1]) > 0.005
    write_log(tmp_path, 30, validated=False)
    (tmp_path / "validation.jsonl").unlink()
    assert plot_log(tmp_path)
    assert np.mean(pictures[1] != cv2.imread(str(tmp_path / "log.png"))) > 0.001


def test_nothing_to_draw_or_nothing_to_draw_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not plot_log(tmp_path)
    write_log(tmp_path, 3)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    assert not plot_log(tmp_path)
    assert not (tmp_path / "log.png").exists()
