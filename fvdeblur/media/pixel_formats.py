"""Pixel formats that frames can be edited in, and conversion between formats."""

import re
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

import av
from av.video.reformatter import VideoReformatter

RANGE_LIMITED = 1
RANGE_FULL = 2

SPACE_RGB = 0
SPACE_BT709 = 1
SPACE_UNSPECIFIED = 2
SPACE_SMPTE170M = 6

_PLANAR = re.compile(r"yuv(a?)(j?)(420|422|440|444)p(9|10|12|14|16)?(le)?")
_GRAY = re.compile(r"gray(9|10|12|14|16)?(le)?")
_PLANAR_RGB = re.compile(r"gbr(a?)p(9|10|12|14|16)?(le)?")
_SEMI_PLANAR = {"nv12": (1, 1), "nv21": (1, 1), "nv16": (1, 0), "nv24": (0, 0), "nv42": (0, 0)}
_SEMI_PLANAR_DEEP = re.compile(r"p([024])(10|12|16)le")
_SUBSAMPLING = {"420": (1, 1), "422": (1, 0), "440": (0, 1), "444": (0, 0)}
# Byte offsets of red, green and blue, and the bytes of a pixel.
_PACKED_RGB = {
    "rgb24": (0, 1, 2, 3),
    "bgr24": (2, 1, 0, 3),
    "rgba": (0, 1, 2, 4),
    "rgb0": (0, 1, 2, 4),
    "bgra": (2, 1, 0, 4),
    "bgr0": (2, 1, 0, 4),
    "argb": (1, 2, 3, 4),
    "0rgb": (1, 2, 3, 4),
    "abgr": (3, 2, 1, 4),
    "0bgr": (3, 2, 1, 4),
}


@dataclass(frozen=True)
class PixelFormat:
    """How the samples of a pixel format lie in memory.

    Attributes
    ----------
    name : str
        FFmpeg's name of the format.
    kind : str
        ``"yuv"``, ``"gray"`` or ``"rgb"``.
    bits : int
        Depth of a sample.
    shift : int
        Unused low bits below a sample (6 for ``p010le``).
    subsampling : tuple of int
        log2 of the horizontal and the vertical chroma subsampling.
    channels : tuple of (int, int, int)
        Plane, samples from one pixel to the next, and sample offset of Y, Cb, Cr or of R, G, B.
    full_range : bool
        True where the name itself says full range (``yuvj*``, RGB).
    """

    name: str
    kind: str
    bits: int
    shift: int
    subsampling: tuple[int, int]
    channels: tuple[tuple[int, int, int], ...]
    full_range: bool

    @property
    def sample_bytes(self) -> int:
        """Bytes that one sample takes in memory: 1 or 2."""
        return 1 if self.bits == 8 else 2


@lru_cache(maxsize=128)
def pixel_format(name: str) -> PixelFormat | None:
    """Return the memory layout of a pixel format, or None for one that frames cannot be edited in."""
    planar = ((0, 1, 0), (1, 1, 0), (2, 1, 0))
    if match := _PLANAR.fullmatch(name):
        _, full, chroma, bits, little = match.groups()
        if bool(bits) == bool(little):
            return PixelFormat(name, "yuv", int(bits or 8), 0, _SUBSAMPLING[chroma], planar, bool(full))
    elif match := _GRAY.fullmatch(name):
        bits, little = match.groups()
        if bool(bits) == bool(little):
            return PixelFormat(name, "gray", int(bits or 8), 0, (0, 0), ((0, 1, 0),), False)
    elif match := _PLANAR_RGB.fullmatch(name):
        _, bits, little = match.groups()
        if bool(bits) == bool(little):
            channels = ((2, 1, 0), (0, 1, 0), (1, 1, 0))
            return PixelFormat(name, "rgb", int(bits or 8), 0, (0, 0), channels, True)
    elif name in _SEMI_PLANAR:
        first, second = (1, 0) if name in {"nv21", "nv42"} else (0, 1)
        channels = ((0, 1, 0), (1, 2, first), (1, 2, second))
        return PixelFormat(name, "yuv", 8, 0, _SEMI_PLANAR[name], channels, False)
    elif match := _SEMI_PLANAR_DEEP.fullmatch(name):
        layout, bits = match.groups()
        subsampling = {"0": (1, 1), "2": (1, 0), "4": (0, 0)}[layout]
        channels = ((0, 1, 0), (1, 2, 0), (1, 2, 1))
        return PixelFormat(name, "yuv", int(bits), 16 - int(bits), subsampling, channels, False)
    elif name in _PACKED_RGB:
        *offsets, step = _PACKED_RGB[name]
        packed = tuple((0, step, offset) for offset in offsets)
        return PixelFormat(name, "rgb", 8, 0, (0, 0), packed, True)
    return None


def supported(pix_fmt: str) -> bool:
    """Tell whether `FramePlanes` can edit frames of this pixel format directly."""
    return pixel_format(pix_fmt) is not None


_CONVERSION_TARGETS = (
    *(f"yuv{chroma}p{depth}" for depth in ("", "10le", "12le", "16le") for chroma in (420, 422, 444)),
    *("yuva420p", "yuva422p", "yuva444p", "yuva444p10le", "yuva444p16le", "gray", "gray10le", "gray16le"),
    *("rgb24", "rgba", "gbrp10le", "gbrp12le", "gbrp16le", "gbrap12le", "gbrap16le"),
)


def nearest_supported(pix_fmt: str) -> str:
    """Return `pix_fmt` itself where frames can be edited in it, else the nearest format in which they can."""
    return pix_fmt if supported(pix_fmt) else nearest(pix_fmt, _CONVERSION_TARGETS)


def is_rgb(pix_fmt: str) -> bool:
    """Tell whether the format stores R'G'B' rather than Y'CbCr or luma alone (palettes count as R'G'B')."""
    description = av.VideoFormat(pix_fmt)
    return bool(description.is_rgb or description.has_palette)


def bit_depth(pix_fmt: str) -> int:
    """Return the depth of the deepest component in bits."""
    return (
        8 if av.VideoFormat(pix_fmt).has_palette else max(c.bits for c in av.VideoFormat(pix_fmt).components)
    )


def nearest(pix_fmt: str, candidates: Iterable[str]) -> str:
    """Return the candidate that loses least of a format: first colour, then depth, chroma and alpha.

    Raises
    ------
    ValueError
        There is no candidate.
    """
    wanted = _traits(pix_fmt)

    def cost(name: str) -> tuple[int, ...]:
        have = _traits(name)
        losses = [max(0, w - h) for w, h in zip(wanted[:5], have[:5], strict=True)]
        excess = sum(max(0, h - w) for w, h in zip(wanted[:5], have[:5], strict=True))
        unlike = int(have[5] != wanted[5])
        full_range = int(name.startswith("yuvj") != pix_fmt.startswith("yuvj"))
        return (losses[0], losses[1], unlike, losses[2] + losses[3], losses[4], excess, full_range)

    return min((name for name in candidates if not av.VideoFormat(name).is_bit_stream), key=cost)


def _traits(pix_fmt: str) -> tuple[int, int, int, int, int, int]:
    """Colour, bits, horizontal and vertical chroma resolution, alpha, and whether the format is RGB."""
    description = av.VideoFormat(pix_fmt, 64, 64)
    rgb = is_rgb(pix_fmt)
    # PyAV calls chroma only what is subsampled, so components are counted.
    colour = rgb or sum(not c.is_alpha for c in description.components) >= 3
    alpha = description.has_palette or any(c.is_alpha for c in description.components)
    chroma = (64, 64) if rgb else (description.chroma_width(), description.chroma_height())
    if not colour:
        chroma = (0, 0)
    return (int(colour), bit_depth(pix_fmt), chroma[0], chroma[1], int(alpha), int(rgb))


# One scaler a thread: PyAV's scaler for every frame costs a set-up and keeps megabytes while the frame lives.
_local = threading.local()


def reformatter() -> VideoReformatter:
    """Return this thread's scaler."""
    if not hasattr(_local, "reformatter"):
        _local.reformatter = VideoReformatter()
    return _local.reformatter


def colour_space(frame_space: int, coded_height: int) -> int:
    """Return the matrix that Y'CbCr samples are in: the tag, or what untagged video of this height mostly is.

    Parameters
    ----------
    frame_space : int
        FFmpeg's ``AVColorSpace`` number of the frame or stream (2: unspecified).
    coded_height : int
        Height in pixels before rotation; from 720 on BT.709 is assumed, below it BT.601.
    """
    if frame_space not in {SPACE_UNSPECIFIED, SPACE_RGB}:
        return frame_space
    return SPACE_BT709 if coded_height >= 720 else SPACE_SMPTE170M


def convert(frame: av.VideoFrame, pix_fmt: str) -> av.VideoFrame:
    """Return the frame in another pixel format with its matrix, range, timestamps and size kept.

    A frame that already has the format is returned itself.
    """
    if frame.format.name == pix_fmt:
        return frame
    space = colour_space(frame.colorspace, frame.height)
    full = (
        frame.format.name.startswith("yuvj") or frame.color_range == RANGE_FULL or is_rgb(frame.format.name)
    )
    source_range = RANGE_FULL if full else RANGE_LIMITED
    # R'G'B' turns into limited Y'CbCr, as players expect; between Y'CbCr formats the range stays.
    target_range = RANGE_LIMITED if is_rgb(frame.format.name) and not is_rgb(pix_fmt) else source_range
    if is_rgb(pix_fmt) or pix_fmt.startswith("yuvj"):
        target_range = RANGE_FULL
    converted = reformatter().reformat(
        frame,
        format=pix_fmt,
        src_colorspace=space,
        dst_colorspace=space,
        src_color_range=source_range,
        dst_color_range=target_range,
        interpolation="BICUBIC",
    )
    converted.pts, converted.time_base = frame.pts, frame.time_base
    return converted


def keeps_colour(source: str, target: str) -> bool:
    """Tell whether a format holds the colour, the depth and the chroma resolution of another."""
    return all(have >= want for want, have in zip(_traits(source)[:4], _traits(target)[:4], strict=True))
