"""Choosing faces: at once by where they are and by their track, or in a whole video by who they are."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Mapping, Sequence
from pathlib import Path

import av
import cv2
import numpy as np

from fvdeblur.errors import InputError
from fvdeblur.faces import Detector, TrackedFace, face_size
from fvdeblur.faces.identity import FloatArray
from fvdeblur.media import FramePlanes
from fvdeblur.media.failures import one_line, shown
from fvdeblur.restoration.people import People, Portrayer
from fvdeblur.restoration.selection import Selection, Wishes
from fvdeblur.restoration.stream import NOT_CHOSEN, OUTSIDE, TrackedPicture
from fvdeblur.restoration.totals import TrackMean

PHOTO_SIDE = 1280
"""Longer side that larger photographs are brought to before a face is looked for in them."""


class Chooser:
    """Says of the faces of tracked frames, one by one, which are to be left alone and how strong the change is.

    Where they are decides, and where only tracks are chosen, their number; who they are does not.

    Parameters
    ----------
    wishes
        What is chosen.
    """

    def __init__(self, wishes: Wishes) -> None:
        self._wishes = wishes
        by_number = not wishes.of_everyone and not wishes.first_pass
        self._tracks = {each.track for each in wishes.selections} if by_number else None

    def __call__(self, picture: TrackedPicture, width: int, height: int) -> TrackedPicture:
        """The same frame, of so many upright pixels, with what is said of its faces.

        Raises
        ------
        UsageError
            A region reaches outside of the picture.
        """
        regions, excluded = self._wishes.boxes(width, height)
        left = dict(picture.left)
        for face in picture.tracked.faces:
            x, y = (float(value) for value in (face.box[:2] + face.box[2:]) / 2)
            inside = [
                any(x0 <= x < x1 and y0 <= y < y1 for x0, y0, x1, y1 in each) for each in (regions, excluded)
            ]
            if (regions and not inside[0]) or inside[1]:
                left.setdefault(face.track, OUTSIDE)
            elif self._tracks is not None and face.track not in self._tracks:
                left.setdefault(face.track, NOT_CHOSEN)
        return picture._replace(left=left, strengths={**picture.strengths, **self._wishes.strengths})

    def over(
        self, pictures: Iterable[TrackedPicture], rotation: int, keep: bool = True
    ) -> Generator[TrackedPicture, None, None]:
        """All frames of a stream, whose coded picture is turned upright by so many degrees.

        Parameters
        ----------
        pictures, rotation
            The stream.
        keep
            Whether faces that are to be left alone stay in the frames.
        """
        for picture in pictures:
            frame = picture.decoded.frame
            size = (frame.height, frame.width) if rotation in {90, 270} else (frame.width, frame.height)
            picture = self(picture, *size)
            yield picture if keep else picture.without_left()


def choose(
    wishes: Wishes,
    persons: dict[int, int],
    tracks: Mapping[int, TrackMean],
    people: People,
    portraits: Mapping[Path, FloatArray],
) -> frozenset[int]:
    """Those of the tracks of a video that are chosen, whole and steadily.

    ``largest`` and ``center`` choose, in every shot, the person whose face covers most of it or is nearest to its
    middle, summed over the shot; and beside them only those who are never there between that person's first and last
    frame of the shot. So nothing changes from frame to frame, nor while a face is hidden.

    Parameters
    ----------
    wishes
        What is chosen; where faces are does not matter here.
    persons
        The person of each track.
    tracks
        What was summed over the faces of each track; one that is missing is neither largest nor nearest.
    people
        Knows what they look like.
    portraits
        What the persons of the photographs look like, by the photographs' paths (`portrait`).
    """
    wanted: set[int] = set()
    unwanted: set[int] = set()
    for each in wishes.selections:
        if each.kind == "track":
            wanted |= {number for number in persons if number == each.track}
        elif each.kind in {"largest", "center"}:
            wanted |= _foremost(each, persons, tracks)
        elif each.photo is not None:
            alike = set(people.like(portraits[each.photo], persons, True))
            wanted |= alike if each.kind == "like" else set()
            unwanted |= alike if each.kind == "unlike" else set()
        else:
            wanted |= set(persons)
    if all(each.kind == "unlike" for each in wishes.selections):
        wanted = set(persons)
    return frozenset(wanted - unwanted)


def _foremost(selection: Selection, persons: dict[int, int], tracks: Mapping[int, TrackMean]) -> set[int]:
    by_shot: dict[int, dict[int, list[int]]] = {}
    for number, mean in tracks.items():
        if mean.area > 0:
            by_shot.setdefault(mean.shot, {}).setdefault(persons[number], []).append(number)
    by_area = selection.kind == "largest"

    def merit(number: int) -> float:
        return tracks[number].area if by_area else tracks[number].nearness

    found: set[int] = set()
    for own in by_shot.values():
        taken: list[tuple[int, int]] = []
        for who in sorted(own, key=lambda who: (-sum(map(merit, own[who])), who)):
            first = min(tracks[number].first for number in own[who])
            last = max(tracks[number].last for number in own[who])
            if all(last < start or first > end for start, end in taken):
                taken.append((first, last))
                found |= set(own[who])
    return found


def portraits(photos: Sequence[Path], detector: Detector, portrayer: Portrayer) -> dict[Path, FloatArray]:
    """`portrait` of each of several photographs."""
    return {photo: portrait(photo, detector, portrayer) for photo in photos}


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
