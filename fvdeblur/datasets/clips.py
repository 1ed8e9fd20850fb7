"""Sharp face clips and stills in memory, split by identity, with optical flow between their frames."""

from __future__ import annotations

import csv
import zlib
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from fvdeblur.errors import InputError, UsageError

VALIDATION_MODULUS = 8
"""An identity whose CRC-32 is 0 modulo this number belongs to the validation split."""

FLOW_SIDE = 176
"""Optical flow is computed on frames of about this size, which is enough for faces of 200 pixels."""


def is_validation(identity: str) -> bool:
    """Whether this identity (of a still: its file name) belongs to the validation split."""
    return zlib.crc32(identity.encode()) % VALIDATION_MODULUS == 0


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
    """

    name: str
    identity: str
    frames: NDArray[np.uint8]
    fps: float
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
            self._flow[key] = _dis_flow(self.frames[source], self.frames[target])
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


def _dis_flow(source: NDArray[np.uint8], target: NDArray[np.uint8]) -> NDArray[np.float16]:
    height, width = source.shape[:2]
    factor = min(1.0, FLOW_SIDE / max(height, width))
    size = (max(16, round(width * factor)), max(16, round(height * factor)))
    grey = [
        cv2.cvtColor(cv2.resize(frame, size, interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2GRAY)
        for frame in (source, target)
    ]
    estimator = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_FAST)
    flow = estimator.calc(grey[0], grey[1], np.zeros((size[1], size[0], 2), np.float32))
    flow = cv2.resize(flow, (-(-width // 4), -(-height // 4)), interpolation=cv2.INTER_AREA)
    flow = flow * np.array([width / size[0], height / size[1]], np.float32)
    return np.ascontiguousarray(flow.transpose(2, 0, 1)).astype(np.float16)


def read_frames(path: Path, limit: int | None = None) -> NDArray[np.uint8]:
    """All frames (at most ``limit``) of a small video, uint8 [T, H, W, 3], R'G'B'.

    OpenCV reads them, so that training needs nothing else; what its build cannot decode is given to decord.
    """
    capture = cv2.VideoCapture(str(path))
    frames: list[NDArray[np.uint8]] = []
    while limit is None or len(frames) < limit:
        ok, frame = capture.read()
        if not ok:
            break
        frames.append(np.asarray(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB), np.uint8))
    capture.release()
    return np.stack(frames) if frames else _read_with_decord(path, limit)


def _read_with_decord(path: Path, limit: int | None) -> NDArray[np.uint8]:
    try:
        import decord

        reader = decord.VideoReader(str(path), num_threads=1)
        count = len(reader) if limit is None else min(limit, len(reader))
        return np.asarray(reader.get_batch(range(count)).asnumpy(), np.uint8)
    except Exception as error:  # decord is not installed, or one of the several errors of its own
        raise InputError(f"{path}: no frame could be read; is it a video that can be decoded?") from error


def _split(rows: list[dict[str, str]], key: str, split: str) -> list[dict[str, str]]:
    if split == "all":
        return rows
    if split not in ("train", "validation"):
        raise UsageError(f"unknown split {split!r}; use train, validation or all")
    return [row for row in rows if is_validation(row[key]) == (split == "validation")]


def _read_index(path: Path, *columns: str) -> list[dict[str, str]]:
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file, delimiter="\t"))
    except OSError as error:
        raise UsageError(f"{path}: the index of the material cannot be read ({error.strerror})") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"{path}: the index of the material is not a table of text ({error})") from error
    for number, row in enumerate(rows, 2):
        for column in columns:
            if not row.get(column):
                raise UsageError(f"{path}: row {number} has no value in the column {column!r}")
    return rows


def _number(path: Path, text: str) -> float:
    try:
        return float(text)
    except ValueError as error:
        raise UsageError(f"{path}: {text!r} is not a number of frames a second") from error


def load_clips(root: str | Path, split: str = "train", limit: int | None = None) -> list[Clip]:
    """Clips below ``root/clips`` that ``root/clips.tsv`` lists (columns file, identity, fps).

    Parameters
    ----------
    root
        Folder of the material.
    split
        ``train``, ``validation`` or ``all``; by identity.
    limit
        Read at most this many frames of each clip.

    Raises
    ------
    UsageError
        The index is missing, lacks a column or holds no number under fps; or the split is unknown.
    InputError
        A listed clip cannot be read.
    """
    root = Path(root)
    index = root / "clips.tsv"
    rows = _split(_read_index(index, "file", "identity", "fps"), "identity", split)
    return [
        Clip(
            row["file"],
            row["identity"],
            read_frames(root / "clips" / row["file"], limit),
            _number(index, row["fps"]),
        )
        for row in rows
    ]


def load_stills(root: str | Path, split: str = "train") -> list[Clip]:
    """Portraits below ``root/portraits`` that ``root/portraits.tsv`` lists, as clips of one frame; split by file."""
    root = Path(root)
    rows = _split(_read_index(root / "portraits.tsv", "file"), "file", split)
    clips = []
    for row in rows:
        image = cv2.imread(str(root / "portraits" / row["file"]), cv2.IMREAD_COLOR)
        if image is None:
            raise InputError(f"{root / 'portraits' / row['file']}: the picture cannot be read")
        clips.append(
            Clip(
                row["file"],
                row["file"],
                np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), np.uint8)[None],
                0.0,
            )
        )
    return clips
