"""Does a dataset hold what its index says?"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from fvdeblur.datasets.clip_reader import ClipReader
from fvdeblur.datasets.clips import read_still
from fvdeblur.datasets.index import CLIPS_FOLDER, PORTRAITS_FOLDER, ClipRecord, read_index, split_of
from fvdeblur.errors import InputError

DECODED_AT_ONCE = 32
"""Frames that the verification of one clip holds in memory."""

Progress = Callable[[int, int], None]
"""Called with the number of files done and of all."""


@dataclass(frozen=True)
class CheckResult:
    """What a check found.

    Attributes
    ----------
    files
        Number of files in the index.
    problems
        What is wrong, one line a file, in the order of the index; then the files that the index does not name.
    """

    files: int
    problems: list[str]


def check_dataset(
    dataset: str | os.PathLike[str], *, threads: int = 0, progress: Progress | None = None
) -> CheckResult:
    """Verify every file of a dataset: that it is there, unchanged, decodes, and is of the length and size stated.

    Parameters
    ----------
    dataset
        Folder of the dataset.
    threads
        Files that are verified at once; 0 takes one for each processor core.
    progress
        Called after every file.

    Returns
    -------
    CheckResult
        What is wrong.

    Raises
    ------
    UsageError, InputError
        As `fvdeblur.datasets.index.read_index`.
    """
    folder = Path(dataset)
    records = read_index(folder)
    problems: list[str] = []
    with ThreadPoolExecutor(threads or os.cpu_count() or 1) as pool:
        for done, found in enumerate(pool.map(lambda record: _faults(folder, record), records), 1):
            problems += found
            if progress is not None:
                progress(done, len(records))
    return CheckResult(len(records), problems + _strangers(folder, records))


def sha256_of(path: Path) -> str:
    """SHA-256 of a file as 64 hexadecimal digits.

    Raises
    ------
    InputError
        It cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error


def _faults(folder: Path, record: ClipRecord) -> list[str]:
    """One line that says what is wrong with a file, or none."""
    path = folder / record.file
    if not path.is_file():
        return [f"{record.file}: is missing; restore it or remove its line from the index"]
    faults = []
    try:
        if sha256_of(path) != record.sha256:
            faults.append("is not the file that was indexed (another SHA-256)")
        faults += _wrong_still(path, record) if record.is_still else _wrong_video(path, record)
    except InputError as error:
        faults.append(str(error).removeprefix(f"{path}: "))
    expected = split_of(record.identity, record.source.file)
    if record.split != expected:
        faults.append(
            f"stands in the split {record.split}, but the rule puts {record.person} into {expected}"
        )
    return [f"{record.file}: {'; '.join(faults)}"] if faults else []


def _wrong_still(path: Path, record: ClipRecord) -> Iterator[str]:
    height, width = read_still(path).shape[1:3]
    yield from _wrong_size(width, height, record)


def _wrong_video(path: Path, record: ClipRecord) -> Iterator[str]:
    with ClipReader(path) as reader:
        yield from _wrong_size(reader.width, reader.height, record)
        if len(reader) != record.frames:
            yield f"holds {len(reader)} frames instead of {record.frames}"
        for start in range(0, len(reader), DECODED_AT_ONCE):
            reader[start : start + DECODED_AT_ONCE]


def _wrong_size(width: int, height: int, record: ClipRecord) -> Iterator[str]:
    if (width, height) != (record.width, record.height):
        yield f"is {width}x{height} pixels instead of {record.width}x{record.height}"


def _strangers(folder: Path, records: Sequence[ClipRecord]) -> list[str]:
    """Lines for files that lie among the clips but are not in the index."""
    named = {record.file for record in records}
    found = (
        path.relative_to(folder).as_posix()
        for name in (CLIPS_FOLDER, PORTRAITS_FOLDER)
        for path in sorted((folder / name).rglob("*"))
        if path.is_file()
    )
    return [f"{file}: is not in the index" for file in found if file not in named]
