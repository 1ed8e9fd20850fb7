"""``fvdeblur run --faces``, ``--region`` and ``--compare``: what they write, what they say, and how they fail."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from mean_face import MeanFace
from media_samples import frame_times, make_video, moving_photograph, packets
from running import Result

from fvdeblur.media import VideoReader
from fvdeblur.restoration.comparison_outputs import CLOSE_UP

Run = Callable[..., Result]
QUICK = ("--threads", "1", "--preset", "ultrafast", "--identity", "shape")


@pytest.fixture(autouse=True)
def mean_face(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fvdeblur.morphable.reader.load_regressor", MeanFace)


def names(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_the_largest_face(fvdeblur: Run, short_clip: Path, tmp_path: Path) -> None:
    target = tmp_path / "out.mp4"
    result = fvdeblur("run", short_clip, "-o", target, *QUICK, "--faces", "largest", "--progress", "jsonl")
    assert result.code == 0, result.err
    assert "  6 frames, 1 face track, 6 faces deblurred" in result.out.splitlines()
    note = "a first pass over the video chose the faces; people told apart by 3D shape, texture and colours"
    assert f"  note: {note}" in result.out.splitlines()
    assert names(tmp_path) == ["out.mp4"]


def test_where_faces_are(fvdeblur: Run, short_clip: Path, tmp_path: Path) -> None:
    target = tmp_path / "out.mp4"
    result = fvdeblur("run", short_clip, "-o", target, "--exclude", "0,0,1,1", "--exclude", "0,0,100%,100%")
    assert (result.code, result.err) == (0, "")
    assert set(result.out.splitlines()) >= {
        "  6 frames, 1 face track, 0 faces deblurred",
        "  left alone: 6 outside the region",
        "  nothing was changed, so the streams were copied as they are",
    }
    assert packets(target) == packets(short_clip)
    crops = fvdeblur(
        "crops", short_clip, "-o", tmp_path / "none", "--region", "0,0,1,1", "--identity", "shape"
    )
    assert "  no faces found in 6 frames" in crops.out.splitlines()
    tracks = tmp_path / "tracks.json"
    result = fvdeblur(
        "analyze", short_clip, "-o", tracks, "--exclude", "0,0,100%,100%", "--identity", "shape"
    )
    assert "6 outside the region" in result.out
    assert all(face["leave"] for entry in json.loads(tracks.read_text())["frames"] for face in entry["faces"])


@pytest.mark.parametrize(
    ("command", "arguments", "words"),
    [
        ("run", ["--region", "1,2,3"], "--region '1,2,3': is no box; give left, top, width and height"),
        ("run", ["--exclude", "300,0,30,9"], "--exclude '300,0,30,9': reaches outside of the picture"),
        ("crops", ["--region", "0,0,0,9"], "--region '0,0,0,9': is empty"),
        ("crops", ["--region", "0,0,500,9"], "--region '0,0,500,9': reaches outside of the picture"),
        ("analyze", ["--region", "0,0,101%,9"], "which has 320x240 pixels"),
        ("analyze", ["--faces", "her"], "no faces are called 'her'"),
        ("run", ["--faces", "all,her"], "no faces are called 'all,her'"),
        ("run", ["--face-strength", "0=1"], "must be track:ID=STRENGTH"),
        ("run", ["--faces", "largest", "--tracks", "none.json"], "--faces does not go with --tracks"),
        ("run", ["--identity", "eyes"], "unknown identity 'eyes'"),
        (
            "run",
            ["--compare=blend"],
            "--compare blend: is no way to compare; give side-by-side, split, difference",
        ),
        ("run", ["--compare-output", "clip.mp4"], "clip.mp4: is the input or the output"),
    ],
)
def test_what_cannot_be_done(
    fvdeblur: Run,
    short_clip: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    command: str,
    arguments: list[str],
    words: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copy(short_clip, "clip.mp4")
    fvdeblur(command, "clip.mp4", *arguments).failed(2, words)
    assert names(tmp_path) == ["clip.mp4"]


def halves(path: Path) -> list[np.ndarray]:
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


@pytest.mark.parametrize("trim", [(), ("--start", "0.08", "--end", "0.2")])
def test_compared_side_by_side(
    fvdeblur: Run, short_clip: Path, tmp_path: Path, trim: tuple[str, ...]
) -> None:
    """Left the frames of the input, right those of the output, at the same times; of a part, that part's."""
    target, side = tmp_path / "out.mp4", tmp_path / "out.compare.mp4"
    result = fvdeblur("run", short_clip, "-o", target, *QUICK, *trim, "--crf", "1", "--compare")
    assert (result.code, result.err) == (0, "")
    assert f"  note: compared with the input in {side}" in result.out.splitlines()
    assert names(tmp_path) == ["out.compare.mp4", "out.mp4"]
    assert frame_times(side) == frame_times(target)
    pictures, restored = halves(side), halves(target)
    with VideoReader(short_clip) as reader:
        source = [each.frame.to_ndarray(format="rgb24") for each in reader]
    source = source[2:5] if trim else source
    assert len(pictures) == len(restored) == len(source) == (3 if trim else 6)
    for picture, before, after in zip(pictures, source, restored, strict=True):
        assert picture.shape == (240, 640, 3)
        left, right = picture[:, :320].astype(int), picture[:, 320:].astype(int)
        assert np.abs(left - before).mean() < 4 > np.abs(right - after).mean()
        assert np.abs(left - after).mean() > np.abs(right - after).mean()
    again = fvdeblur("run", short_clip, "-o", tmp_path / "out2.mp4", *QUICK, "--compare-output", side)
    again.failed(2, "out.compare.mp4 exists; use --overwrite or another --compare-output")
    assert names(tmp_path) == ["out.compare.mp4", "out.mp4"]


def test_folders_are_compared_too(fvdeblur: Run, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    for name in ("a.mp4", "b.mkv"):
        make_video(folder / name, moving_photograph(2, 96, 64))
    result = fvdeblur("run", folder, *QUICK, "--compare=difference")
    assert (result.code, result.err) == (0, "")
    made = ["a.deblurred.compare.mp4", "a.deblurred.mp4", "b.deblurred.compare.mp4", "b.deblurred.mkv"]
    assert names(folder) == sorted(["a.mp4", "b.mkv", *made])
    # What was written is no input; and all comparisons can be put into a folder of their own.
    out = tmp_path / "out"
    result = fvdeblur(
        "run", folder, "-o", out, *QUICK, "--compare", "split", "--compare-output", tmp_path / "both"
    )
    assert (result.code, result.err) == (0, "")
    assert names(out) == ["a.mp4", "b.mkv"]
    assert names(tmp_path / "both") == ["a.compare.mp4", "b.compare.mp4"]
    make_video(folder / "a.mov", moving_photograph(2, 96, 64))
    fvdeblur("run", folder, *QUICK, "--overwrite", "--compare").failed(2, "several files would have one name")
    cv2.imwrite(str(tmp_path / "p.png"), np.zeros((64, 64, 3), np.uint8))
    fvdeblur("run", tmp_path / "p.png", "--compare").failed(2, "--compare is for videos")


def test_a_sheet_instead_of_a_video(fvdeblur: Run, short_clip: Path, tmp_path: Path) -> None:
    sheet = tmp_path / "sheet.png"
    result = fvdeblur("run", short_clip, "-o", tmp_path / "out.mp4", *QUICK, "--compare-output", sheet)
    assert (result.code, result.err) == (0, "")
    picture = cv2.imread(str(sheet))
    assert picture is not None
    assert picture.shape == (6 * CLOSE_UP, 640 + 2 * CLOSE_UP, 3)


def test_defaults_from_a_file(fvdeblur: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("fvdeblur.toml").write_text('[run]\nfaces = "largest"\nexclude = ["0,0,1,1", "5%,0,1,1"]\n')
    rows = {row["option"]: row["value"] for row in json.loads(fvdeblur("config", "show", "--json").out)}
    assert (rows["faces"], rows["exclude"]) == (["largest"], ["0,0,1,1", "5%,0,1,1"])
