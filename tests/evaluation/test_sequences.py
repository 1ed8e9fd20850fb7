"""What is measured on sequences, checked against second ways to compute it and on known changes."""

from typing import Any

import cv2
import numpy as np
import pytest
from media_samples import moving_photograph

from fvdeblur.evaluation.sequences import (
    MOST_PSNR,
    Truth,
    find_truth,
    measure_frames,
)
from fvdeblur.faces import create_detector
from fvdeblur.faces.identity import create_embedder


@pytest.fixture(scope="module")
def detector() -> Any:
    return create_detector("centerface", threads=1)


@pytest.fixture(scope="module")
def truth(detector: Any) -> Truth:
    found = find_truth(np.stack(moving_photograph(4)), detector)
    assert found is not None
    return found


def blurred(truth: Truth, length: int) -> Any:
    kernel = np.full((1, length), 1 / length, np.float32)
    return np.stack([cv2.filter2D(frame, -1, kernel) for frame in truth.frames])


def test_the_box_holds_the_face(truth: Truth) -> None:
    for (x0, y0, x1, y1), face in zip(truth.boxes, truth.faces, strict=True):
        assert np.abs(np.array([x0, y0, x1, y1]) - face.box).max() <= 1
        assert face.landmarks is not None
        assert (face.landmarks > [x0, y0]).all()
        assert (face.landmarks < [x1, y1]).all()


def test_no_face_is_no_truth(detector: Any) -> None:
    assert find_truth(np.zeros((2, 120, 160, 3), np.uint8), detector) is None


def test_the_truth_itself_is_perfect(truth: Truth, detector: Any) -> None:
    measures = measure_frames(truth.frames, truth, detector, None)
    assert measures["psnr"].tolist() == [MOST_PSNR] * 4
    assert measures["ssim"] == pytest.approx(np.ones(4))
    assert measures["detected"].tolist() == [1] * 4
    assert measures["landmark_error"] == pytest.approx(np.zeros(4))
    assert np.isnan(measures["temporal_error"][0])
    assert measures["temporal_error"][1:].tolist() == [0] * 3
    assert "identity" not in measures


def test_against_scikit_image(truth: Truth) -> None:
    from skimage.metrics import peak_signal_noise_ratio, structural_similarity

    frames = blurred(truth, 5)
    measures = measure_frames(frames, truth, None, None)
    for k, (x0, y0, x1, y1) in enumerate(truth.boxes):
        one, other = truth.frames[k, y0:y1, x0:x1], frames[k, y0:y1, x0:x1]
        assert measures["psnr"][k] == pytest.approx(peak_signal_noise_ratio(one, other, data_range=255))
        second = structural_similarity(
            one,
            other,
            channel_axis=-1,
            data_range=255,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
        )
        assert measures["ssim"][k] == pytest.approx(second, abs=1e-6)


def test_everything_falls_with_blur(truth: Truth, detector: Any) -> None:
    weak, strong = (measure_frames(blurred(truth, length), truth, detector, None) for length in (3, 9))
    for name in ("psnr", "ssim", "sharpness"):
        assert weak[name].mean() > strong[name].mean()
    assert np.nanmean(weak["landmark_error"]) < np.nanmean(strong["landmark_error"])
    assert np.nanmean(weak["temporal_error"]) < np.nanmean(strong["temporal_error"])


def test_flicker_is_seen_between_frames_alone(truth: Truth) -> None:
    """Brightness that jumps up and down by 4 changes the difference between frames by 8; a constant one not at all."""
    steady = np.clip(truth.frames.astype(int) + 4, 0, 255).astype(np.uint8)
    signs = np.array([1, -1, 1, -1])[:, None, None, None]
    flicker = np.clip(truth.frames.astype(int) + 4 * signs, 0, 255).astype(np.uint8)
    one, other = (measure_frames(frames, truth, None, None) for frames in (steady, flicker))
    assert one["psnr"] == pytest.approx(other["psnr"], abs=0.2)
    assert one["temporal_error"][1:].max() < 0.5
    assert other["temporal_error"][1:] == pytest.approx(np.full(3, 8), abs=0.5)
    assert (other["warping_error"][1:] > one["warping_error"][1:] + 3).all()


def test_what_the_flow_explains_is_no_error(detector: Any) -> None:
    """A picture that only moves is taken back along its flow; one whose texture changes is not."""
    picture = moving_photograph(1)[0]
    moved = np.stack([np.roll(picture, 2 * k, axis=1) for k in range(3)])
    truth = find_truth(moved, detector)
    assert truth is not None
    still = np.stack([picture] * 3)
    assert np.nanmean(measure_frames(moved, truth, None, None)["warping_error"]) < 2.5
    assert np.nanmean(measure_frames(still, truth, None, None)["warping_error"]) > 4


def test_a_face_that_is_gone_is_not_detected(truth: Truth, detector: Any) -> None:
    frames = truth.frames.copy()
    x0, y0, x1, y1 = truth.boxes[1]
    frames[1, y0:y1, x0:x1] = 90
    measures = measure_frames(frames, truth, detector, None)
    assert measures["detected"].tolist() == [1, 0, 1, 1]
    assert np.isnan(measures["landmark_error"]).tolist() == [False, True, False, False]


def test_identity_falls_with_blur(truth: Truth) -> None:
    embedder = create_embedder("dlib")
    part = Truth(truth.frames[:1], truth.faces[:1], truth.boxes[:1])
    values = [
        measure_frames(blurred(part, length), part, None, embedder)["identity"][0] for length in (1, 3, 11)
    ]
    assert values[0] == pytest.approx(1, abs=1e-5)
    assert values[0] > values[1] > values[2]


def test_frames_must_fit(truth: Truth) -> None:
    with pytest.raises(ValueError, match="do not fit"):
        measure_frames(truth.frames[:2], truth, None, None)
