"""Container formats: their suffixes, and what each of them holds."""

import os
from collections.abc import Callable
from contextlib import suppress
from fractions import Fraction
from io import BytesIO
from typing import Any

import av

# Suffix -> FFmpeg's name of the container.
CONTAINERS = {
    ".mp4": "mp4",
    ".m4v": "mp4",
    ".mov": "mov",
    ".mkv": "matroska",
    ".webm": "webm",
    ".avi": "avi",
    ".ts": "mpegts",
    ".mts": "mpegts",
    ".m2ts": "mpegts",
    ".mxf": "mxf",
    ".mpg": "vob",
    ".mpeg": "vob",
    ".vob": "vob",
    ".3gp": "3gp",
    ".flv": "flv",
    ".wmv": "asf",
    ".asf": "asf",
    ".nut": "nut",
    ".y4m": "yuv4mpegpipe",
}
MOV_FAMILY = {"mp4", "mov", "3gp"}
MATROSKA_FAMILY = {"matroska", "webm"}
COUNTING = {"avi", "mxf", "yuv4mpegpipe"}
"""Containers that know no timestamps, only how many frames there are a second."""
WITH_GAPS = {"avi"}
"""Those of them that can pass over frames, so that pictures stay close to their times."""
WITHOUT_REORDERING = {"avi", "asf", "mxf"}
"""Containers without separate times of presentation want codecs that do not reorder pictures."""
RAW = "yuv4mpegpipe"
"""The container of pictures alone, uncompressed."""
_MXF_RATES = (
    *map(Fraction, (24, 25, 30, 48, 50, 60, 72, 75, 90, 96, 100, 120)),
    *(Fraction(number * 1000, 1001) for number in (24, 30, 48, 60, 120)),
)
MUXER_OPTIONS = {
    "matroska": {"avoid_negative_ts": "disabled"},  # else sound that begins before 0 would move the video
    "webm": {"avoid_negative_ts": "disabled"},
    RAW: {"strict": "experimental"},  # for more than 8 bits
}

# What these hold well; their muxers refuse little or nothing.
_HELD = {
    "mpegts": {"h264", "hevc", "mpeg2video", "mpeg4"},
    "vob": {"mpeg2video", "h264"},
    "asf": {"mpeg4"},  # H.264 in it comes back with wrong times
    "mxf": {"h264", "mpeg2video", "prores", "dnxhd", "ffv1"},
    RAW: {"rawvideo"},
}
# What of sound and subtitles in them can be read again; of the rest, bytes without a meaning come back.
_UNDERSTOOD = {
    "mpegts": {
        *("aac", "aac_latm", "ac3", "dts", "eac3", "mp2", "mp3", "opus", "s302m", "truehd"),
        *("dvb_subtitle", "dvb_teletext", "hdmv_pgs_subtitle"),
    },
    "vob": {"ac3", "dts", "mp2", "mp3", "pcm_dvd", "dvd_subtitle"},
}


def container_format(path: str | os.PathLike[str]) -> str | None:
    """Return FFmpeg's name of the container that the suffix of a path stands for, or None."""
    return CONTAINERS.get(os.path.splitext(os.fspath(path))[1].lower())


def holds(container: str, encoder_name: str, family: str) -> bool:
    """Tell whether a container can hold what an encoder writes."""
    if container in _HELD:
        return family in _HELD[container]
    with av.open(BytesIO(), "w", format=container) as output:
        try:
            output.add_stream(encoder_name)
        except ValueError:
            return False
    return True


def understands(container: str, codec: str) -> bool:
    """Tell whether sound or subtitles of a codec can be read again from a container whose muxer takes them."""
    return container not in _UNDERSTOOD or codec in _UNDERSTOOD[container]


def rate_in(container: str, rate: Fraction) -> Fraction | None:
    """The frame rate that a container gives to a video of some rate; None where it takes nothing like it."""
    if container != "mxf":
        return rate
    nearest = min(_MXF_RATES, key=lambda known: abs(known - rate))
    return nearest if abs(nearest - rate) * 1000 < nearest else None


def called(container: str) -> str:
    """What people call a container."""
    return "y4m" if container == RAW else container


def trial(container: str, add: Callable[[Any], None], *, beside_video: bool = False) -> None:
    """Write a header with what `add` puts into an output, to nowhere; the errors are FFmpeg's.

    Parameters
    ----------
    container : str
        FFmpeg's name of the container.
    add : callable
        Takes the output and adds streams to it.
    beside_video : bool
        Whether a video comes before them, without which some containers take nothing else.
    """
    output: Any = av.open(
        BytesIO(), "w", format=container, container_options=MUXER_OPTIONS.get(container, {})
    )
    try:
        if beside_video:
            video = output.add_stream("mpeg2video", rate=25)
            video.width, video.height = 320, 240
        add(output)
        output.start_encoding()
    finally:
        with suppress(av.FFmpegError, OSError, ValueError):  # some cannot be ended without a frame
            output.close()
