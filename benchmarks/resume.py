"""Killing runs at random moments: is what comes out in the end what an uninterrupted run writes?

    python -m benchmarks.resume [--kills 50] [--seconds 6] [--seed 1]

A clip of two shots with sound is deblurred in segments of a twentieth of the usual length. Each trial kills the process
at work by SIGKILL at a random moment (some time after a random number of frames, or after the last of them), does the
same again to the end, and compares with an uninterrupted run: all packets of all streams with their times, durations
and flags, and every decoded frame. Some trials kill several times, so that what was taken up is killed, too. The
processes are forked off one that has loaded the model, so that kills fall into the work and not into the loading.
"""

from __future__ import annotations

import hashlib
import json
import mmap
import os
import signal
import sys
import tempfile
import time
import traceback
from pathlib import Path
from typing import Any

import av
import click
import cv2
import numpy as np
import torch

from benchmarks.clips import MovingPhotograph
from benchmarks.machine import describe_machine
from fvdeblur import Deblurrer
from fvdeblur.restoration import resuming

SEGMENT, SHORTEST = 12, 4
"""Frames."""


def write_source(path: Path, seconds: float, height: int) -> int:
    """Two shots of moving photographs with an AAC tone; return the number of frames."""
    width = round(height * 16 / 9 / 2) * 2
    shots = [
        MovingPhotograph(width=width, height=height, seconds=seconds * share, faces=faces, seed=seed)
        for share, faces, seed in ((0.45, 1, 5), (0.55, 2, 6))
    ]
    with av.open(str(path), "w") as output:
        video = output.add_stream("libx264", rate=25)
        video.width, video.height, video.pix_fmt = width, height, "yuv420p"
        video.options = {"crf": "18", "preset": "veryfast", "g": "30"}
        sound = output.add_stream("aac", rate=48000)
        sound.layout = "stereo"
        count = 0
        for shot in shots:
            for blurred, _ in shot.render():
                output.mux(video.encode(av.VideoFrame.from_ndarray(blurred, format="rgb24")))
                count += 1
        output.mux(video.encode())
        samples = 48000 * count // 25
        for start in range(0, samples, 1024):
            wave = 0.2 * np.sin(2 * np.pi * 330 * (start + np.arange(min(1024, samples - start))) / 48000)
            frame = av.AudioFrame.from_ndarray(
                np.stack([wave, wave]).astype(np.float32), format="fltp", layout="stereo"
            )
            frame.sample_rate, frame.pts = 48000, start
            output.mux(sound.encode(frame))
        output.mux(sound.encode())
    return count


def contents(path: Path) -> dict[str, Any]:
    """Every packet of every stream with its times, and every frame of the video, as digests."""
    packets, frames = [], []
    with av.open(str(path)) as opened:
        for packet in opened.demux():
            if packet.size:
                digest = hashlib.sha256(bytes(packet)).hexdigest()
                place = packet.stream.index, packet.pts, packet.dts, packet.duration, packet.is_keyframe
                packets.append((*place, digest))
    with av.open(str(path)) as opened:
        for frame in opened.decode(video=0):
            frames.append((frame.pts, hashlib.sha256(frame.to_ndarray().tobytes()).hexdigest()))
    return {"packets": packets, "frames": frames}


class Runs:
    """Runs in processes of their own, forked off this one with the model loaded."""

    def __init__(self, source: Path, settings: dict[str, Any]) -> None:
        self._source = source
        torch.set_num_threads(1)
        cv2.setNumThreads(1)
        resuming.LONGEST, resuming.SHORTEST = SEGMENT, SHORTEST
        self._worker = Deblurrer(**settings, threads=1)
        self._frames = mmap.mmap(-1, 8)  # shared with the processes: how far they are

    def start(self, target: Path) -> tuple[int, Path]:
        """Begin to deblur; return the process and where its summary will stand."""
        told = target.with_suffix(".json")
        told.unlink(missing_ok=True)
        self._tell(0)
        process = os.fork()
        if process == 0:
            code = 1
            try:
                done = self._worker.video(self._source, target, progress=lambda now: self._tell(now.frames))
                told.write_text(json.dumps(vars(done), default=str))
                code = 0
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(code)
        return process, told

    def _tell(self, frames: int) -> None:
        self._frames[:8] = frames.to_bytes(8, "little")

    def to_end(self, target: Path) -> dict[str, Any]:
        """Deblur to the end; return the summary."""
        process, told = self.start(target)
        _, status = os.waitpid(process, 0)
        if status:
            raise click.ClickException("a run failed")
        return dict(json.loads(told.read_text()))

    def kill_at(self, target: Path, frames: int, seconds: float) -> None:
        """Deblur and kill the process some time after so many frames, unless it has ended by then."""
        process, _ = self.start(target)
        until = None
        while until is None or time.monotonic() < until:
            if os.waitpid(process, os.WNOHANG)[0]:
                return
            if until is None and int.from_bytes(self._frames[:8], "little") >= frames:
                until = time.monotonic() + seconds
            time.sleep(0.001)
        os.kill(process, signal.SIGKILL)
        os.waitpid(process, 0)


@click.command()
@click.option("--kills", type=int, default=50, show_default=True)
@click.option("--seconds", type=float, default=6.0, show_default=True, help="Length of the clip.")
@click.option("--height", type=int, default=360, show_default=True, help="Height of the 16:9 picture.")
@click.option("--preset", default="veryfast", show_default=True)
@click.option("--model", default="fvd", show_default=True)
@click.option("--suffix", default=".mp4", show_default=True, help="Container of the output.")
@click.option("--seed", type=int, default=1, show_default=True)
@click.option("--max-minutes", type=float, help="Begin no trial after this time.")
def main(
    kills: int,
    seconds: float,
    height: int,
    preset: str,
    model: str,
    suffix: str,
    seed: int,
    max_minutes: float | None,
) -> None:
    """Kill runs and compare what comes out; JSON on standard output, exit code 1 where anything differs."""
    random = np.random.default_rng(seed)
    began = time.monotonic()
    trials: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        source, whole = folder / "clip.mp4", folder / f"whole{suffix}"
        frames = write_source(source, seconds, height)
        runs = Runs(source, {"preset": preset, "model": model})
        start = time.monotonic()
        reference = runs.to_end(whole)
        length = time.monotonic() - start
        expected = contents(whole)
        count = 0
        while count < kills and not (max_minutes and time.monotonic() - began > 60 * max_minutes):
            target = folder / f"out{suffix}"
            moments = []
            for _ in range(min(kills - count, int(random.choice([1, 1, 1, 2, 3])))):
                after = min(frames, int(random.uniform(0, 1.15 * frames)))
                moment = float(random.uniform(0, 2 * length / frames if after < frames else 0.3))
                moments.append((after, round(moment, 3)))
                count += 1
                runs.kill_at(target, after, moment)
                if target.exists():
                    break
            # Killed after the output had its name, there is nothing left to do.
            ended = target.exists()
            summary = {"reused": None} if ended else runs.to_end(target)
            keys = ("frames", "people", "restored", "left_alone", "segments")
            trial = {
                "killed_after_frames_and_seconds": moments,
                "had_ended": ended,
                "reused": summary["reused"],
                "same": contents(target) == expected,
                "same_counts": ended or all(summary[key] == reference[key] for key in keys),
                "nothing_left": ended or not target.with_name(target.name + ".partial").exists(),
            }
            trials.append(trial)
            click.echo(json.dumps(trial), err=True)
            target.unlink()
            for left in folder.glob("*.partial/*"):
                left.unlink()
            for left in folder.glob("*.partial"):
                left.rmdir()
    good = [t for t in trials if t["same"] and t["same_counts"] and t["nothing_left"]]
    taken = [t["reused"] for t in trials if t["reused"] is not None]
    result = {
        "frames": frames,
        "segments": reference["segments"],
        "seconds_uninterrupted": round(length, 1),
        "kills": count,
        "trials": len(trials),
        "identical": len(good),
        "took_up_something": sum(value > 0 for value in taken),
        "segments_reused_on_average": round(float(np.mean(taken)), 2) if taken else None,
        "had_ended_before": sum(t["had_ended"] for t in trials),
        "machine": describe_machine(),
    }
    click.echo(json.dumps(result, indent=1))
    if len(good) < len(trials):
        sys.exit(1)


if __name__ == "__main__":
    main()
