"""A folder of many clips, some of them bad: what is done, what is named, and what several processes bring.

    python -m benchmarks.batch [--clips 40] [--bad 5] [--seconds 30] [--runs 1]

Small clips are made in several containers; the bad ones among them are truncated, empty, text, sound alone or in an
unknown codec. ``fvdeblur run FOLDER`` must do the good ones and name the bad ones with a reason (exit code 1), and a
second run with ``--skip-existing`` must do nothing but try the bad ones again. Then two longer clips are done by one
worker that may use one core (Linux), by one that may use all, and by two, at one thread a stage. Exit code 1 where
anything is not as it must be.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import av
import click
import numpy as np

from benchmarks.clips import MovingPhotograph, write_clip
from benchmarks.machine import describe_machine
from benchmarks.speed import PROGRAM, run_process

BAD = ("truncated", "empty", "text", "sound-alone", "unknown-codec")
"""Kinds of files that cannot be done; they stand in the files' names."""

SUFFIXES = (".mp4", ".mkv", ".mov")


def make_folder(folder: Path, clips: int, bad: int, frames: int = 10, height: int = 180) -> list[str]:
    """Fill a folder with clips, every so many of them bad; return the names of the bad ones.

    Parameters
    ----------
    folder
        Made if it is not there.
    clips, bad
        How many files, and how many of them are bad, of the kinds of `BAD` in turn.
    frames, height
        Of the good ones.
    """
    folder.mkdir(parents=True, exist_ok=True)
    width = round(height * 16 / 9 / 2) * 2
    made = MovingPhotograph(width=width, height=height, seconds=frames / 25, exposure=1.5)
    bad_ones = {round((number + 0.5) * clips / bad): BAD[number % len(BAD)] for number in range(bad)}
    assert len(bad_ones) == bad
    with tempfile.TemporaryDirectory() as name:
        sources = [Path(name) / f"clip{suffix}" for suffix in SUFFIXES]
        for source in sources:
            write_clip(source, made, crf=23)
        names: list[str] = []
        for number in range(clips):
            kind = bad_ones.get(number)
            if kind is None:
                source = sources[(number - len(names)) % len(sources)]
                shutil.copy(source, folder / f"{number:03d}{source.suffix}")
            else:
                names.append(f"{number:03d}-{kind}.mp4")
                _make_bad(folder / names[-1], kind, sources[0])
    return names


def _make_bad(path: Path, kind: str, source: Path) -> None:
    """Write a file that is no video, of a kind of `BAD`."""
    whole = source.read_bytes()
    if kind == "truncated":  # the index stands at the end
        path.write_bytes(whole[: len(whole) // 2])
    elif kind == "empty":
        path.touch()
    elif kind == "text":
        path.write_text("Not a video at all.\n" * 20)
    elif kind == "unknown-codec":
        path.write_bytes(whole.replace(b"avc1", b"zzzz"))
    else:
        with av.open(str(source)) as reading, av.open(str(path), "w") as writing:
            stream = writing.add_stream_from_template(reading.streams.audio[0])
            for packet in reading.demux(audio=0):
                if packet.dts is not None:
                    packet.stream = stream
                    writing.mux(packet)


def run_folder(folder: Path, output: Path, *options: str) -> dict[str, Any]:
    """Do a folder; return the summary and what the process said and ended with."""
    command = [*PROGRAM, "run", str(folder), "-o", str(output), "--json", "--progress", "none", *options]
    process = subprocess.run(command, capture_output=True, text=True, check=False)
    summary = json.loads(process.stdout) if process.stdout else {}
    return {"summary": summary, "said": process.stderr, "code": process.returncode}


def check_first(run: dict[str, Any], output: Path, clips: int, bad: list[str], frames: int) -> list[str]:
    """What is not as it must be after the first run."""
    wrong = []
    summary, good = run["summary"], clips - len(bad)
    if (run["code"], summary.get("done"), summary.get("failed")) != (1 if bad else 0, good, len(bad)):
        wrong.append(f"exit code {run['code']}, {summary.get('done')} done, {summary.get('failed')} failed")
    failed = {
        Path(entry["input"]).name: entry["error"]
        for entry in summary.get("inputs", [])
        if entry["status"] == "failed"
    }
    if sorted(failed) != sorted(bad):
        wrong.append(f"these failed: {sorted(failed)}")
    wrong += [f"{name}: {error}" for name, error in failed.items() if "unexpected" in error]
    wrong += [f"{name} is not named once" for name in bad if run["said"].count(name) != 1]
    if "Traceback" in run["said"]:
        wrong.append("a traceback")
    there = sorted(path.name for path in output.iterdir())
    if len(there) != good or any(path.endswith(".partial") for path in there):
        wrong.append(f"{len(there)} files in the output")
    for name in there:
        with av.open(str(output / name)) as video:
            count = sum(1 for _ in video.decode(video=0))
        if count != frames:
            wrong.append(f"{name}: {count} frames")
    return wrong


def check_second(run: dict[str, Any], clips: int, bad: int, untouched: bool) -> list[str]:
    """What is not as it must be after the run with ``--skip-existing``."""
    summary = run["summary"]
    found = (run["code"], summary.get("done"), summary.get("skipped"), summary.get("failed"))
    wrong = [] if found == (1 if bad else 0, 0, clips - bad, bad) else [f"second run: {found}"]
    return wrong if untouched else [*wrong, "second run: outputs were written again"]


def measure_speed(folder: Path, seconds: float, height: int, runs: int) -> dict[str, Any]:
    """Whole process over two clips at one thread a stage, in turn: one worker on one core and on all, two on all."""
    source = folder / "speed"
    source.mkdir()
    width = round(height * 16 / 9 / 2) * 2
    clip = MovingPhotograph(width=width, height=height, seconds=seconds)
    write_clip(source / "a.mp4", clip)
    shutil.copy(source / "a.mp4", source / "b.mp4")
    busy = os.getloadavg()[0]
    ways = {"one_worker_on_one_core": (1, True), "one_worker": (1, False), "two_workers": (2, False)}
    times: dict[str, list[float]] = {way: [] for way in ways}
    memory = dict.fromkeys(ways, 0.0)
    for _ in range(runs):
        for way, (workers, alone) in ways.items():
            options = ["--workers", str(workers), "--threads", "1", "--quiet", "--overwrite"]
            command = [*PROGRAM, "run", str(source), "-o", str(folder / "sped"), *options]
            took, peak = run_process(command, cores={min(os.sched_getaffinity(0))} if alone else None)
            times[way].append(took)
            memory[way] = max(memory[way], peak)
    median = {way: float(np.median(values)) for way, values in times.items()}
    return {
        # Of other programs: above a few tenths the figures mean little.
        "load_average_before": round(busy, 2),
        "picture": f"{width}x{height}",
        "frames_of_each_of_two_clips": clip.frames,
        "seconds": {way: [round(value, 1) for value in values] for way, values in times.items()},
        "two_workers_times_the_throughput_of": {
            way: round(median[way] / median["two_workers"], 2) for way in list(ways)[:2]
        },
        "largest_memory_of_a_process_mib": {way: round(peak) for way, peak in memory.items()},
    }


@click.command()
@click.option("--clips", type=int, default=40, show_default=True)
@click.option("--bad", type=int, default=5, show_default=True, help="How many of them are bad.")
@click.option("--seconds", type=float, default=30.0, show_default=True, help="Length of the clips for speed.")
@click.option("--height", type=int, default=360, show_default=True, help="Of their 16:9 pictures.")
@click.option("--runs", type=int, default=1, show_default=True, help="Measurements of speed; 0: none.")
def main(clips: int, bad: int, seconds: float, height: int, runs: int) -> None:
    """Do a folder with bad clips twice and measure two workers; JSON on standard output."""
    result: dict[str, Any] = {"clips": clips, "bad": bad}
    with tempfile.TemporaryDirectory() as name:
        folder, output = Path(name), Path(name) / "out"
        names = make_folder(folder / "in", clips, bad)
        first = run_folder(folder / "in", output)
        wrong = check_first(first, output, clips, names, frames=10)
        before = {path.name: os.stat(path).st_mtime_ns for path in output.iterdir()}
        second = run_folder(folder / "in", output, "--skip-existing")
        untouched = before == {path.name: os.stat(path).st_mtime_ns for path in output.iterdir()}
        wrong += check_second(second, clips, bad, untouched)
        for title, run in (("first", first), ("skip_existing", second)):
            fields = ("done", "skipped", "failed", "seconds")
            result[title] = {key: run["summary"].get(key) for key in fields} | {"exit_code": run["code"]}
        result["errors"] = {
            Path(entry["input"]).name: entry["error"].removeprefix(f"{entry['input']}: ")
            for entry in first["summary"]["inputs"]
            if entry["status"] == "failed"
        }
        result["wrong"] = wrong
        if runs:
            result["two_workers"] = measure_speed(folder, seconds, height, runs)
    click.echo(json.dumps({**result, "machine": describe_machine()}, indent=1))
    if wrong:
        sys.exit(1)


if __name__ == "__main__":
    main()
