"""The blur of real faces under known kernels: how strong, how long, in which direction."""

import itertools
import os
from pathlib import Path

import av
import cv2
import insightface
import numpy as np
import pytest
import skimage.data

from fvdeblur.faces import create_detector
from fvdeblur.media import FramePlanes
from fvdeblur.restoration.blur_measure import SHARP_LEVEL, FaceBlur, face_blur, measure_blur

LENGTHS = (0, 5, 9, 15, 21, 31)


def motion_kernel(length: float, degrees: float) -> np.ndarray:
    """A straight, uniform motion, counter-clockwise from the horizontal: float64 [n, n] of sum 1."""
    side = int(np.ceil(length)) + 4 | 1
    kernel = np.zeros((side, side))
    step = np.array([np.cos(np.radians(degrees)), -np.sin(np.radians(degrees))]) * length / 2
    for part in np.linspace(-1, 1, 16 * side):
        x, y = (side - 1) / 2 + part * step
        column, row = int(x), int(y)
        right, down = x - column, y - row
        kernel[row : row + 2, column : column + 2] += np.outer([1 - down, down], [1 - right, right])
    return kernel / kernel.sum()


@pytest.fixture(scope="module")
def faces() -> list[tuple[np.ndarray, np.ndarray]]:
    """Six photographs with the box of one face each: uint8 [H, W, 3] and float32 [4]."""
    crowd = cv2.imread(str(Path(os.path.dirname(insightface.__file__)) / "data" / "images" / "t1.jpg"))
    detector = create_detector("centerface", threads=1)
    found = []
    for picture, count in ((skimage.data.astronaut(), 1), (crowd[..., ::-1].copy(), 5)):
        for detection in detector.detect(picture)[:count]:
            left, top = (int(max(0, edge - 60)) for edge in detection.box[:2])
            right, bottom = (int(edge + 60) for edge in detection.box[2:])
            part = np.ascontiguousarray(picture[top:bottom, left:right])
            found.append((part, detection.box - np.float32([left, top, left, top])))
    assert len(found) == 6
    return found


def blurred(picture: np.ndarray, kernel: np.ndarray, seed: int = 0) -> np.ndarray:
    """With a little noise, as a camera adds it."""
    linear = cv2.filter2D(picture.astype(np.float32), -1, kernel, borderType=cv2.BORDER_REFLECT)
    noise = np.random.default_rng(seed).normal(0, 1, picture.shape)
    return np.clip(np.round(linear + noise), 0, 255).astype(np.uint8)


def measured(picture: np.ndarray, box: np.ndarray) -> FaceBlur:
    blur = face_blur(FramePlanes(av.VideoFrame.from_ndarray(picture, format="rgb24")), box)
    assert blur is not None
    return blur


def angle_between(one: float, other: float) -> float:
    return abs((one - other + 90) % 180 - 90)


def test_known_motions(faces: list[tuple[np.ndarray, np.ndarray]]) -> None:
    """The level rises with every motion, and from 9 pixels on direction and length are right."""
    wrong = []
    for number, (picture, box) in enumerate(faces):
        levels = []
        for place, length in enumerate(LENGTHS):
            direction = (37 * number + 61 * place) % 180
            blur = measured(blurred(picture, motion_kernel(length, direction), number), box)
            levels.append(blur.level)
            assert 0 < blur.sharpness <= 1
            if length >= 9:
                assert blur.direction is not None
                wrong.append(angle_between(blur.direction, direction))
                assert blur.length == pytest.approx(length, rel=0.3)
        assert all(one < other for one, other in itertools.pairwise(levels)), levels
    assert max(wrong) <= 15
    assert np.median(wrong) <= 5


def test_a_sharp_face_has_no_blur(faces: list[tuple[np.ndarray, np.ndarray]]) -> None:
    picture, box = faces[0]
    blur = measured(picture, box)
    assert blur.level < SHARP_LEVEL * float((box[2:] - box[:2]).max())
    assert blur.sharpness > 0.8


def test_lack_of_focus_is_no_motion(faces: list[tuple[np.ndarray, np.ndarray]]) -> None:
    for picture, box in faces[:3]:
        levels = []
        for sigma in (1.0, 2.0, 4.0):
            soft = cv2.GaussianBlur(picture, (0, 0), sigma)
            blur = measured(blurred(soft, np.ones((1, 1))), box)
            levels.append(blur.level)
            assert blur.level == pytest.approx(sigma, rel=0.6)
            assert blur.length / 24**0.5 < 0.75 * blur.level
        assert levels == sorted(levels)


def test_lengths_are_in_pixels_of_the_frame(faces: list[tuple[np.ndarray, np.ndarray]]) -> None:
    """The same picture twice as large has twice the blur, and the same sharpness."""
    picture, box = faces[0]
    small = blurred(picture, motion_kernel(12, 30))
    large = cv2.resize(small, None, fx=2, fy=2, interpolation=cv2.INTER_CUBIC)
    one, two = measured(small, box), measured(large, 2 * box)
    assert two.length == pytest.approx(2 * one.length, rel=0.15)
    assert two.sharpness == pytest.approx(one.sharpness, abs=0.1)
    assert angle_between(one.direction or 0, two.direction or 0) <= 7.5


def test_compression_does_not_hide_the_direction(faces: list[tuple[np.ndarray, np.ndarray]]) -> None:
    picture, box = faces[0]
    moved = blurred(picture, motion_kernel(15, 120))
    data = cv2.imencode(".jpg", moved, [cv2.IMWRITE_JPEG_QUALITY, 60])[1]
    blur = measured(np.ascontiguousarray(cv2.imdecode(data, cv2.IMREAD_COLOR)), box)
    assert angle_between(blur.direction or 0, 120) <= 15


def test_what_cannot_be_measured() -> None:
    planes = FramePlanes(av.VideoFrame.from_ndarray(skimage.data.astronaut(), format="rgb24"))
    assert face_blur(planes, np.array([10, 10, 25, 30], np.float32)) is None
    assert face_blur(planes, np.array([900, 10, 1000, 130], np.float32)) is None
    flat = measure_blur(np.full((100, 100, 3), 0.5, np.float32))
    assert (flat.level, flat.length, flat.direction, flat.sharpness) == (0, 0, None, 1)
