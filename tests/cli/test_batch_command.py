"""``fvdeblur run`` with several inputs, several processes, pipes, and for programs that read what it says."""

import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import pytest
from media_samples import frame_times

Run = Callable[..., Any]


@pytest.fixture
def folder(tmp_path: Path, short_clip: Path, faceless_clip: Path) -> Path:
    """Two videos and one that is none."""
    folder = tmp_path / "in"
    (folder / "sub").mkdir(parents=True)
    (folder / "a.mp4").write_bytes(short_clip.read_bytes())
    (folder / "b.mp4").write_text("no video")
    (folder / "sub" / "c.mp4").write_bytes(faceless_clip.read_bytes())
    return folder


def files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_a_second_run_does_only_what_is_missing(fvdeblur: Run, folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    options = (folder, "-o", out, "--recursive", "--json")
    first = fvdeblur("run", *options)
    assert first.code == 1
    report = json.loads(first.out)
    assert report["schema"] == "fvdeblur.summary/1"
    assert (report["done"], report["skipped"], report["failed"], report["exit_code"]) == (2, 0, 1, 1)
    by_name = {Path(entry["input"]).name: entry for entry in report["inputs"]}
    assert by_name["b.mp4"]["status"] == "failed"
    assert "b.mp4" in by_name["b.mp4"]["error"]
    assert by_name["a.mp4"]["restored"] == 6
    assert by_name["c.mp4"]["copied"] is True
    assert files(out) == {"a.mp4", "sub/c.mp4"}
    times = {name: (out / name).stat().st_mtime_ns for name in files(out)}
    (folder / "b.mp4").write_bytes((folder / "a.mp4").read_bytes())
    second = fvdeblur("run", *options, "--skip-existing")
    assert second.code == 0
    report = json.loads(second.out)
    assert (report["done"], report["skipped"], report["failed"]) == (1, 2, 0)
    assert files(out) == {"a.mp4", "b.mp4", "sub/c.mp4"}
    assert {name: (out / name).stat().st_mtime_ns for name in times} == times


def test_fail_fast(fvdeblur: Run, folder: Path, tmp_path: Path) -> None:
    result = fvdeblur("run", folder / "b.mp4", folder / "a.mp4", "-o", tmp_path / "out", "--fail-fast")
    assert result.code == 1
    assert "1 of 2 inputs failed; the rest was not begun" in result.err
    assert files(tmp_path / "out") == set()


def test_several_processes_write_what_one_does(folder: Path, tmp_path: Path) -> None:
    """Processes of their own load the released model, so one process must too."""
    lines = {}
    for workers in ("1", "2"):
        options = ["--recursive", "--workers", workers, "--threads", "1", "--preset", "ultrafast"]
        command = [sys.executable, "-m", "fvdeblur", "run", folder, "-o", tmp_path / workers, *options]
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        assert result.returncode == 1
        assert result.stderr.count("\n") == 2
        assert "b.mp4" in result.stderr
        said = result.stdout.splitlines()
        lines[workers] = {line for line in said if line.startswith("  ") and " s (" not in line}
    assert lines["1"] == lines["2"]
    assert files(tmp_path / "1") == files(tmp_path / "2") == {"a.mp4", "sub/c.mp4"}
    for name in files(tmp_path / "1"):
        assert (tmp_path / "1" / name).read_bytes() == (tmp_path / "2" / name).read_bytes()


def test_a_dry_run_writes_nothing(fvdeblur: Run, folder: Path, tmp_path: Path) -> None:
    before = files(tmp_path)
    result = fvdeblur("run", folder, "-o", tmp_path / "out", "--dry-run")
    assert result.code == 0
    assert "  6 frames, about " in result.out
    assert "  would fail: " in result.out
    assert "1 input of 2 would be done in about " in result.out
    assert files(tmp_path) == before
    report = json.loads(fvdeblur("run", folder, "--dry-run", "--json").out)
    sizes = [entry["estimated_bytes"] for entry in report["inputs"]]
    assert sizes[0] > 1000
    assert sizes[1] is None


def test_lines_of_json_for_programs(
    fvdeblur: Run, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fvdeblur.cli.progress.JSON_INTERVAL", 0.0)
    result = fvdeblur("run", folder / "a.mp4", "-o", tmp_path / "x.mp4", "--progress", "jsonl")
    events = [json.loads(line) for line in result.err.splitlines()]
    assert [event["frames"] for event in events[:-1]] == [1, 2, 3, 4, 5, 6]
    assert {event["event"] for event in events[:-1]} == {"progress"}
    assert events[0]["total"] == 6
    assert events[-1]["event"] == "ended"
    assert events[-1]["status"] == "done"
    assert "6 faces deblurred" in result.out


def test_a_log_is_added_to(fvdeblur: Run, folder: Path, tmp_path: Path) -> None:
    log = tmp_path / "run.log"
    log.write_text("before\n")
    fvdeblur("run", folder, "-o", tmp_path / "out", "--log", log)
    lines = log.read_text().splitlines()
    assert lines[0] == "before"
    assert [
        words in line for words, line in zip(("2 inputs", "a.mp4: done", "b.mp4"), lines[1:], strict=True)
    ]
    fvdeblur("run", folder, "--log", tmp_path / "none" / "run.log").failed(1, "run.log", "cannot be written")


def test_an_error_in_json(fvdeblur: Run, tmp_path: Path) -> None:
    """The one input's failure is told on both streams."""
    (tmp_path / "a.mp4").write_text("no video")
    result = fvdeblur("run", tmp_path / "a.mp4", "--json")
    assert result.code == 1
    report = json.loads(result.out)
    assert (report["failed"], report["exit_code"]) == (1, 1)
    assert report["inputs"][0]["error"] in result.err


def test_standard_input_and_output(start: Any, short_clip: Path) -> None:
    process = start("run", "-", "-o", "-", "--preset", "ultrafast", stdin=subprocess.PIPE)
    process.stdin.close()
    os.set_blocking(process.stdout.fileno(), True)
    out, err = process.stdout.buffer.read(), process.stderr.read()
    assert process.wait() == 1
    assert (out, err) == (b"", "fvdeblur: -: standard input is empty; pipe a video into it, or name a file\n")
    process = start("run", "-", "-o", "-", "--preset", "ultrafast", stdin=short_clip.open("rb"))
    out, err = process.stdout.buffer.read(), process.stderr.read()
    assert process.wait() == 0, err
    assert err.startswith("-\n  6 frames, 1 face track, 6 faces deblurred\n")
    with av.open(io.BytesIO(out)) as video:
        assert video.format.name.startswith("matroska")
        assert sum(1 for _ in video.decode(video=0)) == 6
        assert len(video.streams.audio) == 1


def test_standard_streams_stand_alone(fvdeblur: Run, short_clip: Path, folder: Path) -> None:
    fvdeblur("run", "-").failed(2, "needs an output")
    fvdeblur("run", "-", short_clip, "-o", "x").failed(2, "stands alone")
    fvdeblur("run", folder, "-o", "-").failed(2, "one video only")


def test_photographs_and_sequences_from_the_command_line(
    fvdeblur: Run, tmp_path: Path, short_clip: Path
) -> None:
    shots = tmp_path / "shot"
    shots.mkdir()
    with av.open(str(short_clip)) as video:
        for number, frame in enumerate(video.decode(video=0)):
            frame.to_image().save(shots / f"f{number:02d}.png")
    result = fvdeblur("run", shots, "--sequence")
    assert result.code == 0
    assert result.out.splitlines()[:2] == [
        f"{tmp_path / 'shot.deblurred'}",
        "  6 frames, 1 face track, 6 faces deblurred",
    ]
    result = fvdeblur("run", shots / "f00.png", shots / "f01.png", "-o", tmp_path / "out")
    assert result.code == 0
    assert files(tmp_path / "out") == {"f00.png", "f01.png"}
    assert len(frame_times(short_clip)) == 6
