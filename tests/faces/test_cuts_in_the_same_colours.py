"""Cuts that no histogram shows: the same two people, who have changed sides."""

import cv2
import numpy as np
import pytest

from fvdeblur.faces import CutDetector, Detector, FaceTracker


@pytest.fixture(scope="module")
def swap(astronaut: np.ndarray, crowd: np.ndarray) -> list[np.ndarray]:
    """Twelve frames of two halves, which change sides after six: uint8 [240, 320, 3]."""
    left = cv2.resize(astronaut[:384, 64:320], (160, 240), interpolation=cv2.INTER_AREA)
    right = cv2.resize(crowd[200:620, 680:960], (160, 240), interpolation=cv2.INTER_AREA)
    frames = []
    for k in range(12):
        parts = [np.roll(half, k % 3, axis=0) for half in (left, right)]
        frames.append(np.ascontiguousarray(np.hstack(parts if k < 6 else parts[::-1])))
    return frames


def test_faces_that_do_not_go_on_make_a_cut(swap: list[np.ndarray], detector: Detector) -> None:
    cuts = CutDetector()
    assert [cuts.update(frame) for frame in swap[:6]] == [True] + [False] * 5
    cuts.update(swap[6])
    assert cuts.mismatch > 0.4
    tracker = FaceTracker(detector)
    reported = [done for frame in swap for done in tracker.push(frame, 1.0)] + tracker.flush()
    assert [done.starts_shot for done in reported] == [k in {0, 6} for k in range(12)]
    tracks = [{face.track for face in done.faces} for done in reported]
    assert len(tracks[0]) == len(tracks[6]) == 2
    assert not tracks[5] & tracks[6]
    assert all(face.detected for face in reported[0].faces)
    assert not any(face.detected for face in reported[1].faces)


def head(picture: np.ndarray, detector: Detector, number: int) -> tuple[np.ndarray, np.ndarray]:
    """A head of a picture (by the place of its face from the left), 200x260 pixels, and a soft mask around it."""
    found = sorted((each.box for each in detector.detect(picture)), key=lambda box: float(box[0]))
    left, top, right, bottom = found[number]
    scale = 110 / (right - left)
    matrix = np.array(
        [[scale, 0, 100 - scale * (left + right) / 2], [0, scale, 140 - scale * (top + bottom) / 2]]
    )
    patch = cv2.warpAffine(picture, matrix, (200, 260), flags=cv2.INTER_AREA, borderMode=cv2.BORDER_REPLICATE)
    rows, columns = np.mgrid[-1:1:260j, -1:1:200j]
    return patch, np.clip((1 - np.hypot(columns, rows)) * 6, 0, 1)[..., None]


@pytest.mark.parametrize("numbers", [(1, 3), (2, 3)])
def test_two_faces_in_the_same_places_that_do_not_go_on(
    numbers: tuple[int, int], crowd: np.ndarray, detector: Detector
) -> None:
    """Before the same wall, which goes on: less of the picture changes than one face alone could hide."""
    one, other = (head(crowd, detector, number) for number in numbers)
    tracker = FaceTracker(detector)
    reported, mismatches = [], []
    for k in range(12):
        scene = np.full((360, 640, 3), (96, 104, 112), np.uint8)
        for (patch, mask), x in zip((one, other) if k < 6 else (other, one), (60, 380), strict=True):
            part = scene[60 + k % 3 : 320 + k % 3, x : x + 200]
            part[...] = np.round(part * (1 - mask) + patch * mask).astype(np.uint8)
        reported += tracker.push(scene, 1.0)
        mismatches.append(tracker._cuts.mismatch)
    reported += tracker.flush()
    assert mismatches[6] < 0.3
    assert [done.starts_shot for done in reported] == [k in {0, 6} for k in range(12)]


@pytest.mark.parametrize("away", [60, 110])
def test_a_thrown_camera_is_no_cut(away: int, crowd: np.ndarray, detector: Detector) -> None:
    """The faces are found where the picture went, or the picture is."""
    tracker = FaceTracker(detector)
    reported = []
    for k in range(8):
        x = 150 + (away if k >= 4 else 0)
        reported += tracker.push(np.ascontiguousarray(crowd[150:630, x : x + 640]), 1.0)
    reported += tracker.flush()
    assert [done.starts_shot for done in reported] == [True] + [False] * 7
