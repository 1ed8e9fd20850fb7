"""Ctrl-C and a request of the system to stop: one line, the exit code of the signal, and nothing left behind."""

import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from media_samples import make_video, moving_photograph
from running import finished

Start = Callable[..., subprocess.Popen[str]]

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
    more += "run = r.Restorer.changes\n"
    more += "r.Restorer.changes = lambda *a: (print('working', flush=True), time.sleep(1.5), run(*a))[-1]"
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
