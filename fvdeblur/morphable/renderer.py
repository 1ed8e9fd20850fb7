"""Drawing faces from coefficients: a differentiable z-buffer renderer.

Which triangle a pixel shows is a discrete choice; everything else is computed from the projected vertices in a
differentiable way. Inside, the place of a pixel's centre in its triangle gives normal, texture and hence colour, so
that colours have gradients with respect to all coefficients. At the outline a pixel is covered as far as the distance
from its centre to the nearest edge of the outline says, from 0 half a pixel outside to 1 half a pixel inside: that is
what anti-aliases the edge, and what the gradient of the outline comes from.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from fvdeblur.morphable.camera import project, rotation_matrix
from fvdeblur.morphable.coefficients import Coefficients
from fvdeblur.morphable.light import encode, shade
from fvdeblur.morphable.mesh import vertex_normals
from fvdeblur.morphable.model import MorphableModel
from fvdeblur.morphable.rasteriser import facing, find_outline, nearest_point, rasterise
from fvdeblur.morphable.sampling import sample_maps, weighted_rows


class Rendering(NamedTuple):
    """Pictures of B faces, S pixels square; all 0 where ``mask`` is 0.

    Attributes
    ----------
    rgb : [B, 3, S, S]
        R'G'B' in 0..1 over black: at the edge it is already multiplied by ``mask``, so that
        ``rgb + (1 - mask) * background`` puts the face before a background.
    mask : [B, 1, S, S]
        How much of each pixel the face covers, 0..1.
    normals : [B, 3, S, S]
        Unit normals of the surface: x to the right, y up, z towards the viewer.
    uv : [B, 2, S, S]
        Place in the UV map, 0..1; zeros for a model without one.
    """

    rgb: Tensor
    mask: Tensor
    normals: Tensor
    uv: Tensor


class _Surface(NamedTuple):
    """What is seen of B surfaces of V vertices, at N pixels."""

    mask: Tensor  # [B * S * S], coverage
    pixels: Tensor  # int64 [N], counted through all pictures
    numbers: Tensor  # int64 [N], of the picture of each
    vertices: Tensor  # int64 [N, 3], corners of the triangle seen, counted through all pictures
    weights: Tensor  # [3, N], of the corners
    shape: tuple[int, int]  # B, S

    def interpolate(self, values: Tensor) -> Tensor:
        """Values at the pixels [C, N], of values at the vertices [B, V, C]."""
        return weighted_rows(values.flatten(0, 1), self.vertices, self.weights)

    def cover(self, values: Tensor) -> Tensor:
        """Values at the pixels [C, N], multiplied by their coverage."""
        return values * self.mask.index_select(0, self.pixels)

    def picture(self, values: Tensor) -> Tensor:
        """Values at the pixels [C, N] as pictures [B, C, S, S], zero elsewhere."""
        batch, size = self.shape
        planes = values.new_zeros(len(values), len(self.mask))
        planes = planes.scatter_(1, self.pixels.expand(len(values), -1), values)
        return planes.view(-1, batch, size, size).transpose(0, 1)


def render(
    model: MorphableModel, coefficients: Coefficients, size: int, albedo: Tensor | None = None
) -> Rendering:
    """Draw faces, differentiably with respect to all coefficients.

    Triangles that show their inside are not drawn. Texture is read bilinearly, normals are interpolated, and light is
    computed at each pixel (`fvdeblur.morphable.light`): R'G'B' = encode(albedo * shading). Call it outside autocast:
    half precision is too coarse for places in a picture.

    Parameters
    ----------
    model
        On the device and of the floating-point type of the coefficients.
    coefficients
        Of B faces.
    size
        Side S of the pictures in pixels.
    albedo : [B, U, U, 3] or [B, V, 3], optional
        Linear albedo to use in place of ``model.albedo(coefficients.texture)``, laid out alike:
        for the frames of one face it need not be computed again and again.
    """
    vertices = model.shape(coefficients.identity, coefficients.expression)
    surface = _see(model, vertices, coefficients.pose, size)
    turned = vertex_normals(vertices, model.triangles) @ rotation_matrix(coefficients.pose[:, :3]).transpose(
        1, 2
    )
    albedo = model.albedo(coefficients.texture) if albedo is None else albedo
    extra = albedo if model.uv is None else model.uv.expand(len(vertices), -1, -1)
    values = surface.interpolate(torch.cat([turned, extra], dim=2))
    normals = values[:3] * values[:3].square().sum(0).clamp(min=1e-12).rsqrt()
    if model.uv is None:
        uv, colours = torch.zeros_like(values[:2]), values[3:]
    else:
        uv = values[3:]
        colours = sample_maps(albedo, surface.numbers, uv)
    shading = shade(normals.t(), coefficients.light.index_select(0, surface.numbers))
    return Rendering(
        surface.picture(surface.cover(encode(colours * shading))),
        surface.mask.view(len(vertices), 1, size, size),
        surface.picture(normals),
        surface.picture(uv),
    )


def render_skin(model: MorphableModel, coefficients: Coefficients, size: int) -> Tensor:
    """Where skin is seen, [B, 1, S, S] in 0..1, for the attention A of equation (3); 0 outside the face."""
    vertices = model.shape(coefficients.identity, coefficients.expression)
    surface = _see(model, vertices, coefficients.pose, size)
    if model.uv is None:
        skin = surface.interpolate(model.skin[:, None].expand(len(vertices), -1, -1))
    else:
        uv = surface.interpolate(model.uv.expand(len(vertices), -1, -1))
        skin = sample_maps(model.skin[None, ..., None], torch.zeros_like(surface.numbers), uv)
    return surface.picture(surface.cover(skin))


def landmarks(model: MorphableModel, coefficients: Coefficients, size: int, kind: str = "68") -> Tensor:
    """Where the landmarks ``"5"``, ``"68"`` or ``"dense"`` are seen: x and y in pixels of a picture, [B, N, 2]."""
    vertices = model.shape(coefficients.identity, coefficients.expression)[:, model.landmarks[kind]]
    return project(model, vertices, coefficients.pose, size)[0]


def _see(model: MorphableModel, vertices: Tensor, pose: Tensor, size: int) -> _Surface:
    picture, depth = project(model, vertices, pose, size)
    front = facing(picture, model.triangles)
    seen = rasterise(picture, depth, model.triangles, front, size)
    outline = find_outline(picture, model.triangles, model.edges, front, seen, size)

    # Coverage: certain inside and outside, by distance along the outline.
    start, end = picture.flatten(0, 1)[outline.corners].unbind(1)
    centres = torch.stack(
        _centres(outline.pixels, outline.pixels // (size * size), size, picture.dtype), dim=1
    )
    apart = (centres - nearest_point(centres, start, end - start)).square().sum(1)
    distance = (apart + 1e-12).sqrt()  # the derivative of the root is not finite at 0
    within = seen[outline.pixels] >= 0
    mask = (seen >= 0).to(picture.dtype)
    mask = mask.index_put((outline.pixels,), (0.5 + torch.where(within, distance, -distance)).clamp(0, 1))

    # Pixels whose centres are just outside show the triangle of the edge.
    seen[outline.pixels[~within]] = outline.triangles[~within].int()
    pixels = (seen >= 0).nonzero()[:, 0]
    numbers = pixels // (size * size)
    x, y = _centres(pixels, numbers, size, picture.dtype)
    corners, weights = _corners(model, picture, depth, seen.index_select(0, pixels), x, y)
    return _Surface(mask, pixels, numbers, corners, weights, (len(vertices), size))


def _centres(pixels: Tensor, numbers: Tensor, size: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """x and y of pixels int64 [N] of pictures ``numbers``."""
    rows = pixels // size
    return (pixels - rows * size).to(dtype), (rows - numbers * size).to(dtype)


def _corners(
    model: MorphableModel, picture: Tensor, depth: Tensor, seen: Tensor, x: Tensor, y: Tensor
) -> tuple[Tensor, Tensor]:
    """Numbers int64 [N, 3] and weights [3, N] of the corners of the triangles seen at x, y [N]."""
    batch, vertices = picture.shape[:2]
    triangles = model.triangles + vertices * torch.arange(batch, device=seen.device)[:, None, None]
    triangles = triangles.flatten(0, 1)
    a, b, c = picture.flatten(0, 1)[triangles].unbind(1)
    ab, ac = b - a, c - a
    area = ab[:, 0] * ac[:, 1] - ab[:, 1] * ac[:, 0]
    area = torch.where(area < -1e-6, area, -1e-6)  # negative in front; the thinnest ones have no pixels
    # The weights of b and c are linear in the picture; their slopes and the place of a, for each triangle.
    parts = [a[:, 0], a[:, 1], ac[:, 1] / area, -ac[:, 0] / area, -ab[:, 1] / area, ab[:, 0] / area]
    if model.camera == "perspective":
        parts += depth.flatten()[triangles].unbind(1)
    a_x, a_y, second_x, second_y, third_x, third_y, *depths = (
        torch.stack(parts, dim=1).index_select(0, seen).unbind(1)
    )
    x, y = x - a_x, y - a_y
    second, third = x * second_x + y * second_y, x * third_x + y * third_y
    weights = torch.stack([1 - second - third, second, third])
    if depths:
        weights = weights * torch.stack(depths)
    weights = weights.clamp(min=0)  # just outside the outline, the nearest place of the triangle
    return triangles.index_select(0, seen), weights / weights.sum(0)
