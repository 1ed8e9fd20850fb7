"""Other tone curves, white balances and saturations than the material has, so that faces are not known by them."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

LUMA = (0.2126, 0.7152, 0.0722)
"""Weights of R'G'B' in the grey that saturation is measured from (ITU-R BT.709)."""


def draw_colouring(rng: np.random.Generator, most: float) -> tuple[Tensor, Tensor]:
    """How a segment's colours change: an exponent for each channel and a colour matrix.

    Parameters
    ----------
    rng
        Source of every random number.
    most
        Largest change: exponents lie between ``1 / (1 + most)`` and ``1 + most``, saturation between ``1 - most``
        and ``1 + most``, the channels' gains between ``1 - most / 2`` and 1.

    Returns
    -------
    Exponents float32 [3], and the matrix float32 [3, 3] that is applied after them.
    """
    limit = math.log1p(most)
    common, own = rng.uniform(-limit, limit), rng.uniform(-limit / 4, limit / 4, 3)
    exponents = np.exp(np.clip(common + own, -limit, limit))
    gains = rng.uniform(1 - most / 2, 1, 3)
    saturation = rng.uniform(1 - most, 1 + most)
    matrix = (saturation * np.eye(3) + (1 - saturation) * np.tile(LUMA, (3, 1))) * gains[:, None]
    return torch.from_numpy(exponents.astype(np.float32)), torch.from_numpy(matrix.astype(np.float32))


def colour(frames: Tensor, exponents: Tensor, matrix: Tensor) -> Tensor:
    """Change the colours of frames, uint8 [T, 3, H, W], R'G'B'."""
    raised = (frames.float() / 255) ** exponents.to(frames.device)[:, None, None]
    mixed = torch.einsum("ij,tjhw->tihw", matrix.to(frames.device), raised)
    return (mixed * 255).round_().clamp_(0, 255).to(torch.uint8)
