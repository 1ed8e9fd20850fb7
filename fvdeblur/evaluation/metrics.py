"""Full-reference image metrics on uint8 or float pictures."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

Picture = NDArray[Any]


def _check_shapes(picture: Picture, reference: Picture) -> None:
    if picture.shape != reference.shape:
        raise ValueError(f"pictures of one shape are compared, not {picture.shape} and {reference.shape}")


def psnr(picture: Picture, reference: Picture, peak: float = 255.0) -> float:
    """Peak signal-to-noise ratio in dB over all samples of all channels.

    Parameters
    ----------
    picture, reference
        [H, W] or [H, W, C], same shape, values in 0..peak.
    peak
        Largest value of the range.

    Returns
    -------
    dB; infinity for equal pictures.

    Raises
    ------
    ValueError
        The shapes differ.
    """
    _check_shapes(picture, reference)
    error = float(np.mean((picture.astype(np.float64) - reference.astype(np.float64)) ** 2))
    return float("inf") if error == 0 else float(10 * np.log10(peak**2 / error))


def ssim(picture: Picture, reference: Picture, peak: float = 255.0) -> float:
    """Structural similarity of Wang et al. 2004: Gaussian window of sigma 1.5 cut at 11x11, K1 0.01, K2 0.03.

    Parameters
    ----------
    picture, reference
        [H, W] or [H, W, C], same shape, values in 0..peak, at least 11 pixels each way; channels are averaged.
    peak
        Largest value of the range.

    Returns
    -------
    Mean over all windows that lie inside the picture, at most 1.

    Raises
    ------
    ValueError
        The shapes differ, or the pictures are smaller than a window.
    """
    _check_shapes(picture, reference)
    if min(picture.shape[:2]) < 11:
        raise ValueError(
            f"SSIM needs pictures of at least 11x11 pixels, not {picture.shape[1]}x{picture.shape[0]}"
        )
    x, y = picture.astype(np.float64), reference.astype(np.float64)
    sigma = (1.5, 1.5) + (0.0,) * (x.ndim - 2)

    def smooth(values: Picture) -> Picture:
        return gaussian_filter(values, sigma, truncate=3.5)

    mean_x, mean_y = smooth(x), smooth(y)
    variance_x, variance_y = smooth(x * x) - mean_x**2, smooth(y * y) - mean_y**2
    covariance = smooth(x * y) - mean_x * mean_y
    c1, c2 = (0.01 * peak) ** 2, (0.03 * peak) ** 2
    index = ((2 * mean_x * mean_y + c1) * (2 * covariance + c2)) / (
        (mean_x**2 + mean_y**2 + c1) * (variance_x + variance_y + c2)
    )
    return float(index[5:-5, 5:-5].mean())
