"""What a dataset holds, in numbers."""

from __future__ import annotations

import os
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from fvdeblur.datasets.index import SPLITS, ClipRecord, read_index


@dataclass(frozen=True)
class Totals:
    """Sums over some records.

    Attributes
    ----------
    clips, stills
        Number of videos and of pictures.
    identities
        Number of people, counted by name; those without a known identity are not counted.
    sources
        Number of source files.
    frames
        Frames of the videos and pictures together.
    hours
        Running time of the videos.
    bytes
        Size of the files on the disk; those that are missing are not counted.
    """

    clips: int
    stills: int
    identities: int
    sources: int
    frames: int
    hours: float
    bytes: int


@dataclass(frozen=True)
class Range:
    """Least, median and largest value of a figure."""

    least: float
    median: float
    largest: float


@dataclass(frozen=True)
class DatasetSummary:
    """A dataset in numbers.

    Attributes
    ----------
    total
        Sums over everything.
    splits
        Sums by split.
    shared_identities
        People (or, where unknown, source files) that stand in more than one split: a fault.
    figures
        Range of ``frames``, ``fps`` and ``side`` (the shorter, in pixels) of the videos, and of ``face`` (longer
        side of the box, median of a clip, in pixels), ``sharpness`` and ``motion`` where they are known.
    """

    total: Totals
    splits: dict[str, Totals]
    shared_identities: tuple[str, ...]
    figures: dict[str, Range]


def summarise(dataset: str | os.PathLike[str]) -> DatasetSummary:
    """Read the index of a dataset and sum it up.

    Raises
    ------
    UsageError, InputError
        As `fvdeblur.datasets.index.read_index`.
    """
    folder = Path(dataset)
    records = read_index(folder)
    by_split = {split: [record for record in records if record.split == split] for split in SPLITS}
    people = [{record.person for record in by_split[split]} for split in SPLITS]
    return DatasetSummary(
        total=_totals(folder, records),
        splits={split: _totals(folder, by_split[split]) for split in SPLITS},
        shared_identities=tuple(sorted(people[0] & people[1])),
        figures=_figures(records),
    )


def _totals(folder: Path, records: Sequence[ClipRecord]) -> Totals:
    videos = [record for record in records if not record.is_still]
    return Totals(
        clips=len(videos),
        stills=len(records) - len(videos),
        identities=len({record.identity for record in records} - {None}),
        sources=len({record.source.file for record in records}),
        frames=sum(record.frames for record in records),
        hours=sum(record.frames / record.fps for record in videos) / 3600,
        bytes=sum(_size(folder / record.file) for record in records),
    )


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _figures(records: Sequence[ClipRecord]) -> dict[str, Range]:
    videos = [record for record in records if not record.is_still]
    values: dict[str, Iterable[float | None]] = {
        "frames": [record.frames for record in videos],
        "fps": [record.fps for record in videos],
        "side": [min(record.width, record.height) for record in videos],
        "face": [median_face(record) for record in records],
        "sharpness": [record.sharpness for record in records],
        "motion": [record.motion for record in videos],
    }
    known = {name: [value for value in items if value is not None] for name, items in values.items()}
    return {
        name: Range(min(items), statistics.median(items), max(items))
        for name, items in known.items()
        if items
    }


def median_face(record: ClipRecord) -> float | None:
    """Longer side of the face's box in pixels, the median of the frames; None where it is not known."""
    if record.boxes is None:
        return None
    return float(statistics.median((record.boxes[:, 2:] - record.boxes[:, :2]).max(axis=1).tolist()))
