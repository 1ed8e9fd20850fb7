"""Speed of the whole process, from the command line's start to its end; its memory: `benchmarks.memory`.

    python -m benchmarks.speed [--seconds 8] [--repeat 1] [--runs 3] [--height 720] [--faces 1] [--model fvd]

A clip is made from a photograph that an installed package carries; ``fvdeblur run`` is timed on it as a process of
its own, and beside it, in the same run, PyAV alone decoding and encoding the same clip with the same encoder
settings: what no restorer can beat. ``--height``, ``--faces`` and ``--model`` may be given several times:

    python -m benchmarks.speed --height 480 --height 720 --height 1080 --faces 0 --faces 1 --faces 2 --faces 5
"""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import click
import numpy as np

from benchmarks.clips import MovingPhotograph, write_clip
from benchmarks.machine import describe_machine

TRANSCODE = """
import sys, av
source, target, preset, crf = sys.argv[1:]
with av.open(source) as reading, av.open(target, "w") as writing:
    video = reading.streams.video[0]
    video.thread_type = "AUTO"
    stream = writing.add_stream("libx264", rate=video.average_rate, options={"preset": preset, "crf": crf})
    stream.width, stream.height, stream.pix_fmt = video.width, video.height, "yuv420p"
    for frame in reading.decode(video):
        frame.pict_type = 0
        writing.mux(stream.encode(frame))
    writing.mux(stream.encode())
"""


PROGRAM = [sys.executable, "-m", "fvdeblur"]
"""The command line, by the interpreter that runs this."""

POLL = 0.1
"""Seconds between looks at the memory of a process."""

CONFINED = """
import os, sys
os.sched_setaffinity(0, set(map(int, sys.argv[1].split(","))))
os.execv(sys.argv[2], sys.argv[2:])
"""


def run_process(arguments: list[str], cores: set[int] | None = None) -> tuple[float, float]:
    """Run a command, on some cores alone if so wished (Linux).

    Returns
    -------
    Its wall-clock seconds, and the largest resident memory in MiB that it or a process begun by it had at a time. (What
    the kernel tells when a process has ended would count the memory of this one in, off which it was forked.)
    """
    if cores:
        arguments = [sys.executable, "-c", CONFINED, ",".join(map(str, cores)), *arguments]
    began = time.monotonic()
    with tempfile.TemporaryFile() as complaint:
        process = subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=complaint)
        peak = 0.0
        while process.poll() is None:
            peak = max([peak, *map(_largest_memory, family(process.pid))])
            with suppress(subprocess.TimeoutExpired):
                process.wait(POLL)
        took = time.monotonic() - began
        complaint.seek(0)
        said = complaint.read().decode(errors="replace").strip()
    if process.returncode:
        raise click.ClickException(f"{' '.join(arguments[:4])} ... failed: {said}")
    return took, peak


def family(number: int) -> list[int]:
    """A process and those begun by it, by their numbers."""
    parents = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError, IndexError):
            parents[int(path.parent.name)] = int(path.read_text().rpartition(")")[2].split()[1])
    found = [number]
    for one in found:
        found += [child for child, parent in parents.items() if parent == one]
    return found


def _largest_memory(number: int) -> float:
    """The largest resident memory that a process had so far in MiB; 0 where it is gone."""
    with suppress(OSError):
        for line in Path(f"/proc/{number}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    return 0.0


def deblur_command(clip: Path, target: Path, preset: str, model: str) -> list[str]:
    """The command line that is measured."""
    program = [*PROGRAM, "run", str(clip)]
    options = [
        "-o",
        str(target),
        "--overwrite",
        "--quiet",
        "--preset",
        preset,
        "--crf",
        "17",
        "--model",
        model,
    ]
    return program + options


def measure_speed(path: Path, frames: int, preset: str, model: str, runs: int) -> dict[str, Any]:
    """Median times of the tool and of the plain transcode of a clip of so many frames, run in turn."""
    target = path.with_name("out.mp4")
    ours, plain, peak = [], [], 0.0
    for _ in range(runs):
        took, memory = run_process(deblur_command(path, target, preset, model))
        ours.append(took)
        peak = max(peak, memory)
        plain.append(run_process([sys.executable, "-c", TRANSCODE, str(path), str(target), preset, "17"])[0])
    seconds, limit = float(np.median(ours)), float(np.median(plain))
    return {
        "frames": frames,
        "seconds": round(seconds, 2),
        "frames_a_second": round(frames / seconds, 2),
        "plain_transcode_frames_a_second": round(frames / limit, 2),
        "share_of_plain_transcode": round(limit / seconds, 3),
        "all_seconds": [round(value, 2) for value in ours],
        "largest_memory_mib": round(peak),
    }


@click.command()
@click.option("--seconds", type=float, default=8.0, show_default=True, help="Length of the clip.")
@click.option("--repeat", type=click.IntRange(1), default=1, show_default=True, help="Play it so many times.")
@click.option(
    "--height",
    "heights",
    type=int,
    multiple=True,
    default=[720],
    show_default=True,
    help="Of the 16:9 picture.",
)
@click.option("--faces", "counts", type=int, multiple=True, default=[1], show_default=True)
@click.option("--preset", default="veryfast", show_default=True)
@click.option("--model", "models", multiple=True, default=["fvd"], show_default=True)
@click.option("--runs", type=int, default=3, show_default=True)
def main(
    seconds: float,
    repeat: int,
    heights: tuple[int, ...],
    counts: tuple[int, ...],
    preset: str,
    models: tuple[str, ...],
    runs: int,
) -> None:
    """Measure the whole process; JSON on standard output."""
    rows = []
    for height, faces in itertools.product(heights, counts):
        width = round(height * 16 / 9 / 2) * 2
        clip = MovingPhotograph(width=width, height=height, seconds=seconds, faces=faces)
        with tempfile.TemporaryDirectory() as name:
            path = Path(name) / "clip.mp4"
            write_clip(path, clip, repeat=repeat)
            for model in models:
                result = measure_speed(path, clip.frames * repeat, preset, model, runs)
                rows.append({"picture": f"{width}x{height}", "faces": faces, "model": model, **result})
    click.echo(json.dumps({"preset": preset, "clips": rows, "machine": describe_machine()}, indent=1))


if __name__ == "__main__":
    main()
