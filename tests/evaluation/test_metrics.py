"""Metrics against scikit-image's on real pixels."""

import math

import cv2
import numpy as np
import pytest
import skimage.data
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from fvdeblur.evaluation import psnr, ssim

PICTURE = skimage.data.astronaut()[40:220, 150:310]


def variants() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    noise = np.clip(np.round(PICTURE + rng.normal(0, 12, PICTURE.shape)), 0, 255).astype(np.uint8)
    ok, packed = cv2.imencode(".jpg", PICTURE, [cv2.IMWRITE_JPEG_QUALITY, 20])
    assert ok
    return {
        "blurred": cv2.GaussianBlur(PICTURE, (0, 0), 2.5),
        "noisy": noise,
        "compressed": cv2.imdecode(packed, cv2.IMREAD_COLOR),
        "brighter": np.clip(PICTURE.astype(int) + 20, 0, 255).astype(np.uint8),
        "shifted": np.roll(PICTURE, 2, axis=1),
    }


@pytest.mark.parametrize("name", variants())
def test_both_agree_with_scikit_image(name: str) -> None:
    picture = variants()[name]
    assert psnr(picture, PICTURE) == pytest.approx(
        peak_signal_noise_ratio(PICTURE, picture, data_range=255), abs=1e-9
    )
    expected = structural_similarity(
        PICTURE,
        picture,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
        data_range=255,
        channel_axis=2,
    )
    assert expected < 0.99
    assert ssim(picture, PICTURE) == pytest.approx(expected, abs=1e-9)


def test_grey_pictures() -> None:
    grey, blurred = PICTURE[..., 1], variants()["blurred"][..., 1]
    expected = structural_similarity(
        grey, blurred, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=255
    )
    assert ssim(blurred, grey) == pytest.approx(expected, abs=1e-9)
    assert psnr(blurred, grey) == pytest.approx(peak_signal_noise_ratio(grey, blurred, data_range=255))


def test_floats_of_another_peak_give_the_same() -> None:
    blurred = variants()["blurred"]
    for metric in (psnr, ssim):
        assert metric(blurred / 255, PICTURE / 255, peak=1.0) == pytest.approx(
            metric(blurred, PICTURE), abs=1e-9
        )


def test_uint8_does_not_wrap_around() -> None:
    black, white = np.zeros((16, 16, 3), np.uint8), np.full((16, 16, 3), 255, np.uint8)
    assert psnr(black, white) == 0
    assert psnr(white, black) == 0
    assert psnr(black + np.uint8(1), black) == pytest.approx(20 * math.log10(255))


def test_equal_pictures() -> None:
    assert psnr(PICTURE, PICTURE.copy()) == math.inf
    assert ssim(PICTURE, PICTURE.copy()) == pytest.approx(1, abs=1e-12)


def test_errors() -> None:
    with pytest.raises(ValueError, match="11x11 pixels, not 40x10"):
        ssim(PICTURE[:10, :40], PICTURE[:10, :40])
    assert ssim(PICTURE[:11, :11], PICTURE[:11, :11]) == pytest.approx(1)
    for metric in (psnr, ssim):
        with pytest.raises(ValueError, match="shape"):
            metric(PICTURE[:20, :20], PICTURE[:20, :1])
