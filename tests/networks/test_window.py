"""Windows are reflected at both ends; networks say what they must be given."""

from itertools import pairwise

import pytest
from torch import nn

from fvdeblur.networks import FVD, Ren2019, WindowShape, window_indices


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


SMALL = {"widths": [8, 16], "encoder_blocks": [1, 1], "decoder_blocks": [1]}


def test_networks_say_what_they_want() -> None:
    plain = WindowShape.of(FVD(**SMALL))
    assert plain == WindowShape(5, 4, takes_flow=False, prior_channels=0, identity_size=0)
    assert not plain.takes_guides
    guided = WindowShape.of(FVD(frames=3, prior_channels=7, takes_flow=True, **SMALL))
    assert guided == WindowShape(3, 4, takes_flow=True, prior_channels=7, identity_size=0)
    assert guided.takes_guides
    assert WindowShape.of(Ren2019(width=4)) == WindowShape(5, 4, False, 3, 80)
    assert WindowShape.of(Ren2019(width=4, prior_channels=0)).takes_guides
    assert not WindowShape.of(Ren2019(width=4, prior_channels=0, identity_size=0)).takes_guides


def test_a_network_that_knows_of_no_guides_wants_none() -> None:
    class Simple(nn.Module):
        frames, multiple = 1, 2

    assert WindowShape.of(Simple()) == WindowShape(1, 2, takes_flow=False)
