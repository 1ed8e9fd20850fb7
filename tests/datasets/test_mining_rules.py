"""The rules of mining on real pixels: a photograph that stands still or moves, is blurred, or compressed."""

from functools import cache
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest
import skimage.data

from fvdeblur.datasets.codec import Encoding, encode_decode
from fvdeblur.datasets.mining import (
    Verdict,
    blockiness,
    movement,
    movement_rule,
    overlap_rule,
    overlaps,
    quality_rule,
    sharpness,
)
from fvdeblur.faces.geometry import iou_matrix


@cache
def crowd() -> np.ndarray:
    folder = Path(find_spec("insightface").origin).parent
    return cv2.cvtColor(cv2.imread(str(folder / "data" / "images" / "t1.jpg")), cv2.COLOR_BGR2RGB)


@cache
def face(name: str) -> np.ndarray:
    """A sharp face, about 110 to 150 pixels."""
    if name == "astronaut":
        return np.ascontiguousarray(skimage.data.astronaut()[60:175, 180:270])
    return np.ascontiguousarray(crowd()[267:412, 464:572])


FACES = "astronaut", "crowd"


def encoded(frames: list[np.ndarray], crf: float, group: int = 250) -> np.ndarray:
    return encode_decode(np.stack(frames), Encoding("h264", crf, "veryfast", group))


def movements(frames: list[np.ndarray] | np.ndarray) -> np.ndarray:
    return np.array([movement(previous, current) for previous, current in pairwise(frames)])


def panned(step: float, count: int, size: int = 256) -> list[np.ndarray]:
    """The astronaut, seen by a camera that moves to the right by ``step`` pixels a frame."""
    frames = []
    for i in range(count):
        matrix = np.array([[1.0, 0, -100 - step * i], [0, 1, -40]])
        frames.append(cv2.warpAffine(skimage.data.astronaut(), matrix, (size, size), flags=cv2.INTER_CUBIC))
    return frames


def motion_blurred(image: np.ndarray, length: float, angle: float) -> np.ndarray:
    total = np.zeros(image.shape, np.float64)
    offsets = np.linspace(-length / 2, length / 2, 4 * int(length) + 1)
    for offset in offsets:
        shift = offset * np.cos(np.radians(angle)), offset * np.sin(np.radians(angle))
        matrix = np.array([[1, 0, shift[0]], [0, 1, shift[1]]])
        size = image.shape[1], image.shape[0]
        total += cv2.warpAffine(image, matrix, size, borderMode=cv2.BORDER_REFLECT)
    return np.round(total / len(offsets)).astype(np.uint8)


def defocused(image: np.ndarray, radius: float) -> np.ndarray:
    reach = int(np.ceil(radius)) + 1
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    disc = np.clip(radius + 0.5 - np.hypot(x, y), 0, 1)
    return cv2.filter2D(image, -1, disc / disc.sum())


def resized(image: np.ndarray, factor: float) -> np.ndarray:
    interpolation = cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC
    return cv2.resize(image, None, fx=factor, fy=factor, interpolation=interpolation)


# overlap


def test_overlap_is_intersection_over_union_frame_by_frame() -> None:
    rng = np.random.default_rng(0)
    first, second = (np.sort(rng.uniform(0, 100, (20, 2, 2)), axis=1).reshape(20, 4) for _ in range(2))
    second[5] = first[5]
    expected = np.diagonal(iou_matrix(first, second))
    assert np.allclose(overlaps(list(first), list(second)), expected)
    assert expected[5] == pytest.approx(1)


def test_overlap_of_what_is_missing_is_not_a_number() -> None:
    box, lost = [0, 0, 10, 10], [np.nan] * 4
    found = overlaps([box, None, box, lost, [5, 5, 5, 9]], [box, box, None, box, box])
    assert np.isnan(found).tolist() == [False, True, True, True, False]
    assert found[[0, 4]].tolist() == [1.0, 0.0]


def test_boxes_that_do_not_belong_together_are_refused() -> None:
    with pytest.raises(ValueError, match="2 and 1 frames"):
        overlaps([None, None], [None])
    with pytest.raises(ValueError, match="four numbers"):
        overlaps([[0, 0, 1]], [[0, 0, 1, 1]])


def test_overlap_in_half_of_the_frames_is_enough() -> None:
    box, aside, none = [0, 0, 10, 10], [6, 0, 16, 10], None
    assert overlap_rule([box] * 6, [box, box, box, aside, none, none]).passed
    verdict = overlap_rule([box] * 6, [box, box, aside, aside, none, none])
    assert not verdict.passed
    assert verdict.figures["overlap_share"] == pytest.approx(1 / 3)
    assert verdict.figures["mean_overlap"] == pytest.approx((2 + 2 * 0.25) / 6)
    assert (
        verdict.reason == "tracker and detector overlap by more than 0.5 in 33% of the frames (less than 50%)"
    )
    assert not overlap_rule([none] * 3, [box] * 3).passed
    assert overlap_rule([box] * 6, [box, box, aside, aside, none, none], share=0.3).passed


def test_overlap_must_be_above_a_half_and_there_must_be_frames() -> None:
    assert not overlap_rule([[0, 0, 10, 10]], [[0, 0, 10, 5]]).passed
    assert overlap_rule([[0, 0, 10, 10]], [[0, 0, 10, 5.1]]).passed
    assert not overlap_rule([], []).passed


# movement


@pytest.mark.parametrize("step", [1.5, 4.0])
def test_movement_is_measured_in_pixels_of_the_frames(step: float) -> None:
    frames = panned(step, 3)
    for factor in (1.0, 3.0):  # at 768 pixels the flow is computed on reduced frames
        found = movements([resized(frame, factor) for frame in frames])
        assert np.allclose(found[:, 1], step * factor, rtol=0.15)
        assert (found[:, 0] >= 0.95 * found[:, 1]).all()
        assert (found[:, 0] < 2 * step * factor).all()
    grey = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in frames[:2]]
    assert np.allclose(movement(*grey), movement(*frames[:2]))


def test_movement_anywhere_in_the_picture_counts() -> None:
    """A face that is a twentieth of the picture moves before a background that does not."""
    frames = []
    for i in range(3):
        frame = cv2.resize(skimage.data.coffee(), (480, 320))
        frame[100 : 100 + 115, 180 + 3 * i : 270 + 3 * i] = face("astronaut")
        frames.append(frame)
    found = movements(frames)
    assert (found[:, 0] > 2).all()
    assert (found[:, 0] < 4.5).all()
    assert (found[:, 1] < 1.5).all()
    assert movement_rule(found).passed


@pytest.mark.parametrize(("crf", "group"), [(23, 250), (32, 4), (38, 3)])
def test_a_photograph_made_into_a_video_is_static(crf: float, group: int) -> None:
    for picture in (skimage.data.astronaut()[:256, 100:356], crowd()[250:450, 400:640]):
        frames = encoded([picture] * 9, crf, group)
        assert group > 9 or not np.array_equal(frames[0], frames[group]), "the encoder left no noise"
        found = movements(frames)
        assert (found[:, 0] < 0.5).all()
        verdict = movement_rule(found)
        assert not verdict.passed
        assert verdict.reason.startswith("static")


def test_a_still_with_the_noise_of_a_camera_is_static() -> None:
    rng = np.random.default_rng(0)
    picture = skimage.data.astronaut()[:256, 100:356]
    noisy = [np.clip(picture + rng.normal(0, 5, picture.shape), 0, 255).astype(np.uint8) for _ in range(4)]
    assert not movement_rule(movements(noisy)).passed
    assert not movement_rule(movements(encoded(noisy, 28))).passed


@pytest.mark.parametrize("crf", [23, 35])
def test_a_photograph_that_moves_is_not_static(crf: float) -> None:
    verdict = movement_rule(movements(encoded(panned(2.0, 6), crf)))
    assert verdict.passed
    assert verdict.figures["mean_movement"] == pytest.approx(2, rel=0.2)
    assert verdict.figures["moving_share"] == 1


def test_cuts_and_chaos_move_too_much() -> None:
    pictures = [
        cv2.resize(picture, (320, 320))
        for picture in (
            skimage.data.astronaut(),
            skimage.data.coffee(),
            crowd()[200:700, 300:900],
            skimage.data.chelsea(),
            skimage.data.rocket(),
        )
    ]
    cuts = movements(pictures * 2)
    assert not movement_rule(cuts, share=0).passed
    rng = np.random.default_rng(0)
    thrown = [crowd()[y : y + 320, x : x + 320] for x, y in rng.integers(0, (900, 500), (8, 2))]
    chaos = movements(thrown)
    verdict = movement_rule(chaos, share=0)
    assert not verdict.passed
    assert verdict.figures["mean_movement"] > 12


def test_the_limits_of_the_movement_rule() -> None:
    still, moving, wild = [0.0, 0.1], [2.0, 0.5], [60.0, 30.0]
    assert movement_rule([still] * 8 + [moving] * 2).passed
    glitch = movement_rule([still] * 29 + [moving])
    assert not glitch.passed
    assert glitch.reason == "static: 3% of the frames move by 1 pixel or more (less than 10%)"
    assert movement_rule([moving] * 9 + [wild]).passed
    verdict = movement_rule([moving] * 5 + [wild] * 5)
    assert not verdict.passed
    assert "on average" in verdict.reason
    assert verdict.figures == {"largest_movement": 60, "mean_movement": 15.25, "moving_share": 1}
    assert movement_rule([moving] * 5 + [wild] * 5, most=16).passed
    assert not movement_rule([moving], least=3).passed
    assert not movement_rule([]).passed


# sharpness


@pytest.mark.parametrize("name", FACES)
@pytest.mark.parametrize("factor", [0.8, 1.0, 2.0])
def test_every_kind_of_blur_takes_sharpness_away(name: str, factor: float) -> None:
    sharp = resized(face(name), factor)
    unit = min(sharp.shape[:2]) / 100
    value = sharpness(sharp)
    assert value > 0.15
    for angle in (0, 30, 45, 90, 135):
        slight, strong = (sharpness(motion_blurred(sharp, length * unit, angle)) for length in (3, 7))
        assert strong < 0.5 * value, angle
        assert strong < slight < value, angle
    for blur in (cv2.GaussianBlur(sharp, (0, 0), 1.5 * unit), defocused(sharp, 3 * unit)):
        assert sharpness(blur) < 0.5 * value


@pytest.mark.parametrize("name", FACES)
def test_sharpness_does_not_depend_on_exposure(name: str) -> None:
    value = sharpness(face(name))
    for dark in (face(name) // 2, 40 + (face(name) * 0.5).astype(np.uint8)):
        assert sharpness(dark) == pytest.approx(value, rel=0.05)


def test_sharpness_is_comparable_between_sizes() -> None:
    """A large sharp photograph, reduced: what is sharp at one size is so at the other."""
    large = np.ascontiguousarray(skimage.data.astronaut()[:400, 60:460])
    values = [sharpness(resized(large, size / 400)) for size in (400, 256, 160, 128, 96)]
    assert max(values) < 1.25 * min(values)


def test_noise_does_not_make_a_blurred_face_sharp() -> None:
    rng = np.random.default_rng(0)
    for name in FACES:
        large = resized(face(name), 2.0)
        blurred = cv2.GaussianBlur(large, (0, 0), 4)
        noisy = np.clip(blurred + rng.normal(0, 4, blurred.shape), 0, 255).astype(np.uint8)
        assert sharpness(noisy) < 0.5 * sharpness(large)


def test_a_flat_picture_has_no_sharpness() -> None:
    assert sharpness(np.full((64, 64, 3), 77, np.uint8)) == 0


# compression


@pytest.mark.parametrize("picture", ["astronaut", "crowd"])
def test_blockiness_rises_with_the_rate_factor(picture: str) -> None:
    source = (
        skimage.data.astronaut()[20:276, 90:346]
        if picture == "astronaut"
        else resized(crowd(), 0.6)[:256, :256]
    )
    frames = [np.roll(source, i, axis=1) for i in range(3)]
    clean = blockiness(source)
    low, middle, high = (
        np.mean([blockiness(frame[9:250, 5:246]) for frame in encoded(frames, crf)]) for crf in (18, 30, 40)
    )
    assert clean < 0.03
    assert low < middle < high
    assert high > clean + 0.03


@pytest.mark.parametrize("name", FACES)
def test_blockiness_rises_as_the_quality_of_jpeg_falls(name: str) -> None:
    source = skimage.data.astronaut() if name == "astronaut" else crowd()
    x, y = (163, 51) if name == "astronaut" else (451, 262)  # the grid begins at 5, 5 and at 5, 2 of the crop
    values = []
    for quality in (90, 70, 40, 15):
        coded = cv2.imdecode(
            cv2.imencode(".jpg", source, [cv2.IMWRITE_JPEG_QUALITY, quality])[1], cv2.IMREAD_COLOR
        )
        values.append(blockiness(coded[y : y + 140, x : x + 120]))
    assert all(second > first for first, second in pairwise(values)), values
    assert values[-1] > 0.2


def test_the_grid_may_lie_anywhere() -> None:
    coded = cv2.imdecode(
        cv2.imencode(".jpg", skimage.data.astronaut(), [cv2.IMWRITE_JPEG_QUALITY, 30])[1], cv2.IMREAD_COLOR
    )
    values = [
        blockiness(coded[40 + y : 240 + y, 130 + x : 330 + x]) for x, y in ((0, 0), (3, 1), (6, 7), (5, 11))
    ]
    assert max(values) < 1.15 * min(values)
    assert min(values) > 0.1


@pytest.mark.parametrize("name", FACES)
def test_neither_detail_nor_blur_is_taken_for_blocks(name: str) -> None:
    for factor, limit in ((0.7, 0.05), (1.5, 0.03)):  # of fewer than 100 pixels little can be told
        large = resized(face(name), factor)
        assert blockiness(large) < limit
        assert blockiness(cv2.GaussianBlur(large, (0, 0), 2)) < 0.03
    rng = np.random.default_rng(0)
    assert blockiness(rng.integers(0, 256, (64, 64, 3), dtype=np.uint8)) < 0.03
    assert blockiness(np.full((64, 64, 3), 77, np.uint8)) == 0


def test_the_blocks_of_a_photograph_kept_as_jpeg_are_seen_until_it_is_resampled() -> None:
    assert blockiness(crowd()[230:486, 400:656]) > 0.1
    assert blockiness(resized(crowd(), 0.6)[140:290, 240:390]) < 0.03


def test_blocks_count_for_less_beside_a_large_object() -> None:
    tile = cv2.imdecode(
        cv2.imencode(".jpg", skimage.data.astronaut()[:192, 120:312], [cv2.IMWRITE_JPEG_QUALITY, 30])[1],
        cv2.IMREAD_COLOR,
    )
    large = np.tile(tile, (4, 4, 1))  # the grid goes on, for 192 is a multiple of 16
    assert blockiness(large) == pytest.approx(blockiness(tile) * 200 / 768, rel=0.1)


# quality


@pytest.mark.parametrize("name", FACES)
def test_good_faces_pass_and_bad_ones_do_not(name: str) -> None:
    good = resized(face(name), 1.5)
    verdict = quality_rule(sharpness(good), blockiness(good))
    assert verdict.passed
    assert isinstance(verdict, Verdict)

    blurred = motion_blurred(good, 9, 20)
    verdict = quality_rule(sharpness(blurred), blockiness(blurred))
    assert not verdict.passed
    assert verdict.reason.startswith("blurred")

    blocks = cv2.imdecode(cv2.imencode(".jpg", good, [cv2.IMWRITE_JPEG_QUALITY, 25])[1], cv2.IMREAD_COLOR)
    verdict = quality_rule(sharpness(blocks), blockiness(blocks))
    assert not verdict.passed
    assert verdict.reason.startswith("strongly compressed")


def test_the_quality_of_a_clip_is_that_of_its_middle_frame() -> None:
    assert quality_rule([0.3, 0.01, 0.2], [0.0, 0.9, 0.01]).figures == {"sharpness": 0.2, "blockiness": 0.01}
    assert quality_rule([0.3, 0.01, 0.2], [0.0, 0.9, 0.01]).passed
    assert not quality_rule([0.3, 0.01, 0.02], [0.0, 0.9, 0.01]).passed
    assert not quality_rule([0.3, 0.3, 0.3], [0.5, 0.9, 0.01]).passed
    assert quality_rule([0.3], [0.5], most_blockiness=0.6).passed
    assert not quality_rule([0.3], [0.0], least_sharpness=0.4).passed
    with pytest.raises(ValueError, match="no frames"):
        quality_rule([], [])


@pytest.mark.parametrize("measure", [sharpness, blockiness, lambda image: movement(image, image)])
@pytest.mark.parametrize(
    "image",
    [
        np.zeros((64, 64, 3), np.float32),
        np.zeros((64, 64, 4), np.uint8),
        np.zeros((31, 64, 3), np.uint8),
        np.zeros(64, np.uint8),
    ],
)
def test_pictures_of_another_kind_are_refused(measure, image: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"uint8|too few"):
        measure(image)


def test_frames_of_two_sizes_are_refused() -> None:
    with pytest.raises(ValueError, match="one size"):
        movement(np.zeros((64, 64), np.uint8), np.zeros((64, 48), np.uint8))
