"""Clips cut out of a video at its own resolution, by a second reading of it."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from fvdeblur.datasets.clip_writer import ClipWriter
from fvdeblur.errors import InputError
from fvdeblur.media import DecodedFrame, FramePlanes, VideoReader

RATE_WITHOUT_TAG = Fraction(25)
"""Frames a second of a clip whose video does not tell."""


@dataclass(frozen=True)
class Cut:
    """A clip to be written.

    Attributes
    ----------
    path
        The MP4 file.
    first, last
        Numbers of its frames in the video.
    left, top, side
        The square in pixels of the upright picture; the side is even.
    """

    path: Path
    first: int
    last: int
    left: int
    top: int
    side: int


class ClipCutter:
    """Writes the clips of one video, in the order of time; the frames between them are decoded and passed over.

    The first reading of the video is ahead of this one by the frames that are followed at a time. To read twice costs
    a fraction of what following costs, and nothing but the frame at hand is held in memory.

    Parameters
    ----------
    path
        The video.
    """

    def __init__(self, path: Path) -> None:
        self._reader = VideoReader(path, threads=1)
        self._frames: Generator[DecodedFrame, None, None] = iter(self._reader)
        self._next = 0
        self.fps = (self._reader.info.average_rate or RATE_WITHOUT_TAG).limit_denominator(1001)

    def __enter__(self) -> ClipCutter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._frames.close()
        self._reader.close()

    def cut(self, cuts: Sequence[Cut]) -> None:
        """Write clips; none may begin before the last frame of those written earlier.

        Raises
        ------
        InputError
            The second reading gives fewer frames than the first one did: the video was changed meanwhile.
        OutputError
            A clip cannot be written.
        """
        if not cuts:
            return
        last = max(cut.last for cut in cuts)
        with ExitStack() as stack:
            writers: dict[Path, ClipWriter] = {}
            while self._next <= last:
                planes = self._frame()
                for cut in cuts:
                    if cut.first <= self._next <= cut.last:
                        if cut.path not in writers:
                            writer = ClipWriter(cut.path, (cut.side, cut.side), self.fps)
                            writers[cut.path] = stack.enter_context(writer)
                        writers[cut.path].write(_square(planes, cut))
                        if self._next == cut.last:
                            writers[cut.path].finish()
                self._next += 1

    def _frame(self) -> FramePlanes:
        decoded = next(self._frames, None)
        if decoded is None:
            raise InputError(f"{self._reader.path}: was changed while it was mined; mine it again")
        return FramePlanes(decoded.frame, self._reader.info.rotation)


def _square(planes: FramePlanes, cut: Cut) -> NDArray[np.uint8]:
    picture = planes.read_rgb(cut.left, cut.top, cut.left + cut.side, cut.top + cut.side)
    return np.rint(np.clip(picture, 0, 1) * np.float32(255)).astype(np.uint8)
