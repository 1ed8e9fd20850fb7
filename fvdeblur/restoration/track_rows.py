"""The entries of a tracks file, and the strict check of each (``docs/tracks.md``)."""

from __future__ import annotations

import itertools
import math
from collections.abc import Container
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from fvdeblur.errors import InputError
from fvdeblur.faces import TrackedFace
from fvdeblur.media.failures import shown
from fvdeblur.morphable.coefficients import TOTAL

FORMAT, VERSION = "fvdeblur-tracks", 1
LARGEST = 1e7
"""No coordinate is larger."""


@dataclass(frozen=True)
class Source:
    """The video: its name, its size in bytes (None: not to be compared), and that of its upright picture in pixels."""

    file: str
    bytes: int | None
    width: int
    height: int


@dataclass(frozen=True)
class Shot:
    """A shot: its number, and the time of its first frame in seconds."""

    id: int
    time: float


@dataclass(frozen=True)
class PersonRow:
    """A person: whether they are to be left alone, and the factor of their change, 0..1; None: that of all."""

    leave: bool = False
    strength: float | None = None


@dataclass(frozen=True)
class TrackRow:
    """A track: its number, its person, whether it is to be left alone, why, and the factor of its change as above."""

    id: int
    person: int
    leave: bool
    remark: str | None = None
    strength: float | None = None


@dataclass(frozen=True)
class FaceRow:
    """A face in a frame: as it is tracked, whether it is to be left alone there, and what is remarked of it."""

    face: TrackedFace
    leave: bool
    remark: str | None = None


@dataclass(frozen=True)
class Frame:
    """A frame: its number, its time in seconds, and its faces."""

    index: int
    time: float
    faces: tuple[FaceRow, ...]

    def only(self, tracks: Container[int]) -> Frame:
        """The same with the faces of these tracks alone."""
        return replace(self, faces=tuple(face for face in self.faces if face.face.track in tracks))


class Check:
    """Checks the entries of one file; whatever does not fit is an InputError of one line that names the place."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._time = -math.inf

    def head(
        self, values: dict[str, Any]
    ) -> tuple[Source, tuple[Shot, ...], dict[int, TrackRow], dict[int, PersonRow]]:
        """Everything but the frames: source, shots, listed tracks of listed persons, and these."""
        if values.get("format") != FORMAT:
            raise self._error("format", f"is not {FORMAT!r}; name a file of fvdeblur analyze", remedy=False)
        if values.get("version") != VERSION or isinstance(values["version"], bool):
            found = values.get("version")
            raise self._error(
                "version",
                f"is {found!r}, but this program knows {VERSION}; analyze the video anew",
                remedy=False,
            )
        known = {"format", "version", "source", "analysis", "persons", "shots", "tracks", "frames"}
        self._keys("", values, known - {"analysis"}, known)
        if values["frames"] != []:
            raise self._error("frames", "must be a list")
        source = self._source(values["source"])
        shots = tuple(
            Shot(
                self._whole(f"{place}.id", entry["id"]),
                self._number(f"{place}.time", entry["time"], least=-LARGEST),
            )
            for place, entry in self._entries(values, "shots", {"id", "time"}, {"frame", "frames"})
        )
        self._once("shots", [shot.id for shot in shots])
        for index, (one, other) in enumerate(itertools.pairwise(shots), 1):
            if other.time <= one.time:
                raise self._error(f"shots[{index}].time", "must be after that of the shot before it")
        figures = {"tracks", "faces", "sharpness", "level", "best"}
        numbers, persons = [], {}
        for place, entry in self._entries(values, "persons", {"id"}, {"leave", "name", "strength", *figures}):
            numbers.append(self._whole(f"{place}.id", entry["id"]))
            leave = self._flag(f"{place}.leave", entry.get("leave", False))
            persons[numbers[-1]] = PersonRow(leave, self._strength(place, entry))
        self._once("persons", numbers)
        rows = []
        more = {"leave", "remark", "strength", "shot", "first", "last", "size", *figures}
        for place, entry in self._entries(values, "tracks", {"id", "person"}, more):
            number = self._whole(f"{place}.id", entry["id"])
            person = self._whole(f"{place}.person", entry["person"])
            leave = self._flag(f"{place}.leave", entry.get("leave", False))
            remark, strength = self._remark(place, entry), self._strength(place, entry)
            rows.append(TrackRow(number, person, leave, remark, strength))
        self._once("tracks", [row.id for row in rows])
        return source, shots, {row.id: row for row in rows if row.person in persons}, persons

    def frame(self, index: int, value: Any) -> Frame:
        """An entry of ``frames``, which are checked in order."""
        place = f"frames[{index}]"
        self._keys(place, value, {"frame", "time", "faces"}, {"frame", "time", "faces"})
        number = self._whole(f"{place}.frame", value["frame"])
        seconds = self._number(f"{place}.time", value["time"], least=-LARGEST)
        if seconds <= self._time:
            raise self._error(f"{place}.time", f"{seconds:g} must be after that of the frame before it")
        self._time = seconds
        if not isinstance(value["faces"], list):
            raise self._error(f"{place}.faces", "must be a list")
        faces = tuple(self._face(f"{place}.faces[{k}]", face) for k, face in enumerate(value["faces"]))
        self._once(f"{place}.faces", [face.face.track for face in faces], "track")
        return Frame(number, seconds, faces)

    def _face(self, place: str, value: Any) -> FaceRow:
        measured = {"pitch", "yaw", "roll", "doubt", "sharpness"}
        known = {"track", "box", "leave", "remark", "landmarks", "score", "found", "blur", "coefficients"}
        self._keys(place, value, {"track", "box"}, known | measured)
        box = self._numbers(f"{place}.box", value["box"], 4)
        if box[2] <= box[0] or box[3] <= box[1]:
            raise self._error(
                f"{place}.box", "must be left, top, right, bottom with left < right and top < bottom"
            )
        points = value.get("landmarks")
        landmarks = None
        if points is not None:
            if not isinstance(points, list) or len(points) != 5:
                raise self._error(f"{place}.landmarks", "must be five points or null")
            landmarks = [self._numbers(f"{place}.landmarks[{k}]", point, 2) for k, point in enumerate(points)]
        for key in measured:
            if value.get(key) is not None:
                self._number(f"{place}.{key}", value[key], least=-LARGEST)
        if value.get("coefficients") is not None:
            self._numbers(f"{place}.coefficients", value["coefficients"], TOTAL)
        found = value.get("found", "followed")
        if found not in {"detected", "followed"}:
            raise self._error(f"{place}.found", "must be 'detected' or 'followed'")
        face = TrackedFace(
            track=self._whole(f"{place}.track", value["track"]),
            box=np.array(box, np.float32),
            score=self._number(f"{place}.score", value.get("score", 1.0), least=0.0, most=1.0),
            landmarks=None if landmarks is None else np.array(landmarks, np.float32),
            detected=found == "detected",
        )
        leave = self._flag(f"{place}.leave", value.get("leave", False))
        return FaceRow(face, leave, self._remark(place, value))

    def _remark(self, place: str, value: dict[str, Any]) -> str | None:
        remark = value.get("remark")
        if remark is not None and not isinstance(remark, str):
            raise self._error(f"{place}.remark", "must be a text or null")
        return remark

    def _strength(self, place: str, value: dict[str, Any]) -> float | None:
        strength = value.get("strength")
        return None if strength is None else self._number(f"{place}.strength", strength, least=0.0, most=1.0)

    def _source(self, value: Any) -> Source:
        more = {"bytes", "frames", "fps", "time_base", "rotation", "start", "end"}
        self._keys("source", value, {"file", "width", "height"}, {"file", "width", "height", *more})
        if not isinstance(value["file"], str):
            raise self._error("source.file", "must be a text")
        held = value.get("bytes")
        return Source(
            file=value["file"],
            bytes=None if held is None else self._whole("source.bytes", held),
            width=self._whole("source.width", value["width"]),
            height=self._whole("source.height", value["height"]),
        )

    def _entries(
        self, values: dict[str, Any], key: str, wanted: set[str], more: set[str]
    ) -> list[tuple[str, dict[str, Any]]]:
        if not isinstance(values[key], list):
            raise self._error(key, "must be a list")
        entries = [(f"{key}[{place}]", entry) for place, entry in enumerate(values[key])]
        for place, entry in entries:
            self._keys(place, entry, wanted, wanted | more)
        return entries

    def _keys(self, place: str, value: Any, wanted: set[str], known: set[str]) -> None:
        if not isinstance(value, dict):
            raise self._error(place, "must be an object")
        if missing := sorted(wanted - value.keys()):
            raise self._error(place, f"the key {missing[0]!r} is missing")
        if strange := sorted(value.keys() - known):
            raise self._error(place, f"the key {strange[0]!r} is not known")

    def _once(self, place: str, numbers: list[int], key: str = "id") -> None:
        seen: set[int] = set()
        for index, number in enumerate(numbers):
            if number in seen:
                raise self._error(f"{place}[{index}].{key}", f"{number} stands there already")
            seen.add(number)

    def _flag(self, place: str, value: Any) -> bool:
        if not isinstance(value, bool):
            raise self._error(place, f"must be true or false, not {_brief(value)}")
        return value

    def _whole(self, place: str, value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            raise self._error(place, f"must be a whole number from 0 on, not {_brief(value)}")
        return value

    def _number(self, place: str, value: Any, least: float, most: float = LARGEST) -> float:
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise self._error(place, f"must be a number, not {_brief(value)}")
        if not least <= value <= most:
            raise self._error(place, f"must be between {least:g} and {most:g}, not {_brief(value)}")
        return float(value)

    def _numbers(self, place: str, value: Any, count: int) -> list[float]:
        if not isinstance(value, list) or len(value) != count:
            raise self._error(place, f"must be a list of {count} numbers")
        return [self._number(place, each, least=-LARGEST) for each in value]

    def _error(self, place: str, reason: str, remedy: bool = True) -> InputError:
        at = f"{place}: " if place else ""
        return InputError(f"{shown(self._path)}: {at}{reason}{'; see docs/tracks.md' if remedy else ''}")


def _brief(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:37]}..."
