"""A contact sheet: what the clips of a dataset look like, in one picture."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from fvdeblur.datasets.checking import Progress
from fvdeblur.datasets.clip_reader import ClipReader
from fvdeblur.datasets.clips import read_still
from fvdeblur.datasets.index import ClipRecord, read_index
from fvdeblur.datasets.summary import median_face
from fvdeblur.errors import InputError, UsageError
from fvdeblur.whole_file import whole_file

BACKGROUND, TEXT, MARK = (24, 24, 24), (224, 224, 224), (96, 255, 96)
GAP = 4
CAPTION = 34
"""Height in pixels of the two lines of text under a row."""

LINE = 15
FONT, FONT_SCALE = cv2.FONT_HERSHEY_SIMPLEX, 0.4

Picture = NDArray[np.uint8]


def write_sheet(
    dataset: str | os.PathLike[str],
    output: str | os.PathLike[str],
    *,
    frames: int = 8,
    side: int = 128,
    clips: int = 100,
    threads: int = 0,
    progress: Progress | None = None,
) -> int:
    """Write a contact sheet as PNG: a row for every clip, its frames evenly spread, name and figures beneath.

    Where the index knows them, the landmarks are drawn as dots on the first frame of a row.

    Parameters
    ----------
    dataset
        Folder of the dataset.
    output
        The PNG file.
    frames
        Frames in a row; a still has one.
    side
        Height of a row in pixels.
    clips
        Most rows; of a larger dataset as many are taken, evenly spread over the index.
    threads
        Clips that are read at once; 0 takes one for each processor core.
    progress
        Called after every clip.

    Returns
    -------
    int
        Number of rows.

    Raises
    ------
    UsageError
        A number is too small, or the output is not named as a PNG file.
    InputError
        The dataset holds no clip, or one cannot be read.
    OutputError
        The sheet cannot be written.
    """
    for name, value, least in (("frames", frames, 1), ("side", side, 16), ("clips", clips, 1)):
        if value < least:
            raise UsageError(f"{name} is {value}; a contact sheet needs at least {least}")
    target = Path(output)
    if target.suffix.lower() != ".png":
        raise UsageError(f"{target}: a contact sheet is a PNG file; give a name that ends in .png")
    folder = Path(dataset)
    records = read_index(folder)
    if not records:
        raise InputError(f"{folder}: the dataset holds no clips")
    if len(records) > clips:
        records = [records[round(i)] for i in np.linspace(0, len(records) - 1, clips)]
    rows: list[Picture] = []
    with ThreadPoolExecutor(threads or os.cpu_count() or 1) as pool:
        for row in pool.map(lambda record: _row(folder, record, frames, side), records):
            rows.append(row)
            if progress is not None:
                progress(len(rows), len(records))
    _write_png(target, _stacked(rows))
    return len(rows)


def _row(folder: Path, record: ClipRecord, count: int, side: int) -> Picture:
    """Frames of one clip side by side with two lines of text beneath."""
    numbers = np.unique(np.linspace(0, record.frames - 1, min(count, record.frames)).round().astype(int))
    pictures = _pictures(folder / record.file, record, numbers.tolist())
    if record.landmarks is not None:
        pictures[0] = _with_dots(pictures[0], record.landmarks[numbers[0]])
    thumbnails = [_thumbnail(picture, side) for picture in pictures]
    width = sum(thumbnail.shape[1] + GAP for thumbnail in thumbnails)
    row = np.full((side + CAPTION, width, 3), BACKGROUND, np.uint8)
    left = 0
    for thumbnail in thumbnails:
        row[:side, left : left + thumbnail.shape[1]] = thumbnail
        left += thumbnail.shape[1] + GAP
    return _with_text(row, side, _captions(record))


def _pictures(path: Path, record: ClipRecord, numbers: Sequence[int]) -> list[Picture]:
    if record.is_still:
        return list(read_still(path))
    with ClipReader(path) as reader:
        return [reader[number : number + 1][0] for number in _within(path, numbers, len(reader))]


def _within(path: Path, numbers: Sequence[int], count: int) -> Sequence[int]:
    if numbers[-1] >= count:
        raise InputError(f"{path}: holds {count} frames, fewer than its index says; run dataset check")
    return numbers


def _with_dots(picture: Picture, landmarks: NDArray[np.float32]) -> Picture:
    marked = picture.copy()
    radius = max(1, round(max(picture.shape[:2]) / 150))
    for x, y in landmarks:
        cv2.circle(marked, (round(float(x) - 0.5), round(float(y) - 0.5)), radius, MARK, -1, cv2.LINE_AA)
    return marked


def _thumbnail(picture: Picture, side: int) -> Picture:
    height, width = picture.shape[:2]
    size = (max(1, round(width * side / height)), side)
    method = cv2.INTER_AREA if side < height else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(picture, size, interpolation=method), np.uint8)


def _captions(record: ClipRecord) -> tuple[str, str]:
    """Name and figures of a clip."""
    figures = [f"{record.split}, {record.frames} frames, {record.width}x{record.height}"]
    figures += [f"{record.fps:g} fps"] if not record.is_still else []
    for name, value, unit in (
        ("face", median_face(record), " px"),
        ("sharpness", record.sharpness, ""),
        ("motion", record.motion, " px"),
    ):
        if value is not None:
            figures.append(f"{name} {value:.3g}{unit}")
    return f"{record.file}   {record.identity or 'identity unknown'}", ", ".join(figures)


def _with_text(row: Picture, top: int, lines: Sequence[str]) -> Picture:
    """Draw lines of text from ``top`` on, the row made wider where they need it."""
    texts = [line.encode("ascii", "backslashreplace").decode() for line in lines]  # all that the font knows
    width = max(cv2.getTextSize(text, FONT, FONT_SCALE, 1)[0][0] for text in texts) + 2 * GAP
    missing = max(0, width - row.shape[1])
    wide: Any = np.pad(row, ((0, 0), (0, missing), (0, 0)))
    wide[:, row.shape[1] :] = BACKGROUND
    for number, text in enumerate(texts, 1):
        place = (GAP, top + number * LINE - 2)
        cv2.putText(wide, text, place, FONT, FONT_SCALE, TEXT, 1, cv2.LINE_AA)
    return np.asarray(wide, np.uint8)


def _stacked(rows: Sequence[Picture]) -> Picture:
    width = max(row.shape[1] for row in rows)
    sheet = np.full((sum(row.shape[0] for row in rows), width, 3), BACKGROUND, np.uint8)
    top = 0
    for row in rows:
        sheet[top : top + row.shape[0], : row.shape[1]] = row
        top += row.shape[0]
    return sheet


def _write_png(target: Path, sheet: Picture) -> None:
    data = cv2.imencode(".png", cv2.cvtColor(sheet, cv2.COLOR_RGB2BGR))[1].tobytes()
    with whole_file(target) as partial:
        partial.write_bytes(data)
