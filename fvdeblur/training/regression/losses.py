"""What a regressor's coefficients are held to: landmarks, coefficients and, equation (3), the sharp picture."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from fvdeblur.morphable import Coefficients, MorphableModel, render
from fvdeblur.morphable.camera import place
from fvdeblur.morphable.coefficients import LENGTHS

ATTENTION_SPREAD = 0.06
"""Deviation of chroma (0..1) from the face's own skin, at which attention falls to 0.6."""

COEFFICIENT_WEIGHTS = (1.0, 1.0, 0.5, 3.0, 6.0)
"""Of identity, expression, texture, light and pose."""


def landmark_loss(model: MorphableModel, found: Coefficients, points: Tensor, vertices: Tensor) -> Tensor:
    """Mean distance of vertices [P] of the model from labelled points [B, P, 2], in hundredths of half the side."""
    apart = place(model, found, vertices) - points
    return 100 * (apart.square().sum(2) + 1e-8).sqrt().mean()


def coefficient_loss(found: Coefficients, truth: Coefficients, supported: tuple[int, int, int]) -> Tensor:
    """Weighted mean absolute difference of the coefficients that the model supports."""
    total = found.pose.new_zeros(())
    counts = (*supported, *LENGTHS[3:])
    for one, other, count, weight in zip(found, truth, counts, COEFFICIENT_WEIGHTS, strict=True):
        if count:
            total = total + weight * functional.smooth_l1_loss(one[:, :count], other[:, :count], beta=0.1)
    return total / sum(COEFFICIENT_WEIGHTS)


def skin_attention(pictures: Tensor, face: Tensor) -> Tensor:
    """The attention A of equation (3): how much the colour of each pixel is that of the face's skin.

    Parameters
    ----------
    pictures
        float [B, 3, S, S], the sharp faces, R'G'B' in 0..1.
    face
        float [B, 1, S, S], where the face is, 0..1.

    Returns
    -------
    float [B, 1, S, S] in 0..1: by the distance of the chroma from the median over the face.
    """
    red, green, blue = pictures.unbind(1)
    luma = 0.299 * red + 0.587 * green + 0.114 * blue
    chroma = torch.stack([0.564 * (blue - luma), 0.713 * (red - luma)], dim=1)
    inside = torch.where(face > 0.5, chroma, torch.nan)
    skin = inside.flatten(2).nanmedian(dim=2).values.nan_to_num(0)
    apart = (chroma - skin[:, :, None, None]).square().sum(1, keepdim=True)
    return torch.exp(-0.5 * apart / ATTENTION_SPREAD**2)


def photometric_loss(model: MorphableModel, found: Coefficients, sharp: Tensor) -> Tensor:
    """Equation (3), L_r: the mean distance of colours between the sharp faces and those rendered, where it is skin.

    Parameters
    ----------
    model
        On the device of the pictures.
    found
        Coefficients that were read off the blurred faces.
    sharp
        float [B, 3, S, S], R'G'B' in 0..1.

    Returns
    -------
    Mean over the faces of the attention-weighted mean over the reprojected face, in units of R'G'B'.
    """
    rendered = render(model, found, sharp.shape[-1])
    region = rendered.mask.detach()
    weights = skin_attention(sharp, region) * (region > 0.99)
    apart = ((sharp - rendered.rgb).square().sum(1, keepdim=True) + 1e-8).sqrt()
    return ((weights * apart).sum((1, 2, 3)) / (weights.sum((1, 2, 3)) + 1e-3)).mean()
