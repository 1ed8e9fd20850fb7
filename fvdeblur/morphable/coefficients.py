"""The 239 numbers that describe a face: Ren et al. 2019, section 3.1."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

IDENTITY, EXPRESSION, TEXTURE, LIGHT, POSE = 80, 64, 80, 9, 6
LENGTHS = (IDENTITY, EXPRESSION, TEXTURE, LIGHT, POSE)
TOTAL = sum(LENGTHS)


class Coefficients(NamedTuple):
    """x = (α, β, δ, γ, p) of a batch of B faces, all floating point. All zeros is the mean face, frontal, evenly lit.

    Attributes
    ----------
    identity : [B, 80]
        α, in standard deviations.
    expression : [B, 64]
        β, in standard deviations.
    texture : [B, 80]
        δ, in standard deviations.
    light : [B, 9]
        γ, factors of the spherical harmonics (see `fvdeblur.morphable.light`), one for all colours.
    pose : [B, 6]
        p: pitch, yaw and roll in radians, and three numbers whose meaning is the camera's (see
        `fvdeblur.morphable.camera`).
    """

    identity: Tensor
    expression: Tensor
    texture: Tensor
    light: Tensor
    pose: Tensor

    @classmethod
    def split(cls, vector: Tensor) -> Coefficients:
        """Take a vector [B, 239] apart; the parts are views of it.

        Raises
        ------
        ValueError
            The shape is another one.
        """
        if vector.dim() != 2 or vector.shape[1] != TOTAL:
            raise ValueError(f"coefficients of shape {tuple(vector.shape)} are not [B, {TOTAL}]")
        return cls(*vector.split(LENGTHS, dim=1))

    def vector(self) -> Tensor:
        """All of them as [B, 239], in the order identity, expression, texture, light, pose."""
        return torch.cat(self, dim=1)
