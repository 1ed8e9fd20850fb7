"""What a video file holds, found out by reading its header and its first frame."""

import os
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.codec.hwaccel import HWAccel
from av.container import Flags, InputContainer
from av.video.stream import VideoStream

from fvdeblur.errors import InputError, UsageError
from fvdeblur.media.failures import one_line, reading, shown
from fvdeblur.media.pixel_formats import bit_depth

# PyAV 19 reads and writes metadata byte for byte by itself and has no argument for it any more.
METADATA_ERRORS: dict[str, Any] = (
    {"metadata_errors": "surrogateescape"} if int(av.__version__.split(".")[0]) < 19 else {}
)
# Text that FFmpeg would draw as a terminal picture is no video.
_NOT_VIDEO_FORMATS = {"tty", "image2"}
_PROBED_PACKETS = 2000

MAX_PIXELS = 1 << 26
"""Pixels of a picture above which a video is refused, 8192 by 8192: a small file can ask for any amount of memory."""


@dataclass(frozen=True)
class VideoInfo:
    """A video file, seen from its main video stream.

    Attributes
    ----------
    path : pathlib.Path
        The file.
    container : str
        FFmpeg's names of the container format, comma-separated.
    codec : str
        Codec of the video stream (``h264``).
    profile : str or None
        Profile of the codec, where it has one.
    codec_tag : str
        Four-letter code of the codec in the container, or an empty string.
    width, height : int
        Coded size in pixels, before rotation.
    pix_fmt : str
        Pixel format of the decoded frames.
    bit_depth : int
        Bits of a sample.
    rotation : int
        Degrees clockwise that turn the coded picture upright: 0, 90, 180 or 270.
    display_matrix : tuple of int or None
        The nine numbers of the container's display matrix, where it has one.
    sample_aspect_ratio : fractions.Fraction
        Width to height of a coded pixel; 1 where unknown.
    average_rate : fractions.Fraction or None
        Frames a second on average.
    time_base : fractions.Fraction
        Seconds in a tick of the stream's timestamps.
    origin : fractions.Fraction
        Seconds on the stream's clock that count as time 0 (not 0 in transport streams, for one).
    duration : float or None
        Seconds that the video stream lasts by its header.
    frames : int or None
        Number of frames by the header, else estimated from duration and rate.
    color_primaries, color_trc, color_space, color_range : int
        FFmpeg's numbers of the colour tags; 2 (for the range 0) is unspecified.
    mastering_display, content_light : bytes or None
        HDR10 side data of the first frame, in FFmpeg's layout.
    interlaced : bool
        True where the first frame is marked as interlaced.
    stream_index : int
        Index of the video stream in the file.
    audio_streams, subtitle_streams, other_streams : int
        How many streams of each kind the file holds besides (attachments, data and cover art are "other").
    """

    path: Path
    container: str
    codec: str
    profile: str | None
    codec_tag: str
    width: int
    height: int
    pix_fmt: str
    bit_depth: int
    rotation: int
    display_matrix: tuple[int, ...] | None
    sample_aspect_ratio: Fraction
    average_rate: Fraction | None
    time_base: Fraction
    origin: Fraction
    duration: float | None
    frames: int | None
    color_primaries: int
    color_trc: int
    color_space: int
    color_range: int
    mastering_display: bytes | None
    content_light: bytes | None
    interlaced: bool
    stream_index: int
    audio_streams: int
    subtitle_streams: int
    other_streams: int

    @property
    def display_width(self) -> int:
        """Width of the upright picture in pixels, the pixel aspect not applied."""
        return self.height if self.rotation in {90, 270} else self.width

    @property
    def display_height(self) -> int:
        """Height of the upright picture in pixels, the pixel aspect not applied."""
        return self.width if self.rotation in {90, 270} else self.height


def probe(path: str | os.PathLike[str], max_pixels: int = MAX_PIXELS) -> VideoInfo:
    """Read the header and the first frame of a video file.

    Parameters
    ----------
    path : str or os.PathLike
        The file.
    max_pixels : int
        Pixels that a picture may have.

    Raises
    ------
    UsageError
        There is no file at `path`.
    InputError
        The file is not a video, holds no video stream, its pictures are too large, or none of its frames can be
        decoded.
    """
    with open_input(path) as container, reading(path):
        return describe(path, container, max_pixels)


def open_input(path: str | os.PathLike[str], hwaccel: str | None = None) -> InputContainer:
    """Open a media file for reading, whatever its name looks like.

    Parameters
    ----------
    path : str or os.PathLike
        The file.
    hwaccel : str, optional
        FFmpeg's name of the hardware to decode with.

    Raises
    ------
    UsageError
        There is no file at `path`.
    InputError
        It cannot be opened as a media file.
    """
    if not os.path.exists(path):
        raise UsageError(f"{shown(path)}: no such file; check the path")
    if os.path.isdir(path):
        raise UsageError(f"{shown(path)}: is a folder; name a video file")
    # An absolute path never looks like a protocol, and a playlist may refer to local files only.
    with reading(path):
        if os.path.getsize(path) == 0:
            raise InputError(f"{shown(path)}: is empty (0 bytes); copy or record it again")
        with open(path, "rb"):
            pass
        try:
            container = av.open(
                os.path.abspath(path),
                "r",
                options={"protocol_whitelist": "file,crypto,data"},
                hwaccel=None if hwaccel is None else HWAccel(hwaccel),
                **METADATA_ERRORS,
            )
            if container.format.name == "avi" and not any(
                stream.codec_context is not None and stream.codec_context.has_b_frames
                for stream in container.streams.video
            ):
                # It has times of decoding alone; times of presentation would be guessed, for H.264 a frame too late.
                container.flags &= ~Flags.gen_pts.value
            return container
        except (av.FFmpegError, OSError, ValueError) as error:
            raise InputError(
                f"{shown(path)}: is not a video or is cut off ({one_line(error)}); check the file"
            ) from error


def main_video_stream(path: str | os.PathLike[str], container: InputContainer) -> VideoStream:
    """Return the video stream to work on: the first default one, never cover art.

    Raises
    ------
    InputError
        There is none, or this FFmpeg has no decoder for it.
    """
    streams = [stream for stream in container.streams.video if not is_attached_picture(stream)]
    name = container.format.name
    if not streams or name in _NOT_VIDEO_FORMATS or name.endswith("_pipe"):
        what = "is a picture" if streams and name != "tty" else "holds no video stream"
        raise InputError(f"{shown(path)}: {what}; give a file with video")
    default = [stream for stream in streams if stream.disposition & av.stream.Disposition.default]
    stream = (default or streams)[0]
    if stream.codec_context is None:
        raise InputError(f"{shown(path)}: its video codec cannot be decoded here; convert it to H.264 first")
    return stream


def is_attached_picture(stream: Any) -> bool:
    """Tell whether a stream is cover art rather than video."""
    flags = av.stream.Disposition.attached_pic | av.stream.Disposition.timed_thumbnails
    return bool(stream.type == "video" and stream.disposition & flags)


def fraction(value: Any) -> Fraction | None:
    """Return one of PyAV's rationals as a Fraction, None where it is unset or zero."""
    return Fraction(value.numerator, value.denominator) if value else None


def limit_pixels(path: str | os.PathLike[str], stream: VideoStream, max_pixels: int) -> None:
    """Let a decoder refuse pictures above a size, before it takes memory for them.

    Raises
    ------
    InputError
        The header gives a larger size.
    """
    context = stream.codec_context
    if context.width * context.height > max_pixels:
        raise InputError(
            f"{shown(path)}: its pictures are {context.width}x{context.height}, above {max_pixels} pixels; "
            "raise --max-pixels if it is to be trusted"
        )
    # Twice as many, for decoders count whole blocks beyond the picture's edge.
    context.options = {**context.options, "max_pixels": str(2 * max_pixels)}


def describe(
    path: str | os.PathLike[str], container: InputContainer, max_pixels: int = MAX_PIXELS
) -> VideoInfo:
    """Build the VideoInfo of an opened file; this reads packets up to the first frame that decodes."""
    stream = main_video_stream(path, container)
    limit_pixels(path, stream, max_pixels)
    first = _first_frame(path, container, stream)
    context = stream.codec_context
    matrix = _side_data(first, "DISPLAYMATRIX")
    display_matrix = tuple(int(v) for v in np.frombuffer(matrix[:36], np.int32)) if matrix else None
    time_base = fraction(stream.time_base) or Fraction(1, 1000)
    rate = fraction(stream.average_rate) or fraction(stream.guessed_rate)
    duration = stream_duration(stream)
    if duration is None and container.duration:
        duration = container.duration / 1e6
    frames = stream.frames or (round(duration * rate) if duration and rate else None)
    kinds = [s.type for s in container.streams]
    return VideoInfo(
        path=Path(path),
        container=container.format.name,
        codec=context.codec.canonical_name,
        profile=stream.profile,
        codec_tag=_printable_tag(context.codec_tag),
        width=first.width,
        height=first.height,
        pix_fmt=first.format.name,
        bit_depth=bit_depth(first.format.name),
        rotation=_rotation(display_matrix),
        display_matrix=display_matrix,
        sample_aspect_ratio=fraction(stream.sample_aspect_ratio) or Fraction(1),
        average_rate=rate,
        time_base=time_base,
        origin=_origin(container, stream, time_base),
        duration=duration,
        frames=frames,
        color_primaries=_tag(first.color_primaries, context.color_primaries, 2),
        color_trc=_tag(first.color_trc, context.color_trc, 2),
        color_space=_tag(first.colorspace, context.colorspace, 2),
        color_range=_tag(first.color_range, context.color_range, 0),
        mastering_display=_side_data(first, "MASTERING_DISPLAY_METADATA"),
        content_light=_side_data(first, "CONTENT_LIGHT_LEVEL"),
        interlaced=bool(first.interlaced_frame),
        stream_index=stream.index,
        audio_streams=kinds.count("audio"),
        subtitle_streams=kinds.count("subtitle"),
        other_streams=len(kinds) - kinds.count("audio") - kinds.count("subtitle") - 1,
    )


def stream_duration(stream: VideoStream) -> float | None:
    """Return the seconds that the header gives for this stream itself, or None."""
    if stream.duration and stream.time_base:
        return float(stream.duration * stream.time_base)
    text = next((value for key, value in stream.metadata.items() if key.upper().startswith("DURATION")), "")
    try:
        hours, minutes, seconds = text.split(":")
        return int(hours) * 3600 + int(minutes) * 60 + float(seconds)
    except ValueError:
        return None


def _first_frame(
    path: str | os.PathLike[str], container: InputContainer, stream: VideoStream
) -> av.VideoFrame:
    packets = 0
    for packet in container.demux(stream):
        packets += packet.size > 0
        try:
            frames = packet.decode()
        except (av.FFmpegError, OSError, ValueError):
            continue
        if frames:
            return frames[0]
        if packets > _PROBED_PACKETS:
            break
    if not packets:
        raise InputError(
            f"{shown(path)}: holds no frames (its video stream is empty); record or export it again"
        )
    raise InputError(f"{shown(path)}: none of its frames can be decoded; the file is damaged, copy it again")


def _side_data(frame: Any, name: str) -> bytes | None:
    for item in frame.side_data:
        kind = getattr(item, "type", item)  # PyAV 19 iterates over the keys
        if kind.name == name:
            return bytes(frame.side_data[kind])
    return None


def _rotation(matrix: tuple[int, ...] | None) -> int:
    """Degrees clockwise that turn the picture upright, from FFmpeg's display matrix."""
    if matrix is None:
        return 0
    # A step right in the coded picture moves matrix[1] down on the display, a step down moves matrix[4].
    right_goes_down, down_goes_down = matrix[1], matrix[4]
    if abs(down_goes_down) >= abs(right_goes_down):
        return 0 if down_goes_down >= 0 else 180
    return 90 if right_goes_down > 0 else 270


def _origin(container: InputContainer, stream: VideoStream, time_base: Fraction) -> Fraction:
    """Seconds that count as time 0: the start of the file, where that is not before 0."""
    start = Fraction(container.start_time or 0, 1_000_000)
    if start <= 0:
        return Fraction(0)
    if stream.start_time is not None:
        exact = stream.start_time * time_base
        if abs(exact - start) < Fraction(1, 10_000):
            return exact
    return start


def _tag(of_frame: Any, of_stream: Any, unspecified: int) -> int:
    return int(of_frame) if int(of_frame) != unspecified else int(of_stream)


def _printable_tag(tag: str | None) -> str:
    return tag if tag and len(tag) == 4 and tag.isprintable() and "\\" not in tag else ""
