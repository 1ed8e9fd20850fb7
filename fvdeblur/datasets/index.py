"""The index of a dataset: one line of JSON for every clip, with what is known of it.

A dataset is a folder with ``index.jsonl`` and the files that it names: face crops as H.264 in ``clips/``, and
pictures (clips of one frame) in ``portraits/``. A line is added whole or not at all: a last line that a kill cut
off has no line end, is passed over by the reader and removed by the next writer.
"""

from __future__ import annotations

import json
import math
import os
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fvdeblur.errors import InputError, OutputError, UsageError
from fvdeblur.whole_file import whole_file

INDEX_NAME = "index.jsonl"
CLIPS_FOLDER = "clips"
PORTRAITS_FOLDER = "portraits"

TRAIN, VALIDATION = "train", "validation"
SPLITS = (TRAIN, VALIDATION)

VALIDATION_MODULUS = 8
"""An identity whose CRC-32 is 0 modulo this number belongs to the validation split."""

Floats = NDArray[np.float32]


def is_validation(identity: str) -> bool:
    """Whether this identity (of a still: its file name) belongs to the validation split."""
    return zlib.crc32(identity.encode()) % VALIDATION_MODULUS == 0


def split_of(identity: str | None, source_file: str) -> str:
    """The split, ``train`` or ``validation``: by identity, by source file where no identity is known."""
    return VALIDATION if is_validation(source_file if identity is None else identity) else TRAIN


@dataclass(frozen=True)
class Source:
    """Where a clip comes from.

    Attributes
    ----------
    file
        Name of the source: its path within the folder that was mined, or whatever the collector noted.
    first, last
        Numbers of the clip's first and last frame in the source, from 0; None where unknown.
    crop
        Left, top, width and height of the clip in pixels of the source's upright picture; None where unknown.
    """

    file: str
    first: int | None = None
    last: int | None = None
    crop: tuple[int, int, int, int] | None = None


@dataclass(frozen=True, eq=False)
class ClipRecord:
    """One clip of a dataset: sharp frames of one face.

    Attributes
    ----------
    file
        Path of the clip below the dataset's folder, with ``/`` (``clips/anna-1.mp4``).
    identity
        Who it shows; None where that is not known.
    split
        ``train`` or ``validation``.
    frames, fps
        Number of frames and frames a second; a still has one frame and fps 0.
    width, height
        Size in pixels.
    boxes
        float32 [T, 4]: x0, y0, x1, y1 of the face in every frame, in pixels of the clip; None where unknown.
    landmarks
        float32 [T, P, 2]: x, y of its landmarks in every frame, in pixels of the clip; None where unknown.
    sharpness, motion
        Medians over the frames of `fvdeblur.datasets.mining.rules.sharpness` and of the largest movement from
        frame to frame, in pixels; None where they were not measured.
    source
        Where the clip comes from.
    sha256
        Of the clip's file, 64 hexadecimal digits.
    licence
        Terms of use; None where none were noted.
    """

    file: str
    identity: str | None
    split: str
    frames: int
    fps: float
    width: int
    height: int
    boxes: Floats | None
    landmarks: Floats | None
    sharpness: float | None
    motion: float | None
    source: Source
    sha256: str
    licence: str | None = None

    @property
    def is_still(self) -> bool:
        """Whether this is a picture rather than a video."""
        return self.fps == 0

    @property
    def person(self) -> str:
        """The identity, or the source's file name where it is not known: what the split goes by."""
        return self.source.file if self.identity is None else self.identity

    def to_json(self) -> str:
        """The record as one line of JSON without a line end; boxes and landmarks to a tenth of a pixel."""
        source = {
            "file": self.source.file,
            "first": self.source.first,
            "last": self.source.last,
            "crop": self.source.crop,
        }
        fields: dict[str, Any] = {
            "file": self.file,
            "identity": self.identity,
            "split": self.split,
            "frames": self.frames,
            "fps": self.fps,
            "width": self.width,
            "height": self.height,
            "sharpness": self.sharpness,
            "motion": self.motion,
            "source": source,
            "licence": self.licence,
            "sha256": self.sha256,
            "boxes": _compact(self.boxes),
            "landmarks": _compact(self.landmarks),
        }
        return json.dumps(fields, ensure_ascii=False, separators=(",", ":"), allow_nan=False)

    @staticmethod
    def from_json(line: str) -> ClipRecord:
        """The record that a line of JSON holds.

        Raises
        ------
        ValueError
            The line is no JSON object, or a field is missing or has no valid value; the text is one line and
            names the field.
        """
        try:
            fields = json.loads(line)
        except ValueError as error:
            raise ValueError(f"is not JSON ({error})") from error
        if not isinstance(fields, dict):
            raise ValueError("is not a JSON object")
        reader = _Fields(fields)
        source = _Fields(reader.get("source", dict))
        file, frames, fps = reader.get("file", str), reader.count("frames"), reader.number("fps")
        if not _is_inside(file):
            raise ValueError(f"file is {file!r}, which is no path below the dataset's folder")
        split, sha256 = reader.get("split", str), reader.get("sha256", str)
        if split not in SPLITS:
            raise ValueError(f"split is {split!r}, not one of {', '.join(SPLITS)}")
        if len(sha256) != 64 or not set(sha256) <= set("0123456789abcdef"):
            raise ValueError(f"sha256 is {sha256!r}, not 64 hexadecimal digits")
        assert fps is not None
        if fps == 0 and frames != 1:
            raise ValueError("fps is 0, which is for stills of one frame")
        return ClipRecord(
            file=file,
            identity=reader.get("identity", str, optional=True),
            split=split,
            frames=frames,
            fps=fps,
            width=reader.count("width"),
            height=reader.count("height"),
            boxes=reader.points("boxes", frames, 2),
            landmarks=reader.points("landmarks", frames, None),
            sharpness=reader.number("sharpness", optional=True),
            motion=reader.number("motion", optional=True),
            source=Source(source.get("file", str), *source.place()),
            sha256=sha256,
            licence=reader.get("licence", str, optional=True),
        )


class _Fields:
    """Fields of a JSON object, each checked as it is taken out."""

    def __init__(self, fields: dict[str, Any]) -> None:
        self._fields = fields

    def get(self, name: str, kind: type, optional: bool = False) -> Any:
        value = self._fields.get(name)
        if value is None and optional:
            return None
        if not isinstance(value, kind) or isinstance(value, bool):
            what = {str: "text", dict: "an object", int: "a whole number", list: "a list"}[kind]
            raise ValueError(
                f"{name} is {_brief(value)}, not {what}" if name in self._fields else f"lacks {name}"
            )
        return value

    def count(self, name: str) -> int:
        value: int = self.get(name, int)
        if value < 1:
            raise ValueError(f"{name} is {value}; it must be at least 1")
        return value

    def number(self, name: str, optional: bool = False) -> float | None:
        value: Any = self._fields.get(name)
        if value is None and optional:
            return None
        if not _is_number(value) or value < 0:
            raise ValueError(f"{name} is {_brief(value)}; it must be a number from 0 on")
        return float(value)

    def points(self, name: str, frames: int, points: int | None) -> Floats | None:
        """A list of numbers for every frame, as float32 [T, 4] where ``points`` is 2, else [T, P, 2]."""
        rows = self.get(name, list, optional=True)
        if rows is None:
            return None
        if len(rows) != frames:
            raise ValueError(f"{name} holds {len(rows)} entries for {frames} frames")
        try:
            values = np.array(rows, np.float32)
        except (ValueError, TypeError) as error:
            raise ValueError(f"{name} is not a table of numbers") from error
        width = values.shape[-1]
        fits = width == 2 * points if points else width > 0 and width % 2 == 0
        if values.ndim != 2 or not fits or not np.isfinite(values).all():
            raise ValueError(f"{name} is not a list of finite x, y for every frame")
        return values if points else values.reshape(frames, -1, 2)

    def place(self) -> tuple[int | None, int | None, tuple[int, int, int, int] | None]:
        first, last = self.get("first", int, optional=True), self.get("last", int, optional=True)
        crop = self.get("crop", list, optional=True)
        if crop is not None and (len(crop) != 4 or not all(isinstance(value, int) for value in crop)):
            raise ValueError(f"crop is {_brief(crop)}, not four whole numbers")
        return first, last, None if crop is None else (crop[0], crop[1], crop[2], crop[3])


def read_index(dataset: str | os.PathLike[str]) -> list[ClipRecord]:
    """All records of a dataset's index, in its order.

    Parameters
    ----------
    dataset
        Folder of the dataset.

    Raises
    ------
    UsageError
        There is no index, or it cannot be opened.
    InputError
        A line is no valid record, or two lines name one file; the text says which line and why.
    """
    path = Path(dataset) / INDEX_NAME
    records: list[ClipRecord] = []
    seen: dict[str, int] = {}
    for number, line in enumerate(_lines(path), 1):
        try:
            record = ClipRecord.from_json(line)
        except ValueError as error:
            raise InputError(f"{path}: line {number} {error}; correct it or remove the line") from error
        if record.file in seen:
            raise InputError(
                f"{path}: line {number} names {record.file}, as line {seen[record.file]} does; remove one of them"
            )
        seen[record.file] = number
        records.append(record)
    return records


def write_index(dataset: str | os.PathLike[str], records: Iterable[ClipRecord]) -> None:
    """Write a whole index; it takes the place of another only when it is complete.

    Raises
    ------
    OutputError
        It cannot be written.
    """
    write_lines(Path(dataset) / INDEX_NAME, (record.to_json() for record in records))


def write_lines(path: Path, lines: Iterable[str]) -> None:
    """Write a file of lines beside its place and move it there when it is whole and on the disk.

    Raises
    ------
    OutputError
        The system refuses.
    """
    with whole_file(path) as partial, partial.open("w", encoding="utf-8", newline="\n") as file:
        file.writelines(line + "\n" for line in lines)
        file.flush()
        os.fsync(file.fileno())


def append_lines(path: Path, lines: Iterable[str]) -> None:
    """Add lines to the end of a file of lines; a last line that a kill cut off is removed first.

    Raises
    ------
    OutputError
        The system refuses.
    """
    try:
        with path.open("ab+") as file:
            _remove_torn_line(file)
            file.write("".join(line + "\n" for line in lines).encode())
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({error.strerror})") from error


def _remove_torn_line(file: Any) -> None:
    """Cut a file, open for appending, behind its last line end."""
    end = file.seek(0, os.SEEK_END)
    while end:
        start = max(0, end - 65536)
        file.seek(start)
        found = file.read(end - start).rfind(b"\n")
        if found >= 0:
            file.truncate(start + found + 1)
            break
        end = start
    else:
        file.truncate(0)
    file.seek(0, os.SEEK_END)


def _lines(path: Path) -> Iterator[str]:
    """Lines of an index without their ends; a last one that was cut off is left out."""
    try:
        with path.open(encoding="utf-8", newline="\n") as file:
            for line in file:
                if line.endswith("\n"):
                    yield line[:-1]
    except OSError as error:
        raise UsageError(f"{path}: the index of the dataset cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: is not text in UTF-8 ({error.reason}); restore the index") from error


def _compact(values: Floats | None) -> list[list[float]] | None:
    if values is None:
        return None
    return [[round(float(value), 1) for value in row.ravel()] for row in values]


def _is_inside(file: str) -> bool:
    path = PurePosixPath(file)
    return bool(path.parts) and not path.is_absolute() and ".." not in path.parts and "\\" not in file


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _brief(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 40 else text[:37] + "..."
