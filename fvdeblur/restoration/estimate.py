"""How long a batch will take and how much room its results need, from a short measurement."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from fvdeblur.errors import FvdeblurError
from fvdeblur.media import VideoInfo, probe
from fvdeblur.restoration.deblurrer import Deblurrer
from fvdeblur.restoration.inputs import Item
from fvdeblur.restoration.settings import Settings
from fvdeblur.restoration.summary import expected_frames

MEASURED_SECONDS = 1.0
"""Length of the part of a video that is deblurred for the measurement."""

MEASURED_VIDEOS = 3
"""Videos that are measured; the others are taken to be alike, pixel for pixel."""


@dataclass(frozen=True)
class ItemEstimate:
    """What is expected of one input.

    Attributes
    ----------
    item
        The input.
    skipped
        Its output is there already.
    frames
        Number of frames; None where the file does not say.
    seconds
        Wall-clock time; None where it cannot be told.
    size
        Bytes of the output; None where it cannot be told.
    problem
        Why it cannot be done.
    """

    item: Item
    skipped: bool = False
    frames: int | None = None
    seconds: float | None = None
    size: int | None = None
    problem: str | None = None


@dataclass(frozen=True)
class Estimate:
    """What is expected of a batch with one process.

    Attributes
    ----------
    items
        What is expected of each input.
    free
        Bytes free where the first output goes; None where that cannot be told.
    measured
        Number of videos of which a part was deblurred for it.
    """

    items: tuple[ItemEstimate, ...]
    free: int | None
    measured: int

    @property
    def seconds(self) -> float:
        """Wall-clock time of all of which it could be told."""
        return sum(item.seconds or 0.0 for item in self.items)

    @property
    def size(self) -> int:
        """Bytes of all outputs of which it could be told."""
        return sum(item.size or 0 for item in self.items)


def estimate(items: Sequence[Item], settings: Settings, *, skip_existing: bool = False) -> Estimate:
    """Say what a batch would do, take and need, and write nothing.

    A second from the middle of the first videos is deblurred to a temporary folder; time is taken to grow with
    frames and pixels, size with frames and with what is copied.

    Parameters
    ----------
    items
        What would be worked on.
    settings
        How.
    skip_existing
        Whether inputs whose output is there already would be passed over.

    Raises
    ------
    UsageError
        A setting cannot be had on this machine.
    """
    deblurrer = Deblurrer(settings)
    rates: list[tuple[float, float]] = []  # seconds and bytes, of a frame and pixel
    found: list[ItemEstimate] = []
    infos: dict[int, VideoInfo] = {}
    for item in items:
        there = os.path.lexists(item.target)
        if there and skip_existing:
            found.append(ItemEstimate(item, skipped=True))
        elif there and not settings.overwrite:
            found.append(ItemEstimate(item, problem="its output exists; --overwrite replaces it"))
        elif item.kind != "video":
            count = max(1, len(item.pictures))
            size = sum(path.stat().st_size for path in item.pictures or (item.source,))
            found.append(ItemEstimate(item, frames=count, size=size))
        else:
            try:
                info = probe(item.source)
                frames = expected_frames(info, settings.start, settings.end)
                if len(rates) < MEASURED_VIDEOS:
                    rates.append(_measure(item, info, settings, deblurrer))
                infos[len(found)] = info
                found.append(ItemEstimate(item, frames=frames))
            except FvdeblurError as error:
                found.append(ItemEstimate(item, problem=str(error)))
    for index, info in infos.items():
        frames = found[index].frames
        if frames is not None and rates:
            work = frames * info.width * info.height
            seconds, written = (sum(rate[k] for rate in rates) / len(rates) * work for k in (0, 1))
            found[index] = replace(found[index], seconds=seconds, size=round(written))
    return Estimate(tuple(found), _free(items), len(rates))


def _measure(item: Item, info: VideoInfo, settings: Settings, deblurrer: Deblurrer) -> tuple[float, float]:
    """Seconds and bytes a frame and pixel of the second in the middle, written away."""
    first = settings.start or 0.0
    last = min(settings.end or float("inf"), info.duration or MEASURED_SECONDS)
    begin = max(first, (first + last - MEASURED_SECONDS) / 2)
    part = replace(settings, start=begin, end=begin + MEASURED_SECONDS)
    with tempfile.TemporaryDirectory(prefix="fvdeblur-") as folder:
        target = Path(folder, f"part{item.target.suffix}")
        began = time.monotonic()
        frames = deblurrer.with_settings(part).video(item.source, target).frames
        seconds, size = time.monotonic() - began, target.stat().st_size
    work = max(1, frames) * info.width * info.height
    return seconds / work, size / work


def _free(items: Sequence[Item]) -> int | None:
    for folder in (item.target.absolute().parent for item in items):
        for place in (folder, *folder.parents):
            if place.is_dir():
                return shutil.disk_usage(place).free
    return None
