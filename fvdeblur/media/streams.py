"""Setting up the streams of an output after those of a source."""

import os
import re
from fractions import Fraction
from typing import Any

import av
from av.container import InputContainer, OutputContainer
from av.video.stream import VideoStream

from fvdeblur.media.containers import MATROSKA_FAMILY, MOV_FAMILY, MUXER_OPTIONS, RAW, trial, understands
from fvdeblur.media.failures import one_line, writing
from fvdeblur.media.probe import METADATA_ERRORS, VideoInfo, open_input
from fvdeblur.media.target import OutputTarget

# Written by every muxer anew, or true of the source file only.
STALE_TAGS = {"major_brand", "minor_version", "compatible_brands", "encoder"}
_LAYOUTS = {1: "mono", 2: "stereo", 6: "5.1", 8: "7.1"}
_MADE_ANEW_IN_AVI = {"ac3": "ac3", "mp3": "libmp3lame", "mp3float": "libmp3lame"}
# Of MXF: numbers of this one file, and of the program that wrote it.
_STALE_TAGS_OF_MXF = re.compile(
    r"(.*_)?(uid|umid|ul)|(company|product)_name|(product|toolkit)_version(_num)?|application_platform",
    re.IGNORECASE,
)
_TIMECODE_RATES = {24, 25, 30, 48, 50, 60, 100, 120, 150}
_CODECS_WITH_ASPECT = {"h264", "hevc", "mpeg4", "mpeg2video", "mjpeg"}
STALE_STREAM_TAGS = {"encoder", "duration", "bps", "number_of_frames", "number_of_bytes", "rotate"}


def open_output(target: OutputTarget, info: VideoInfo, metadata: dict[str, str]) -> OutputContainer:
    """Open the partial file of a target with the muxer options that keep timestamps and these global tags."""
    options = dict(MUXER_OPTIONS.get(target.container, {}))
    if target.container in MOV_FAMILY:
        flags = "+faststart"
        if any(key.startswith("com.") for key in metadata):
            flags += "+use_metadata_tags"
        options["movflags"] = flags
        if info.time_base.numerator == 1:
            options["video_track_timescale"] = str(info.time_base.denominator)
    with writing(target.path):
        name = str(target.partial)
        output = av.open(name, "w", format=target.container, container_options=options, **METADATA_ERRORS)
    output.metadata.update({k: v for k, v in metadata.items() if not is_stale(k, info.container)})
    return output


def is_stale(key: str, container: str) -> bool:
    """Tell whether a tag of a file in some container holds for that file alone."""
    return key.lower() in STALE_TAGS or (container == "mxf" and bool(_STALE_TAGS_OF_MXF.fullmatch(key)))


def copy_stream_tags(source: Any, copied: Any, *, trimmed: bool) -> None:
    """Carry language, title and other tags, and the dispositions, from a stream to its copy."""
    for key, value in source.metadata.items():
        plain = key.lower().split("-")[0]
        stale = plain in STALE_STREAM_TAGS or plain.startswith("_statistics") or plain == "file_package_umid"
        if not stale and not (trimmed and plain == "timecode"):
            # MP4 and MOV give back as a name what they take as a title.
            copied.metadata["title" if key == "name" and "title" not in source.metadata else key] = value
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


def add_like(output: OutputContainer, stream: Any, container: str) -> Any:
    """Add a stream to an output that takes the packets of a source's."""
    made = (
        _MADE_ANEW_IN_AVI.get(stream.codec_context.name)
        if container == "avi" and stream.codec_context
        else None
    )
    if made in av.codecs_available:
        # A template would hand over the source's size of a block, by which AVI would count wrong times.
        copied: Any = output.add_stream(made, rate=stream.rate, layout=stream.layout.name)
        copied.codec_context.bit_rate = stream.codec_context.bit_rate
        return copied
    copied = output.add_stream_from_template(stream, opaque=True)
    # MP4 and MOV want to know what the channels are, also where the source does not say it.
    if container in MOV_FAMILY and _unnamed_channels(copied):
        copied.codec_context.layout = _LAYOUTS[copied.codec_context.channels]
    return copied


def _unnamed_channels(stream: Any) -> bool:
    """Whether a stream is plain samples of channels that nobody has named."""
    if stream.type != "audio" or not stream.codec_context.name.startswith("pcm_"):
        return False
    return stream.codec_context.layout.name == f"{stream.codec_context.channels} channels"


def is_written_anew(stream: Any) -> bool:
    """Tell whether a stream only repeats a tag or the chapters, which the muxer writes itself.

    MP4 and MOV keep the timecode of the first frame, and chapters, in tracks of their own as well.
    """
    if stream.type != "data":
        return False
    chapter_text = getattr(stream, "name", None) == "bin_data" and bool(stream.container.chapters())
    return "timecode" in stream.metadata or (chapter_text and why_not("mp4", stream) != "")


def why_not(container: str, stream: Any, *, main: bool = False) -> str:
    """Say why a container cannot hold a stream, by writing a header with it; empty where it can.

    Parameters
    ----------
    container : str
        FFmpeg's name of the container.
    stream : av.stream.Stream
        A stream of a source.
    main : bool
        Whether it is the main video rather than what lies beside it.
    """
    if stream.codec_context is None and stream.type not in {"attachment", "data"}:
        return "its codec is unknown here"
    if (
        container == "mpegts"
        and stream.type == "data"
        and getattr(stream, "name", None) in {None, "bin_data"}
    ):
        return "a transport stream has no type for it"
    if container == RAW and stream.type != "video":
        return "a y4m file holds pictures alone"
    if container == "mxf" and stream.type not in {"audio", "video"}:
        return "an mxf file takes pictures and sound alone"
    # A file of attachments alone has no header in some containers.
    if stream.type == "attachment" and container != "matroska":
        return f"a {container} file holds no attachments"
    if stream.type in {"audio", "subtitle"} and not understands(container, stream.codec_context.name):
        return f"a {container} file has no name for its codec"

    if (
        container in MOV_FAMILY
        and _unnamed_channels(stream)
        and stream.codec_context.channels not in _LAYOUTS
    ):
        return f"a {container} file wants to know what each of its channels is"

    def add(output: OutputContainer) -> None:
        copied = output.add_stream_from_template(stream, opaque=True)
        copied.metadata.update(stream.metadata)

    try:
        trial(container, add, beside_video=container == "mxf" and not main)
    except (av.FFmpegError, OSError, ValueError) as error:
        if container == "mxf" and stream.type == "audio":
            return "an mxf file takes PCM sound of 48 kHz only"
        return f"a {container} file cannot hold it ({one_line(error)})"
    return ""


def picture_data(path: str | os.PathLike[str], index: int) -> bytes:
    """Return the file data of cover art."""
    with open_input(path) as source:
        packet = next((p for p in source.demux(source.streams[index]) if p.size), None)
        return bytes(packet) if packet is not None else b""
