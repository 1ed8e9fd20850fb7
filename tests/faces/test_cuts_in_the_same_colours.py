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
