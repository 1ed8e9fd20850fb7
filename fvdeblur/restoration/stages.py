"""The stages of the pipeline at work side by side."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing
from typing import TypeVar

from fvdeblur.errors import InputError
from fvdeblur.faces import Detector
from fvdeblur.media import DecodedFrame, VideoReader
from fvdeblur.media.failures import shown
from fvdeblur.restoration.background import in_background
from fvdeblur.restoration.resuming import Start
from fvdeblur.restoration.settings import Settings
from fvdeblur.restoration.stream import TrackedPicture, track

Made = TypeVar("Made")

QUEUE_LENGTH = 4
"""Frames that one stage of the pipeline may be ahead of the next."""


def open_video(path: str | os.PathLike[str], settings: Settings) -> VideoReader:
    """A reader of the part of a video, within the limits, that the settings give.

    Raises
    ------
    UsageError, InputError
        As `VideoReader`; or the video lasts longer than is allowed.
    """
    reader = VideoReader(
        path,
        start=settings.start,
        end=settings.end,
        threads=settings.threads,
        max_pixels=settings.max_pixels,
        hwaccel=settings.hwaccel,
    )
    lasts, limit = reader.info.duration, settings.max_duration
    if lasts is not None and limit is not None and lasts > limit:
        reader.close()
        raise InputError(
            f"{shown(path)}: lasts {lasts:.0f} s, above the limit of {limit:g} s; raise --max-duration"
        )
    return reader


def in_stages(
    reader: VideoReader,
    detector: Detector,
    stage: Callable[[Iterable[TrackedPicture]], Iterator[Made]],
    *,
    frames: Iterable[DecodedFrame] | None = None,
    segments: bool = False,
    start: Start | None = None,
    tracking: Callable[[Iterable[DecodedFrame]], Iterator[TrackedPicture]] | None = None,
) -> Generator[Made, None, None]:
    """What a stage makes of the tracked frames of a video.

    Decoding, tracking and the stage work ahead, each in a thread of its own.

    Parameters
    ----------
    reader
        Reads the video.
    detector, segments, start
        As of `fvdeblur.restoration.stream.track`.
    stage
        Makes something of the tracked frames.
    frames
        The frames to work on; None: all of the reader's.
    tracking
        What finds the faces in the frames instead of `track`.
    """
    decoded = in_background(reader if frames is None else frames, QUEUE_LENGTH)
    if tracking is None:
        pictures = track(decoded, reader.info.rotation, detector, segments=segments, start=start)
    else:
        pictures = tracking(decoded)
    tracked = in_background(pictures, QUEUE_LENGTH)
    made = in_background(stage(tracked), QUEUE_LENGTH)
    # However this ends, all threads are gone before the caller closes the file: first the later stages,
    # which may be waiting for the earlier ones.
    with closing(decoded), closing(tracked), closing(made):
        yield from made
