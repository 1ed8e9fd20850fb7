"""Damaged inputs by the thousand: none may crash, hang or leave a broken output.

    python -m benchmarks.fuzz --count 2000

Seven small files are made (H.264 in MP4 and MPEG-TS, HEVC with 10 bits in Matroska, VP9 in WebM, MPEG-4 in AVI, a JPEG
and a PNG), with a face and with sound, and damaged: bits flipped anywhere, bytes changed in the header, cut off, a
block zeroed, doubled or left out. Each is given to ``fvdeblur run`` in a process of its own. It must end in time,
with exit code 0, 1 or 2, without a traceback and with errors of one line; where it says 0 there must be an output
that decodes, and elsewhere nothing may stand under the output's name. The input must be as it was.
"""

from __future__ import annotations

import io
import json
import multiprocessing
import os
import random
import resource
import shutil
import sys
import tempfile
import time
from collections import Counter
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import av
import click
import cv2
import numpy as np
import skimage.data
import torch
from numpy.typing import NDArray
from PIL import Image

from benchmarks.machine import describe_machine
from fvdeblur.media.probe import METADATA_ERRORS

FRAMES, WIDTH, HEIGHT = 8, 160, 120
MEMORY = 6 << 30
"""Bytes of address space beyond what was there at the start that a process may take."""

SEEDS: dict[str, tuple[str, str, str]] = {
    "h264.mp4": ("libx264", "yuv420p", "aac"),
    "h264.ts": ("libx264", "yuv420p", "aac"),
    "hevc.mkv": ("libx265", "yuv420p10le", "libopus"),
    "vp9.webm": ("libvpx-vp9", "yuv420p", "libopus"),
    "mpeg4.avi": ("mpeg4", "yuv420p", "mp3"),
}


def frames() -> list[NDArray[np.uint8]]:
    """A face that moves, uint8 [H, W, 3]."""
    picture = cv2.resize(
        skimage.data.astronaut()[:240, 60:400], (WIDTH + 40, HEIGHT + 20), interpolation=cv2.INTER_AREA
    )
    return [np.ascontiguousarray(picture[k : k + HEIGHT, 2 * k : 2 * k + WIDTH]) for k in range(FRAMES)]


def make_seeds(folder: Path) -> list[Path]:
    """Write the undamaged files."""
    paths = []
    for name, (codec, pix_fmt, sound) in SEEDS.items():
        paths.append(folder / name)
        with av.open(str(paths[-1]), "w") as output:
            video: Any = output.add_stream(codec, rate=25)
            video.width, video.height, video.pix_fmt = WIDTH, HEIGHT, pix_fmt
            audio: Any = output.add_stream(sound, rate=48000)
            for frame in frames():
                output.mux(video.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
            output.mux(video.encode())
            tone = (np.sin(np.arange(15360) / 17) * 8000).astype(np.int16)[None]
            heard = av.AudioFrame.from_ndarray(tone, format="s16", layout="mono")
            heard.rate, heard.pts = 48000, 0
            output.mux(audio.encode(heard))
            output.mux(audio.encode())
    for name in ("photograph.jpg", "photograph.png"):
        paths.append(folder / name)
        Image.fromarray(frames()[0]).save(paths[-1])
    return paths


def damaged(data: bytes, source: random.Random) -> tuple[str, bytes]:
    """A damaged version of a file, and how it was damaged."""
    kind = source.choice(["bits", "bits", "header", "header", "cut", "zeroed", "doubled", "left out"])
    changed = bytearray(data)
    size = len(data)
    if kind == "bits":
        for _ in range(2 ** source.randrange(8)):
            changed[source.randrange(size)] ^= 1 << source.randrange(8)
    elif kind == "header":
        for _ in range(2 ** source.randrange(5)):
            changed[source.randrange(min(size, 512))] = source.randrange(256)
    elif kind == "cut":
        del changed[source.randrange(size) :]
    else:
        begin = source.randrange(size)
        end = min(size, begin + 2 ** source.randrange(1, 14))
        if kind == "zeroed":
            changed[begin:end] = bytes(end - begin)
        elif kind == "doubled":
            changed[begin:begin] = data[begin:end]
        else:
            del changed[begin:end]
    return kind, bytes(changed)


def attempt(source: Path, target: Path, report: Path) -> None:
    """What a process of its own does: run the command line and note what it said."""
    from fvdeblur.cli import main

    used = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, used + MEMORY))
    out, err = io.StringIO(), io.StringIO()
    options = ("--preset", "ultrafast") if source.name.startswith(("h264", "hevc")) else ()
    code: Any = None
    with redirect_stdout(out), redirect_stderr(err):
        try:
            main(["run", str(source), "-o", str(target), "--threads", "1", "--progress", "none", *options])
        except SystemExit as ended:
            code = ended.code
    report.write_text(json.dumps({"code": code, "out": out.getvalue(), "err": err.getvalue()}))
    sys.stdout.flush()
    os._exit(0)


def faults(source: Path, data: bytes, target: Path, report: Path, process: Any) -> list[str]:
    """What went wrong, by the rules above."""
    if process.exitcode is None:
        return ["hung"]
    if process.exitcode != 0 or not report.exists():
        return [f"crashed ({process.exitcode})"]
    said = json.loads(report.read_text())
    found = []
    if said["code"] not in (0, 1, 2):
        found.append(f"exit code {said['code']}")
    if "Traceback" in said["err"] or "unexpected" in said["err"]:
        found.append(f"not foreseen: {said['err'].strip().splitlines()[-1]}")
    if said["code"] and len(said["err"].strip().splitlines()) != 1:
        found.append("its error is not one line")
    if said["code"] == 0 and not decodes(target):
        found.append("its output does not decode")
    if said["code"] != 0 and target.exists():
        found.append("an output stands there after a failure")
    if source.read_bytes() != data:
        found.append("the input was changed")
    return found


def decodes(path: Path) -> bool:
    """Whether every frame of an output can be decoded, and there is one."""
    try:
        with av.open(str(path), **METADATA_ERRORS) as container:  # tags are copied as they are
            return sum(1 for _ in container.decode(video=0)) > 0
    except (av.FFmpegError, OSError, IndexError):
        return False


@click.command()
@click.option("--count", default=2000, show_default=True, help="Damaged inputs.")
@click.option("--seed", default=1, show_default=True)
@click.option("--seconds", default=20.0, show_default=True, help="Time that each may take.")
@click.option("--processes", default=2, show_default=True, help="How many run at once.")
@click.option("--keep", type=click.Path(path_type=Path), help="Keep the inputs that do harm in this folder.")
def main(count: int, seed: int, seconds: float, processes: int, keep: Path | None) -> None:
    """Print a summary as JSON; exit code 1 where an input did harm."""
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    import fvdeblur.restoration.batch  # noqa: F401  # all is imported once, before the processes are forked

    context = multiprocessing.get_context("fork")
    source = random.Random(seed)
    codes: Counter[str] = Counter()
    harm: list[dict[str, Any]] = []
    longest = 0.0
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        seeds = make_seeds(folder)
        originals = {path.name: path.read_bytes() for path in seeds}
        running: list[tuple[Any, ...]] = []
        number = 0
        while number < count or running:
            while number < count and len(running) < processes:
                seed_name = seeds[number % len(seeds)].name
                kind, data = damaged(originals[seed_name], source)
                home = folder / f"{number}"
                home.mkdir()
                given, target, report = (
                    home / seed_name,
                    home / f"out{Path(seed_name).suffix}",
                    home / "report",
                )
                given.write_bytes(data)
                process = context.Process(target=attempt, args=(given, target, report))
                process.start()
                running.append(
                    (number, kind, seed_name, data, home, given, target, report, process, time.monotonic())
                )
                number += 1
            time.sleep(0.01)
            for job in list(running):
                index, kind, seed_name, data, home, given, target, report, process, started = job
                took = time.monotonic() - started
                if process.is_alive() and took < seconds:
                    continue
                running.remove(job)
                longest = max(longest, took)
                found = faults(given, data, target, report, process)
                if process.is_alive():
                    process.kill()
                process.join()
                code = json.loads(report.read_text())["code"] if report.exists() else "none"
                codes[f"{seed_name} {code}"] += 1
                if found:
                    harm.append({"number": index, "input": seed_name, "damage": kind, "faults": found})
                    if keep is not None:
                        keep.mkdir(parents=True, exist_ok=True)
                        (keep / f"{index}-{seed_name}").write_bytes(data)
                shutil.rmtree(home)
    print(
        json.dumps(
            {
                "machine": describe_machine(),
                "inputs": count,
                "seed": seed,
                "exit_codes": dict(sorted(codes.items())),
                "longest_seconds": round(longest, 1),
                "seconds": round(time.monotonic() - began, 1),
                "did_harm": harm,
            },
            indent=1,
        )
    )
    sys.exit(1 if harm else 0)


if __name__ == "__main__":
    main()
