"""Fitting the model to a sharp face: shape and pose to points of its mesh, then texture and light to its pixels.

The coefficients so found are the labels that the regressor learns (Ren et al. 2019, section 3.1).
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from fvdeblur.morphable.camera import CAMERA_DISTANCE, FOCAL_LENGTH, project, rotation_matrix
from fvdeblur.morphable.coefficients import EXPRESSION, IDENTITY, LIGHT, POSE, TEXTURE, Coefficients
from fvdeblur.morphable.light import decode, shade, spherical_harmonics
from fvdeblur.morphable.mesh import vertex_normals
from fvdeblur.morphable.model import MorphableModel
from fvdeblur.morphable.sampling import sample_maps

POINT_DEVIATION = 0.02
"""Standard deviation of the points in units of the face's scale: it weighs the points against the coefficients."""

COLOUR_DEVIATION = 0.1
"""Standard deviation of linear light about the model, 0..1; light beyond twice this counts less and less."""

LIGHT_DEVIATION = 0.5
"""Standard deviation of the light coefficients."""

LEAST_FACING = 0.2
"""Points whose normal has a smaller z are not looked at for texture and light."""

SHAPE_ROUNDS, COLOUR_ROUNDS = 8, 4


def fit_shape(
    model: MorphableModel,
    points: Tensor,
    size: int,
    *,
    vertices: Tensor | None = None,
    identity: Tensor | None = None,
    deviation: float = POINT_DEVIATION,
) -> Coefficients:
    """Find pose, identity and expression that bring vertices of the model to points of the picture.

    Gauss-Newton on the squared distances, with coefficients held to their distribution N(0, 1).

    Parameters
    ----------
    model
        On the device of the points.
    points : [B, N, 2]
        x and y in pixels of a picture of ``size`` pixels.
    size
        Side of the square picture.
    vertices : int64 [N], optional
        Which vertices of the model they are; all V by default.
    identity : [B, 80], optional
        Known identity, which is kept; found with the rest by default.
    deviation
        Standard deviation of the points in units of the face's scale.

    Returns
    -------
    Coefficients
        Texture and light are zero.
    """
    chosen = torch.arange(len(model.mean_shape), device=points.device) if vertices is None else vertices
    people = 0 if identity is not None else model.supported[0]
    faces = model.supported[1]
    bases = torch.cat([model.identity_basis[:people, chosen], model.expression_basis[:faces, chosen]])
    base = model.mean_shape[chosen]
    if identity is not None:
        base = (
            base
            + (identity @ model.identity_basis.flatten(1)).unflatten(1, model.mean_shape.shape)[:, chosen]
        )
    else:
        base = base.expand(len(points), -1, -1)
    pose, scale = _first_pose(model, base, points, size)
    found = torch.cat([points.new_zeros(len(points), len(bases)), pose], dim=1)
    sharpness = 1 / (deviation * scale)  # [B], of a pixel
    for _ in range(SHAPE_ROUNDS):

        def residual(unknown: Tensor, shape: Tensor, aim: Tensor, factor: Tensor) -> Tensor:
            count = len(bases)
            moved = shape + (unknown[:count] @ bases.flatten(1)).view_as(shape)
            place = project(model, moved[None], unknown[None, count:], size)[0][0]
            return torch.cat([((place - aim) * factor).flatten(), unknown[:count]])

        found = found - _newton_step(residual, found, base, points, sharpness)
    alpha = points.new_zeros(len(points), IDENTITY) if identity is None else identity
    if identity is None:
        alpha = functional.pad(found[:, :people], (0, IDENTITY - people))
    beta = functional.pad(found[:, people : people + faces], (0, EXPRESSION - faces))
    nothing = points.new_zeros(len(points), TEXTURE), points.new_zeros(len(points), LIGHT)
    return Coefficients(alpha, beta, *nothing, found[:, -POSE:])


def _newton_step(residual: Callable[..., Tensor], found: Tensor, *arguments: Tensor) -> Tensor:
    jacobian = torch.func.vmap(torch.func.jacfwd(residual))(found, *arguments)
    left = torch.func.vmap(residual)(found, *arguments)
    square = jacobian.mT @ jacobian
    damping = 1e-6 * square.diagonal(dim1=1, dim2=2).mean(1)[:, None, None]
    square = square + damping * torch.eye(square.shape[1], device=found.device, dtype=found.dtype)
    return torch.linalg.solve(square, (jacobian.mT @ left[..., None]))[..., 0]


def _first_pose(model: MorphableModel, shape: Tensor, points: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Pose [B, 6] and scale [B] (pixels a model unit) of rigid shapes [B, N, 3] under parallel projection."""
    aim = (points + 0.5) * (2 / size) - 1
    aim = torch.stack([aim[..., 0], -aim[..., 1]], dim=2)
    centre, middle = shape.mean(1, keepdim=True), aim.mean(1, keepdim=True)
    affine = torch.linalg.lstsq(
        shape - centre, aim - middle
    ).solution.mT  # [B, 2, 3], scaled rows of a rotation
    left, values, right = torch.linalg.svd(affine, full_matrices=False)
    rows = left @ right
    scale = values.mean(1)
    rotation = torch.cat([rows, torch.linalg.cross(rows[:, 0], rows[:, 1])[:, None]], dim=1)
    offset = middle[:, 0] - scale[:, None] * (centre @ rotation.mT)[:, 0, :2]
    pitch = torch.atan2(rotation[:, 2, 1], rotation[:, 2, 2])
    yaw = torch.asin((-rotation[:, 2, 0]).clamp(-1, 1))
    roll = torch.atan2(rotation[:, 1, 0], rotation[:, 0, 0])
    if model.camera == "weak-perspective":
        rest = [offset[:, 0], -offset[:, 1], scale.log()]
    else:
        away = FOCAL_LENGTH * model.unit / scale
        rest = [
            offset[:, 0] * away / FOCAL_LENGTH,
            offset[:, 1] * away / FOCAL_LENGTH,
            CAMERA_DISTANCE - away,
        ]
    return torch.stack([pitch, yaw, roll, *rest], dim=1), scale * (size / 2)


def fit_colours(model: MorphableModel, fitted: Coefficients, pictures: Tensor) -> Coefficients:
    """Find the texture and light of faces whose shape and pose are known.

    Linear least squares in turn for light and for texture, in linear light, at the vertices and the middles of the
    triangles that face the camera; what fits badly (hair, glasses, shadows) counts less and less.

    Parameters
    ----------
    model
        On the device of the pictures.
    fitted
        Shape and pose of B faces.
    pictures : [B, 3, S, S]
        R'G'B' in 0..1.

    Returns
    -------
    Coefficients
        The same with texture and light.
    """
    vertices = model.shape(fitted.identity, fitted.expression)
    turned = vertex_normals(vertices, model.triangles) @ rotation_matrix(fitted.pose[:, :3]).mT
    normals = functional.normalize(_with_middles(turned, model), dim=2)
    place = project(model, _with_middles(vertices, model), fitted.pose, pictures.shape[-1])[0]
    grid = (place + 0.5) * (2 / pictures.shape[-1]) - 1
    seen = functional.grid_sample(decode(pictures), grid[:, :, None], align_corners=False)[
        ..., 0
    ].mT  # [B, P, 3]
    sure = (normals[..., 2] > LEAST_FACING).float() * (grid.abs() < 1).all(2)
    mean, basis = _surface_albedo(model)
    harmonics = spherical_harmonics(normals)

    count = len(basis)
    light = pictures.new_zeros(len(pictures), LIGHT)
    texture = pictures.new_zeros(len(pictures), count)
    weights = sure[..., None].expand_as(seen)
    for _ in range(COLOUR_ROUNDS):
        albedo = mean + (texture @ basis.flatten(1)).unflatten(1, mean.shape)
        lit = albedo[..., None] * harmonics[:, :, None]  # [B, P, 3, 9]
        light = _ridge(lit, seen - albedo, weights, COLOUR_DEVIATION / LIGHT_DEVIATION)
        shading = shade(normals, light[:, None])[..., None]
        painted = basis.permute(1, 2, 0) * shading[..., None]  # [B, P, 3, count]
        texture = _ridge(painted, seen - mean * shading, weights, COLOUR_DEVIATION)
        left = seen - (mean + (texture @ basis.flatten(1)).unflatten(1, mean.shape)) * shading
        weights = sure[..., None] / (1 + (left / (2 * COLOUR_DEVIATION)).square()).square()
    return fitted._replace(texture=functional.pad(texture, (0, TEXTURE - count)), light=light)


def _with_middles(values: Tensor, model: MorphableModel) -> Tensor:
    """Values at the vertices [B, V, C], and at the middles of the triangles after them."""
    return torch.cat([values, values[:, model.triangles].mean(2)], dim=1)


def _surface_albedo(model: MorphableModel) -> tuple[Tensor, Tensor]:
    """Mean [P, 3] and supported basis [K, P, 3] of the albedo at vertices and middles of triangles."""
    maps = torch.cat([model.mean_texture[None], model.texture_basis[: model.supported[2]]])
    if model.uv is None:
        values = _with_middles(maps, model)
    else:
        uv = _with_middles(model.uv[None], model)[0]
        numbers = torch.arange(len(maps), device=uv.device).repeat_interleave(len(uv))
        values = sample_maps(maps, numbers, uv.mT.repeat(1, len(maps))).mT.unflatten(0, (len(maps), len(uv)))
    return values[0], values[1:]


def _ridge(matrix: Tensor, aim: Tensor, weights: Tensor, penalty: float) -> Tensor:
    """Solutions [B, K] of weighted least squares with equations [B, P, 3, K] and a penalty on their square."""
    rows, weighted = matrix.flatten(1, 2), (matrix * weights[..., None]).flatten(1, 2)
    # A face has about a thousand independent pixels, however many points are looked at.
    share = 1000 / math.prod(aim.shape[1:])
    square = share * weighted.mT @ rows
    square = square + penalty**2 * torch.eye(square.shape[1], device=aim.device, dtype=aim.dtype)
    return torch.linalg.solve(square, share * (weighted.mT @ aim.flatten(1)[..., None]))[..., 0]
