"""Reading and changing parts of a decoded frame in its own planes, everything else bit-identical."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from fvdeblur.media.pixel_formats import (
    RANGE_FULL,
    RANGE_LIMITED,
    PixelFormat,
    colour_space,
    pixel_format,
    reformatter,
)

FloatArray = NDArray[np.float32]
Array = NDArray[Any]  # what OpenCV takes and returns

# Red and blue weights of luma, by FFmpeg's AVColorSpace number.
_LUMA_WEIGHTS = {
    1: (0.2126, 0.0722),  # BT.709
    4: (0.30, 0.11),  # FCC
    5: (0.299, 0.114),  # BT.470BG
    6: (0.299, 0.114),  # SMPTE 170M
    7: (0.212, 0.087),  # SMPTE 240M
    9: (0.2627, 0.0593),  # BT.2020, non-constant luminance
    10: (0.2627, 0.0593),  # BT.2020, constant luminance: taken as non-constant
}


class FramePlanes:
    """The planes of one decoded frame, addressed by upright pixel coordinates.

    Only the samples that a change reaches are ever written; the rest of the frame is not converted. Chroma of
    subsampled formats is taken as sited at the left luma column (the default of MPEG-2, H.264 and HEVC) and
    between two luma rows. The matrix follows the frame's colour-space tag; untagged frames are BT.709 from a
    coded height of 720 on, else BT.601. The range follows the tag; untagged Y'CbCr is limited, untagged gray
    full.

    Parameters
    ----------
    frame : av.VideoFrame
        The frame, in a pixel format for which `supported` is true. `add_rgb` changes it in place, after its
        buffers have been copied where the decoder still refers to them.
    rotation : int
        Degrees clockwise that turn the coded picture upright: 0, 90, 180 or 270.

    Raises
    ------
    ValueError
        The pixel format or the rotation is not supported.
    """

    def __init__(self, frame: av.VideoFrame, rotation: int = 0) -> None:
        layout = pixel_format(frame.format.name)
        if layout is None:
            raise ValueError(f"frames in pixel format {frame.format.name} cannot be edited")
        if rotation % 90:
            raise ValueError(f"rotation must be a multiple of 90 degrees, not {rotation}")
        self.frame = frame
        self.rotation = rotation % 360
        self._layout = layout
        self._writable = False
        self._space = colour_space(int(frame.colorspace), frame.height)
        self._full = _is_full_range(layout, int(frame.color_range))
        self._channels = channel_views(frame, layout)

    @property
    def height(self) -> int:
        """Height of the upright picture in pixels."""
        return self.frame.width if self.rotation in {90, 270} else self.frame.height

    @property
    def width(self) -> int:
        """Width of the upright picture in pixels."""
        return self.frame.height if self.rotation in {90, 270} else self.frame.width

    def read_rgb(self, x0: int, y0: int, x1: int, y1: int) -> FloatArray:
        """Return a box of the upright picture as R'G'B'.

        Parameters
        ----------
        x0, y0, x1, y1 : int
            Left, top, right and bottom in upright pixels, the latter two exclusive; inside the frame, any
            parity.

        Returns
        -------
        numpy.ndarray
            float32 [y1 - y0, x1 - x0, 3], red first, gamma-encoded, nominally 0..1; not clipped.

        Raises
        ------
        ValueError
            The box is empty or leaves the frame.
        """
        left, top, right, bottom = self._coded_box(x0, y0, x1, y1)
        offsets, matrix = _to_rgb(self._layout, self._space, self._full)
        if self._layout.kind == "gray":
            luma = (self._codes(0, left, top, right, bottom) - np.float32(offsets[0])) * np.float32(
                matrix[0, 0]
            )
            picture = cv2.merge([luma, luma, luma])
        elif self._layout.kind == "rgb":
            parts = [self._codes(index, left, top, right, bottom) for index in range(3)]
            picture = cv2.merge(parts) * np.float32(matrix[0, 0])
        else:
            chroma = self._read_chroma(left, top, right, bottom)
            samples = cv2.merge([self._codes(0, left, top, right, bottom), *chroma])
            affine = np.concatenate([matrix, -matrix @ offsets[:, None]], axis=1)
            picture = cv2.transform(samples, affine)
        return _rotate(picture, self.rotation)

    def picture(self) -> NDArray[np.uint8]:
        """The whole upright picture as R'G'B', uint8 [H, W, 3]."""
        rgb = self.read_rgb(0, 0, self.width, self.height)
        return np.asarray(np.round(np.clip(rgb, 0, 1) * 255), np.uint8)

    def add_rgb(self, x0: int, y0: int, change: FloatArray) -> None:
        """Add a change of R'G'B' to the frame, in place.

        The change is converted linearly to the frame's own samples, averaged onto the chroma grid, rounded
        and added. Samples whose rounded change is 0 stay bit-identical; changed ones are kept inside the
        legal code range, or no farther outside it than they were.

        Parameters
        ----------
        x0, y0 : int
            Left and top of the box in upright pixels.
        change : numpy.ndarray
            float32 [h, w, 3], red first, in units where 1 is nominal white; finite.

        Raises
        ------
        ValueError
            The box is empty or leaves the frame, or the array is not [h, w, 3].
        """
        if change.ndim != 3 or change.shape[2] != 3:
            raise ValueError(f"change must be [h, w, 3], not {list(change.shape)}")
        left, top, _, _ = self._coded_box(x0, y0, x0 + change.shape[1], y0 + change.shape[0])
        self._make_writable()
        coded = _rotate(np.ascontiguousarray(change, dtype=np.float32), -self.rotation % 360)
        _, matrix = _to_rgb(self._layout, self._space, self._full)
        luma_range, chroma_range = _code_ranges(self._layout, self._full)
        if self._layout.kind == "gray":
            weights = np.linalg.inv(_rgb_from_ycbcr(self._space))[0] / matrix[0, 0]
            deltas: Sequence[Array] = [cv2.transform(coded, weights[None])]
        else:
            deltas = cv2.split(cv2.transform(coded, np.linalg.inv(matrix)))
        self._add(0, left, top, deltas[0], luma_range)
        for index, delta in enumerate(deltas[1:], start=1):
            if self._layout.kind == "rgb":
                self._add(index, left, top, delta, luma_range)
            else:
                self._add_chroma(index, left, top, delta, chroma_range)

    def preview(self, longer_side: int) -> NDArray[np.uint8]:
        """Return the upright picture reduced to a given size, for detectors.

        Parameters
        ----------
        longer_side : int
            Longer side of the result in pixels; a smaller frame is not enlarged; the pixel aspect is ignored.

        Returns
        -------
        numpy.ndarray
            uint8 [h, w, 3], red first, contiguous.
        """
        scale = min(1.0, longer_side / max(self.frame.width, self.frame.height))
        width = max(1, round(self.frame.width * scale))
        height = max(1, round(self.frame.height * scale))
        reduced = reformatter().reformat(
            self.frame,
            width=width,
            height=height,
            format="rgb24",
            src_colorspace=self._space,
            dst_colorspace=self._space,
            src_color_range=RANGE_FULL if self._full else RANGE_LIMITED,
            dst_color_range=RANGE_FULL,
            interpolation="BILINEAR",
        )
        plane: Any = reduced.planes[0]
        rows = np.ndarray((height, width, 3), np.uint8, plane, strides=(plane.line_size, 3, 1))
        return _rotate(rows, self.rotation) if self.rotation else rows.copy()

    def _coded_box(self, x0: int, y0: int, x1: int, y1: int) -> tuple[int, int, int, int]:
        """Turn an upright box into left, top, right and bottom in the coded picture."""
        if not (0 <= x0 < x1 <= self.width and 0 <= y0 < y1 <= self.height):
            raise ValueError(
                f"box ({x0}, {y0}, {x1}, {y1}) is not inside the {self.width}x{self.height} picture"
            )
        width, height = self.frame.width, self.frame.height
        if self.rotation == 90:
            return y0, height - x1, y1, height - x0
        if self.rotation == 180:
            return width - x1, height - y1, width - x0, height - y0
        if self.rotation == 270:
            return width - y1, x0, width - y0, x1
        return x0, y0, x1, y1

    def _make_writable(self) -> None:
        if not self._writable:
            self._channels = ()  # views of buffers that are about to be let go
            self.frame.make_writable()
            self._channels = channel_views(self.frame, self._layout)
            self._writable = True

    def _codes(self, index: int, left: int, top: int, right: int, bottom: int) -> FloatArray:
        """Code values of one channel in a box of its own grid, as float32."""
        view = self._channels[index][top:bottom, left:right]
        return (view >> self._layout.shift if self._layout.shift else view).astype(np.float32)

    def _read_chroma(self, left: int, top: int, right: int, bottom: int) -> list[Array]:
        """Read Cb and Cr of a coded box, interpolated to luma resolution, in code values."""
        across, down = self._layout.subsampling
        if not across and not down:
            return [self._codes(index, left, top, right, bottom) for index in (1, 2)]
        rows, columns = self._channels[1].shape
        first_column = left >> across
        first_row = max(0, (top >> down) - down)
        last_column = min(columns, ((right - 1) >> across) + 1 + across)
        last_row = min(rows, ((bottom - 1) >> down) + 1 + down)
        samples = [self._codes(index, first_column, first_row, last_column, last_row) for index in (1, 2)]
        # Chroma column i lies on luma column 2i, chroma row j between the luma rows 2j and 2j + 1.
        mapping = np.array(
            [
                [1 / (1 << across), 0, left / (1 << across) - first_column],
                [0, 1 / (1 << down), (top - 0.5 * down) / (1 << down) - first_row],
            ],
            np.float64,
        )
        size = (right - left, bottom - top)
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        return [
            cv2.warpAffine(s, mapping, size, flags=flags, borderMode=cv2.BORDER_REPLICATE) for s in samples
        ]

    def _add_chroma(self, index: int, left: int, top: int, delta: Array, legal: tuple[int, int]) -> None:
        """Average a full-resolution chroma change onto the chroma grid and add it."""
        across, down = self._layout.subsampling
        height, width = delta.shape
        if down:
            above = top & 1
            below = (top + height) & 1
            delta = _pad(delta, above, below, 0, 0, top + height == self.frame.height)
            delta = 0.5 * (delta[0::2] + delta[1::2])
        if across:
            # The three luma columns around each chroma column count 1 : 2 : 1.
            before = delta[:, :1] if left == 0 else np.zeros((delta.shape[0], 1 + (left & 1)), np.float32)
            delta = cv2.hconcat([before, delta])
            delta = _pad(delta, 0, 0, 0, (left + width) & 1, left + width == self.frame.width)
            delta = 0.25 * (delta[:, 0:-2:2] + delta[:, 2::2]) + 0.5 * delta[:, 1:-1:2]
        self._add(index, left >> across, top >> down, delta, legal)

    def _add(self, index: int, left: int, top: int, delta: Array, legal: tuple[int, int]) -> None:
        """Add a change in code values to one channel, rounded, and clipped where it changes something."""
        steps = np.rint(delta)
        changed = steps != 0
        if not changed.any():
            return
        right, bottom = left + delta.shape[1], top + delta.shape[0]
        view = self._channels[index][top:bottom, left:right]
        old = self._codes(index, left, top, right, bottom)
        low, high = (np.float32(bound) for bound in legal)
        new = np.clip(old + steps, np.minimum(old, low), np.maximum(old, high)).astype(view.dtype)
        np.copyto(view, new << self._layout.shift if self._layout.shift else new, where=changed)


_TURNS = {90: cv2.ROTATE_90_CLOCKWISE, 180: cv2.ROTATE_180, 270: cv2.ROTATE_90_COUNTERCLOCKWISE}


def _rotate(picture: Array, clockwise: int) -> Array:
    """Turn a picture clockwise by a multiple of 90 degrees."""
    return cv2.rotate(picture, _TURNS[clockwise]) if clockwise else picture


def _pad(delta: Array, above: int, below: int, before: int, after: int, at_edge: bool) -> Array:
    """Pad a change: zeros where the picture goes on, the last row or column repeated where it ends."""
    if above or before:
        delta = cv2.copyMakeBorder(delta, above, 0, before, 0, cv2.BORDER_CONSTANT, value=0)
    if below or after:
        kind = cv2.BORDER_REPLICATE if at_edge else cv2.BORDER_CONSTANT
        delta = cv2.copyMakeBorder(delta, 0, below, 0, after, kind, value=0)
    return delta


def channel_views(frame: av.VideoFrame, layout: PixelFormat) -> tuple[NDArray[np.integer], ...]:
    """Views [rows, columns] of the colour channels in the frame's own buffers, alpha left out."""
    planes = frame.planes
    dtype = np.dtype(np.uint8 if layout.sample_bytes == 1 else "<u2")
    views = []
    for index, (plane_index, step, offset) in enumerate(layout.channels):
        plane: Any = planes[plane_index]
        across, down = layout.subsampling if index and layout.kind == "yuv" else (0, 0)
        rows, columns = -(-frame.height // (1 << down)), -(-frame.width // (1 << across))
        stride = plane.line_size
        # A picture stored bottom-up has a negative line size, and its buffer begins with the last row.
        start = (rows - 1) * -stride if stride < 0 else 0
        views.append(
            np.ndarray(
                (rows, columns),
                dtype,
                plane,
                offset=start + offset * dtype.itemsize,
                strides=(stride, step * dtype.itemsize),
            )
        )
    return tuple(views)


def _is_full_range(layout: PixelFormat, color_range: int) -> bool:
    if layout.full_range:
        return True
    if layout.kind == "gray":
        return color_range != RANGE_LIMITED
    return color_range == RANGE_FULL


def _rgb_from_ycbcr(space: int) -> NDArray[np.float64]:
    """The 3x3 matrix from Y' (0..1), Cb and Cr (-0.5..0.5) to R'G'B'."""
    if space == 8:  # YCgCo
        return np.array([[1.0, -1.0, 1.0], [1.0, 1.0, 0.0], [1.0, -1.0, -1.0]])
    red, blue = _LUMA_WEIGHTS.get(space, _LUMA_WEIGHTS[1])
    green = 1 - red - blue
    return np.array(
        [
            [1.0, 0.0, 2 * (1 - red)],
            [1.0, -2 * blue * (1 - blue) / green, -2 * red * (1 - red) / green],
            [1.0, 2 * (1 - blue), 0.0],
        ]
    )


@lru_cache(maxsize=64)
def _to_rgb(layout: PixelFormat, space: int, full: bool) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Code offsets [3] and the 3x3 matrix that turn stored samples, the offsets taken off, into R'G'B'."""
    unit = 1 << (layout.bits - 8)
    peak = (1 << layout.bits) - 1
    if layout.kind == "rgb":
        return np.zeros(3), np.eye(3) / peak
    if full:
        offsets = np.array([0.0, 128 * unit, 128 * unit])
        scales = np.array([peak, peak, peak], np.float64)
    else:
        offsets = np.array([16.0, 128, 128]) * unit
        scales = np.array([219.0, 224, 224]) * unit
    return offsets, _rgb_from_ycbcr(space) / scales


def _code_ranges(layout: PixelFormat, full: bool) -> tuple[tuple[int, int], tuple[int, int]]:
    """Lowest and highest legal code of luma (or R'G'B') and of chroma."""
    if full:
        return (0, (1 << layout.bits) - 1), (0, (1 << layout.bits) - 1)
    unit = 1 << (layout.bits - 8)
    return (16 * unit, 235 * unit), (16 * unit, 240 * unit)
