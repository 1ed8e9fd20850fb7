"""Copying a whole video into a new file without decoding it."""

import os
from typing import Any

from fvdeblur.media.containers import COUNTING, MOV_FAMILY, WITHOUT_REORDERING, container_format
from fvdeblur.media.copying import CopiedStreams
from fvdeblur.media.failures import writing
from fvdeblur.media.losses import find_losses
from fvdeblur.media.probe import VideoInfo, main_video_stream, open_input, probe
from fvdeblur.media.streams import (
    note_lost_aspect,
    open_output,
    set_display_matrix,
    settle_timecode,
    why_not,
)
from fvdeblur.media.target import OutputTarget


def can_copy(source: str | os.PathLike[str], target: str | os.PathLike[str]) -> bool:
    """Tell whether the container that the suffix of `target` names holds the video of `source` as it is.

    Raises
    ------
    UsageError
        `source` does not exist.
    InputError
        `source` is not a video.
    """
    container = container_format(target)
    with open_input(source) as opened:
        # Into a container that only counts frames, times and the order of packets come over from its like alone.
        alike = container not in COUNTING | WITHOUT_REORDERING or container in opened.format.name.split(",")
        return (
            container is not None
            and alike
            and not why_not(container, main_video_stream(source, opened), main=True)
        )


def copy_streams(
    source: str | os.PathLike[str], target: str | os.PathLike[str], *, overwrite: bool = False
) -> list[str]:
    """Copy all streams of a video into a new file without decoding them.

    Parameters
    ----------
    source : str or os.PathLike
        The video.
    target : str or os.PathLike
        The new file; its suffix decides the container.
    overwrite : bool
        Whether a file that stands there already may be replaced.

    Returns
    -------
    list of str
        What could not be copied, one line each.

    Raises
    ------
    UsageError
        `source` does not exist, `target` is `source`, exists already, or has an unknown suffix.
    InputError
        `source` is not a video.
    OutputError
        `target` cannot be written, or its container cannot hold the video stream.
    """
    info = probe(source)
    return copy_into(OutputTarget(target, source, overwrite), info)


def copy_into(place: OutputTarget, info: VideoInfo) -> list[str]:
    """Copy all streams of a video into a target whose unfinished file has been created.

    Returns
    -------
    list of str
        What could not be copied, one line each.

    Raises
    ------
    OutputError
        The target cannot be written, or its container cannot hold the video stream.
    """
    streams: CopiedStreams | None = None
    try:
        streams = CopiedStreams(info, place.container, trimmed=False)
        output = open_output(place, info, streams.metadata)

        def add_video(stream: Any) -> Any:
            video = output.add_stream_from_template(stream, opaque=True)
            if info.sample_aspect_ratio != 1:
                video.codec_context.sample_aspect_ratio = info.sample_aspect_ratio
            if (
                info.average_rate is not None
            ):  # a template has none; Matroska would lose it, and MP4 the timecode
                video.codec_context.framerate = info.average_rate
            if place.container in MOV_FAMILY and "mov" in info.container and info.codec_tag:
                video.codec_context.codec_tag = info.codec_tag
            return video

        with writing(place.path):
            video = streams.add_to(output, add_video)
            set_display_matrix(video, info, streams.notes)
            if place.container in MOV_FAMILY:
                settle_timecode(output, video, info.average_rate, streams.notes)
            note_lost_aspect(info, place.container, info.codec, streams.notes)
            streams.include(info.stream_index, video)
            streams.start(output, info.origin, None)
            output.start_encoding()
            output.mux(list(streams.pictures()))
            for packet in streams.until(None):
                output.mux(packet)
            output.close()
        streams.notes += find_losses(info, place.partial, place.container, streams.places, streams.chapters)
        place.commit()
        return streams.notes
    finally:
        if streams is not None:
            streams.close()
        place.discard()
