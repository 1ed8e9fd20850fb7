"""Mirror images of faces, in the coefficients of a model that is symmetric."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from fvdeblur.morphable.coefficients import LENGTHS
from fvdeblur.morphable.light import spherical_harmonics
from fvdeblur.morphable.model import MorphableModel

TOLERANCE = 0.01
"""Largest distance of a mirrored vertex from its partner, and share of a mode that mirroring may change."""

POSE = (1.0, -1.0, -1.0, -1.0, 1.0, 1.0)
"""Pitch, yaw, roll, right, down and size or nearness of a mirrored face, times those of the face."""


class Mirror(NamedTuple):
    """What mirroring a picture (left to right) does to the face in it.

    Attributes
    ----------
    vertices
        int64 [V], the partner of each vertex on the other side.
    signs
        float32 [239], 1 or -1: the coefficients of the mirror image are those of the face times these.
    """

    vertices: Tensor
    signs: Tensor


def find_mirror(model: MorphableModel) -> Mirror | None:
    """The mirror of a model, or None where vertices have no partners or a mode is neither even nor odd."""
    flip = torch.tensor([-1.0, 1.0, 1.0], device=model.mean_shape.device)
    nearest = torch.cdist(model.mean_shape * flip, model.mean_shape).min(dim=1)
    partners = nearest.indices
    apart = bool((nearest.values > TOLERANCE).any())
    if apart or not torch.equal(partners[partners], torch.arange(len(partners), device=flip.device)):
        return None
    identity, expression, texture = model.supported
    shapes = torch.cat([model.identity_basis[:identity], model.expression_basis[:expression]])
    maps = model.texture_basis[:texture]
    mirrored_maps = maps[:, partners] if model.uv is None else maps.flip(2)
    harmonics = spherical_harmonics(torch.tensor([[0.48, 0.6, 0.64]], device=flip.device))
    signs = [
        _signs(shapes, (shapes * flip)[:, partners]),
        _signs(maps, mirrored_maps),
        _signs(harmonics.mT, spherical_harmonics(torch.tensor([[-0.48, 0.6, 0.64]], device=flip.device)).mT),
    ]
    if any(found is None for found in signs):
        return None
    shape, colour, light = (found for found in signs if found is not None)
    whole = torch.ones(sum(LENGTHS), device=flip.device)
    ends = [sum(LENGTHS[:i]) for i in range(len(LENGTHS))]
    whole[:identity] = shape[:identity]
    whole[ends[1] : ends[1] + expression] = shape[identity:]
    whole[ends[2] : ends[2] + texture] = colour
    whole[ends[3] : ends[4]] = light
    whole[ends[4] :] = torch.tensor(POSE, device=flip.device)
    return Mirror(partners, whole)


def _signs(modes: Tensor, mirrored: Tensor) -> Tensor | None:
    """1 for even and -1 for odd modes [K, ...]; None where one is neither."""
    modes, mirrored = modes.flatten(1), mirrored.flatten(1)
    size = modes.square().sum(1)
    cosine = (modes * mirrored).sum(1) / size.clamp_min(1e-12)
    if bool(((cosine.abs() - 1).abs() > TOLERANCE).any()):
        return None
    return cosine.sign()
