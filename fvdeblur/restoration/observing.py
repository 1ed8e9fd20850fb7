"""What is known of every face of every frame: its 3D reading, its blur, and who it is."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Container, Generator, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from fvdeblur.faces import TrackedFace, face_size
from fvdeblur.media import FramePlanes
from fvdeblur.morphable.guidance import LOST
from fvdeblur.morphable.reader import REACH, FaceReader, Reading
from fvdeblur.restoration.blur_measure import SHARP_LEVEL, FaceBlur, face_blur
from fvdeblur.restoration.people import ENDED, People, quality_of
from fvdeblur.restoration.priors import FaceTracks
from fvdeblur.restoration.stream import ALREADY_SHARP, OUTSIDE, TOO_SMALL, TrackedPicture

PROFILE, LOST_READING = "profile", "lost reading"

LEFT_ALONE = frozenset({OUTSIDE, TOO_SMALL, ALREADY_SHARP})
"""Remarks for which `analyze` leaves faces alone."""

PROFILE_YAW = math.radians(60)
"""A face turned farther than this is a profile: its other eye cannot be seen."""


@dataclass(frozen=True, eq=False)
class ObservedFace:
    """One face in one frame.

    Attributes
    ----------
    face
        As it was tracked.
    reading
        Of its 3D face, steadied, with its pose in pixels of the frame; None where it is too small to be read.
    blur
        None where it is too small to be measured.
    remark
        What stands against working on it: ``outside the region`` (or whatever else the frame says of it),
        ``too small``, ``already sharp``, ``profile``, ``lost reading``; or None.
    """

    face: TrackedFace
    reading: Reading | None
    blur: FaceBlur | None
    remark: str | None

    @property
    def angles(self) -> tuple[float, float, float] | None:
        """Pitch, yaw and roll in degrees, as `fvdeblur.morphable.camera` has them."""
        if self.reading is None:
            return None
        pitch, yaw, roll = (math.degrees(angle) for angle in self.reading.coefficients.pose[0, :3].tolist())
        return pitch, yaw, roll


class ObservedPicture(NamedTuple):
    """A tracked frame with what is known of its faces, in their order."""

    picture: TrackedPicture
    faces: list[ObservedFace]


class FaceObserver:
    """Turns a stream of tracked frames into observed ones; each waits for the few after it (`REACH`) in its shot.

    Parameters
    ----------
    reader
        Reads the 3D faces.
    people
        Is shown every face.
    rotation
        Degrees clockwise that turn the coded picture upright.
    min_face
        Faces smaller than this many pixels (square root of the box's area) are too small.
    """

    def __init__(self, reader: FaceReader, people: People, rotation: int, min_face: float) -> None:
        self._tracks, self._people = FaceTracks(reader), people
        self._rotation, self._min_face = rotation, min_face

    def __call__(self, pictures: Iterable[TrackedPicture]) -> Generator[ObservedPicture, None, None]:
        """Yield every frame once, in order."""
        shot: deque[TrackedPicture] = deque()
        first = 0  # position in the shot of the oldest frame held
        for picture in pictures:
            if picture.tracked.starts_shot and shot:
                yield from self._finish(shot, first)
                self._people.settle(picture.tracked.index)
                first = 0
            planes = FramePlanes(picture.decoded.frame, self._rotation)
            large = [face for face in picture.tracked.faces if face_size(face.box) >= self._min_face]
            self._tracks.see(first + len(shot), planes, large)
            shot.append(picture)
            if len(shot) > REACH:
                yield self._observe(shot.popleft(), first)
                first += 1
                self._tracks.forget(first - REACH)
        yield from self._finish(shot, first)

    def _finish(self, shot: deque[TrackedPicture], first: int) -> Iterator[ObservedPicture]:
        for position in range(first, first + len(shot)):
            yield self._observe(shot.popleft(), position)
        self._tracks.clear()

    def _observe(self, picture: TrackedPicture, position: int) -> ObservedPicture:
        index = picture.tracked.index
        planes = FramePlanes(picture.decoded.frame, self._rotation)
        seen = []
        for face in picture.tracked.faces:
            reading = self._tracks.at(position, face.track)
            blur = face_blur(planes, face.box)
            remark = picture.left.get(face.track)
            if remark is None:
                small = face_size(face.box) < self._min_face
                remark = TOO_SMALL if small else _remark(face, reading, blur)
            seen.append(ObservedFace(face, reading, blur, remark))
            sharpness = 0.0 if blur is None else blur.sharpness
            self._people.see(index, planes, face, reading, quality_of(face, sharpness, reading))
        self._people.settle(index - ENDED)
        return ObservedPicture(picture, seen)


def _remark(face: TrackedFace, reading: Reading | None, blur: FaceBlur | None) -> str | None:
    if blur is not None and blur.level < SHARP_LEVEL * float((face.box[2:] - face.box[:2]).max()):
        return ALREADY_SHARP
    if reading is None:
        return None
    if float(reading.doubt) >= LOST:
        return LOST_READING
    return PROFILE if abs(float(reading.coefficients.pose[0, 1])) > PROFILE_YAW else None


def place_row(face: TrackedFace) -> dict[str, Any]:
    """Where a face is, in pixels: ``box`` and ``landmarks``, ready for JSON."""
    points = face.landmarks
    return {
        "box": [round(float(value), 2) for value in face.box],
        "landmarks": None if points is None else [[round(float(v), 2) for v in point] for point in points],
    }


def angle_row(seen: ObservedFace) -> dict[str, Any]:
    """How a face is turned, in degrees: ``pitch``, ``yaw`` and ``roll``, ready for JSON; None without a reading."""
    pitch, yaw, roll = (None, None, None) if seen.angles is None else (round(each, 2) for each in seen.angles)
    return {"pitch": pitch, "yaw": yaw, "roll": roll}


def observed_row(
    seen: ObservedFace, coefficients: bool, left: Container[str | None] = LEFT_ALONE
) -> dict[str, Any]:
    """What is known of a face in a frame, ready for JSON; the keys are described in ``docs/tracks.md``.

    Parameters
    ----------
    seen
        The face.
    coefficients
        Whether the 239 coefficients are given, too.
    left
        Remarks for which a face is to be left alone.
    """
    face, reading, blur = seen.face, seen.reading, seen.blur
    row: dict[str, Any] = {
        "track": face.track,
        "leave": seen.remark in left,
        "remark": seen.remark,
        **place_row(face),
        "score": round(face.score, 3),
        "found": "detected" if face.detected else "followed",
        **angle_row(seen),
        "doubt": None if reading is None else round(float(reading.doubt), 2),
        "sharpness": None if blur is None else round(blur.sharpness, 3),
        "blur": None
        if blur is None
        else {
            "level": round(blur.level, 2),
            "length": round(blur.length, 2),
            "direction": blur.direction,
        },
    }
    if coefficients:
        values = None if reading is None else reading.coefficients.vector()[0].tolist()
        row["coefficients"] = None if values is None else [round(value, 5) for value in values]
    return row
