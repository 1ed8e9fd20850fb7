"""Writing a clip of a dataset: H.264 that any reader gives back in the same colours, the same bytes every time."""

from __future__ import annotations

import os
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from types import TracebackType

import av
import numpy as np
from numpy.typing import NDArray

from fvdeblur.media.failures import writing
from fvdeblur.media.pixel_formats import RANGE_FULL, RANGE_LIMITED, SPACE_BT709, SPACE_RGB

CRF = 14
"""Constant rate factor: fine enough that the loss does not show, also after blur was made of it."""

PRESET = "veryfast"
"""At this rate factor ``fast`` takes twice the time for 0.2 dB."""

KEY_FRAMES = 30
"""Frames from one key frame to the next: what random access has to decode at most."""


class ClipWriter:
    """Encodes the frames of one clip; the file has its name only after `finish`.

    Leaving the ``with`` block before that removes what was written. One thread and no macroblock trees: with more
    threads, and with trees in small pictures, x264 does not encode the same frames the same way twice.

    Parameters
    ----------
    path
        The MP4 file.
    size
        Width and height in pixels; even.
    fps
        Frames a second.

    Raises
    ------
    OutputError
        The file cannot be written.
    """

    def __init__(self, path: Path, size: tuple[int, int], fps: Fraction) -> None:
        self.path = path
        self._partial = path.with_name(path.name + ".partial")
        self._finished = False
        self._frames = 0
        with writing(path):
            self._partial.touch()  # PyAV opens it with the first packet only
            self._output = av.open(str(self._partial), "w", format="mp4", options={"movflags": "+faststart"})
            options = {
                "crf": str(CRF),
                "preset": PRESET,
                "g": str(KEY_FRAMES),
                "x264-params": "mbtree=0:threads=1",
            }
            self._stream = self._output.add_stream("libx264", rate=fps, options=options)
            self._stream.width, self._stream.height = size
            self._stream.pix_fmt = "yuv420p"
            context = self._stream.codec_context
            context.thread_count = 1
            context.colorspace = context.color_primaries = context.color_trc = SPACE_BT709
            context.color_range = RANGE_LIMITED

    def __enter__(self) -> ClipWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._finished:
            with suppress(av.FFmpegError, OSError, ValueError):
                self._output.close()
            with suppress(OSError):
                self._partial.unlink(missing_ok=True)

    def write(self, image: NDArray[np.uint8]) -> None:
        """Add a frame, uint8 [H, W, 3], R'G'B'.

        Raises
        ------
        OutputError
            The file cannot be written.
        """
        with writing(self.path):
            picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
            picture = picture.reformat(
                format="yuv420p",
                src_colorspace=SPACE_RGB,
                dst_colorspace=SPACE_BT709,
                src_color_range=RANGE_FULL,
                dst_color_range=RANGE_LIMITED,
                interpolation="BICUBIC",
            )
            picture.pts = self._frames
            self._frames += 1
            self._output.mux(self._stream.encode(picture))

    def finish(self) -> None:
        """Write the rest, bring it to the disk and give the file its name.

        Raises
        ------
        OutputError
            The file cannot be written.
        """
        with writing(self.path):
            self._output.mux(self._stream.encode(None))
            self._output.close()
            with self._partial.open("rb") as file:
                os.fsync(file.fileno())
            self._partial.replace(self.path)
            self._finished = True
