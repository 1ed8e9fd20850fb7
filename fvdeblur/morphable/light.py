"""Illumination by spherical harmonics, and the transfer function between linear light and R'G'B'.

Faces are taken as Lambertian: light that is reflected is albedo times shading, both linear. The shading of a surface
with normal n is 1 + Σ γ_i Y_i(n), where Y_i are the nine real, orthonormal spherical harmonics up to order 2 and γ the
light coefficients; the 1 is an even light from everywhere, so that no coefficients mean no shading. Normals are those
of the turned head: the light stays where it is in the picture when the head turns.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

_TOE = 0.0031308


def spherical_harmonics(normals: Tensor) -> Tensor:
    """Y_i(n) of unit normals x, y, z [..., 3]: [..., 9].

    Order: (l, m) = (0, 0), (1, -1), (1, 0), (1, 1), (2, -2), (2, -1), (2, 0), (2, 1), (2, 2), which vary as
    1, y, z, x, xy, yz, 3z²-1, xz, x²-y²; without the Condon-Shortley phase, orthonormal on the sphere.
    """
    return torch.stack(_terms(normals), dim=-1)


def _terms(normals: Tensor) -> list[Tensor]:
    x, y, z = normals.unbind(-1)
    one = math.sqrt(3 / (4 * math.pi))
    two = math.sqrt(15 / (4 * math.pi))
    zonal = math.sqrt(5 / (16 * math.pi))
    return [
        torch.full_like(x, math.sqrt(1 / (4 * math.pi))),
        one * y,
        one * z,
        one * x,
        two * x * y,
        two * y * z,
        zonal * (3 * z * z - 1),
        two * x * z,
        two / 2 * (x * x - y * y),
    ]


def shade(normals: Tensor, light: Tensor) -> Tensor:
    """Shading max(0, 1 + Σ γ_i Y_i(n)), [...], of unit normals [..., 3] under light coefficients [..., 9]."""
    total = torch.ones_like(normals[..., 0])
    for term, coefficient in zip(_terms(normals), light.unbind(-1), strict=True):
        total = total + term * coefficient
    return total.clamp(min=0)


def encode(linear: Tensor) -> Tensor:
    """R'G'B' 0..1 of linear light: the transfer function of sRGB (IEC 61966-2-1).

    About a power of 1/2.2, but with a straight toe, which keeps the derivative finite at 0 (12.92). Light below 0 and
    above 1 is clamped.
    """
    light = linear.clamp(0, 1)
    curve = 1.055 * light.clamp(min=_TOE) ** (1 / 2.4) - 0.055
    return torch.where(light <= _TOE, 12.92 * light, curve)


def decode(encoded: Tensor) -> Tensor:
    """Linear light 0..1 of R'G'B' 0..1: the inverse of `encode`."""
    curve = ((encoded.clamp(min=12.92 * _TOE) + 0.055) / 1.055) ** 2.4
    return torch.where(encoded <= 12.92 * _TOE, encoded / 12.92, curve)
