"""The correlation tracker on real faces that move along known paths over real backgrounds."""

from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np
import pytest
import skimage.data

from fvdeblur.datasets.mining import CorrelationSettings, CorrelationTracker, overlap_rule, overlaps
from fvdeblur.errors import UsageError

BOXES = {"astronaut": (180, 60, 270, 175), "crowd": (464, 267, 572, 412)}
"""Faces in the photographs: x0, y0, x1, y1."""

SIZE = 480, 320


@cache
def portrait(name: str) -> tuple[np.ndarray, np.ndarray]:
    """A face with 16 pixels around its box, float32, and its opacity: an ellipse."""
    picture = skimage.data.astronaut()
    if name == "crowd":
        folder = Path(find_spec("insightface").origin).parent
        picture = cv2.cvtColor(cv2.imread(str(folder / "data" / "images" / "t1.jpg")), cv2.COLOR_BGR2RGB)
    x0, y0, x1, y1 = BOXES[name]
    face = picture[y0 - 16 : y1 + 16, x0 - 16 : x1 + 16].astype(np.float32)
    y, x = (np.arange(length) + 0.5 - length / 2 for length in face.shape[:2])
    radius = np.hypot(2 * x[None] / (x1 - x0), 2 * y[:, None] / (y1 - y0))
    return face, np.clip((1.1 - radius) / 0.1, 0, 1).astype(np.float32)


@cache
def background(name: str = "coffee", size: tuple[int, int] = SIZE) -> np.ndarray:
    return cv2.resize(getattr(skimage.data, name)(), size, interpolation=cv2.INTER_AREA)


def paste(
    name: str,
    centre: tuple[float, float],
    size: float,
    light: float = 1.0,
    turn: float = 0.0,
    onto: str = "coffee",
) -> tuple[np.ndarray, np.ndarray]:
    """A background with a face (an ellipse) of ``size`` pixels on it, turned by some degrees, and the face's box."""
    picture = background(onto)
    face, opacity = portrait(name)
    x0, y0, x1, y1 = BOXES[name]
    scale = size / np.sqrt((x1 - x0) * (y1 - y0))
    half = np.array([x1 - x0, y1 - y0]) * scale / 2
    middle = np.array(face.shape[1::-1]) / 2 - 0.5
    matrix = cv2.getRotationMatrix2D((float(middle[0]), float(middle[1])), turn, scale)
    matrix[:, 2] += np.array(centre) - 0.5 - middle
    face, opacity = (cv2.warpAffine(each, matrix, picture.shape[1::-1]) for each in (face, opacity))
    mixed = picture + (np.clip(face * light, 0, 255) - picture) * opacity[..., None]
    return mixed.astype(np.uint8), np.concatenate([centre - half, centre + half])


def follow(tracker: CorrelationTracker, frames: Iterator[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Boxes [T, 4] and confidences [T]."""
    found = [tracker.update(frame) for frame in frames]
    return np.array([box for box, _ in found]), np.array([confidence for _, confidence in found])


def swinging(time: float) -> tuple[float, float, float]:
    """Centre and size at a time of 0..1: to and fro by up to 9 pixels a frame, and from 0.75 to 1.33 of the size."""
    angle = 2 * np.pi * time
    return 240 + 90 * np.sin(2 * angle), 160 + 45 * np.sin(3 * angle), 100 * 1.33 ** np.sin(2 * angle)


@pytest.mark.parametrize("name", BOXES)
def test_a_face_is_followed_through_motion_scale_and_light(name: str) -> None:
    frames, boxes = [], []
    for time in np.linspace(0, 0.7, 43):
        x, y, size = swinging(time)
        frame, box = paste(name, (x, y), size, 1 + 0.35 * np.sin(2 * np.pi * time))
        frames.append(frame)
        boxes.append(box)
    tracker = CorrelationTracker(frames[0], boxes[0])
    assert np.allclose(tracker.box, boxes[0], atol=1e-3)
    found, confidence = follow(tracker, iter(frames[1:]))
    truth = np.array(boxes[1:])
    overlap = overlaps(list(found), list(truth))
    assert overlap.min() > 0.75
    assert overlap.mean() > 0.88
    distance = np.abs(found.reshape(-1, 2, 2).mean(axis=1) - truth.reshape(-1, 2, 2).mean(axis=1))
    assert distance.max() < 4
    assert distance.mean() < 1
    assert found.dtype == np.float32
    assert confidence.min() > 0.4
    assert confidence.max() <= 1


def test_movement_is_found_to_a_part_of_a_cell() -> None:
    """A face of 100 pixels is seen on cells of 6.25 pixels."""
    first, box = paste("astronaut", (240, 160), 100)
    for shift in ((1.0, 0.0), (0.0, -2.5), (3.5, 1.5), (-5.0, 4.0)):
        tracker = CorrelationTracker(first, box)
        found, _ = tracker.update(paste("astronaut", (240 + shift[0], 160 + shift[1]), 100)[0])
        difference = found - (box + np.tile(shift, 2))
        assert np.abs(difference[:2] + difference[2:]).max() / 2 < 0.8, shift
        assert np.abs(difference).max() < 2, shift  # of the size, after a single frame, 3 %


@pytest.mark.parametrize("size", [16.0, 40.0, 230.0])
def test_small_and_large_targets(size: float) -> None:
    def place(i: int) -> tuple[float, float]:
        return 240 + 0.25 * size * np.sin(i / 4), 160 + 0.1 * size * np.sin(i / 3)

    tracker = CorrelationTracker(*paste("astronaut", place(0), size))
    for i in range(1, 16):
        frame, box = paste("astronaut", place(i), size)
        found, _ = tracker.update(frame)
        assert overlaps([found], [box])[0] > 0.75, i


def test_a_face_that_leaves_by_the_edge_is_followed_as_far_as_it_is_seen() -> None:
    tracker = CorrelationTracker(*paste("crowd", (400, 100), 90))
    for i in range(1, 23):
        frame, box = paste("crowd", (400 + 3 * i, 100), 90)
        found, _ = tracker.update(frame)
        assert overlaps([found], [box])[0] > 0.65, i
    assert found[2] > SIZE[0]


def test_what_hides_the_target_lowers_the_confidence_and_is_not_learned() -> None:
    rocket = background("rocket")
    frames = [paste("astronaut", (200 + i, 150), 100) for i in range(30)]
    pictures = [frame for frame, _ in frames]
    for i in range(10, 22):
        x0, y0, x1, y1 = (int(value) for value in frames[i][1] + (-15, -15, 15, 15))
        pictures[i][y0:y1, x0:x1] = rocket[y0:y1, x0:x1]
    found, confidence = follow(CorrelationTracker(pictures[0], frames[0][1]), iter(pictures[1:]))
    clear, hidden, again = confidence[:9], confidence[9:21], confidence[21:]
    assert hidden.max() < 0.4 * clear.min()
    assert again[-1] > 0.8 * clear.min()
    assert overlaps([found[-1]], [frames[-1][1]])[0] > 0.7


def test_drift_to_another_thing_fails_the_overlap_rule() -> None:
    """The face fades into a cup, and another one appears elsewhere, where a detector would find it."""
    frames, boxes = [], []
    for i in range(30):
        before, box = paste("astronaut", (300 + i, 160), 80)
        after, other = paste("astronaut", (120 - i, 160), 80)
        after[110:210, 250 + i : 350 + i] = skimage.data.coffee()[100:300:2, 200:400:2]
        faded = np.clip((i - 4) / 8, 0, 1)
        frames.append((before + faded * (after.astype(np.float32) - before)).astype(np.uint8))
        boxes.append(box if faded < 0.5 else other)
    found, _ = follow(CorrelationTracker(frames[0], boxes[0]), iter(frames[1:]))
    verdict = overlap_rule(list(found), boxes[1:])
    assert not verdict.passed
    assert 0.1 < verdict.figures["overlap_share"] < 0.4
    assert overlap_rule(list(found[:7]), boxes[1:8]).passed


def test_the_same_frames_give_the_same_boxes() -> None:
    frames = [paste("crowd", (200 + 4 * i, 150 - 2 * i), 90 + i) for i in range(8)]
    runs = []
    for _ in range(2):
        tracker = CorrelationTracker(*frames[0])
        runs.append(follow(tracker, (frame for frame, _ in frames[1:])))
    assert np.array_equal(runs[0][0], runs[1][0])
    assert np.array_equal(runs[0][1], runs[1][1])


def test_the_frames_are_left_as_they_are() -> None:
    frame, box = paste("astronaut", (240, 160), 100)
    copy, corners = frame.copy(), box.copy()
    CorrelationTracker(frame, box).update(frame)
    assert np.array_equal(frame, copy)
    assert np.array_equal(box, corners)


def test_nothing_to_see_gives_no_confidence() -> None:
    tracker = CorrelationTracker(*paste("astronaut", (240, 160), 100))
    before = tracker.box
    box, confidence = tracker.update(np.full((SIZE[1], SIZE[0], 3), 90, np.uint8))
    assert confidence < 0.2
    assert np.isfinite(box).all()
    assert overlaps([box], [before])[0] > 0.9


def test_a_flat_target_does_no_harm() -> None:
    grey = np.full((120, 160, 3), 128, np.uint8)
    box, confidence = CorrelationTracker(grey, [40, 30, 90, 80]).update(grey)
    assert np.isfinite(box).all()
    assert 0 <= confidence <= 1


@pytest.mark.parametrize(
    "box",
    [
        [10, 10, 12, 60],
        [60, 10, 20, 60],
        [10, 10, float("nan"), 60],
        [10, 10, 60],
        "box",
        [[10, 10], [50, 50]],
        [470, 10, 600, 60],
        [-90, 10, 20, 60],
        None,
    ],
)
def test_a_box_that_holds_no_target_is_refused(box: object) -> None:
    with pytest.raises(UsageError) as caught:
        CorrelationTracker(background(), box)
    assert "box" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((100, 100), np.uint8),
        np.zeros((100, 100, 4), np.uint8),
        np.zeros((100, 100, 3), np.float32),
        np.zeros((0, 100, 3), np.uint8),
        None,
    ],
)
def test_a_picture_of_another_kind_is_refused(image: object) -> None:
    with pytest.raises(UsageError) as caught:
        CorrelationTracker(image, [10, 10, 50, 50])  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)
    tracker = CorrelationTracker(background(), [100, 100, 160, 160])
    with pytest.raises(UsageError):
        tracker.update(image)  # type: ignore[arg-type]


def test_a_frame_of_another_size_is_refused() -> None:
    tracker = CorrelationTracker(background(), [100, 100, 160, 160])
    with pytest.raises(UsageError, match="480x320, and this one has 320x240"):
        tracker.update(background(size=(320, 240)))


@pytest.mark.parametrize(
    "wrong", [{"search": 1.0}, {"cells": 15}, {"scales": 4}, {"scale_step": 1.0}, {"learning_rate": 1.5}]
)
def test_settings_out_of_range_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(UsageError, match=next(iter(wrong))):
        CorrelationSettings(**wrong)  # type: ignore[arg-type]


def test_learning_follows_a_face_that_changes_and_not_learning_does_not() -> None:
    """The face turns by 3 degrees a frame until it lies: only a tracker that learns still knows it then."""
    frames = [paste("astronaut", (240, 160), 90, turn=3.0 * i) for i in range(31)]
    confidence, overlap = {}, {}
    for rate in (0.0, 0.1):
        tracker = CorrelationTracker(*frames[0], CorrelationSettings(learning_rate=rate))
        found, values = follow(tracker, (frame for frame, _ in frames[1:]))
        confidence[rate] = values[-1]
        overlap[rate] = overlaps([found[-1]], [frames[-1][1]])[0]
    assert confidence[0.1] > 2 * confidence[0.0]
    assert overlap[0.1] > 0.7
