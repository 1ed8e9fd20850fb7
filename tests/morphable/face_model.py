"""A small morphable model that looks a little like a face: an ellipsoid with a nose, smooth random bases, a UV map."""

import math
from typing import Any

import torch
from torch import Tensor

from fvdeblur.morphable import Coefficients, MorphableModel
from fvdeblur.morphable.coefficients import EXPRESSION, IDENTITY, TEXTURE

SUPPORTED = (8, 6, 5)


def grid(side: int) -> tuple[Tensor, Tensor]:
    """Places [side², 2] in 0..1 row by row, and the triangles between them, counter-clockwise where v runs down."""
    line = torch.linspace(0, 1, side)
    v, u = torch.meshgrid(line, line, indexing="ij")
    first = (torch.arange(side - 1)[:, None] * side + torch.arange(side - 1)).flatten()
    upper = torch.stack([first, first + side, first + 1], dim=1)
    lower = torch.stack([first + 1, first + side, first + side + 1], dim=1)
    return torch.stack([u, v], dim=2).flatten(0, 1), torch.cat([upper, lower])


def ellipsoid(uv: Tensor, axes: tuple[float, float, float] = (0.8, 1.0, 0.9), reach: float = 0.42) -> Tensor:
    """The front of an ellipsoid [V, 3]: u runs from left to right over ``reach`` half turns, v from the top down."""
    along, down = (uv - 0.5).mul(2 * reach * math.pi).unbind(1)
    places = torch.stack([along.sin() * down.cos(), -down.sin(), along.cos() * down.cos()], dim=1)
    return places * torch.tensor(axes)


def face_model(seed: int = 0, side: int = 20, texture_side: int = 64) -> MorphableModel:
    """A model of ``side``² vertices (400) and 722 triangles with a weak-perspective camera.

    Landmarks lie near where those of a face are: the 68 on a ring and rows, the 5 at eyes, nose and mouth.
    """
    generator = torch.Generator().manual_seed(seed)
    uv, triangles = grid(side)
    shape = ellipsoid(uv)
    nose = torch.exp(-(((uv - torch.tensor([0.5, 0.55])) / 0.08) ** 2).sum(1))
    shape[:, 2] += 0.25 * nose
    shape = shape - shape.mean(0)
    shape = shape / shape.square().sum(1).mean().sqrt()
    texels = (torch.arange(texture_side) + 0.5) / texture_side
    v, u = torch.meshgrid(texels, texels, indexing="ij")
    surface = torch.stack([u, v], dim=2).flatten(0, 1)
    colours = 0.35 + 0.1 * _waves(surface, 1, generator, 4)[0]
    spread = torch.linspace(1, 0.4, 8)[:, None, None]

    def basis(places: Tensor, count: int, total: int, size: float) -> Tensor:
        vectors = torch.zeros(total, len(places), 3)
        vectors[:count] = size * spread[:count] * _waves(places, count, generator, 2)
        return vectors

    targets = [(0.36, 0.38), (0.64, 0.38), (0.5, 0.55), (0.4, 0.7), (0.6, 0.7)]
    ring = torch.linspace(0, 2 * math.pi, 64)[:63]
    outer = 0.5 + 0.4 * torch.stack([ring.sin(), ring.cos()], dim=1)
    return MorphableModel(
        mean_shape=shape,
        identity_basis=basis(uv, SUPPORTED[0], IDENTITY, 0.03),
        expression_basis=basis(uv, SUPPORTED[1], EXPRESSION, 0.02),
        mean_texture=colours.view(texture_side, texture_side, 3),
        texture_basis=basis(surface, SUPPORTED[2], TEXTURE, 0.03).view(-1, texture_side, texture_side, 3),
        uv=uv,
        triangles=triangles,
        landmarks={
            "5": _nearest(uv, torch.tensor(targets)),
            "68": _nearest(uv, torch.cat([outer, torch.tensor(targets)])),
            "dense": torch.arange(len(uv)),
        },
        skin=torch.exp(-(((surface - 0.5) / 0.6) ** 2).sum(1)).view(texture_side, texture_side),
        supported=SUPPORTED,
        version="ellipsoid",
    )


def mesh_model(vertices: Tensor, triangles: Tensor, colours: Tensor, **changes: Any) -> MorphableModel:
    """Any mesh without variation, with a linear albedo of each vertex [V, 3]."""
    count = len(vertices)
    parts = {
        "mean_shape": vertices,
        "identity_basis": torch.zeros(IDENTITY, count, 3),
        "expression_basis": torch.zeros(EXPRESSION, count, 3),
        "mean_texture": colours,
        "texture_basis": torch.zeros(TEXTURE, *colours.shape),
        "uv": None,
        "triangles": triangles,
        "landmarks": {
            "5": torch.arange(5) % count,
            "68": torch.arange(68) % count,
            "dense": torch.arange(count),
        },
        "skin": torch.ones(colours.shape[:-1]),
        "supported": (0, 0, 0),
        "version": "mesh",
    }
    return MorphableModel(**{**parts, **changes})


def frontal(scale: float = 1.0, batch: int = 1, **changes: Tensor) -> Coefficients:
    """The mean face, evenly lit, seen from the front, at a scale in units of half the picture's side."""
    zero = Coefficients.split(torch.zeros(batch, 239))
    pose = zero.pose.clone()
    pose[:, 5] = math.log(scale)
    return zero._replace(pose=pose)._replace(**changes)


def coefficients(batch: int = 1, seed: int = 0, dtype: torch.dtype = torch.float32) -> Coefficients:
    """Faces about two thirds as high as the picture, differing in everything."""
    generator = torch.Generator().manual_seed(seed)
    vector = torch.randn(batch, 239, generator=generator)
    parts = Coefficients.split(vector)
    pose = parts.pose * torch.tensor([0.15, 0.3, 0.15, 0.05, 0.05, 0.05])
    pose = pose + torch.tensor([0, 0, 0, 0, 0, math.log(0.62)])
    return Coefficients(*(part.to(dtype) for part in parts._replace(light=0.2 * parts.light, pose=pose)))


def _nearest(uv: Tensor, targets: Tensor) -> Tensor:
    return torch.cdist(targets, uv).argmin(1)


def _waves(places: Tensor, count: int, generator: torch.Generator, most: int) -> Tensor:
    """Smooth random functions of places [N, 2]: [count, N, 3], about -1..1."""
    total = torch.zeros(count, len(places), 3)
    for i in range(most + 1):
        for j in range(most + 1):
            wave = (math.pi * i * places[:, 0]).cos() * (math.pi * j * places[:, 1]).cos()
            total += torch.randn(count, 1, 3, generator=generator) * wave[None, :, None] / (1 + i + j)
    return total / total.abs().amax(dim=(1, 2), keepdim=True)
