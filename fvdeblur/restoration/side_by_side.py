"""Frames beside their grey and darker selves, sample by sample, and the format of a video of them."""

from __future__ import annotations

import dataclasses
from functools import lru_cache
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from fvdeblur.media import VideoInfo
from fvdeblur.media.pixel_formats import (
    RANGE_FULL,
    RANGE_LIMITED,
    PixelFormat,
    colour_space,
    convert,
    is_rgb,
    pixel_format,
)
from fvdeblur.media.planes import channel_views

DARK = 0.5
"""Brightness of the grey picture, in units of the frame's."""

_LUMA_WEIGHTS = (0.2126, 0.7152, 0.0722)
_SUBSAMPLINGS = {(1, 1): "420", (1, 0): "422", (0, 1): "440", (0, 0): "444"}


def side_by_side_info(info: VideoInfo) -> VideoInfo:
    """The format of what is written: twice as wide, and upright as it is coded."""
    turned = info.rotation in (90, 270)
    aspect = info.sample_aspect_ratio
    # The matrix of untagged video goes by the height of the coded picture, which is another one when it was turned.
    tagged = turned and not is_rgb(info.pix_fmt)
    return dataclasses.replace(
        info,
        width=2 * info.display_width,
        height=info.display_height,
        sample_aspect_ratio=1 / aspect if turned else aspect,
        rotation=0,
        display_matrix=None,
        color_space=colour_space(info.color_space, info.height) if tagged else info.color_space,
    )


def side_by_side(frame: av.VideoFrame, rotation: int) -> av.VideoFrame:
    """A frame beside its grey and darker self.

    Parameters
    ----------
    frame
        As it was decoded, in a pixel format for which `fvdeblur.media.supported` is true.
    rotation
        Degrees clockwise that turn it upright: 0, 90, 180 or 270.

    Returns
    -------
    A new frame, upright and twice as wide, of the same depth, range and matrix, planar and without alpha. Its left half
    holds the same samples, in a chroma resolution that survives the turn.
    """
    layout = _planar(frame, rotation)
    source = convert(frame, layout.name)
    upright = [np.rot90(samples, -rotation // 90) for samples in channel_views(source, layout)]
    height, width = upright[0].shape
    space, extent = int(source.colorspace), int(source.color_range)
    wide = av.VideoFrame(2 * width, height, layout.name)
    wide.pts, wide.time_base = frame.pts, frame.time_base
    wide.duration = getattr(frame, "duration", 0) or 0
    wide.colorspace = colour_space(space, frame.height) if layout.kind == "yuv" else space
    wide.color_range = extent
    full = layout.full_range or extent == RANGE_FULL or (layout.kind == "gray" and extent != RANGE_LIMITED)
    dark = _dark_codes(layout.bits, full)[_luma(upright) if layout.kind == "rgb" else upright[0]]
    for number, (samples, kept) in enumerate(zip(channel_views(wide, layout), upright, strict=True)):
        beside = dark if number == 0 or layout.kind == "rgb" else 1 << (layout.bits - 1)
        samples[:, : kept.shape[1]], samples[:, kept.shape[1] :] = kept, beside
    return wide


def _planar(frame: av.VideoFrame, rotation: int) -> PixelFormat:
    """The format to work in: a plane for each channel, and as many chroma samples as a turn needs to keep them."""
    layout = pixel_format(frame.format.name)
    assert layout is not None
    survives = layout.subsampling == (0, 0) or (
        layout.subsampling == (1, 1) and frame.width % 2 == frame.height % 2 == 0
    )
    subsampling = layout.subsampling if survives or not rotation else (0, 0)
    chroma = f"{'j' * layout.full_range}{_SUBSAMPLINGS[subsampling]}"
    depth = "" if layout.bits == 8 else f"{layout.bits}le"
    planar = pixel_format({"gray": "gray", "rgb": "gbrp", "yuv": f"yuv{chroma}p"}[layout.kind] + depth)
    assert planar is not None
    return planar


def _luma(rgb: list[NDArray[Any]]) -> NDArray[Any]:
    """Luma codes (BT.709) of R'G'B' codes."""
    total = sum(weight * channel for weight, channel in zip(_LUMA_WEIGHTS, rgb, strict=True))
    return np.rint(total).astype(rgb[0].dtype)


@lru_cache(maxsize=8)
def _dark_codes(bits: int, full: bool) -> NDArray[Any]:
    """The code of a grey level that is `DARK` times as far from black, for every luma code that memory can hold."""
    codes = np.arange(256 if bits == 8 else 65536)
    black = 0 if full else 16 << (bits - 8)
    dark = np.clip(np.rint(black + DARK * (codes - black)), 0, (1 << bits) - 1)
    return dark.astype(np.uint8 if bits == 8 else np.uint16)
