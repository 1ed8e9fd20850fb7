"""Killed, interrupted, terminated: the same command goes on, and the output is as if nothing had happened."""

import json
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from media_samples import everything
from running import Result, finished

Start = Callable[..., subprocess.Popen[str]]
Run = Callable[..., Result]

SEGMENTS = "import fvdeblur.restoration.resuming as resuming\nresuming.LONGEST, resuming.SHORTEST = 6, 3\n"
SLOWLY = (
    SEGMENTS
    + """
import time
import fvdeblur.restoration.restorer as restorer
compute = restorer.Restorer.compute
restorer.Restorer.compute = lambda *given: (time.sleep(0.15), compute(*given))[-1]
"""
)
OPTIONS = ("--preset", "ultrafast", "--threads", "1")


@pytest.fixture(autouse=True)
def short_segments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fvdeblur.restoration.resuming.LONGEST", 6)
    monkeypatch.setattr("fvdeblur.restoration.resuming.SHORTEST", 3)


def stop(start: Start, clip: Path, target: Path, record: int, number: signal.Signals) -> Result:
    """Send a signal to a run when it has finished a segment; return how it ended."""
    process = start("run", clip, "-o", target, *OPTIONS, more=SLOWLY)
    until = time.monotonic() + 240
    while not (target.with_name(target.name + ".partial") / f"00000{record}.json").exists():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < until
        time.sleep(0.005)
    process.send_signal(number)
    result = finished(process)
    assert not target.exists()
    return result


def test_killed_twice(fvdeblur: Run, start: Start, clip: Path, tmp_path: Path) -> None:
    whole, target = tmp_path / "whole.mp4", tmp_path / "out.mp4"
    assert fvdeblur("run", clip, "-o", whole, *OPTIONS).code == 0
    assert stop(start, clip, target, 0, signal.SIGKILL).code == -signal.SIGKILL
    assert stop(start, clip, target, 2, signal.SIGKILL).code == -signal.SIGKILL
    result = fvdeblur("run", clip, "-o", target, *OPTIONS)
    assert (result.code, result.err) == (0, "")
    assert "25 frames, 1 face track, 25 faces deblurred" in result.out
    assert "taken up: 3 of 5 segments were done already" in result.out
    assert "note:" not in result.out
    assert everything(target) == everything(whole)
    assert not list(tmp_path.glob("*.partial"))


@pytest.mark.parametrize(
    ("number", "code", "word"), [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated")]
)
def test_a_stop_says_what_is_kept_and_how_to_go_on(
    fvdeblur: Run,
    start: Start,
    clip: Path,
    tmp_path: Path,
    number: signal.Signals,
    code: int,
    word: str,
) -> None:
    target = tmp_path / "out.mp4"
    result = stop(start, clip, target, 0, number)
    assert (result.code, result.out) == (code, "")
    lines = [line for line in result.err.splitlines() if line]
    assert len(lines) == 1
    assert lines[0].startswith(f"fvdeblur: {word}; the work so far (")
    assert lines[0].endswith(f" is kept in {target}.partial; the same command goes on with it")
    assert [path.name for path in tmp_path.iterdir()] == ["out.mp4.partial"]
    done = fvdeblur("run", clip, "-o", target, *OPTIONS, "--json")
    assert done.code == 0
    summary = json.loads(done.out)["inputs"][0]
    assert summary["segments"] == 5
    assert 1 <= summary["reused"] < 5


def test_no_resume_discards_what_is_there(fvdeblur: Run, start: Start, clip: Path, tmp_path: Path) -> None:
    target = tmp_path / "out.mp4"
    stop(start, clip, target, 0, signal.SIGKILL)
    result = fvdeblur("run", clip, "-o", target, *OPTIONS, "--no-resume")
    assert result.code == 0
    assert "taken up" not in result.out
    assert "note:" not in result.out


def test_another_setting_begins_afresh_with_a_note(
    fvdeblur: Run, start: Start, clip: Path, tmp_path: Path
) -> None:
    target = tmp_path / "out.mp4"
    stop(start, clip, target, 0, signal.SIGKILL)
    result = fvdeblur("run", clip, "-o", target, *OPTIONS, "--crf", "30")
    assert result.code == 0
    assert "note: begun afresh: since the unfinished run these changed: encoding." in result.out
    assert "settings.crf" in result.out


def test_a_symbolic_link_is_not_followed(fvdeblur: Run, clip: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "out.mp4.partial").symlink_to(tmp_path / "elsewhere")
    fvdeblur("run", clip, "-o", tmp_path / "out.mp4").failed(2, "out.mp4.partial", "is a symbolic link")
    assert not list((tmp_path / "elsewhere").iterdir())
