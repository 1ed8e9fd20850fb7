"""Windows are reflected at both ends."""

from itertools import pairwise

import pytest

from fvdeblur.networks import window_indices


@pytest.mark.parametrize(
    ("centre", "length", "frames", "expected"),
    [
        (5, 10, 5, [3, 4, 5, 6, 7]),
        (0, 10, 5, [2, 1, 0, 1, 2]),
        (1, 10, 5, [1, 0, 1, 2, 3]),
        (9, 10, 5, [7, 8, 9, 8, 7]),
        (8, 10, 5, [6, 7, 8, 9, 8]),
        (0, 3, 5, [2, 1, 0, 1, 2]),
        (1, 3, 5, [1, 0, 1, 2, 1]),
        (0, 2, 5, [0, 1, 0, 1, 0]),
        (1, 2, 5, [1, 0, 1, 0, 1]),
        (0, 1, 5, [0, 0, 0, 0, 0]),
        (0, 2, 9, [0, 1, 0, 1, 0, 1, 0, 1, 0]),
        (3, 8, 1, [3]),
        (0, 1, 1, [0]),
    ],
)
def test_known_windows(centre: int, length: int, frames: int, expected: list[int]) -> None:
    assert window_indices(centre, length, frames) == expected


@pytest.mark.parametrize("frames", [1, 3, 5, 11])
@pytest.mark.parametrize("length", [1, 2, 3, 4, 7, 20])
def test_every_window(length: int, frames: int) -> None:
    for centre in range(length):
        window = window_indices(centre, length, frames)
        assert len(window) == frames
        assert window[frames // 2] == centre
        assert all(0 <= index < length for index in window)
        if length > 1:
            assert all(abs(a - b) == 1 for a, b in pairwise(window))
        # time reversed, the window is that of the mirrored centre
        mirrored = window_indices(length - 1 - centre, length, frames)
        assert [length - 1 - index for index in reversed(mirrored)] == window
