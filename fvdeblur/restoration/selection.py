"""Which faces are worked on: all, the largest, the one in the middle, a track, or people like those of a photograph."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import av
import cv2
import numpy as np

from fvdeblur.errors import InputError, UsageError
from fvdeblur.faces import Detector, TrackedFace, TrackedFrame, face_size
from fvdeblur.faces.identity import FloatArray
from fvdeblur.media import FramePlanes
from fvdeblur.media.failures import one_line, shown
from fvdeblur.restoration.people import Portrayer
from fvdeblur.restoration.stream import TrackedPicture

CHOICES = ("all", "largest", "center", "track:ID", "like:PHOTO", "unlike:PHOTO")

STEADINESS = 1.25
"""A face takes the place of the one chosen before where it is so many times larger, or nearer to the middle."""

PHOTO_SIDE = 1280
"""Longer side that larger photographs are brought to before a face is looked for in them."""


@dataclass(frozen=True)
class Selection:
    """What a user has asked for.

    Attributes
    ----------
    kind
        ``all``, ``largest``, ``center``, ``track``, ``like`` or ``unlike``.
    track
        Number of the track, for ``track``.
    photo
        A photograph of a person, for ``like`` and ``unlike``.
    """

    kind: str = "all"
    track: int | None = None
    photo: Path | None = None

    @classmethod
    def parse(cls, text: str) -> Selection:
        """Read what stands behind ``--faces``.

        Raises
        ------
        UsageError
            It is none of `CHOICES`.
        """
        kind, colon, value = text.partition(":")
        if not colon and kind in {"all", "largest", "center"}:
            return cls(kind)
        if kind == "track" and value.isdecimal():
            return cls(kind, track=int(value))
        if kind in {"like", "unlike"} and value:
            return cls(kind, photo=Path(value))
        raise UsageError(f"no faces are called {text!r}; choose one of {', '.join(CHOICES)}")

    @property
    def of_people(self) -> bool:
        """Whether it can be decided only when it is known who is who."""
        return self.photo is not None


class Selector:
    """Leaves the chosen faces in a stream of tracked frames; ``like`` and ``unlike`` pass all of them.

    ``largest`` and ``center`` keep to a face within a shot until another one is clearly better.

    Parameters
    ----------
    selection
        What is chosen.
    rotation
        Degrees clockwise that turn the coded picture upright.
    """

    def __init__(self, selection: Selection, rotation: int) -> None:
        self._selection, self._turned = selection, rotation in {90, 270}
        self._chosen: int | None = None

    def __call__(self, pictures: Iterable[TrackedPicture]) -> Generator[TrackedPicture, None, None]:
        """Yield every frame once, in order."""
        for picture in pictures:
            frame = picture.decoded.frame
            size = (frame.height, frame.width) if self._turned else (frame.width, frame.height)
            yield picture._replace(tracked=self.select(picture.tracked, *size))

    def select(self, tracked: TrackedFrame, width: int, height: int) -> TrackedFrame:
        """The same frame (of so many upright pixels) with the chosen faces alone."""
        kind = self._selection.kind
        if kind == "track":
            faces = tuple(face for face in tracked.faces if face.track == self._selection.track)
        elif kind in {"largest", "center"} and tracked.faces:
            if tracked.starts_shot:
                self._chosen = None
            faces = (self._best(tracked.faces, (width, height)),)
            self._chosen = faces[0].track
        else:
            return tracked
        return replace(tracked, faces=faces)

    def _best(self, faces: tuple[TrackedFace, ...], size: tuple[int, int]) -> TrackedFace:
        def merit(face: TrackedFace) -> float:
            if self._selection.kind == "largest":
                worth = face_size(face.box)
            else:
                middle = (face.box[:2] + face.box[2:]) / 2 - np.array(size) / 2
                worth = 1 / (0.05 * max(size) + float(np.hypot(*middle)))
            return worth * (STEADINESS if face.track == self._chosen else 1.0)

        return max(faces, key=merit)


def portrait(path: str | Path, detector: Detector, portrayer: Portrayer) -> FloatArray:
    """The embedding of the largest face of a photograph, float32 [D] of length 1.

    Raises
    ------
    InputError
        It cannot be read as a picture, or shows no face.
    """
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise InputError(f"{shown(path)}: cannot be read ({one_line(error)})") from error
    picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR) if data else None
    if picture is None:
        raise InputError(f"{shown(path)}: is no picture; give a photograph of the person")
    scale = PHOTO_SIDE / max(picture.shape[:2])
    if scale < 1:
        picture = cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    rgb = np.ascontiguousarray(picture[..., ::-1]).astype(np.uint8)
    found = detector.detect(rgb)
    if not found:
        raise InputError(f"{shown(path)}: shows no face; give a photograph of the person")
    best = max(found, key=lambda each: face_size(each.box))
    planes = FramePlanes(av.VideoFrame.from_ndarray(rgb, format="rgb24"))
    return portrayer.embed(planes, TrackedFace(0, best.box, best.score, best.landmarks))
