"""Losses between a restored and a sharp patch, float [B, 3, H, W], R'G'B' in 0..1."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional

HUBER_RANGE = 255.0
"""Largest value of a picture on the scale of the Huber losses, whose bend lies at a difference of 1."""


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


def absolute(restored: Tensor, sharp: Tensor) -> Tensor:
    """Mean of ``|d|`` over all samples: L_pixel of Jung et al. 2022, equation (7).

    The equation has the sum; beside the sum the losses that are added to it in equation (10) would count for nothing.
    """
    return (restored - sharp).abs().mean()


def huber(restored: Tensor, sharp: Tensor) -> Tensor:
    """Mean over all samples of the Huber loss of ``d`` with a bend at 1: Chrysos & Zafeiriou 2017, equation (3).

    The equation is printed with norms of the whole difference, `huber_norm`; Huber's loss, which it cites, is of each
    sample. ``d`` is on a scale of 0..255, that of the ResNet which the paper begins with: in 0..1 no
    difference would reach the bend. The mean, as the paper names none.
    """
    return functional.huber_loss(restored * HUBER_RANGE, sharp * HUBER_RANGE)


def huber_norm(restored: Tensor, sharp: Tensor) -> Tensor:
    """Mean over the patches of equation (3) of Chrysos & Zafeiriou 2017 as it is printed.

    With x the whole difference of a patch on a scale of 0..255: ``|x|_1 - 0.5`` where ``|x|_1 > 1``, otherwise
    ``0.5 |x|_2^2``. In effect the sum of absolute differences, which grows with the patch's area: the learning rate
    must be smaller than with `huber` by about the number of its samples.
    """
    difference = (restored - sharp).flatten(1) * HUBER_RANGE
    total = difference.abs().sum(dim=1)
    return torch.where(total > 1, total - 0.5, 0.5 * difference.square().sum(dim=1)).mean()


def frequency(restored: Tensor, sharp: Tensor) -> Tensor:
    """Mean magnitude of the difference of the orthonormal 2D Fourier transforms."""
    return torch.fft.rfft2(restored - sharp, norm="ortho").abs().mean()


def log_error(restored: Tensor, sharp: Tensor, epsilon: float = 3e-5) -> Tensor:
    """Mean over the patches of the logarithm of their mean squared error: PSNR, up to factor and sign.

    Where the other losses look mostly at the worst patches, this one gives an improvement of a decibel the same weight
    on a slightly blurred patch as on a hopeless one, which makes the start of training several times faster.
    """
    return torch.log((restored - sharp).square().mean(dim=(1, 2, 3)) + epsilon).mean()


def perceptual(restored: Sequence[Tensor], sharp: Sequence[Tensor]) -> Tensor:
    """Mean squared difference of deep features, summed over the scales (Johnson et al. 2016, equation 2).

    Row B2 of table 4 of Jung et al. 2022 with features of VGGFace; `fvdeblur.networks.recognition` gives them, float
    [B, C, H, W] at each scale, with a root mean square of 1.
    """
    return torch.stack(
        [functional.mse_loss(one, other) for one, other in zip(restored, sharp, strict=True)]
    ).sum()


MAIN: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "charbonnier": charbonnier,
    "euclidean": euclidean,
    "absolute": absolute,
    "huber": huber,
    "huber-norm": huber_norm,
}
"""The main losses by their names in a recipe."""
