"""What a user says about which faces are worked on, and which faces that makes."""

from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest

from fvdeblur.errors import UsageError
from fvdeblur.faces import TrackedFace, TrackedFrame
from fvdeblur.restoration import Settings
from fvdeblur.restoration.choice import Chooser, choose
from fvdeblur.restoration.people import People
from fvdeblur.restoration.selection import CHOICES, Region, Selection
from fvdeblur.restoration.stream import NOT_CHOSEN, OUTSIDE, TrackedPicture
from fvdeblur.restoration.totals import TrackMean


@pytest.mark.parametrize("text", ["", "biggest", "all:1", "track:", "track:x", "track:-1", "like:", "unlike"])
def test_unknown_choices(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        Settings(faces=(text,))
    assert all(choice in str(caught.value) for choice in CHOICES)


def test_choices() -> None:
    assert Selection.parse_all(["all"]) == (Selection(),)
    assert Selection.parse_all(["track:12,largest", "center"]) == (
        Selection("track", track=12),
        Selection("largest"),
        Selection("center"),
    )
    # A comma in a name parts nothing.
    assert Selection.parse_all(["like:a:b.png,unlike:a, b.jpg,all"]) == (
        Selection("like", photo=Path("a:b.png")),
        Selection("unlike", photo=Path("a, b.jpg")),
        Selection("all"),
    )
    with pytest.raises(UsageError, match="no faces are called 'track:1,biggest'"):
        Selection.parse_all(["track:1,biggest"])


@pytest.mark.parametrize(
    ("faces", "of_everyone", "first_pass"),
    [
        ("all", True, False),
        ("all,largest", True, False),
        ("track:1,track:2", False, False),
        ("track:1,largest", False, True),
        ("center", False, True),
        ("like:x.png", False, True),
        ("all,unlike:x.png", False, True),
    ],
)
def test_when_the_whole_video_must_be_seen_first(faces: str, of_everyone: bool, first_pass: bool) -> None:
    wishes = Settings(faces=(faces,)).wishes
    assert (wishes.of_everyone, wishes.first_pass) == (of_everyone, first_pass)


@pytest.mark.parametrize(
    ("text", "box"),
    [
        ("10,20,30,40", (10, 20, 40, 60)),
        ("0,0,400,200", (0, 0, 400, 200)),
        ("50%,0%,50%,100%", (200, 0, 400, 200)),
        (" 25% , 10, .5%, 7.5 ", (100, 10, 102, 17.5)),
        ("33.3%,0,66.7%,1", (133.2, 0, 400, 1)),
    ],
)
def test_regions(text: str, box: tuple[float, ...]) -> None:
    assert Region.parse(text, "--region").box(400, 200) == pytest.approx(box)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "1,2,3",
        "1,2,3,4,5",
        "a,b,c,d",
        "1,2,-3,4",
        "-1,2,3,4",
        "nan,0,1,1",
        "1e3,0,1,1",
        "1 2 3 4",
        "1%%,2,3,4",
    ],
)
def test_regions_that_are_none(text: str) -> None:
    with pytest.raises(
        UsageError, match=r"--exclude .*: is no box; give left, top, width and height as X,Y,W,H"
    ):
        Settings(exclude=(text,))


def test_regions_that_cannot_be() -> None:
    with pytest.raises(UsageError, match="--region '1,2,0,4': is empty"):
        Settings(region=("1,2,0,4",))
    for text in ("390,0,20,20", "0,190,20,20", "400,0,1,1", "60%,0,50%,10%", "0,0,200%,1"):
        with pytest.raises(UsageError, match=r"reaches outside of the picture, which has 400x200 pixels"):
            Region.parse(text, "--region").box(400, 200)


@pytest.mark.parametrize(
    "text", ["track:1", "track:1=", "track:1=2", "track:1=x", "1=0.5", "track:a=1", "track:1=nan"]
)
def test_strengths_that_cannot_be(text: str) -> None:
    with pytest.raises(UsageError, match=r"must be track:ID=STRENGTH with a strength from 0 to 1"):
        Settings(face_strength=(text,))


def picture(*boxes: tuple[float, float, float], left: dict[int, str] | None = None) -> TrackedPicture:
    """Square faces by the x of their middle, the y, and their side."""
    faces = tuple(
        TrackedFace(k, np.array([x - s / 2, y - s / 2, x + s / 2, y + s / 2], np.float32), 1.0, None)
        for k, (x, y, s) in enumerate(boxes)
    )
    return TrackedPicture(None, TrackedFrame(0, 0, True, faces), left=MappingProxyType(left or {}))  # type: ignore[arg-type]


def left_alone(boxes: list[tuple[float, float, float]], **values: Any) -> dict[int, str]:
    return dict(Chooser(Settings(**values).wishes)(picture(*boxes), 400, 200).left)


def test_faces_are_left_alone_for_where_their_centre_is() -> None:
    """However far they reach."""
    faces = [(100, 100, 180), (199, 50, 40), (201, 50, 40), (390, 190, 60)]
    assert left_alone(faces) == {}
    assert left_alone(faces, region=("0,0,200,200",)) == {2: OUTSIDE, 3: OUTSIDE}
    assert left_alone(faces, exclude=("50%,0,50%,100%",)) == {2: OUTSIDE, 3: OUTSIDE}
    assert left_alone(faces, region=("0,0,150,200", "195,0,10,60"), exclude=("200,0,9,99",)) == {
        2: OUTSIDE,
        3: OUTSIDE,
    }
    with pytest.raises(UsageError, match="outside of the picture"):
        left_alone(faces, region=("0,0,500,10",))


def test_single_tracks_are_chosen_at_once() -> None:
    faces = [(100, 100, 50), (200, 100, 50), (300, 100, 50)]
    assert left_alone(faces, faces=("track:1,track:7",)) == {0: NOT_CHOSEN, 2: NOT_CHOSEN}
    assert left_alone(faces, faces=("track:0",), exclude=("0,0,250,200",)) == {
        0: OUTSIDE,
        1: OUTSIDE,
        2: NOT_CHOSEN,
    }
    # What needs the whole video is not decided here, and reasons that were there are kept.
    assert left_alone(faces, faces=("largest",)) == {}
    marked = Chooser(Settings(faces=("track:1",), face_strength=("track:1=0.5",)).wishes)(
        picture(*faces, left={0: "by hand"}), 400, 200
    )
    assert dict(marked.left) == {0: "by hand", 2: NOT_CHOSEN}
    assert marked.strengths == {1: 0.5}
    assert [face.track for face in marked.without_left().tracked.faces] == [1]


class Likeness(People):
    """Who is like which photograph is written down."""

    def __init__(self, alike: dict[str, set[int]]) -> None:
        self._alike = alike

    def like(self, embedding: Any, persons: dict[int, int], alike: bool) -> dict[int, int]:
        return {n: who for n, who in persons.items() if (who in self._alike[embedding]) == alike}


def chosen(faces: str, tracks: dict[int, TrackMean], persons: dict[int, int], **alike: set[int]) -> set[int]:
    wishes = Settings(faces=(faces,)).wishes
    named: Any = {Path(name): name for name in alike}
    return set(choose(wishes, persons, tracks, Likeness(alike), named))


def test_people_like_some_and_unlike_others() -> None:
    persons = {0: 1, 1: 2, 2: 3, 3: 1}
    alike = {"one": {1}, "two": {2}}
    assert chosen("like:one", {}, persons, **alike) == {0, 3}
    assert chosen("unlike:one", {}, persons, **alike) == {1, 2}
    assert chosen("like:one,like:two", {}, persons, **alike) == {0, 1, 3}
    assert chosen("unlike:one,unlike:two", {}, persons, **alike) == {2}
    assert chosen("like:one,track:2", {}, persons, **alike) == {0, 2, 3}
    assert chosen("like:one,track:2,unlike:one", {}, persons, **alike) == {2}
    assert chosen("all,unlike:two", {}, persons, **alike) == {0, 2, 3}
    assert chosen("track:9", {}, persons) == set()


def seen(shot: int, first: int, last: int, side: float, nearness: float) -> TrackMean:
    count = last - first + 1
    return TrackMean(shot, first, last, count, side * count, side**2 * count, nearness * count)


def test_the_largest_person_of_a_shot_is_kept_to() -> None:
    """One who is large for a moment, and one who is there while the largest is hidden, change nothing."""
    tracks = {
        0: seen(0, 0, 40, 60, 2),
        1: seen(0, 0, 99, 40, 9),
        2: seen(0, 66, 99, 60, 2),  # the same as 0, who was hidden between
        3: seen(0, 20, 24, 90, 1),
        4: seen(1, 100, 120, 30, 5),
        5: seen(1, 121, 130, 50, 1),
    }
    persons = {0: 1, 1: 2, 2: 1, 3: 3, 4: 2, 5: 3}
    assert chosen("largest", tracks, persons) == {0, 2, 4, 5}
    assert chosen("center", tracks, persons) == {1, 4, 5}
    assert chosen("largest,center", tracks, persons) == {0, 1, 2, 4, 5}
    # Who is never inside the regions is not in question.
    tracks[0].area = tracks[2].area = 0
    assert chosen("largest", tracks, persons) == {1, 4, 5}
