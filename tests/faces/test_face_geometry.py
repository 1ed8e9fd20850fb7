import numpy as np
import pytest

from fvdeblur.faces import face_size, face_square
from fvdeblur.faces.geometry import iou_matrix, non_maximum_suppression, visible_fraction


def test_square_is_centred_and_as_large_as_the_longer_side_asks():
    assert face_square(np.array([10.0, 20.0, 40.0, 70.0]), context=1.8) == pytest.approx((25.0, 45.0, 90.0))
    assert face_square(np.array([-10.0, 0.0, 50.0, 30.0]), context=1.0) == pytest.approx((20.0, 15.0, 60.0))


def test_size_is_the_root_of_the_area():
    assert face_size(np.array([0.0, 0.0, 20.0, 80.0])) == pytest.approx(40.0)
    assert face_size(np.array([5.0, 0.0, 2.0, 80.0])) == 0.0


def test_visible_fraction():
    box = np.array([-10.0, 50.0, 30.0, 150.0])
    assert visible_fraction(box, 200, 100) == pytest.approx(0.75 * 0.5)
    assert visible_fraction(box, 200, 200) == pytest.approx(0.75)
    assert visible_fraction(box, 200, 40) == 0.0
    assert visible_fraction(np.zeros(4), 200, 40) == 0.0


def test_iou():
    boxes = np.array([[0, 0, 10, 10], [5, 0, 15, 10], [20, 20, 30, 30], [3, 3, 3, 9]], np.float64)
    expected = np.eye(4)
    expected[0, 1] = expected[1, 0] = 50 / 150
    expected[3, 3] = 0.0  # no area
    assert iou_matrix(boxes, boxes) == pytest.approx(expected)
    assert iou_matrix(np.zeros((0, 4)), boxes).shape == (0, 4)


def test_suppression_keeps_the_best_of_each_group():
    boxes = np.array([[0, 0, 10, 10], [1, 0, 11, 10], [50, 50, 60, 60], [2, 0, 12, 10]], np.float64)
    kept = non_maximum_suppression(boxes, np.array([0.5, 0.9, 0.7, 0.6]), 0.3)
    assert kept.tolist() == [1, 2]
    assert non_maximum_suppression(np.zeros((0, 4)), np.zeros(0), 0.3).tolist() == []
