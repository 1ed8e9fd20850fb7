"""Jobs for the processes of a cluster, some of which do not go well."""

import os
import signal
import time
from pathlib import Path
from typing import Any

from fvdeblur.errors import InputError, OutputError, UsageError
from fvdeblur.restoration import Settings

LONGEST, SHORTEST = 6, 3
"""Frames of a segment."""


def prepare_small(models: Path, gate: Path, settings: Settings, folder: str) -> Any:
    """What a node does with an input, here with another model, in short segments; it waits half-way for a file."""
    from fvdeblur import released
    from fvdeblur.restoration import batch, restorer, resuming

    compute, done = restorer.Restorer.compute, []

    def held(*given: Any) -> Any:
        done.append(given)
        while len(done) > 3 * LONGEST and not gate.exists():
            time.sleep(0.02)
        return compute(*given)

    released.models_folder = lambda: models
    resuming.LONGEST, resuming.SHORTEST = LONGEST, SHORTEST
    restorer.Restorer.compute = held  # type: ignore[method-assign]
    return batch._prepare_on_node(settings, folder)


def prepare() -> Any:
    return work


def refuse() -> Any:
    raise UsageError("no model 'nonsense'; choose one of fvd")


def fail() -> Any:
    raise InputError("weights.safetensors: is damaged; reinstall fvdeblur")


def work(job: tuple[str, Path], report: Any, attempt: int) -> tuple[int, int]:
    """Do as a job says; a line in its file for every attempt. Return its attempt and the lines."""
    kind, file = job
    with file.open("a") as lines:
        lines.write("begun\n")
    begun = file.read_text().count("begun")
    report((file.name, attempt))
    if (kind, begun) == ("killed once", 1) or kind == "killed always":
        os.kill(os.getpid(), signal.SIGKILL)
    if (kind, begun) == ("full once", 1) or kind == "full always":
        raise OutputError("out.mp4: cannot be written (the disk is full)")
    if kind == "unreadable":
        raise InputError("in.mp4: is not a video")
    if kind == "waits":
        try:
            while True:
                time.sleep(0.05)
        finally:
            file.write_text("put away\n")
    return attempt, begun
