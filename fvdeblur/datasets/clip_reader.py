"""Random access to the frames of a clip, by decord where it is installed and by OpenCV where it is not."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from fvdeblur.errors import InputError, UsageError

BACKENDS = ("auto", "decord", "opencv")

Frames = NDArray[np.uint8]


class ClipReader:
    """Reads any frames of a video file of 8 bits and constant frame rate, such as the clips of a dataset.

    ``reader[a:b:step]`` gives frames as a slice of a list would; both backends give the same frames, their pixels
    equal within rounding.

    Parameters
    ----------
    path
        The file.
    backend
        ``decord``, ``opencv``, or ``auto``: decord if it can be imported, else OpenCV.

    Attributes
    ----------
    path, backend
        The file, and what reads it.
    fps
        Frames a second.
    width, height
        Size in pixels.

    Raises
    ------
    UsageError
        The backend is unknown or not installed.
    InputError
        The file cannot be read as a video.
    """

    def __init__(self, path: str | os.PathLike[str], backend: str = "auto") -> None:
        if backend not in BACKENDS:
            raise UsageError(f"unknown reader {backend!r} of clips; use one of {', '.join(BACKENDS)}")
        self.path = Path(path)
        decord = None if backend == "opencv" else _decord()
        if backend == "decord" and decord is None:
            raise UsageError("the package decord is not installed; install it or read with opencv")
        if not self.path.is_file():
            raise InputError(f"{self.path}: there is no such file; restore the clip")
        self._source: _Backend
        self._source = _OpenCV(self.path) if decord is None else _Decord(self.path, decord)
        self.backend = "opencv" if decord is None else "decord"
        self.fps, self.width, self.height = self._source.fps, self._source.width, self._source.height

    def __len__(self) -> int:
        """Number of frames."""
        return self._source.count

    def __getitem__(self, frames: slice) -> Frames:
        """The frames of a slice, in its order.

        Returns
        -------
        uint8 [T, H, W, 3], R'G'B'

        Raises
        ------
        InputError
            One of them cannot be decoded.
        """
        numbers = range(*frames.indices(len(self)))
        if not numbers:
            return np.empty((0, self.height, self.width, 3), np.uint8)
        return self._source.read(numbers)

    def __enter__(self) -> ClipReader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._source.close()


class _Backend(Protocol):
    count: int
    fps: float
    width: int
    height: int

    def read(self, numbers: Sequence[int]) -> Frames: ...

    def close(self) -> None: ...


def _decord() -> Any:
    """The module decord, None where it is not installed or its libraries cannot be loaded."""
    try:
        import decord
    except (ImportError, OSError):
        return None
    return decord


def _broken(path: Path, what: str) -> InputError:
    return InputError(f"{path}: {what} cannot be read; is it a whole video that can be decoded?")


class _Decord:
    def __init__(self, path: Path, decord: Any) -> None:
        self._path = path
        try:
            self._reader = decord.VideoReader(str(path), num_threads=1)
            self.height, self.width = (int(side) for side in self._reader[0].shape[:2])
            self.count, self.fps = len(self._reader), float(self._reader.get_avg_fps())
        except Exception as error:  # decord's own types are no common family
            raise _broken(path, "the first frame") from error

    def read(self, numbers: Sequence[int]) -> Frames:
        try:
            return np.asarray(self._reader.get_batch(list(numbers)).asnumpy(), np.uint8)
        except Exception as error:
            raise _broken(self._path, f"a frame from {min(numbers)} to {max(numbers)}") from error

    def close(self) -> None:
        self._reader = None


class _OpenCV:
    """A capture that steps through the frames, and seeks only where decoding up to there would take longer."""

    _LONGEST_STEP = 60

    def __init__(self, path: Path) -> None:
        self._path = path
        self._capture = cv2.VideoCapture(str(path))
        self._next = 0
        self.count = int(self._capture.get(cv2.CAP_PROP_FRAME_COUNT))
        self.fps = float(self._capture.get(cv2.CAP_PROP_FPS))
        self.width = int(self._capture.get(cv2.CAP_PROP_FRAME_WIDTH))
        self.height = int(self._capture.get(cv2.CAP_PROP_FRAME_HEIGHT))
        if not self._capture.isOpened() or self.count < 1:
            raise _broken(path, "the first frame")

    def read(self, numbers: Sequence[int]) -> Frames:
        return np.stack([self._frame(number) for number in numbers])

    def _frame(self, number: int) -> Frames:
        if not self._next <= number <= self._next + self._LONGEST_STEP:
            self._capture.set(cv2.CAP_PROP_POS_FRAMES, number)
            self._next = number
        while self._next < number and self._capture.grab():
            self._next += 1
        ok, frame = self._capture.read()
        if not ok or self._next != number:
            raise _broken(self._path, f"frame {number}")
        self._next += 1
        return np.asarray(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB), np.uint8)

    def close(self) -> None:
        self._capture.release()
