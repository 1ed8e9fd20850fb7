"""``fvdeblur run`` told what to do by a tracks file, and telling what it did in a page."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from media_samples import frame_times, packets

from fvdeblur.media import VideoReader
from fvdeblur.restoration import FaceAnalyzer

Run = Callable[..., Any]


@pytest.fixture(scope="module")
def analyzed(short_clip: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """What is found in the clip with one face, with the models that are really released."""
    path = tmp_path_factory.mktemp("tracks") / "tracks.json"
    FaceAnalyzer(embedder=None, threads=1).run(short_clip, path)
    values = json.loads(path.read_text())
    for entry in values["frames"]:
        for face in entry["faces"]:
            assert face["remark"] == "already sharp"  # as the photograph is
            face |= {"leave": False, "remark": None}
    return json.dumps(values)


@pytest.fixture
def tracks(analyzed: str, tmp_path: Path) -> Path:
    """A file of it that may be edited."""
    path = tmp_path / "tracks.json"
    path.write_text(analyzed)
    return path


def changed(one: Path, other: Path) -> list[Any]:
    with VideoReader(one) as before, VideoReader(other) as after:
        return [
            (a.frame.to_ndarray() != b.frame.to_ndarray())[:240].mean()
            for a, b in zip(before, after, strict=True)
        ]


def test_the_file_as_it_was_written_gives_the_same_video(
    fvdeblur: Run, short_clip: Path, tracks: Path, tmp_path: Path
) -> None:
    for name, options in (("a.mp4", ()), ("b.mp4", ("--tracks", tracks))):
        result = fvdeblur("run", short_clip, "-o", tmp_path / name, *options)
        assert "1 face track, 6 faces deblurred" in result.out
    frames = []
    for name in ("a.mp4", "b.mp4"):
        with VideoReader(tmp_path / name) as reader:
            frames.append(np.stack([decoded.frame.to_ndarray().astype(int) for decoded in reader]))
    assert np.abs(frames[0] - frames[1]).mean() < 0.1  # boxes are written with two decimals
    assert frame_times(tmp_path / "a.mp4") == frame_times(tmp_path / "b.mp4")


def test_faces_marked_by_hand_are_left_alone(
    fvdeblur: Run, short_clip: Path, tracks: Path, tmp_path: Path
) -> None:
    values = json.loads(tracks.read_text())
    for entry in values["frames"][:2]:
        entry["faces"][0]["leave"] = True
    tracks.write_text(json.dumps(values))
    result = fvdeblur("run", short_clip, "-o", tmp_path / "a.mp4", "--tracks", tracks, "--crf", "0")
    assert "4 faces deblurred" in result.out
    assert "left alone: 2 " in result.out
    shares = changed(short_clip, tmp_path / "a.mp4")
    assert shares[:2] == [0, 0]
    assert min(shares[2:]) > 0.02
    values["persons"][0]["leave"] = True
    tracks.write_text(json.dumps(values))
    result = fvdeblur("run", short_clip, "-o", tmp_path / "b.mp4", "--tracks", tracks)
    assert "left alone: 6 " in result.out
    assert packets(tmp_path / "b.mp4") == packets(short_clip)


def test_a_box_moved_by_hand_moves_the_change(
    fvdeblur: Run, short_clip: Path, tracks: Path, tmp_path: Path
) -> None:
    values = json.loads(tracks.read_text())
    for entry in values["frames"]:
        entry["faces"][0] |= {"box": [10, 150, 60, 210], "landmarks": None}
    tracks.write_text(json.dumps(values))
    assert fvdeblur("run", short_clip, "-o", tmp_path / "a.mp4", "--tracks", tracks, "--crf", "0").code == 0
    with VideoReader(short_clip) as before, VideoReader(tmp_path / "a.mp4") as after:
        for one, other in zip(before, after, strict=True):
            where = np.argwhere((one.frame.to_ndarray() != other.frame.to_ndarray())[:240])
            assert where[:, 1].max() < 160
            assert where[:, 0].min() > 60


def test_tracks_that_do_not_fit(
    fvdeblur: Run, short_clip: Path, faceless_clip: Path, tracks: Path, tmp_path: Path
) -> None:
    out = tmp_path / "a.mp4"
    fvdeblur("run", faceless_clip, "-o", out, "--tracks", tracks).failed(
        1, "tracks.json", "analyze that video"
    )
    fvdeblur("run", short_clip, faceless_clip, "-o", tmp_path / "out", "--tracks", tracks).failed(
        2, "one video"
    )
    tracks.write_text(tracks.read_text()[:-200])
    fvdeblur("run", short_clip, "-o", out, "--tracks", tracks).failed(1, "tracks.json")
    fvdeblur("run", short_clip, "-o", out, "--tracks", tmp_path / "none.json").failed(1, "none.json")
    assert not out.exists()


def test_pages_about_one_run_and_about_several(
    fvdeblur: Run, short_clip: Path, faceless_clip: Path, tmp_path: Path
) -> None:
    page = tmp_path / "r.html"
    result = fvdeblur("run", short_clip, "-o", tmp_path / "a.mp4", "--report", page)
    assert result.code == 0, result.err
    assert "6 faces in 6 frames were deblurred" in page.read_text()
    again = fvdeblur("run", short_clip, "-o", tmp_path / "b.mp4", "--report", page)
    again.failed(2, "r.html exists")
    assert not (tmp_path / "b.mp4").exists()  # it is known before the work begins
    pages = tmp_path / "pages"
    fvdeblur("run", short_clip, faceless_clip, "-o", tmp_path / "out", "--report", pages)
    assert {path.name for path in pages.iterdir()} == {"short.mp4.html", "faceless.mp4.html"}
    assert "No face was changed" in (pages / "faceless.mp4.html").read_text()
