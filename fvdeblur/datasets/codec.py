"""Frames as a video encoder leaves them: encoded and decoded again by the codecs that cameras and sites use."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from fvdeblur.errors import UsageError

Frames = NDArray[np.uint8]

PRESETS = ("ultrafast", "veryfast", "medium")
GROUP_LENGTHS = (4, 12, 250)


@dataclass(frozen=True)
class Encoding:
    """How to encode.

    Attributes
    ----------
    codec
        ``h264``, ``hevc`` or ``mpeg4``.
    quality
        Constant rate factor of H.264 and HEVC (0..51), quantiser of MPEG-4 part 2 (1..31); larger is coarser.
    preset
        Speed preset of H.264 and HEVC.
    group_length
        Frames from one intra-coded frame to the next.
    """

    codec: str
    quality: float
    preset: str = "medium"
    group_length: int = 250


def draw_encoding(rng: np.random.Generator, quality: tuple[float, float]) -> Encoding:
    """Draw an encoding, mostly H.264; ``quality`` is the range of the constant rate factor."""
    codec = str(rng.choice(["h264", "hevc", "mpeg4"], p=[0.7, 0.2, 0.1]))
    factor = float(rng.uniform(*quality))
    if codec == "mpeg4":  # about as coarse as H.264 at this rate factor
        factor = float(np.clip(2 ** ((factor - 12) / 6), 1, 31))
    # x265 is slow at its better presets and differs little between them on so few frames
    preset = str(rng.choice(PRESETS)) if codec == "h264" else "ultrafast"
    return Encoding(codec, factor, preset, int(rng.choice(GROUP_LENGTHS)))


def encode_decode(frames: Frames, encoding: Encoding) -> Frames:
    """Encode frames (4:2:0, one thread) and decode them again.

    Parameters
    ----------
    frames
        uint8 [T, H, W, 3], R'G'B'.

    Returns
    -------
    uint8 [T, H, W, 3], R'G'B'.

    Raises
    ------
    UsageError
        PyAV, or this encoder in it, is missing.
    """
    try:
        import av
    except ImportError as error:
        raise UsageError(
            "PyAV is not installed; install av, or set blur.codec_share = 0 in the recipe"
        ) from error
    height, width = frames.shape[1:3]
    padded = np.pad(frames, ((0, 0), (0, height % 2), (0, width % 2), (0, 0)), mode="edge")
    name, options = _options(encoding)
    try:
        encoder = av.CodecContext.create(name, "w")
    except av.codec.codec.UnknownCodecError as error:
        raise UsageError(
            f"this PyAV has no encoder {name}; set blur.codec_share = 0 in the recipe"
        ) from error
    encoder.width, encoder.height = padded.shape[2], padded.shape[1]  # type: ignore[attr-defined]
    encoder.pix_fmt, encoder.framerate = "yuv420p", 25  # type: ignore[attr-defined]
    encoder.time_base = Fraction(1, 25)
    encoder.thread_count = 1
    encoder.options = options
    decoder = av.CodecContext.create(encoding.codec, "r")
    decoder.thread_count = 1
    pictures: list[Frames] = []

    def collect(packet: av.Packet | None) -> None:
        pictures.extend(
            np.asarray(picture.to_ndarray(format="rgb24"), np.uint8)
            for picture in decoder.decode(packet)  # type: ignore[attr-defined]
        )

    for k, frame in enumerate(padded):
        picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")
        picture.pts = k
        for packet in encoder.encode(picture):  # type: ignore[attr-defined]
            collect(packet)
    for packet in encoder.encode(None):  # type: ignore[attr-defined]
        collect(packet)
    collect(None)
    return np.stack(pictures)[:, :height, :width]


def _options(encoding: Encoding) -> tuple[str, dict[str, str]]:
    """Name of the encoder and its options."""
    group = {"g": str(encoding.group_length)}
    if encoding.codec == "mpeg4":
        quantiser = f"{encoding.quality:.0f}"
        return "mpeg4", {**group, "qmin": quantiser, "qmax": quantiser}
    quality = {**group, "crf": f"{encoding.quality:.2f}", "preset": encoding.preset}
    if encoding.codec == "hevc":
        return "libx265", {**quality, "x265-params": "log-level=none:pools=none:frame-threads=1"}
    # with macroblock trees x264 does not encode such small pictures the same way twice
    return "libx264", {**quality, "x264-params": "mbtree=0:threads=1"}
