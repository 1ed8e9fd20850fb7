"""Losses between a restored and a sharp patch, float [B, 3, H, W], R'G'B' in 0..1."""

from __future__ import annotations

import torch
from torch import Tensor


def charbonnier(restored: Tensor, sharp: Tensor, epsilon: float = 1e-3) -> Tensor:
    """Mean of ``sqrt(d^2 + epsilon^2)`` over all samples: a smooth absolute difference."""
    return torch.sqrt((restored - sharp) ** 2 + epsilon**2).mean()


def euclidean(restored: Tensor, sharp: Tensor, epsilon: float = 1e-3) -> Tensor:
    """Mean over the patches of the Euclidean norm of their difference: L_c of Ren et al. 2019, equation (4).

    As in the equation the norm is the root of the *sum* of squares over all samples of a patch: neither squared nor
    divided by their number, so that it grows with the patch's side (196,608 samples at 256x256). ``epsilon`` keeps
    the gradient of a perfect patch finite.
    """
    return torch.sqrt((restored - sharp).square().sum(dim=(1, 2, 3)) + epsilon**2).mean()


def frequency(restored: Tensor, sharp: Tensor) -> Tensor:
    """Mean magnitude of the difference of the orthonormal 2D Fourier transforms."""
    return torch.fft.rfft2(restored - sharp, norm="ortho").abs().mean()


def log_error(restored: Tensor, sharp: Tensor, epsilon: float = 3e-5) -> Tensor:
    """Mean over the patches of the logarithm of their mean squared error: PSNR, up to factor and sign.

    Where the other losses look mostly at the worst patches, this one gives an improvement of a decibel the same weight
    on a slightly blurred patch as on a hopeless one, which makes the start of training several times faster.
    """
    return torch.log((restored - sharp).square().mean(dim=(1, 2, 3)) + epsilon).mean()
