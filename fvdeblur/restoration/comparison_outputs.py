"""What a comparison of two videos is written to: a sheet of some frames, or a video."""

from __future__ import annotations

import dataclasses
import itertools
import math
import os
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import TracebackType

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from fvdeblur.errors import UsageError
from fvdeblur.faces import Detector, create_detector, face_size
from fvdeblur.faces.geometry import square_inside
from fvdeblur.media import DecodedFrame, VideoInfo, VideoWriter
from fvdeblur.media.failures import shown, writing
from fvdeblur.media.target import check_free
from fvdeblur.restoration.crop_folder import write_picture

Picture = NDArray[np.uint8]

MODES = ("side-by-side", "split", "difference")
PICTURES = (".png", ".jpg", ".webp")
"""Suffixes of outputs that are sheets; others are videos."""

PERIOD = 4.0
"""Seconds in which the line goes from one side to the other and back."""

GAIN = 4
"""The difference is shown so many times as strong, around a middle grey."""

ROWS, ROW_WIDTH = 6, 1280
"""Frames on a sheet, and the width of a frame's comparison there in pixels at most."""

CLOSE_UP = 256
"""Least side of a face's close-up on a sheet, in pixels."""

FACE_ROOM = 1.6
"""Side of what a close-up shows, in units of the face box's longer side."""

LOOKED_AT = 640
"""Longer side of the picture in which faces are looked for."""


def compose(a: Picture, b: Picture, mode: str, seconds: float | None = None) -> Picture:
    """The comparison of two pictures of one size, uint8 [H, W, 3], R'G'B'.

    Parameters
    ----------
    a, b
        The pictures.
    mode
        One of `MODES`.
    seconds
        Moves the line; None: it stands in the middle.
    """
    if mode == "side-by-side":
        return np.concatenate([a, b], axis=1)
    if mode == "difference":
        return np.clip(128 + GAIN * (b.astype(np.int16) - a), 0, 255).astype(np.uint8)
    width = a.shape[1]
    phase = math.pi / 2 if seconds is None else 2 * math.pi * seconds / PERIOD
    line = round(width * (0.5 - 0.45 * math.cos(phase)))
    both = np.concatenate([a[:, :line], b[:, line:]], axis=1)
    both[:, max(0, line - 1) : line + 1] = 255
    return both


@dataclass(frozen=True)
class _Row:
    """A frame on a sheet: its comparison as large as a row, and its largest face's (None: there is none)."""

    frame: Picture
    face: Picture | None


class ComparisonSheet:
    """Some frames below each other, evenly spread over all that come: of many, every n-th is held.

    Beside each frame is its largest face close up, unless all faces are as large in the frames themselves.

    Parameters
    ----------
    path
        The picture to write; nothing stands there before `finish`.
    info
        Of the first video.
    mode
        One of `MODES`.
    threads
        Of the detector.
    overwrite
        Whether what is there already may be replaced.

    Raises
    ------
    UsageError
        The path is taken or is the video's.
    OutputError
        The place cannot be written.
    """

    def __init__(self, path: Path, info: VideoInfo, mode: str, threads: int, overwrite: bool) -> None:
        self.notes: list[str] = []
        self._path, self._partial = path, path.with_name(f"{path.name}.partial{path.suffix.lower()}")
        if os.path.realpath(path) == os.path.realpath(info.path):
            raise UsageError(f"{shown(path)}: the output would replace an input; choose another name with -o")
        check_free(path, overwrite)
        self._mode, self._detector = mode, create_detector(threads=threads)
        with writing(path):  # a place that cannot be written is better known before the work
            self._partial.touch()
        self._rows: list[_Row] = []
        self._every, self._seen = 1, itertools.count()
        self._enlarges = False

    def __enter__(self) -> ComparisonSheet:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with suppress(OSError):
            self._partial.unlink(missing_ok=True)

    def add(self, decoded: DecodedFrame, a: Picture, b: Picture) -> None:
        """A frame of the first video, and both as they are seen."""
        if next(self._seen) % self._every:
            return
        if len(self._rows) == 2 * ROWS:
            self._rows = self._rows[::2]
            self._every *= 2
        frame = compose(a, b, self._mode)
        scale = min(1.0, ROW_WIDTH / frame.shape[1])
        if scale < 1:
            size = round(frame.shape[1] * scale), max(1, round(frame.shape[0] * scale))
            frame = np.asarray(cv2.resize(frame, size, interpolation=cv2.INTER_AREA), np.uint8)
        for colour, thick in (((0, 0, 0), 3), ((255, 255, 255), 1)):
            text = f"{decoded.time:.2f} s"
            cv2.putText(frame, text, (6, 18), cv2.FONT_HERSHEY_SIMPLEX, 0.5, colour, thick, cv2.LINE_AA)
        square = _largest_face(a, self._detector)
        face = None
        if square is not None:
            side = max(CLOSE_UP, frame.shape[0])
            close_a, close_b = a[square], b[square]
            self._enlarges |= side > 1.2 * scale * len(close_a)
            face = compose(_resized(close_a, side), _resized(close_b, side), self._mode)
        self._rows.append(_Row(frame, face))

    def finish(self) -> None:
        """Write the sheet."""
        places = np.linspace(0, len(self._rows) - 1, min(ROWS, len(self._rows))).round().astype(int)
        rows = [self._rows[place] for place in places]
        faces = [row.face.shape[:2] for row in rows if row.face is not None and self._enlarges]
        room = max(faces, default=(0, 0))
        with writing(self._path):
            write_picture(self._partial, np.concatenate([_joined(row, *room) for row in rows]))
            self._partial.replace(self._path)


def _largest_face(picture: Picture, detector: Detector) -> tuple[slice, slice] | None:
    """Rows and columns of the square around it."""
    height, width = picture.shape[:2]
    scale = min(1.0, LOOKED_AT / max(height, width))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    small = cv2.resize(picture, size, interpolation=cv2.INTER_AREA) if scale < 1 else picture
    found = detector.detect(np.ascontiguousarray(small, np.uint8))
    if not found:
        return None
    box = max(found, key=lambda each: face_size(each.box)).box / scale
    rows, columns = square_inside(box, FACE_ROOM, width, height)
    return (rows, columns) if rows.stop > rows.start else None


def _resized(square: Picture, side: int) -> Picture:
    how = cv2.INTER_CUBIC if side > len(square) else cv2.INTER_AREA
    return np.asarray(cv2.resize(square, (side, side), interpolation=how), np.uint8)


def _joined(row: _Row, high: int, wide: int) -> Picture:
    """A row's frame and, where there is room for it, its close-up; black where there is none."""
    height, width = row.frame.shape[:2]
    joined = np.zeros((max(height, high), width + wide, 3), np.uint8)
    joined[:height, :width] = row.frame
    if row.face is not None and wide:
        joined[:high, width:] = row.face
    return joined


class ComparisonVideo:
    """A video of the comparison with 8 bits a sample, and with the other streams of A.

    Parameters
    ----------
    path
        The video to write; nothing stands there before `finish`.
    info
        Of the first video.
    mode
        One of `MODES`.
    part
        What is compared of it, in seconds.
    threads
        Of the encoder.
    overwrite
        Whether what is there already may be replaced.

    Raises
    ------
    UsageError, OutputError
        As `fvdeblur.media.VideoWriter`.
    """

    def __init__(
        self,
        path: Path,
        info: VideoInfo,
        mode: str,
        part: tuple[float | None, float | None],
        threads: int,
        overwrite: bool,
    ) -> None:
        self._even = info.display_width // 2 * 2, info.display_height // 2 * 2
        turned = info.rotation in (90, 270)
        aspect: Fraction = info.sample_aspect_ratio
        changed = dataclasses.replace(
            info,
            width=self._even[0] * (2 if mode == "side-by-side" else 1),
            height=self._even[1],
            pix_fmt="yuv420p",
            bit_depth=8,
            sample_aspect_ratio=1 / aspect if turned else aspect,
            rotation=0,
            display_matrix=None,
            color_space=1,  # BT.709, in which the frames are written
            color_range=1,  # limited
        )
        self._mode = mode
        self._writer = VideoWriter(
            path, changed, start=part[0], end=part[1], threads=threads, overwrite=overwrite
        )

    @property
    def notes(self) -> list[str]:
        """What the user should know of what was written."""
        return list(self._writer.notes)

    def __enter__(self) -> ComparisonVideo:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._writer.__exit__(kind, error, trace)

    def add(self, decoded: DecodedFrame, a: Picture, b: Picture) -> None:
        """A frame of the first video, and both as they are seen."""
        width, height = self._even
        a, b = (each[:height, :width] for each in (a, b))
        picture = np.ascontiguousarray(compose(a, b, self._mode, decoded.time))
        frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(
            format="yuv420p", dst_colorspace=1, src_color_range=2, dst_color_range=1
        )
        frame.colorspace, frame.color_range = 1, 1
        frame.pts, frame.time_base = decoded.frame.pts, decoded.frame.time_base
        self._writer.write(frame)

    def finish(self) -> None:
        """Bring the video under its name."""
        self._writer.finish()
