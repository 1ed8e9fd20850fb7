"""What is counted and summed over the faces of a whole video."""

from __future__ import annotations

from collections import Counter
from collections.abc import Container
from dataclasses import dataclass
from typing import Any

import numpy as np

from fvdeblur.faces import face_size
from fvdeblur.restoration.observing import ObservedFace, ObservedPicture
from fvdeblur.restoration.stream import OUTSIDE


@dataclass
class TrackMean:
    """Running figures of one track.

    Attributes
    ----------
    shot, first, last
        Numbers of its shot and of its first and last frame.
    faces
        Frames in which it was seen.
    size, area, nearness
        Sums over them of the root of the box's area in pixels, and, where it is in the regions, of the area and of the
        nearness to the picture's middle: 1 over the distance in units of the picture's longer side plus 0.05.
    measured, sharpness, level
        Frames in which the blur could be measured, and sums over them.
    """

    shot: int
    first: int
    last: int
    faces: int = 0
    size: float = 0.0
    area: float = 0.0
    nearness: float = 0.0
    measured: int = 0
    sharpness: float = 0.0
    level: float = 0.0

    def add(self, frame: int, seen: ObservedFace, middle: tuple[float, float]) -> None:
        """A face of the track in a frame whose middle is given."""
        box = seen.face.box
        self.last, self.faces = frame, self.faces + 1
        self.size += face_size(box)
        if seen.remark != OUTSIDE:
            self.area += face_size(box) ** 2
            off = np.hypot(*((box[:2] + box[2:]) / 2 - np.array(middle))) / (2 * max(middle))
            self.nearness += 1 / (0.05 + float(off))
        if seen.blur is not None:
            self.measured += 1
            self.sharpness += seen.blur.sharpness
            self.level += seen.blur.level


class Totals:
    """What is counted over a whole video.

    Parameters
    ----------
    width, height
        Of the upright picture in pixels.

    Attributes
    ----------
    frames, faces
        How many; faces are counted in every frame.
    shots
        An entry a shot, as a tracks file has it.
    tracks
        By number.
    remarks
        Faces, counted in every frame, by what stands against working on them.
    """

    def __init__(self, width: int, height: int) -> None:
        self._middle = (width / 2, height / 2)
        self.frames = self.faces = 0
        self.shots: list[dict[str, Any]] = []
        self.tracks: dict[int, TrackMean] = {}
        self.remarks: Counter[str] = Counter()

    def add(self, seen: ObservedPicture) -> None:
        """A frame; they come in order."""
        decoded, tracked = seen.picture.decoded, seen.picture.tracked
        if tracked.starts_shot:
            start = {"id": tracked.shot, "time": round(decoded.time, 6), "frame": decoded.index, "frames": 0}
            self.shots.append(start)
        self.shots[-1]["frames"] += 1
        self.frames += 1
        self.faces += len(seen.faces)
        for face in seen.faces:
            number = face.face.track
            if number not in self.tracks:
                self.tracks[number] = TrackMean(tracked.shot, decoded.index, decoded.index)
            self.tracks[number].add(decoded.index, face, self._middle)
            if face.remark is not None:
                self.remarks[face.remark] += 1

    def lists(
        self, persons: dict[int, int], chosen: Container[int], why: str
    ) -> dict[str, list[dict[str, Any]]]:
        """The short lists of a tracks file.

        Parameters
        ----------
        persons
            The person of every track.
        chosen
            Tracks that are not to be left alone.
        why
            What is remarked of the others.
        """
        tracks: list[dict[str, Any]] = [
            {
                "id": number,
                "person": persons[number],
                "leave": number not in chosen,
                "remark": None if number in chosen else why,
                "shot": mean.shot,
                "first": mean.first,
                "last": mean.last,
                "faces": mean.faces,
                "size": round(mean.size / mean.faces, 1),
                "sharpness": round(mean.sharpness / mean.measured, 3) if mean.measured else None,
                "level": round(mean.level / mean.measured, 2) if mean.measured else None,
            }
            for number, mean in sorted(self.tracks.items())
        ]
        own: dict[int, list[dict[str, Any]]] = {}
        for row in tracks:
            own.setdefault(row["person"], []).append(row)
        people = [
            {
                "id": who,
                "leave": False,
                "tracks": [row["id"] for row in rows],
                "faces": sum(row["faces"] for row in rows),
            }
            for who, rows in sorted(own.items())
        ]
        return {"persons": people, "tracks": tracks, "shots": self.shots}
