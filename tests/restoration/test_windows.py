"""Which frames the network sees, and that it sees them as they were."""

from collections.abc import Iterator, Sequence
from itertools import pairwise

import av
import numpy as np
import pytest
from pictures import Network, constant, restorer, run, stream, to_frame

from fvdeblur.restoration.stream import FaceRestorer, TrackedPicture

FACE = [20, 20, 44, 44]


def numbered(count: int) -> list[av.VideoFrame]:
    """Grey frames, each of its own level."""
    return [to_frame(np.full((64, 80, 3), 40 + 8 * k, np.uint8)) for k in range(count)]


def windows(network: Network) -> list[list[int]]:
    """The numbers of the frames in each window that the network was given."""
    levels = [seen.reshape(*seen.shape[:2], 5, 3).mean(axis=(0, 1, 3)) * 255 for seen in network.seen]
    exact = [(level - 40) / 8 for level in levels]
    for window in exact:
        assert np.abs(window - np.round(window)).max() < 0.15, window  # pixels that were not changed before
    return [np.round(window).astype(int).tolist() for window in exact]


def reflected(first: int, last: int) -> list[list[int]]:
    """The windows of a shot from ``first`` to ``last``, made by walking to and fro."""
    found = []
    for centre in range(first, last + 1):
        window = []
        for step in range(-2, 3):
            position, direction = centre, 1 if step > 0 else -1
            for _ in range(abs(step)):
                if first == last:
                    break
                if not first <= position + direction <= last:
                    direction = -direction
                position += direction
            window.append(position)
        found.append(window)
    return found


def test_reflection_in_words() -> None:
    assert reflected(0, 5)[0] == [2, 1, 0, 1, 2]
    assert reflected(0, 5)[1] == [1, 0, 1, 2, 3]
    assert reflected(0, 5)[5] == [3, 4, 5, 4, 3]


@pytest.mark.parametrize("count", range(1, 9))
def test_the_ends_of_a_clip_are_reflected(count: int) -> None:
    network = Network(constant(0.3))
    run(network, stream(numbered(count), [FACE]))
    assert windows(network) == reflected(0, count - 1)


@pytest.mark.parametrize("cuts", [[6], [1], [11], [3, 4, 9], [5, 7]])
def test_no_window_crosses_a_cut(cuts: list[int]) -> None:
    network = Network(constant(0.3))
    run(network, stream(numbered(12), [FACE], cuts))
    bounds = [0, *cuts, 12]
    expected = [w for a, b in pairwise(bounds) for w in reflected(a, b - 1)]
    assert windows(network) == expected


@pytest.mark.parametrize("value", [0.3, -0.1])
def test_every_frame_is_changed_once(value: float) -> None:
    frames = numbered(9)
    run(Network(constant(value)), stream(frames, [FACE], [4]))
    for k, frame in enumerate(frames):
        centre = frame.reformat(format="rgb24").to_ndarray()[32, 32].astype(int)
        assert np.abs(centre - np.clip(40 + 8 * k + value * 255, 0, 255)).max() <= 2


def test_faces_of_one_frame_are_computed_together() -> None:
    """Two faces of one size are one batch; a third of another size is one of its own."""
    network = Network(constant(0.1))
    pictures = stream(numbered(3), [[5, 20, 19, 34], [40, 20, 54, 34], [10, 5, 60, 55]])
    stage = run(network, pictures)
    assert stage.tally.restored == 9
    assert stage.tally.tracks == {0, 1, 2}
    assert sorted({seen.shape for seen in network.seen}) == [(32, 32, 15), (96, 96, 15)]


def test_frames_are_held_no_longer_than_needed() -> None:
    """Two frames before and two after the one at work: of a long shot no more than that is in memory."""
    given = 0

    def counted(pictures: Sequence[TrackedPicture]) -> Iterator[TrackedPicture]:
        nonlocal given
        for picture in pictures:
            given += 1
            yield picture

    stage = FaceRestorer(restorer(Network(constant(0.1))), 0, 1.0, 0.0)
    ahead = [given - decoded.index for decoded in stage(counted(stream(numbered(20), [FACE])))]
    assert max(ahead) == 5


def test_frames_without_faces_pass_untouched() -> None:
    frames = numbered(6)
    before = [bytes(frame.planes[0]) for frame in frames]
    network = Network(constant(0.3))
    stage = run(network, stream(frames, []))
    assert network.seen == []
    assert [bytes(frame.planes[0]) for frame in frames] == before
    assert (stage.tally.restored, dict(stage.tally.left_alone), stage.tally.tracks) == (0, {}, set())
