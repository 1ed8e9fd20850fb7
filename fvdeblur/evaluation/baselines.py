"""What was done before networks: unsharp masking, and deconvolution with the true kernel, each frame on its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from fvdeblur.datasets.protocols.kernels import Kernel
from fvdeblur.datasets.protocols.protocol import Light, decode_light, encode_light
from fvdeblur.errors import UsageError

Frames = NDArray[np.uint8]

UNSHARP = "unsharp"
"""The frame plus 0.8 of its difference from itself smoothed by a Gaussian of 3 pixels."""

WIENER = "wiener"
"""Wiener filter with the true kernel: Hunt's constrained least squares of scikit-image, penalty `WIENER_BALANCE`."""

RICHARDSON_LUCY = "richardson-lucy"
"""So many iterations of Richardson and Lucy with the true kernel, `LUCY_ITERATIONS`, by scikit-image."""

UNSHARP_AMOUNT, UNSHARP_SIGMA = 0.8, 3.0

WIENER_BALANCE = 0.02
"""Weight of the Laplacian against the data, in linear light."""

LUCY_ITERATIONS = 20


class Kernels(NamedTuple):
    """What frames were really convolved with.

    Attributes
    ----------
    kernels
        One for each frame, float64 [K, K] with K odd, sum 1.
    light
        What was convolved: linear light, or gamma-encoded R'G'B'.
    """

    kernels: list[Kernel]
    light: Light


Baseline = Callable[[Frames, Kernels | None], Frames]


def unsharp_masking(frames: Frames, kernels: Kernels | None = None) -> Frames:
    """The baseline `UNSHARP` on uint8 [T, H, W, 3]; the kernels are not used."""
    smooth = [cv2.GaussianBlur(frame, (0, 0), UNSHARP_SIGMA) for frame in frames]
    pairs = zip(frames, smooth, strict=True)
    return np.stack(
        [cv2.addWeighted(frame, 1 + UNSHARP_AMOUNT, soft, -UNSHARP_AMOUNT, 0) for frame, soft in pairs]
    ).astype(np.uint8)


def wiener(frames: Frames, kernels: Kernels | None) -> Frames:
    """The baseline `WIENER` on uint8 [T, H, W, 3].

    Raises
    ------
    UsageError
        No kernels are known, or scikit-image is not installed.
    """
    return _deconvolved(frames, kernels, "wiener", balance=WIENER_BALANCE)


def richardson_lucy(frames: Frames, kernels: Kernels | None) -> Frames:
    """The baseline `RICHARDSON_LUCY` on uint8 [T, H, W, 3].

    Raises
    ------
    UsageError
        No kernels are known, or scikit-image is not installed.
    """
    return _deconvolved(frames, kernels, "richardson_lucy", num_iter=LUCY_ITERATIONS)


BASELINES: dict[str, Baseline] = {
    UNSHARP: unsharp_masking,
    WIENER: wiener,
    RICHARDSON_LUCY: richardson_lucy,
}
"""The baselines by name."""

NEED_KERNELS = frozenset((WIENER, RICHARDSON_LUCY))
"""Those of them that must be told the true kernels."""


def _deconvolved(frames: Frames, kernels: Kernels | None, method: str, **options: float) -> Frames:
    """Deconvolve every channel of every frame in the light that was convolved; the rim is repeated beyond it.

    The method is one of ``skimage.restoration``, with its options.
    """
    try:
        from skimage import restoration
    except ImportError as error:
        raise UsageError(
            'deconvolution as a baseline needs scikit-image: pip install "fvdeblur[evaluate]"'
        ) from error
    if kernels is None:
        raise UsageError("deconvolution needs a protocol with kernels: gaussian, motion-kernel or jung")
    deconvolve = getattr(restoration, method)
    restored = []
    for frame, kernel in zip(frames, kernels.kernels, strict=True):
        reach = len(kernel)
        light = decode_light(torch.from_numpy(frame.astype(np.float64) / 255), kernels.light).numpy()
        padded = np.pad(light, ((reach, reach), (reach, reach), (0, 0)), mode="edge")
        channels = [deconvolve(padded[..., c], kernel, clip=False, **options) for c in range(3)]
        inner = np.stack(channels, axis=-1)[reach:-reach, reach:-reach]
        encoded = encode_light(torch.from_numpy(np.nan_to_num(inner)), kernels.light).numpy()
        restored.append(np.round(encoded * 255).astype(np.uint8))
    return np.stack(restored)
