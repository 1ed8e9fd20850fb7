"""Which tracks are one person, and which faces are chosen."""

import itertools
from pathlib import Path

import numpy as np
import pytest

from fvdeblur.errors import UsageError
from fvdeblur.faces import TrackedFace, TrackedFrame
from fvdeblur.restoration.people import merge
from fvdeblur.restoration.selection import CHOICES, Selection, Selector


def direction(degrees: float) -> np.ndarray:
    return np.array([np.cos(np.radians(degrees)), np.sin(np.radians(degrees))], np.float32)


def test_tracks_that_are_alike_become_one_person() -> None:
    embeddings = [direction(0), direction(60), direction(5), direction(64), direction(2)]
    spans = [(k, k) for k in range(5)]
    assert merge(embeddings, spans, 0.95) == [[0, 2, 4], [1, 3]]
    assert merge(embeddings, spans, 0.9999) == [[0], [1], [2], [3], [4]]
    assert merge(embeddings, spans, -1.0) == [[0, 1, 2, 3, 4]]


def test_tracks_that_are_seen_together_are_never_one_person() -> None:
    """Not even through a third one that is like both."""
    embeddings = [direction(0), direction(1), direction(0.4)]
    spans = [(0, 9), (5, 12), (20, 29)]
    assert merge(embeddings, spans, 0.9) == [[0, 2], [1]]
    assert merge(embeddings[:2], spans[:2], 0.9) == [[0], [1]]
    assert merge(embeddings[:2], [(0, 9), (9, 12)], 0.9) == [[0], [1]]
    assert merge(embeddings[:2], [(0, 8), (9, 12)], 0.9) == [[0, 1]]


def test_tracks_that_nothing_is_known_of_stay_alone() -> None:
    assert merge([None, direction(3), None, direction(3)], [(k, k) for k in range(4)], 0.9) == [
        [0],
        [1, 3],
        [2],
    ]
    assert merge([None, direction(3)], [(0, 0), (1, 1)], 0.9) == [[0], [1]]
    assert merge([], [], 0.9) == []


def test_merging_does_not_depend_on_the_order() -> None:
    embeddings = [direction(angle) for angle in (0, 8, 40, 47, 90)]
    expected = {frozenset({0, 8}), frozenset({40, 47}), frozenset({90})}
    angles = (0, 8, 40, 47, 90)
    for order in itertools.permutations(range(5)):
        groups = merge([embeddings[place] for place in order], [(k, k) for k in range(5)], 0.98)
        assert {frozenset(angles[order[place]] for place in group) for group in groups} == expected


@pytest.mark.parametrize("text", ["", "biggest", "all:1", "track:", "track:x", "track:-1", "like:", "unlike"])
def test_unknown_choices(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        Selection.parse(text)
    assert all(choice in str(caught.value) for choice in CHOICES)


def test_choices() -> None:
    assert Selection.parse("all") == Selection()
    assert Selection.parse("track:12") == Selection("track", track=12)
    assert Selection.parse("like:a:b.png") == Selection("like", photo=Path("a:b.png"))
    assert Selection.parse("unlike:x.jpg").of_people
    assert not Selection.parse("center").of_people


def frame(index: int, *boxes: tuple[float, float, float], starts: bool = False) -> TrackedFrame:
    """Square faces by the x of their middle, the y, and their side."""
    faces = tuple(
        TrackedFace(k, np.array([x - s / 2, y - s / 2, x + s / 2, y + s / 2], np.float32), 1.0, None)
        for k, (x, y, s) in enumerate(boxes)
    )
    return TrackedFrame(index, 0, starts, faces)


def chosen(text: str, *pictures: TrackedFrame) -> list[list[int]]:
    selector = Selector(Selection.parse(text), 0)
    return [[face.track for face in selector.select(each, 400, 200).faces] for each in pictures]


def test_the_largest_face_is_kept_to() -> None:
    small, near, large = (100, 50, 40), (200, 100, 44), (300, 80, 60)
    assert chosen("largest", frame(0, small, near), frame(1, near, small), frame(2, small, large)) == [
        [1],
        [1],
        [1],
    ]
    assert chosen("largest", frame(0, small, near), frame(1, large, near)) == [[1], [0]]
    # At a cut it is chosen anew.
    assert chosen("largest", frame(0, small, near), frame(1, near, small, starts=True)) == [[1], [0]]
    assert chosen("largest", frame(0), frame(1, small)) == [[], [0]]


def test_the_face_in_the_middle() -> None:
    assert chosen("center", frame(0, (40, 50, 90), (210, 90, 20))) == [[1]]


def test_one_track_or_all() -> None:
    both = frame(0, (40, 50, 90), (210, 90, 20))
    assert chosen("track:1", both) == [[1]]
    assert chosen("track:7", both) == [[]]
    assert chosen("all", both) == [[0, 1]]
    assert chosen("like:photo.png", both) == [[0, 1]]
