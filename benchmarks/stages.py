"""Where the time goes: each stage of deblurring a video, in milliseconds a frame, and what starting costs.

    python -m benchmarks.stages [--height 720] [--faces 1] [--seconds 6] [--threads 1]

A clip is made from a photograph that an installed package carries and deblurred in this process with its stages one
after the other instead of side by side, so that their times add up to the whole; each is measured with what it calls
taken off. How fast they are side by side, `benchmarks.speed` says. Starting is measured in processes of its own.
"""

from __future__ import annotations

import functools
import json
import subprocess
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Executor, Future
from pathlib import Path
from typing import Any, TypeVar

import click
import cv2

from benchmarks.clips import MovingPhotograph, write_clip
from benchmarks.machine import describe_machine
from benchmarks.speed import PROGRAM
from fvdeblur import Deblurrer
from fvdeblur.faces import FaceTracker
from fvdeblur.media import FramePlanes, VideoReader
from fvdeblur.restoration import restorer, segmented, stages, stream
from fvdeblur.restoration.crops import KeptPixels
from fvdeblur.restoration.priors import FaceTracks

Item = TypeVar("Item")

STAGES: list[tuple[str, Any, str]] = [
    ("convert", FramePlanes, "__init__"),
    ("convert", FramePlanes, "preview"),
    ("convert", KeptPixels, "cut"),
    ("track", FaceTracker, "push"),
    ("track", FaceTracker, "flush"),
    ("track", FaceTracker, "cuts"),
    ("regress", FaceTracks, "see"),
    ("render", FaceTracks, "guides"),
    ("flow", restorer.Restorer, "_flow"),
    ("align", restorer.Restorer, "_aligned"),
    ("network", restorer.Restorer, "_run"),
    ("blend", stream, "blend"),
    ("blend", stream.FaceRestorer, "_keep"),
    ("encode", segmented.SegmentWriter, "write"),
    ("encode", segmented.SegmentWriter, "end_segment"),
]
"""Stage, owner and name of what is measured for it; detecting and decoding belong to objects."""


class Clock:
    """Sums up the time of functions, each without that of the others in it."""

    def __init__(self) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self._inner: list[float] = []

    def start(self) -> float:
        """Something begins."""
        self._inner.append(0.0)
        return time.perf_counter()

    def stop(self, stage: str, began: float) -> None:
        """What began last has ended."""
        took = time.perf_counter() - began
        self.seconds[stage] += took - self._inner.pop()
        if self._inner:
            self._inner[-1] += took

    def measure(self, stage: str, owner: Any, name: str) -> None:
        """Put a function that is measured in place of another."""
        function = getattr(owner, name)

        @functools.wraps(function)
        def measured(*given: Any, **named: Any) -> Any:
            began = self.start()
            try:
                return function(*given, **named)
            finally:
                self.stop(stage, began)

        setattr(owner, name, measured)

    def each(self, stage: str, items: Iterable[Any]) -> Generator[Any, None, None]:
        """Items, the making of which is measured."""
        iterator = iter(items)
        while True:
            began = self.start()
            try:
                item = next(iterator)
            except StopIteration:
                return
            finally:
                self.stop(stage, began)
            yield item


class AtOnce(Executor):
    """Does at once what would be done in a thread of its own."""

    def __init__(self, *_: Any) -> None:
        pass

    def submit(self, fn: Callable[..., Any], /, *given: Any, **named: Any) -> Future[Any]:
        done: Future[Any] = Future()
        done.set_result(fn(*given, **named))
        return done


def one_by_one(items: Iterable[Item], size: int) -> Generator[Item, None, None]:
    """The items, made when they are asked for."""
    yield from items


def measure_stages(path: Path, target: Path, model: str, preset: str, threads: int) -> dict[str, Any]:
    """Deblur a clip with its stages one after the other."""
    if threads:
        cv2.setNumThreads(threads)
    clock = Clock()
    worker = Deblurrer(model=model, preset=preset, threads=threads, overwrite=True)
    worker.video(path, target)  # what is made at the first frame is made
    for stage, owner, name in STAGES:
        clock.measure(stage, owner, name)
    clock.measure("detect", worker._detector, "detect")
    decode = VideoReader.__iter__
    VideoReader.__iter__ = lambda self: clock.each("decode", decode(self))  # type: ignore[method-assign]
    stages.in_background = one_by_one
    stream.ThreadPoolExecutor = AtOnce  # type: ignore[assignment, misc]
    began = time.perf_counter()
    frames = worker.video(path, target).frames
    whole = time.perf_counter() - began
    clock.seconds["other"] = whole - sum(clock.seconds.values())
    return {
        "frames": frames,
        "milliseconds_a_frame": round(1000 * whole / frames, 2),
        "stages": {
            stage: {
                "milliseconds_a_frame": round(1000 * seconds / frames, 2),
                "share": round(seconds / whole, 3),
            }
            for stage, seconds in sorted(clock.seconds.items(), key=lambda item: -item[1])
        },
    }


def measure_start(path: Path, target: Path, model: str, runs: int = 3) -> dict[str, float]:
    """Seconds to the end of ``--help``, and from the command to the first frame written; the least of some runs."""
    run = [*PROGRAM, "run", str(path), "-o", str(target), "--overwrite", "--model", model]
    run += ["--progress", "jsonl"]
    to_help, to_frame = [], []
    for _ in range(runs):
        began = time.monotonic()
        subprocess.run([*PROGRAM, "--help"], check=True, capture_output=True)
        to_help.append(time.monotonic() - began)
        began = time.monotonic()
        with subprocess.Popen(run, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
            assert process.stderr is not None
            line = process.stderr.readline()
            to_frame.append(time.monotonic() - began)
            process.stderr.read()
        if process.returncode or "progress" not in line:
            raise click.ClickException(line.strip() or "no frame was written")
    return {"help_seconds": round(min(to_help), 2), "first_frame_seconds": round(min(to_frame), 2)}


@click.command()
@click.option("--seconds", type=float, default=6.0, show_default=True, help="Length of the clip.")
@click.option("--height", type=int, default=720, show_default=True, help="Height of the 16:9 picture.")
@click.option("--faces", type=int, default=1, show_default=True)
@click.option("--preset", default="veryfast", show_default=True)
@click.option("--model", default="fvd", show_default=True)
@click.option("--threads", type=int, default=1, show_default=True, help="Of each stage; 0 chooses.")
def main(seconds: float, height: int, faces: int, preset: str, model: str, threads: int) -> None:
    """Measure the stages of one clip; JSON on standard output."""
    width = round(height * 16 / 9 / 2) * 2
    clip = MovingPhotograph(width=width, height=height, seconds=seconds, faces=faces)
    with tempfile.TemporaryDirectory() as name:
        path, target = Path(name) / "clip.mp4", Path(name) / "out.mp4"
        write_clip(path, clip)
        start = measure_start(path, target, model)
        result = measure_stages(path, target, model, preset, threads)
    head = {
        "picture": f"{width}x{height}",
        "faces": faces,
        "preset": preset,
        "model": model,
        "threads": threads,
    }
    click.echo(json.dumps({**head, **start, **result, "machine": describe_machine()}, indent=1))


if __name__ == "__main__":
    main()
