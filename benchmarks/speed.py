"""Speed of the whole process, from the command line's start to its end; its memory: `benchmarks.memory`.

    python -m benchmarks.speed [--seconds 8] [--runs 3] [--faces 1]

A clip is made from a photograph that an installed package carries; ``fvdeblur run`` is timed on it as a process of
its own, and beside it, in the same run, PyAV alone decoding and encoding the same clip with the same encoder
settings: what no restorer can beat.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
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


def run_process(arguments: list[str]) -> tuple[float, float]:
    """Run a command; return wall-clock seconds and the process's largest resident memory in MiB."""
    began = time.monotonic()
    process = subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    assert process.stderr is not None
    complaint = process.stderr.read().decode()
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise click.ClickException(f"{' '.join(arguments[:4])} ... failed: {complaint.strip()}")
    unit = 1024 if sys.platform.startswith("linux") else 1024 * 1024
    return time.monotonic() - began, usage.ru_maxrss / unit


def deblur_command(clip: Path, target: Path, preset: str, model: str) -> list[str]:
    """The command line that is measured."""
    program = [sys.executable, "-c", "from fvdeblur.cli import main; main()", "run", str(clip)]
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


def measure_speed(folder: Path, clip: MovingPhotograph, preset: str, model: str, runs: int) -> dict[str, Any]:
    """Median times of the tool and of the plain transcode, run in turn."""
    path, target = folder / "clip.mp4", folder / "out.mp4"
    write_clip(path, clip)
    ours, plain = [], []
    for _ in range(runs):
        ours.append(run_process(deblur_command(path, target, preset, model))[0])
        plain.append(run_process([sys.executable, "-c", TRANSCODE, str(path), str(target), preset, "17"])[0])
    seconds, limit = float(np.median(ours)), float(np.median(plain))
    return {
        "frames": clip.frames,
        "seconds": round(seconds, 2),
        "frames_a_second": round(clip.frames / seconds, 2),
        "plain_transcode_frames_a_second": round(clip.frames / limit, 2),
        "share_of_plain_transcode": round(limit / seconds, 3),
        "all_seconds": [round(value, 2) for value in ours],
    }


@click.command()
@click.option("--seconds", type=float, default=8.0, show_default=True, help="Length of the clip.")
@click.option("--height", type=int, default=720, show_default=True, help="Height of the 16:9 picture.")
@click.option("--faces", type=int, default=1, show_default=True)
@click.option("--preset", default="veryfast", show_default=True)
@click.option("--model", default="fvd", show_default=True)
@click.option("--runs", type=int, default=3, show_default=True)
def main(seconds: float, height: int, faces: int, preset: str, model: str, runs: int) -> None:
    """Measure the whole process; JSON on standard output."""
    width = round(height * 16 / 9 / 2) * 2
    clip = MovingPhotograph(width=width, height=height, seconds=seconds, faces=faces)
    with tempfile.TemporaryDirectory() as name:
        results = measure_speed(Path(name), clip, preset, model, runs)
    head = {"picture": f"{width}x{height}", "faces": faces, "preset": preset, "model": model}
    click.echo(json.dumps({**head, **results, "machine": describe_machine()}, indent=1))


if __name__ == "__main__":
    main()
