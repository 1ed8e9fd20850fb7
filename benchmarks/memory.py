"""Peak memory of a long clip against that of a short one, and whether sound and picture still end together.

    python -m benchmarks.memory [--minutes 30] [--seconds 30] [--height 360]

Half a minute with sound is encoded, a face in a tenth of it; the clips are made by writing its packets again and
again with later times. ``fvdeblur run`` does each in a process of its own. Exit code 1 where the long clip takes over
5 % more memory, or a stream of its output ends more than a frame from where it ended in the source.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import click
import cv2
import numpy as np

from benchmarks.clips import SAMPLE_RATE, Frame, MovingPhotograph, cup_photograph, tone
from benchmarks.machine import describe_machine
from benchmarks.speed import deblur_command, run_process

RATE = 24
UNIT = 32
"""Seconds after which packets repeat; a whole number of frames and of packets of sound."""

SOUND = 1024
"""Samples in a packet of sound."""

LIMIT = 0.05


def pictures(height: int) -> Iterator[Frame]:
    """A unit: a shot of a cup of coffee, a shot of a face (a tenth of all), the cup again; R'G'B', 16:9."""
    width = round(height * 16 / 9 / 2) * 2
    cup = cv2.resize(cup_photograph(), (width + 64, height + 64), interpolation=cv2.INTER_AREA)
    count = UNIT * RATE
    face = MovingPhotograph(width=width, height=height, rate=RATE, seconds=UNIT / 10, exposure=1.5)
    shown = [blurred for blurred, _ in face.render()]
    for k in range(count):
        inside = k - count // 4
        if 0 <= inside < len(shown):
            yield shown[inside]
        else:
            x, y = (round(32 + 30 * np.sin(k * speed)) for speed in (0.05, 0.07))
            yield np.ascontiguousarray(cup[y : y + height, x : x + width])


class Unit:
    """Encoded packets that clips of any length are made of.

    Parameters
    ----------
    path
        Where the unit is written.
    height
        Of its picture.
    """

    def __init__(self, path: Path, height: int) -> None:
        self._path = path
        with av.open(str(path), "w") as output:
            video = output.add_stream(
                "libx264", rate=RATE, options={"preset": "veryfast", "crf": "23", "bf": "0"}
            )
            video.height, video.width = height, round(height * 16 / 9 / 2) * 2
            video.pix_fmt = "yuv420p"
            sound = output.add_stream("aac", rate=SAMPLE_RATE, layout="stereo")
            for frame in pictures(height):
                output.mux(video.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
            output.mux(video.encode())
            for start in range(0, UNIT * SAMPLE_RATE, SOUND):
                output.mux(sound.encode(tone(start, SOUND)))
            output.mux(sound.encode())
        self._packets: list[list[tuple[bytes, int, bool, Fraction]]] = [[], []]
        with av.open(str(path)) as reading:
            for packet in reading.demux():
                if packet.size and packet.pts is not None:
                    place = bytes(packet), packet.pts, packet.is_keyframe, packet.time_base
                    self._packets[packet.stream.index].append(place)
        del self._packets[1][UNIT * SAMPLE_RATE // SOUND :]  # what the encoder adds to end with

    def write(self, path: Path, seconds: float) -> int:
        """Write a clip of that length; return the number of its frames."""
        written = [0, 0]
        with av.open(str(self._path)) as template, av.open(str(path), "w") as output:
            streams = [output.add_stream_from_template(stream) for stream in template.streams]
            for start in range(0, int(np.ceil(seconds)), UNIT):
                ready = []
                for index, packets in enumerate(self._packets):
                    for data, pts, key, unit in packets:
                        time = pts * unit + start
                        if time < seconds:
                            ready.append((time, index, data, key))
                for time, index, data, key in sorted(ready, key=lambda one: one[0]):
                    packet = av.Packet(data)
                    packet.stream, packet.is_keyframe = streams[index], key
                    packet.time_base = self._packets[index][0][3]
                    packet.pts = packet.dts = round(time / packet.time_base)
                    packet.duration = round(
                        (Fraction(1, RATE), Fraction(SOUND, SAMPLE_RATE))[index] / packet.time_base
                    )
                    output.mux(packet)
                    written[index] += 1
        return written[0]


def ends(path: Path) -> dict[str, float]:
    """When the last packet of each stream ends, in seconds."""
    found: dict[str, Fraction] = {}
    with av.open(str(path)) as reading:
        for packet in reading.demux():
            if packet.size and packet.pts is not None:
                end = (packet.pts + (packet.duration or 0)) * packet.time_base
                found[packet.stream.type] = max(found.get(packet.stream.type, end), end)
    return {kind: float(end) for kind, end in found.items()}


def measure(unit: Unit, folder: Path, seconds: float, preset: str, model: str) -> dict[str, Any]:
    """Do a clip of that length: time, memory, and where its streams end."""
    source, target = folder / "clip.mp4", folder / "out.mp4"
    frames = unit.write(source, seconds)
    took, peak = run_process(deblur_command(source, target, preset, model))
    before, after = ends(source), ends(target)
    with av.open(str(target)) as reading:
        kept = reading.streams.video[0].frames
    return {
        "seconds": seconds,
        "frames": frames,
        "frames_in_the_output": kept,
        "took_seconds": round(took, 1),
        "frames_a_second": round(frames / took, 1),
        "largest_memory_mib": round(peak, 1),
        "ends_of_the_source": {kind: round(end, 4) for kind, end in before.items()},
        "ends_of_the_output": {kind: round(end, 4) for kind, end in after.items()},
        "largest_shift_of_an_end_in_frames": round(
            max(abs(after.get(kind, 0.0) - end) for kind, end in before.items()) * RATE, 3
        ),
    }


@click.command()
@click.option("--minutes", type=float, default=30.0, show_default=True, help="Length of the long clip.")
@click.option("--seconds", type=float, default=30.0, show_default=True, help="Length of the short one.")
@click.option("--height", type=int, default=360, show_default=True, help="Height of the 16:9 picture.")
@click.option("--preset", default="veryfast", show_default=True)
@click.option("--model", default="fvd", show_default=True)
def main(minutes: float, seconds: float, height: int, preset: str, model: str) -> None:
    """Compare a long clip with a short one; JSON on standard output."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        unit = Unit(folder / "unit.mp4", height)
        short = measure(unit, folder, seconds, preset, model)
        long = measure(unit, folder, 60 * minutes, preset, model)
    growth = long["largest_memory_mib"] / short["largest_memory_mib"] - 1
    good = growth <= LIMIT and all(
        one["largest_shift_of_an_end_in_frames"] <= 1 and one["frames_in_the_output"] == one["frames"]
        for one in (short, long)
    )
    head = {"height": height, "rate": RATE, "preset": preset, "model": model}
    result = {**head, "short": short, "long": long, "growth": round(growth, 4), "as_it_must_be": good}
    click.echo(json.dumps({**result, "machine": describe_machine()}, indent=1))
    if not good:
        sys.exit(1)


if __name__ == "__main__":
    main()
