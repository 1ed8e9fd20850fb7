"""A folder with tables (``clips.tsv``, ``portraits.tsv``) made into a dataset; nothing is encoded anew."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from fvdeblur.datasets.checking import Progress, sha256_of
from fvdeblur.datasets.clip_reader import ClipReader
from fvdeblur.datasets.clips import read_still
from fvdeblur.datasets.index import (
    CLIPS_FOLDER,
    INDEX_NAME,
    PORTRAITS_FOLDER,
    ClipRecord,
    Source,
    split_of,
    write_index,
)
from fvdeblur.datasets.mining.rules import movement, sharpness
from fvdeblur.datasets.tables import CLIPS_TABLE, PORTRAITS_TABLE, frame_rate, read_table
from fvdeblur.errors import OutputError, UsageError

MEASURED_PAIRS = 12
"""Places, evenly spread over a clip, where sharpness and movement are measured."""

FACE_SHARE = 1 / 1.8
"""Side of the middle part in which they are measured, in units of the clip's: about the face."""

Row = dict[str, str]


def convert(
    folder: str | os.PathLike[str],
    dataset: str | os.PathLike[str],
    *,
    threads: int = 0,
    progress: Progress | None = None,
) -> list[ClipRecord]:
    """Make a dataset of a folder with tables.

    Files are linked where the file system can, else copied. Boxes and landmarks stay unknown; sharpness and movement
    are measured in the middle of a clip, at a few places. The splits are those of the tables.

    Parameters
    ----------
    folder
        Holds ``clips.tsv`` (columns file, identity, fps; source and licence where known) with ``clips/``, and
        ``portraits.tsv`` (column file; licence) with ``portraits/``, or one of both.
    dataset
        Folder of the dataset; may be the same.
    threads
        Files that are worked on at once; 0 takes one for each processor core.
    progress
        Called after every file.

    Returns
    -------
    list of ClipRecord
        The records that were written, in the order of the tables.

    Raises
    ------
    UsageError
        There is no table, it is spoilt, or the dataset has an index already.
    InputError
        A listed file cannot be read.
    OutputError
        The dataset cannot be written.
    """
    origin, target = Path(folder), Path(dataset)
    index = target / INDEX_NAME
    if index.exists():
        raise UsageError(f"{index}: exists already; choose another folder for the dataset")
    jobs = _jobs(origin, target)
    records: list[ClipRecord] = []
    with ThreadPoolExecutor(threads or os.cpu_count() or 1) as pool:
        try:
            for record in pool.map(lambda job: job(), jobs):
                records.append(record)
                if progress is not None:
                    progress(len(records), len(jobs))
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    write_index(target, records)
    return records


def _jobs(origin: Path, target: Path) -> list[Callable[[], ClipRecord]]:
    """What makes a record of each row of the tables that are there."""
    clips, portraits = origin / CLIPS_TABLE, origin / PORTRAITS_TABLE
    if not clips.exists() and not portraits.exists():
        raise UsageError(
            f"{origin}: holds neither {CLIPS_TABLE} nor {PORTRAITS_TABLE}; name a folder with tables"
        )
    jobs: list[Callable[[], ClipRecord]] = []
    if clips.exists():
        for row in read_table(clips, "file", "identity", "fps"):
            _check_name(clips, row["file"])
            fps = frame_rate(clips, row["fps"])
            if not 0 < fps < float("inf"):
                raise UsageError(f"{clips}: {row['fps']!r} is not a number of frames a second")
            jobs.append(lambda row=row, fps=fps: _clip(origin, target, row, fps))  # type: ignore[misc]
    if portraits.exists():
        for row in read_table(portraits, "file"):
            _check_name(portraits, row["file"])
            jobs.append(lambda row=row: _still(origin, target, row))  # type: ignore[misc]
    return jobs


def _check_name(table: Path, name: str) -> None:
    parts = PurePosixPath(name).parts
    if ".." in parts or PurePosixPath(name).is_absolute() or "\\" in name:
        raise UsageError(f"{table}: {name!r} is no path below the folder of the files")


def _clip(origin: Path, target: Path, row: Row, fps: float) -> ClipRecord:
    file = f"{CLIPS_FOLDER}/{row['file']}"
    with ClipReader(origin / file) as reader:
        sharp, motion = _measured(reader)
        frames, width, height = len(reader), reader.width, reader.height
    return ClipRecord(
        file=file,
        identity=row["identity"],
        split=split_of(row["identity"], row["file"]),
        frames=frames,
        fps=fps,
        width=width,
        height=height,
        boxes=None,
        landmarks=None,
        sharpness=sharp,
        motion=motion,
        source=Source(row.get("source") or row["file"]),
        sha256=_placed(origin / file, target / file),
        licence=row.get("licence") or None,
    )


def _still(origin: Path, target: Path, row: Row) -> ClipRecord:
    file = f"{PORTRAITS_FOLDER}/{row['file']}"
    picture = read_still(origin / file)[0]
    return ClipRecord(
        file=file,
        identity=None,
        split=split_of(None, row["file"]),
        frames=1,
        fps=0.0,
        width=picture.shape[1],
        height=picture.shape[0],
        boxes=None,
        landmarks=None,
        sharpness=_rounded([sharpness(_middle(picture))]),
        motion=None,
        source=Source(row["file"]),
        sha256=_placed(origin / file, target / file),
        licence=row.get("licence") or None,
    )


def _measured(reader: ClipReader) -> tuple[float, float | None]:
    """Sharpness and movement of a clip, medians over a few places."""
    places = np.unique(np.linspace(0, max(len(reader) - 2, 0), MEASURED_PAIRS).astype(int))
    sharp, moved = [], []
    for place in places:
        pair = [_middle(frame) for frame in reader[place : place + 2]]
        sharp.append(sharpness(pair[0]))
        if len(pair) == 2:
            moved.append(movement(pair[0], pair[1])[0])
    return _rounded(sharp), _rounded(moved) if moved else None


def _middle(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    rows, columns = (round(side * (1 - FACE_SHARE) / 2) for side in picture.shape[:2])
    return picture[rows : picture.shape[0] - rows, columns : picture.shape[1] - columns]


def _rounded(values: list[float]) -> float:
    return float(f"{np.median(values):.4g}")


def _placed(origin: Path, target: Path) -> str:
    """Link or copy a file to its place in the dataset, and return its SHA-256."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        if not (target.exists() and target.samefile(origin)):
            partial = target.with_name(target.name + ".partial")
            partial.unlink(missing_ok=True)
            try:
                os.link(origin.resolve(), partial)
            except OSError:
                shutil.copyfile(origin, partial)
            partial.replace(target)
    except OSError as error:
        raise OutputError(f"{target}: cannot be written ({error.strerror})") from error
    return sha256_of(target)
