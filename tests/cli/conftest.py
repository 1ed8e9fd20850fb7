"""Running the command line, in this process and in one of its own."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from running import START, Result, finished

from fvdeblur.cli import main

Run = Callable[..., Result]


@pytest.fixture
def fvdeblur(capsys: pytest.CaptureFixture[str], small_model: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run the command line here, with the small model, and return how it ended."""
    # No line now and then, however slow the machine.
    monkeypatch.setattr("fvdeblur.cli.progress.PLAIN_INTERVAL", float("inf"))

    def run(*arguments: object) -> Result:
        capsys.readouterr()
        with pytest.raises(SystemExit) as caught:
            main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        assert "Traceback" not in err
        assert isinstance(caught.value.code, int)
        return Result(caught.value.code, out, err)

    return run


@pytest.fixture
def start(small_models: Path) -> Callable[..., subprocess.Popen[str]]:
    """Start the command line in a process of its own, with the small model; ``more`` is run before."""

    def launch(*arguments: object, more: str = "", **options: Any) -> subprocess.Popen[str]:
        # a test run in the background of a shell has Ctrl-C switched off, and its children inherit that
        more = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n" + more
        program = START.format(models=str(small_models), more=more)
        return subprocess.Popen(
            [sys.executable, "-c", program, *map(str, arguments)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
            **options,
        )

    return launch


@pytest.fixture
def in_process(start: Callable[..., subprocess.Popen[str]]) -> Run:
    """Run the command line in a process of its own and return how it ended."""

    def run(*arguments: object, more: str = "", **options: Any) -> Result:
        return finished(start(*arguments, more=more, **options))

    return run
