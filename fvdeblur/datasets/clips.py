"""Sharp face clips and stills in memory, split by identity, with optical flow between their frames."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from fvdeblur.datasets.clip_reader import ClipReader
from fvdeblur.datasets.index import (
    CLIPS_FOLDER,
    INDEX_NAME,
    PORTRAITS_FOLDER,
    SPLITS,
    VALIDATION,
    is_validation,
    read_index,
)
from fvdeblur.datasets.tables import CLIPS_TABLE, PORTRAITS_TABLE, frame_rate, read_table
from fvdeblur.errors import FvdeblurError, InputError, UsageError
from fvdeblur.flow import dis_flow

PHOTOGRAPHS = {".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp"}


@dataclass
class Clip:
    """Sharp frames of one face.

    Attributes
    ----------
    name
        File name.
    identity
        Who it shows; of stills without a known identity, the file name.
    frames
        uint8 [T, H, W, 3], R'G'B'; a still has T = 1.
    fps
        Frames a second; 0 for a still.
    held
        The frames as a tensor on the device that blur is made on (`fvdeblur.datasets.blur.hold`), or None.
    """

    name: str
    identity: str
    frames: NDArray[np.uint8]
    fps: float
    held: Any = field(default=None, repr=False, compare=False)
    _flow: dict[tuple[int, int], NDArray[np.float16]] = field(default_factory=dict, repr=False)

    @property
    def is_still(self) -> bool:
        return len(self.frames) == 1

    def flow(self, source: int, target: int) -> NDArray[np.float16]:
        """Optical flow from one frame to another, computed once.

        Returns
        -------
        float16 [2, H/4, W/4] (rounded up): x and y displacement in pixels of ``frames``.
        """
        key = (source, target)
        if key not in self._flow:
            self._flow[key] = dis_flow(self.frames[source], self.frames[target])
        return self._flow[key]

    def compute_flow(self, strides: Iterable[int], threads: int) -> None:
        """Compute the flow between all frames ``stride`` apart, both ways, ahead of its use."""
        pairs = [
            pair
            for stride in strides
            for i in range(len(self.frames) - stride)
            for pair in ((i, i + stride), (i + stride, i))
        ]
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(lambda pair: self.flow(*pair), pairs))


def read_frames(path: Path, limit: int | None = None) -> NDArray[np.uint8]:
    """All frames (at most ``limit``) of a small video, uint8 [T, H, W, 3], R'G'B'.

    OpenCV reads them, so that training needs nothing else; what its build cannot decode is given to decord.

    Raises
    ------
    InputError
        No frame can be read.
    """
    capture = cv2.VideoCapture(str(path))
    frames: list[NDArray[np.uint8]] = []
    while limit is None or len(frames) < limit:
        ok, frame = capture.read()
        if not ok:
            break
        frames.append(np.asarray(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB), np.uint8))
    capture.release()
    if frames:
        return np.stack(frames)
    try:
        with ClipReader(path, "decord") as reader:
            return reader[:limit]
    except FvdeblurError as error:
        raise InputError(f"{path}: no frame could be read; is it a video that can be decoded?") from error


def load_clips(root: str | Path, split: str = "train", limit: int | None = None) -> list[Clip]:
    """Clips of a dataset (see `fvdeblur.datasets.index`), or of a folder with a table.

    Without an index, ``root/clips.tsv`` (columns file, identity, fps) lists what lies in ``root/clips``.

    Parameters
    ----------
    root
        Folder of the dataset or of the material.
    split
        ``train``, ``validation`` or ``all``; by identity.
    limit
        Read at most this many frames of each clip.

    Raises
    ------
    UsageError
        There is neither an index nor a table; the table lacks a column or holds no number under fps; or the
        split is unknown.
    InputError
        A line of the index is spoilt, or a listed clip cannot be read.
    """
    root = Path(root)
    if (root / INDEX_NAME).exists():
        return [
            Clip(Path(record.file).name, record.person, read_frames(root / record.file, limit), record.fps)
            for record in _of_split(read_index(root), split, lambda record: record.split == VALIDATION)
            if not record.is_still
        ]
    table = root / CLIPS_TABLE
    rows = read_table(table, "file", "identity", "fps")
    return [
        Clip(
            row["file"],
            row["identity"],
            read_frames(root / CLIPS_FOLDER / row["file"], limit),
            frame_rate(table, row["fps"]),
        )
        for row in _of_split(rows, split, lambda row: is_validation(row["identity"]))
    ]


def load_stills(root: str | Path, split: str = "train") -> list[Clip]:
    """Stills of a dataset, or of a folder with a table, as clips of one frame.

    Without an index, ``root/portraits.tsv`` (column file) lists what lies in ``root/portraits``; split by file.

    Raises
    ------
    UsageError, InputError
        As `load_clips`; a picture cannot be read.
    """
    root = Path(root)
    if (root / INDEX_NAME).exists():
        return [
            Clip(Path(record.file).name, record.person, read_still(root / record.file), 0.0)
            for record in _of_split(read_index(root), split, lambda record: record.split == VALIDATION)
            if record.is_still
        ]
    rows = read_table(root / PORTRAITS_TABLE, "file")
    return [
        Clip(row["file"], row["file"], read_still(root / PORTRAITS_FOLDER / row["file"]), 0.0)
        for row in _of_split(rows, split, lambda row: is_validation(row["file"]))
    ]


def load_pictures(folder: str | Path, split: str = "train") -> list[Clip]:
    """All pictures of a folder as clips of one frame, each of a person of its own; split by file name.

    Raises
    ------
    UsageError
        The folder holds no picture, or the split is unknown.
    InputError
        A picture cannot be read.
    """
    folder = Path(folder)
    files = sorted(path for path in folder.glob("*") if path.suffix.lower() in PHOTOGRAPHS)
    if not files:
        raise UsageError(f"{folder}: holds no pictures")
    chosen = _of_split(files, split, lambda path: is_validation(path.name))
    return [Clip(path.name, path.name, read_still(path), 0.0) for path in chosen]


def read_still(path: Path) -> NDArray[np.uint8]:
    """A picture as a clip of one frame, uint8 [1, H, W, 3], R'G'B'.

    Raises
    ------
    InputError
        It cannot be read.
    """
    image = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if image is None:
        raise InputError(f"{path}: the picture cannot be read")
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), np.uint8)[None]


Entry = TypeVar("Entry")


def _of_split(entries: Iterable[Entry], split: str, validation: Callable[[Entry], bool]) -> list[Entry]:
    """The entries of ``train`` or ``validation``, or all."""
    if split not in ("all", *SPLITS):
        raise UsageError(f"unknown split {split!r}; use train, validation or all")
    return [entry for entry in entries if split == "all" or validation(entry) == (split == VALIDATION)]
