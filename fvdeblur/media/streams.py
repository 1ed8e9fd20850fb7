"""Setting up the streams of an output after those of a source."""

import os
from fractions import Fraction
from io import BytesIO
from typing import Any

import av
from av.container import InputContainer, OutputContainer
from av.video.stream import VideoStream

from fvdeblur.media.encoders import MATROSKA_FAMILY, MOV_FAMILY
from fvdeblur.media.failures import one_line, writing
from fvdeblur.media.probe import METADATA_ERRORS, VideoInfo, open_input
from fvdeblur.media.target import OutputTarget

# Written by every muxer anew, or true of the source file only.
STALE_TAGS = {"major_brand", "minor_version", "compatible_brands", "encoder"}
_TIMECODE_RATES = {24, 25, 30, 48, 50, 60, 100, 120, 150}
_CODECS_WITH_ASPECT = {"h264", "hevc", "mpeg4", "mpeg2video", "mjpeg"}
STALE_STREAM_TAGS = {"encoder", "duration", "bps", "number_of_frames", "number_of_bytes", "rotate"}


def open_output(target: OutputTarget, info: VideoInfo, metadata: dict[str, str]) -> OutputContainer:
    """Open the partial file of a target with the muxer options that keep timestamps and these global tags."""
    options: dict[str, str] = {}
    if target.container in MOV_FAMILY:
        flags = "+faststart"
        if any(key.startswith("com.") for key in metadata):
            flags += "+use_metadata_tags"
        options["movflags"] = flags
        if info.time_base.numerator == 1:
            options["video_track_timescale"] = str(info.time_base.denominator)
    elif target.container in MATROSKA_FAMILY:
        options["avoid_negative_ts"] = "disabled"  # else sound that begins before 0 would move the video
    with writing(target.path):
        name = str(target.partial)
        output = av.open(name, "w", format=target.container, container_options=options, **METADATA_ERRORS)
    output.metadata.update({k: v for k, v in metadata.items() if k.lower() not in STALE_TAGS})
    return output


def copy_stream_tags(source: Any, copied: Any, *, trimmed: bool) -> None:
    """Carry language, title and other tags, and the dispositions, from a stream to its copy."""
    for key, value in source.metadata.items():
        plain = key.lower().split("-")[0]
        stale = plain in STALE_STREAM_TAGS or plain.startswith("_statistics")
        if not stale and not (trimmed and plain == "timecode"):
            copied.metadata[key] = value
    copied.disposition = source.disposition


def set_display_matrix(video: VideoStream, info: VideoInfo, notes: list[str]) -> None:
    """Carry the rotation over; call before anything is written."""
    if info.display_matrix is None:
        return
    if hasattr(video, "set_display_matrix"):
        video.set_display_matrix(info.display_matrix)
    else:
        notes.append("the rotation could not be kept; install PyAV 18 or later")


def settle_timecode(output: OutputContainer, video: Any, rate: Fraction | None, notes: list[str]) -> None:
    """Leave out a timecode of which MP4 and MOV cannot make a track; they refuse the whole file otherwise.

    Parameters
    ----------
    rate : fractions.Fraction or None
        Frame rate that the muxer knows for the main video; None where it knows none.
    """
    fits = rate is not None and round(rate) in _TIMECODE_RATES
    for tagged in (output, *output.streams):
        if "timecode" in tagged.metadata and not (fits and tagged in (output, video)):
            notes.append(f"the timecode {tagged.metadata.pop('timecode')} could not be kept")


def note_lost_aspect(info: VideoInfo, container: str, codec: str, notes: list[str]) -> None:
    """Say so where neither the bitstream nor the container, as PyAV writes it, takes the pixel aspect."""
    ratio = info.sample_aspect_ratio
    if ratio != 1 and container in MATROSKA_FAMILY and codec not in _CODECS_WITH_ASPECT:
        notes.append(
            f"the pixel aspect {ratio} cannot be stored with {codec} in this container; use .mp4 or .mov"
        )


def chapters_of(source: InputContainer, shift: Fraction, end: Fraction | None, *, trimmed: bool) -> list[Any]:
    """Chapters of a source; with a trim those that overlap the kept part, moved so that it begins at 0."""
    if not trimmed:
        return source.chapters()
    kept = []
    for chapter in source.chapters():
        assert chapter["time_base"] is not None
        unit = chapter["time_base"]
        begin, stop = chapter["start"] * unit - shift, chapter["end"] * unit - shift
        if end is not None:
            stop = min(stop, end - shift)
        begin = max(begin, Fraction(0))
        if begin < stop:
            kept.append({**chapter, "start": round(begin / unit), "end": round(stop / unit)})
    return kept


def describe_stream(stream: Any) -> str:
    """Name a stream in a message."""
    name = getattr(stream, "name", None)
    return f"{stream.type} stream {stream.index}{f' ({name})' if name else ''}"


def is_written_anew(stream: Any) -> bool:
    """Tell whether a stream only repeats a tag or the chapters, which the muxer writes itself.

    MP4 and MOV keep the timecode of the first frame, and chapters, in tracks of their own as well.
    """
    if stream.type != "data":
        return False
    chapter_text = getattr(stream, "name", None) == "bin_data" and bool(stream.container.chapters())
    return "timecode" in stream.metadata or (chapter_text and why_not("mp4", stream) != "")


def why_not(container: str, stream: Any) -> str:
    """Say why a container cannot hold a stream, by writing a header with it alone; empty where it can."""
    if stream.codec_context is None and stream.type not in {"attachment", "data"}:
        return "its codec is unknown here"
    if (
        container == "mpegts"
        and stream.type == "data"
        and getattr(stream, "name", None) in {None, "bin_data"}
    ):
        return "a transport stream has no type for it"
    try:
        with av.open(BytesIO(), "w", format=container) as trial:
            copied = trial.add_stream_from_template(stream, opaque=True)
            # A file of attachments alone has no header in some containers.
            if stream.type == "attachment" and container != "matroska":
                return f"a {container} file holds no attachments"
            copied.metadata.update(stream.metadata)
            trial.start_encoding()
    except (av.FFmpegError, OSError, ValueError) as error:
        return f"a {container} file cannot hold it ({one_line(error)})"
    return ""


def picture_data(path: str | os.PathLike[str], index: int) -> bytes:
    """Return the file data of cover art."""
    with open_input(path) as source:
        packet = next((p for p in source.demux(source.streams[index]) if p.size), None)
        return bytes(packet) if packet is not None else b""
