"""Blur kernels: Gaussian, linear, along random trajectories, disc; and the convolution with them."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

Kernel = NDArray[np.float64]

STEPS = 192
"""Points on a path that is drawn into a kernel."""


class Stroke(NamedTuple):
    """A path across a kernel, and how wide it is drawn.

    Attributes
    ----------
    points
        float [STEPS, 2]: x and y in pixels from the kernel's middle, equal times apart; their mean is 0.
    width
        Standard deviation of the stroke's Gaussian profile in pixels.
    """

    points: NDArray[np.float64]
    width: float


def gaussian_kernel(deviation: float, support: int) -> Kernel:
    """Gaussian of a standard deviation in pixels, cut off at ``support`` x ``support`` (odd) and normalised."""
    x = np.arange(support) - support // 2
    profile = np.exp(-0.5 * (x / max(deviation, 1e-3)) ** 2)
    kernel = np.outer(profile, profile)
    return kernel / kernel.sum()


def disc_kernel(radius: float) -> Kernel:
    """Disc of a lens out of focus: radius in pixels, edge antialiased; [K, K] with the least odd K that holds it."""
    half = max(0, math.ceil(radius - 0.5))
    fine = (np.arange((2 * half + 1) * 8) + 0.5) / 8 - half - 0.5
    inside = (fine[:, None] ** 2 + fine[None] ** 2 <= max(radius, 0.1) ** 2).astype(np.float64)
    kernel = inside.reshape(2 * half + 1, 8, 2 * half + 1, 8).mean(axis=(1, 3))
    return kernel / kernel.sum()


def linear_stroke(length: float, angle: float, width: float) -> Stroke:
    """A straight path of a length in pixels at an angle in radians, passed at constant speed."""
    along = ((np.arange(STEPS) + 0.5) / STEPS - 0.5) * length
    return Stroke(np.stack([along * math.cos(angle), along * math.sin(angle)], axis=1), width)


def random_stroke(rng: np.random.Generator, extent: float, width: float) -> Stroke:
    """A random path, as of a hand that holds a camera: it turns and slows down, at times suddenly.

    ``extent`` is its largest distance from the middle along either axis, in pixels.
    """
    turning = rng.normal(0, 1, STEPS) * rng.uniform(0.3, 3.0) / math.sqrt(STEPS)
    jolts = rng.random(STEPS) < rng.uniform(0, 3) / STEPS
    turning[jolts] += rng.normal(0, 1.5, int(jolts.sum()))
    heading = rng.uniform(0, 2 * math.pi) + np.cumsum(turning)
    time = np.arange(STEPS) / STEPS
    speed = 1 + rng.uniform(0, 0.9) * np.sin(2 * math.pi * (rng.uniform(0.3, 2) * time + rng.random()))
    points = np.cumsum(np.stack([speed * np.cos(heading), speed * np.sin(heading)], axis=1), axis=0)
    points -= points.mean(axis=0)
    return Stroke(points * (extent / np.abs(points).max()), width)


def draw_stroke(stroke: Stroke, support: int) -> Kernel:
    """Draw a path into a kernel of ``support`` x ``support`` (odd), normalised."""
    x = np.arange(support) - support // 2
    across, down = (
        np.exp(-0.5 * ((stroke.points[:, i, None] - x) / max(stroke.width, 0.2)) ** 2) for i in (0, 1)
    )
    # every point counts as much as any other, wherever it lies between the samples
    weight = 1 / np.maximum(across.sum(axis=1) * down.sum(axis=1), 1e-12)
    kernel = (down * weight[:, None]).T @ across
    return np.asarray(kernel / kernel.sum(), np.float64)


def convolve(frames: Tensor, kernels: list[Kernel]) -> Tensor:
    """Convolve each frame with a kernel of its own; what lies outside a frame is its rim.

    Parameters
    ----------
    frames
        float32 [N, C, H, W].
    kernels
        One [K, K] (odd) a frame, or one for all; sizes may differ.

    Returns
    -------
    float32 [N, C, H, W].
    """
    height, width = frames.shape[-2:]
    half = max(len(kernel) for kernel in kernels) // 2
    size = (_fast_size(height + 2 * half), _fast_size(width + 2 * half))
    placed = np.zeros((len(kernels), *size), np.float32)
    for field, kernel in zip(placed, kernels, strict=True):
        reach = len(kernel) // 2
        field[: len(kernel), : len(kernel)] = kernel
        field[:] = np.roll(field, (-reach, -reach), axis=(0, 1))
    spectrum = torch.fft.rfft2(torch.from_numpy(placed).to(frames.device))[:, None]
    padded = functional.pad(frames, (half, half, half, half), mode="replicate")
    result = torch.fft.irfft2(torch.fft.rfft2(padded, s=size) * spectrum, s=size)
    return result[..., half : half + height, half : half + width]


def _fast_size(size: int) -> int:
    """The next even number with no prime factor above 5."""
    while True:
        rest = size
        for prime in (2, 3, 5):
            while rest % prime == 0:
                rest //= prime
        if rest == 1 and size % 2 == 0:
            return size
        size += 1
