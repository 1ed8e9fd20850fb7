"""Which tracks are one person."""

import itertools

import numpy as np

from fvdeblur.restoration.people import merge


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
