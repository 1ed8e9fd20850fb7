"""A folder with bad files, each bad in another way: the others are done, and each bad one named with its reason."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from media_samples import frame_times
from running import Result

from benchmarks.batch import BAD, SUFFIXES, make_folder

Run = Callable[..., Result]

REASONS = {
    "truncated": "is not a video or is cut off",
    "empty": "is empty",
    "text": "is not a video or is cut off",
    "sound-alone": "video",
    "unknown-codec": "codec",
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three good clips, in three containers, and one of each bad kind."""
    folder = tmp_path / "in"
    bad = make_folder(folder, clips=8, bad=5, frames=3, height=96)
    assert [name.split("-", 1)[1] for name in bad] == [f"{kind}.mp4" for kind in BAD]
    assert sorted(path.suffix for path in folder.iterdir() if path.name not in bad) == sorted(SUFFIXES)
    return folder


def test_the_others_are_done(fvdeblur: Run, folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    first = fvdeblur("run", folder, "-o", out, "--json")
    assert first.code == 1
    report = json.loads(first.out)
    assert (report["done"], report["skipped"], report["failed"]) == (3, 0, 5)
    errors = {
        Path(entry["input"]).stem.split("-", 1)[1]: entry["error"]
        for entry in report["inputs"]
        if entry["status"] == "failed"
    }
    assert errors.keys() == set(BAD)
    for kind, reason in REASONS.items():
        assert kind in errors[kind]
        assert reason in errors[kind]
        assert "unexpected" not in errors[kind]
        assert first.err.count(errors[kind]) == 1
    assert first.err.splitlines()[-1] == "fvdeblur: 5 of 8 inputs failed"
    done = {path.name: path.stat().st_mtime_ns for path in out.iterdir()}
    assert len(done) == 3
    assert all(len(frame_times(out / name)) == 3 for name in done)

    second = fvdeblur("run", folder, "-o", out, "--json", "--skip-existing")
    assert second.code == 1
    report = json.loads(second.out)
    assert (report["done"], report["skipped"], report["failed"]) == (0, 3, 5)
    assert {path.name: path.stat().st_mtime_ns for path in out.iterdir()} == done
