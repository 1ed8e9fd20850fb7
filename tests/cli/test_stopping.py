"""Ctrl-C and a request of the system to stop: one line, the exit code of the signal, and nothing left behind."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from media_samples import everything, make_video, moving_photograph
from running import START, Result, finished

Start = Callable[..., subprocess.Popen[str]]
Run = Callable[..., Result]

SIGNALS = [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated")]


@pytest.fixture(scope="module")
def long_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clip that takes far longer than the test waits: 40 s."""
    frames = moving_photograph(25) * 40
    return make_video(tmp_path_factory.mktemp("long") / "long.mp4", frames, options={"preset": "ultrafast"})


@pytest.mark.parametrize(("number", "code", "word"), SIGNALS)
def test_stopped_at_work(
    start: Start, long_clip: Path, tmp_path: Path, number: signal.Signals, code: int, word: str
) -> None:
    target = tmp_path / "out.mp4"
    process = start("run", long_clip, "-o", target)
    partial = tmp_path / "out.mp4.partial"
    until = time.monotonic() + 240
    while not any(path.stat().st_size for path in partial.glob("*.packets")) and time.monotonic() < until:
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    process.send_signal(number)
    finished(process).failed(code, word, "nothing was left half-written")
    assert not list(tmp_path.iterdir())


def test_stopped_twice_at_work(start: Start, long_clip: Path, tmp_path: Path) -> None:
    """Impatience does not keep the first Ctrl-C from cleaning up."""
    more = "import fvdeblur.restoration.restorer as r, time\n"
    more += "run = r.Restorer.compute\n"
    more += "r.Restorer.compute = lambda *a: (print('working', flush=True), time.sleep(1.5), run(*a))[-1]"
    process = start("run", long_clip, "-o", tmp_path / "out.mp4", more=more)
    assert process.stdout is not None
    assert process.stdout.readline() == "working\n"
    process.send_signal(signal.SIGINT)
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    result = finished(process)
    assert result.code == 130
    assert [line for line in result.err.splitlines() if line] == [
        "fvdeblur: interrupted; nothing was left half-written"
    ]
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("number", "code", "word"), SIGNALS)
def test_stopped_while_the_model_is_loaded(
    start: Start, short_clip: Path, tmp_path: Path, number: signal.Signals, code: int, word: str
) -> None:
    more = "import fvdeblur.restoration.restorer as restorer, time\n"
    more += "restorer.load_model = lambda name: (print('loading', flush=True), time.sleep(60))"
    process = start("run", short_clip, "-o", tmp_path / "out.mp4", more=more)
    assert process.stdout is not None
    assert process.stdout.readline() == "loading\n"
    time.sleep(0.1)
    process.send_signal(number)
    finished(process).failed(code, word)
    assert not list(tmp_path.iterdir())


SEGMENTS = """
import fvdeblur.restoration.resuming as resuming
resuming.LONGEST, resuming.SHORTEST = 6, 3
"""
HELD = (
    SEGMENTS
    + """
import time
from pathlib import Path
import fvdeblur.restoration.restorer as restorer
compute, done = restorer.Restorer.compute, []
def held(*given):
    done.append(given)
    while len(done) > 18 and not Path({gate!r}).exists():
        time.sleep(0.02)
    return compute(*given)
restorer.Restorer.compute = held
"""
)
TOLD = """
import fvdeblur.processes as processes
give = processes._Worker.give
processes._Worker.give = lambda *given: (print("given", flush=True), give(*given))[-1]
"""


@pytest.fixture
def start_group(small_models: Path, tmp_path: Path) -> Start:
    """Start the command line as a process group of its own; what is run ``before`` is run in its workers, too."""

    def launch(*arguments: object, before: str, more: str = "") -> subprocess.Popen[str]:
        more = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n" + more
        guard = "if __name__ == '__main__':\n    "
        text = START.format(models=str(small_models), more=before)
        body, call = text.rsplit("main(", 1)
        more = "".join(f"{guard}{line}\n" for line in more.splitlines() if line)
        program = tmp_path / "program.py"
        program.write_text(f"{body}{more}{guard}main({call}")
        return subprocess.Popen(
            [sys.executable, program, *map(str, arguments)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONUNBUFFERED": "1", "OMP_NUM_THREADS": "1"},
            start_new_session=True,
        )

    return launch


def ended(process: subprocess.Popen[str]) -> Result:
    """Wait for a group to end, all of it, and return how its first process did."""
    result = finished(process)
    until = time.monotonic() + 10
    with suppress(ProcessLookupError):
        while time.monotonic() < until:
            os.killpg(process.pid, 0)
            time.sleep(0.05)
        os.killpg(process.pid, signal.SIGKILL)
        pytest.fail("processes are left")
    return result


def one_line(result: Result) -> str:
    lines = [line for line in result.err.splitlines() if line]
    assert len(lines) == 1, result.err
    return lines[0]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_several_processes_stopped_at_work(
    start_group: Any,
    fvdeblur: Run,
    short_clip: Path,
    clip: Path,
    tmp_path: Path,
    number: signal.Signals,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As a terminal does it: the signal goes to all processes of the group at once, in the middle of two clips."""
    videos, out = tmp_path / "videos", tmp_path / "out"
    videos.mkdir()
    for name, source in (("a.mp4", short_clip), ("b.mp4", clip), ("c.mp4", clip)):
        (videos / name).write_bytes(source.read_bytes())
    options = (videos, "-o", out, "--threads", "1", "--preset", "ultrafast")
    gate = tmp_path / "gate"
    process = start_group("run", *options, "--workers", "2", before=HELD.format(gate=str(gate)))
    kept = [out / f"{name}.mp4.partial" for name in "bc"]
    until = time.monotonic() + 240
    while not ((out / "a.mp4").exists() and all((folder / "000000.json").exists() for folder in kept)):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < until
        time.sleep(0.01)
    os.killpg(process.pid, number)
    gate.touch()
    result = ended(process)
    word = "interrupted" if number == signal.SIGINT else "terminated"
    assert result.code == 128 + number
    assert one_line(result) == (
        f"fvdeblur: {word}; 1 of 3 inputs had ended, the work so far on 2 of the others is kept; "
        "the same command with --skip-existing goes on with the rest"
    )
    assert {path.name for path in out.iterdir()} == {"a.mp4", *(folder.name for folder in kept)}
    for folder in kept:  # what was half done has been put away
        numbers = [path.stem for path in folder.glob("*.packets")]
        assert sorted(path.stem for path in folder.glob("0*.json")) == sorted(numbers)
        assert not list(folder.glob("output.*"))
    monkeypatch.setattr("fvdeblur.restoration.resuming.LONGEST", 6)
    monkeypatch.setattr("fvdeblur.restoration.resuming.SHORTEST", 3)
    result = fvdeblur("run", *options, "--skip-existing")
    assert result.code == 0
    assert result.out.count("taken up: ") == 2
    assert {path.name for path in out.iterdir()} == {"a.mp4", "b.mp4", "c.mp4"}
    assert everything(out / "b.mp4") == everything(out / "c.mp4")


def test_several_processes_stopped_while_they_start(
    start_group: Any, short_clip: Path, tmp_path: Path
) -> None:
    """The interpreters that are just coming up say nothing of it."""
    names = [tmp_path / f"{name}.mp4" for name in "ab"]
    for name in names:
        name.write_bytes(short_clip.read_bytes())
    process = start_group("run", *names, "--workers", "2", before=SEGMENTS, more=TOLD)
    assert process.stdout is not None
    assert process.stdout.readline() == "given\n"
    os.killpg(process.pid, signal.SIGINT)
    result = ended(process)
    assert result.code == 130
    assert one_line(result) == (
        "fvdeblur: interrupted; 0 of 2 inputs had ended, nothing was left half-written; "
        "the same command with --skip-existing goes on with the rest"
    )
    assert {path.name for path in tmp_path.glob("*.mp4*")} == {"a.mp4", "b.mp4"}
