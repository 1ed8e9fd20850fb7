"""Optical flow between neighbouring frames, in memory and in a file."""

from pathlib import Path

import numpy as np
import pytest
from face_material import panned_clip

from fvdeblur.datasets import flow
from fvdeblur.datasets.flow import cached_flow, flow_path, neighbour_flow
from fvdeblur.errors import OutputError
from fvdeblur.flow import dis_flow


def test_flow_points_where_the_picture_moves() -> None:
    frames = panned_clip(2, step=3, size=128).frames
    forward, backward = dis_flow(frames[0], frames[1]), dis_flow(frames[1], frames[0])
    assert forward.shape == (2, 32, 32)
    assert forward.dtype == np.float16
    assert np.median(forward[0]) == pytest.approx(-3, abs=0.2)
    assert np.median(backward[0]) == pytest.approx(3, abs=0.2)
    assert np.median(forward[1]) == pytest.approx(0, abs=0.2)


def test_neighbours_in_both_directions() -> None:
    clip = panned_clip(4, step=2, size=61)
    found = neighbour_flow(clip.frames, threads=2)
    assert found.forward.shape == found.backward.shape == (3, 2, 16, 16)
    for source, target in ((0, 1), (1, 2), (2, 1), (3, 2)):
        assert np.array_equal(found(source, target), clip.flow(source, target))
    with pytest.raises(ValueError, match="frames 0 and 2 are no neighbours"):
        found(0, 2)
    assert neighbour_flow(clip.frames[:1]).forward.shape == (0, 2, 16, 16)


def test_flow_is_kept_beside_the_clip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    frames = panned_clip(3, step=2, size=64).frames
    path = flow_path(tmp_path / "anna.mp4")
    assert path == tmp_path / "anna.flow.npz"
    first = cached_flow(path, frames)
    assert [file.name for file in tmp_path.iterdir()] == ["anna.flow.npz"]
    calls = []
    compute = flow.neighbour_flow
    monkeypatch.setattr(flow, "neighbour_flow", lambda *given: (calls.append(1), compute(*given))[1])
    again = cached_flow(path, frames)
    assert not calls
    assert np.array_equal(first.forward, again.forward)
    assert np.array_equal(first.backward, again.backward)
    assert again.forward.dtype == np.float16


@pytest.mark.parametrize("damage", ["other frames", "cut off", "no archive", "lacks a table", "empty"])
def test_a_file_that_does_not_fit_is_made_anew(tmp_path: Path, damage: str) -> None:
    frames = panned_clip(3, step=2, size=64).frames
    path = tmp_path / "anna.flow.npz"
    if damage == "other frames":
        other = frames.copy()
        other[1, 5, 5, 0] ^= 1
        cached_flow(path, other)
    elif damage == "cut off":
        cached_flow(path, frames)
        path.write_bytes(path.read_bytes()[:-700])
    elif damage == "lacks a table":
        np.savez(path, forward=np.zeros(3))
    else:
        path.write_bytes(b"" if damage == "empty" else b"no archive at all")
    found = cached_flow(path, frames)
    expected = neighbour_flow(frames)
    assert np.array_equal(found.forward, expected.forward)
    with np.load(path) as kept:
        assert np.array_equal(kept["backward"], expected.backward)
    assert [file.name for file in tmp_path.iterdir()] == ["anna.flow.npz"]


def test_a_folder_that_is_none(tmp_path: Path) -> None:
    frames = panned_clip(2, step=2, size=32).frames
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="flow cannot be written"):
        cached_flow(tmp_path / "file" / "anna.flow.npz", frames)
