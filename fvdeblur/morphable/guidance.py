"""What the networks are told of a face: the rendered prior and the identity vector (Ren et al. 2019, section 3.2)."""

from __future__ import annotations

import torch
from torch import Tensor

from fvdeblur.morphable.model import MorphableModel
from fvdeblur.morphable.reader import Reading
from fvdeblur.morphable.renderer import render

SURE, LOST = 4.0, 8.0
"""Doubt, in % of the eye distance, up to which a reading is believed, and from which on the prior is switched off."""


def trust(doubt: Tensor) -> Tensor:
    """How far readings of this doubt [B] are believed: 1 up to `SURE`, 0 from `LOST` on, a ramp between them."""
    return ((LOST - doubt) / (LOST - SURE)).clamp(0, 1)


@torch.inference_mode()
def draw_prior(
    model: MorphableModel, reading: Reading, size: int, channels: int, albedo: Tensor | None = None
) -> Tensor:
    """The rendered sharp faces as the networks take them.

    Parameters
    ----------
    model
        On the device of the reading.
    reading
        Of B faces, with poses relative to the square that the network works on.
    size
        Side of that square in pixels.
    channels
        3 for R'G'B', 4 with the mask, 7 with the normals as well.
    albedo
        As for `fvdeblur.morphable.render`.

    Returns
    -------
    float32 [B, channels, size, size], zero outside of the face: R'G'B' and mask in 0..1, unit normals in -1..1; all
    multiplied by the trust in the reading, so that it fades where the face cannot be read.
    """
    drawn = render(model, reading.coefficients, size, albedo)
    parts = {
        3: [drawn.rgb],
        4: [drawn.rgb, drawn.mask],
        7: [drawn.rgb, drawn.mask, drawn.normals * drawn.mask],
    }
    return torch.cat(parts[channels], dim=1) * trust(reading.doubt)[:, None, None, None]


def identity_vector(reading: Reading) -> Tensor:
    """The identity vectors float32 [B, 80], multiplied by the trust in the reading."""
    return reading.coefficients.identity * trust(reading.doubt)[:, None]
