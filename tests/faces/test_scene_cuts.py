"""Scene cuts: found between photographs, not found in anything that one camera does."""

from itertools import permutations

import numpy as np
import pytest

from fvdeblur.faces import CutDetector

NAMES = ("astronaut", "crowd", "chelsea", "coffee", "rocket", "motorcycle")


def cuts(previews):
    """Numbers of the frames that begin a shot."""
    detector = CutDetector()
    return [index for index, preview in enumerate(previews) if detector.update(preview)]


def still(photographs, render, name, count=4, zoom=1.2):
    image = photographs[name]
    height, width = image.shape[:2]
    return [render(image, (width / 2 + step, height / 2), zoom) for step in range(count)]


@pytest.mark.parametrize(("first", "second"), list(permutations(NAMES, 2)))
def test_cut_between_photographs(first, second, photographs, render):
    previews = still(photographs, render, first) + still(photographs, render, second)
    assert cuts(previews) == [0, 4]


def test_cut_between_two_people_in_one_room(crowd, render):
    """Shot and reverse shot: the same light and colours."""
    faces = [(115, 330), (795, 410), (1180, 330), (520, 340), (320, 210), (955, 130)]
    previews = [render(crowd, (x + 2 * step, y), 2.0) for x, y in faces for step in range(4)]
    assert cuts(previews) == [0, 4, 8, 12, 16, 20]


def test_every_frame_may_be_a_shot(photographs, render):
    previews = [still(photographs, render, name, 1)[0] for name in NAMES]
    assert cuts(previews) == list(range(6))


@pytest.mark.parametrize("name", NAMES)
def test_shake_with_blur_is_no_cut(name, photographs, render):
    """Up to 15 % of the picture's width from frame to frame, in any direction, smeared over the whole way."""
    image = photographs[name]
    rng = np.random.default_rng(11)
    angles, reach = rng.uniform(0, 2 * np.pi, 24), rng.uniform(10, 48, 24)
    offsets = reach[:, None] * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    offsets[:4] = 0  # from stillness
    steps = np.diff(offsets, axis=0, prepend=offsets[:1])
    middle = np.array(image.shape[1::-1]) / 2
    previews = [
        render(image, tuple(middle + offset / 1.2), 1.2, motion=tuple(step))
        for offset, step in zip(offsets, steps, strict=True)
    ]
    assert cuts(previews) == [0]


def test_whip_pan_is_no_cut(crowd, render):
    """A fifth of the picture's width in each frame, blurred over all of it."""
    previews = [render(crowd, (300 + 80 * step, 443), 1.6, motion=(128, 0)) for step in range(9)]
    previews += [render(crowd, (1020, 443), 1.6)] * 3
    assert cuts(previews) == [0]


@pytest.mark.parametrize("name", ["crowd", "astronaut"])
def test_violent_shake_is_no_cut(name, photographs, render):
    """The camera is thrown by up to a third of the picture's width from frame to frame."""
    image = photographs[name]
    middle = np.array(image.shape[1::-1]) / 2
    angles = np.random.default_rng(4).uniform(0, 2 * np.pi, 24)
    reach = np.minimum(np.arange(24) * 8.0, 106)  # it begins gently
    offsets = reach[:, None] * np.stack([np.cos(angles), 0.5 * np.sin(angles)], axis=1)
    assert cuts([render(image, tuple(middle + offset / 2), 2.0) for offset in offsets]) == [0]


def test_zoom_is_no_cut(astronaut, render):
    assert cuts([render(astronaut, (225, 120), 1.08**step) for step in range(16)]) == [0]


@pytest.mark.parametrize("gain", [0.3, 1.6, 2.5])
@pytest.mark.parametrize("name", ["astronaut", "crowd", "chelsea"])
def test_flash_and_change_of_exposure_are_no_cuts(name, gain, photographs, render):
    previews = still(photographs, render, name, 9)
    flash = np.clip(previews[4] * gain, 0, 255).astype(np.uint8)
    darker = [np.clip(preview * gain, 0, 255).astype(np.uint8) for preview in previews[5:]]
    assert cuts([*previews[:4], flash, *previews[5:]]) == [0]
    assert cuts([*previews[:4], flash, *darker]) == [0]


def test_white_flash_is_no_cut_and_hides_none(photographs, render):
    before, after = still(photographs, render, "astronaut"), still(photographs, render, "coffee")
    white = np.full_like(before[0], 255)
    assert cuts([*before, white, *before]) == [0]
    assert cuts([*before, white, *after]) == [0, 5]


def test_black_frames_are_a_shot_of_their_own(photographs, render):
    picture = still(photographs, render, "astronaut")
    black = [np.full_like(picture[0], 3)] * 3
    assert cuts([*black, *picture, *black, *picture]) == [0, 3, 7, 10]


def test_change_of_frame_size_begins_a_shot(astronaut, render):
    previews = [render(astronaut, (225, 150), 1.0, size) for size in ((640, 360), (640, 360), (360, 640))]
    assert cuts(previews) == [0, 2]
