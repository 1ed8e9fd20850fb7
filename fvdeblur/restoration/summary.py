"""What a run tells: how far it is, and at the end what it did."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from fvdeblur.errors import CancelledError
from fvdeblur.media import VideoInfo

Cancelling = Callable[[], bool]
"""Asked after every frame whether to stop; the ``is_set`` of a ``threading.Event`` is one."""


@dataclass(frozen=True)
class Progress:
    """How far a run is.

    Attributes
    ----------
    frames
        Frames written.
    total
        Frames expected; None where the file does not say.
    faces
        Faces restored so far, counted in every frame.
    reused
        How many of the frames an earlier run had written.
    first_pass
        Whether nothing is written yet: the frames are those looked at to choose the faces, and the faces those seen.
    """

    frames: int
    total: int | None
    faces: int
    reused: int = 0
    first_pass: bool = False


@dataclass(frozen=True, kw_only=True)
class WorkSummary:
    """What every piece of work on a video tells in the end.

    Attributes
    ----------
    input, output
        The files; of crops, the output is a folder.
    frames
        Frames read or written.
    device, detector
        What really ran.
    seconds
        Wall-clock time.
    damage
        What of the input could not be decoded.
    notes
        What else the user should know.
    """

    input: Path
    output: Path
    frames: int
    device: str
    detector: str
    seconds: float
    damage: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class Summary(WorkSummary):
    """What a run did, beside `WorkSummary`.

    Attributes
    ----------
    people
        Number of face tracks.
    restored
        Faces restored, counted in every frame.
    left_alone
        Faces left alone, counted in every frame, by reason.
    copied
        The streams were copied as they are, because no face was changed.
    model, precision
        What really ran.
    segments
        How many segments the video was written in; 0 for pictures.
    reused
        How many of them an earlier run had finished that was stopped.
    decoder
        What decoded the video: ``software`` or a kind of hardware (``cuda``); empty for pictures.
    encoder
        What encoded it, and the pixel format, as ``libx264 (yuv420p)``; empty where nothing was encoded.
    """

    people: int
    restored: int
    left_alone: dict[str, int]
    copied: bool
    model: str
    precision: str
    segments: int = 0
    reused: int = 0
    decoder: str = ""
    encoder: str = ""


def check_cancelled(cancelled: Cancelling | None, what: str, frames: int) -> None:
    """Raise `CancelledError` where the caller wants the work on ``what`` to stop after so many frames."""
    if cancelled is not None and cancelled():
        raise CancelledError(f"{what}: cancelled at frame {frames}")


def expected_frames(info: VideoInfo, start: float | None, end: float | None) -> int | None:
    """How many frames the part from ``start`` to ``end`` seconds should have, as far as the file says."""
    if info.frames is None or info.duration is None:
        return info.frames if start is None and end is None else None
    kept = min(info.duration, end if end is not None else math.inf) - (start or 0)
    return max(0, round(info.frames * kept / info.duration)) if info.duration > 0 else info.frames
