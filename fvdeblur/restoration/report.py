"""What a run did to a video, measured on both files and told in one self-contained HTML page."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

from fvdeblur.errors import InputError, UsageError
from fvdeblur.faces import Detector, TrackedFace, face_size
from fvdeblur.media import DecodedFrame, FramePlanes, VideoReader
from fvdeblur.media.failures import shown
from fvdeblur.media.packet_file import file_digest
from fvdeblur.media.target import check_free
from fvdeblur.restoration.blur_measure import face_blur
from fvdeblur.restoration.crops import CropPlan, cut, plan_crop
from fvdeblur.restoration.stream import TrackedPicture, track
from fvdeblur.whole_file import whole_file

if TYPE_CHECKING:
    from fvdeblur.restoration.settings import Settings
    from fvdeblur.restoration.summary import Summary

SAMPLES = 400
"""Frames at which blur is measured, evenly spread over the video."""

SHOWN_FACES = 12
"""Faces of which a picture is shown: those that are seen longest."""

PICTURE_SIDE = 384
"""Largest side of these pictures."""

LEAST_FRAMES = 3
"""Faces that are measured less often are counted and not drawn."""

JPEG_QUALITY = 92

Picture = NDArray[np.uint8]


@dataclass(frozen=True)
class Moment:
    """The blur of a face at one time.

    Attributes
    ----------
    time
        Seconds in the output.
    before, after
        Sharpness 0..1 of the face in the input and in the output (`fvdeblur.restoration.blur_measure.FaceBlur`).
    length
        Length of the motion blur that is read in the input, in pixels.
    """

    time: float
    before: float
    after: float
    length: float


@dataclass
class FaceRecord:
    """What was seen of one face track.

    Attributes
    ----------
    track
        Number of the track.
    frames
        Frames in which it was seen.
    size
        Largest size of the face in pixels.
    moments
        Its blur at the frames that were measured.
    time, before, after
        The moment at which most was gained, and JPEG pictures of it in the input and in the output.
    """

    track: int
    frames: int = 0
    size: float = 0.0
    moments: list[Moment] = field(default_factory=list)
    time: float = 0.0
    before: bytes = b""
    after: bytes = b""
    gain: float = -np.inf


@dataclass
class Report:
    """Everything that the page tells.

    Attributes
    ----------
    summary, settings
        Of the run.
    faces
        The face tracks, the one seen longest first.
    duration
        Seconds of the output.
    digests
        SHA-256 of input and output.
    versions
        Of what the result depends on, by name.
    model_sha256
        Of the model's weights.
    """

    summary: Summary
    settings: Settings
    faces: list[FaceRecord]
    duration: float
    digests: tuple[str, str]
    versions: dict[str, str]
    model_sha256: str


def write_report(path: str | Path, summary: Summary, settings: Settings, detector: Detector) -> Report:
    """Look at the input and the output of a run again and write a page about it.

    Faces are followed in the input, and their blur is measured at the same places in both files. The page needs nothing
    else, on this machine or the network.

    Parameters
    ----------
    path
        The HTML file.
    summary, settings
        Of the run, which wrote a video.
    detector
        What finds the faces.

    Raises
    ------
    UsageError
        A file stands there and ``settings.overwrite`` is False, or it is the input or the output.
    InputError
        The input or the output cannot be read, or they do not fit each other.
    OutputError
        The page cannot be written.
    """
    from fvdeblur.restoration.report_page import page

    path = Path(path)
    check_report(path, summary.input, summary.output, settings.overwrite)
    report = examine(summary, settings, detector)
    with whole_file(path) as partial:
        partial.write_text(page(report), encoding="utf-8")
    return report


def check_report(path: Path, source: Path, target: Path, overwrite: bool) -> None:
    """Raise UsageError where a report must not be written to a path."""
    if os.path.realpath(path) in (os.path.realpath(source), os.path.realpath(target)):
        raise UsageError(f"{shown(path)}: is the input or the output; choose another name with --report")
    check_free(path, overwrite, "--report")


def examine(summary: Summary, settings: Settings, detector: Detector) -> Report:
    """Measure the faces of a run's input and output."""
    from fvdeblur.diagnosis import versions
    from fvdeblur.restoration.weights import read_card

    records: dict[int, FaceRecord] = {}
    every = max(1, summary.frames // SAMPLES)
    duration = 0.0
    begin = settings.start or 0.0
    for number, (picture, after) in enumerate(_together(summary, settings, detector)):
        time = picture.decoded.time - begin
        duration = max(duration, time)
        for face in picture.tracked.faces:
            record = records.setdefault(face.track, FaceRecord(face.track))
            record.frames += 1
            record.size = max(record.size, face_size(face.box))
            if number % every == 0:
                _measure(record, face, FramePlanes(picture.decoded.frame, after.rotation), after, time)
    faces = sorted(records.values(), key=lambda record: -record.frames)
    for record in faces[SHOWN_FACES:]:
        record.before = record.after = b""
    return Report(
        summary,
        settings,
        faces,
        duration,
        (file_digest(summary.input), file_digest(summary.output)),
        versions(),
        read_card(settings.model).sha256,
    )


def _together(
    summary: Summary, settings: Settings, detector: Detector
) -> Iterator[tuple[TrackedPicture, FramePlanes]]:
    """The tracked frames of the input with the planes of the output's."""
    waiting: deque[FramePlanes] = deque()
    with (
        VideoReader(
            summary.input, start=settings.start, end=settings.end, threads=settings.threads
        ) as source,
        VideoReader(summary.output, threads=settings.threads) as target,
    ):
        rotation = source.info.rotation

        def frames() -> Iterator[DecodedFrame]:
            with closing(iter(target)) as others:
                for decoded in source:
                    other = next(others, None)
                    if other is None:
                        raise InputError(f"{shown(summary.output)}: has fewer frames than the input")
                    waiting.append(FramePlanes(other.frame, target.info.rotation))
                    yield decoded

        for picture in track(frames(), rotation, detector):
            yield picture, waiting.popleft()


def _measure(
    record: FaceRecord, face: TrackedFace, before: FramePlanes, after: FramePlanes, time: float
) -> None:
    found = [face_blur(planes, face.box) for planes in (before, after)]
    if found[0] is None or found[1] is None:
        return
    record.moments.append(Moment(time, found[0].sharpness, found[1].sharpness, found[0].length))
    plan = plan_crop(face.box, 16, PICTURE_SIDE)
    one, other = (_cut(planes, plan) for planes in (before, after))
    # What the eye sees most of: a large face that was changed much.
    gain = float(np.abs(one.astype(np.int16) - other).mean()) * face_size(face.box) ** 0.5
    if gain > record.gain:
        record.gain, record.time = gain, time
        record.before, record.after = _jpeg(one), _jpeg(other)


def _cut(planes: FramePlanes, plan: CropPlan) -> Picture:
    return np.asarray(np.clip(np.round(cut(planes, plan) * 255), 0, 255), np.uint8)


def _jpeg(picture: Picture) -> bytes:
    options = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, 0x111111]
    done, data = cv2.imencode(".jpg", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), options)
    assert done
    return bytes(data)
