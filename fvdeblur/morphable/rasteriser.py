"""Which triangle is seen at which pixel, and where the outline of the surface runs.

All triangles of all pictures are drawn at once: each is cut into the rows of pixels that it crosses, each row into the
pixels of its span, and of all triangles at a pixel the nearest is kept (z-buffer). Both cuts are exact, so that the
work is that of the pixels drawn, whatever the sizes of the triangles are. Nothing here is differentiable: the numbers
of triangles, corners and pixels that it finds are what the renderer derives differentiable values from.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

_FAR_AWAY = 1e5
"""Places further out than this, in pixels, are drawn as if they were there."""


class Outline(NamedTuple):
    """Pixels whose centres lie within half a pixel of the outline of the surface against the background.

    Attributes
    ----------
    pixels : int64 [N]
        Which ones, counted row by row through all pictures; each once.
    corners : int64 [N, 2]
        The two ends of the nearest edge of the outline: vertices, counted through all pictures.
    triangles : int64 [N]
        The triangle of this edge, counted through all pictures.
    """

    pixels: Tensor
    corners: Tensor
    triangles: Tensor


@torch.no_grad()
def facing(picture: Tensor, triangles: Tensor) -> Tensor:
    """Which triangles int64 [F, 3] show their outside, bool [B, F], with vertices at picture [B, V, 2] in pixels."""
    a, b, c = picture[:, triangles].unbind(2)
    return _cross(b - a, c - a) < 0  # y runs down, which turns counter-clockwise round


@torch.no_grad()
def rasterise(picture: Tensor, depth: Tensor, triangles: Tensor, front: Tensor, size: int) -> Tensor:
    """The triangle that is seen at the centre of each pixel.

    A centre on an edge belongs to exactly one of the two triangles that share it.

    Parameters
    ----------
    picture : [B, V, 2]
        Vertices in pixels.
    depth : [B, V]
        Larger is nearer; linear in the picture.
    triangles : int64 [F, 3]
        Vertices.
    front : bool [B, F]
        Triangles to be drawn.
    size
        Side of the pictures in pixels.

    Returns
    -------
    int32 [B * size * size]
        Triangle, counted through all pictures (F more each); -1 where there is none.
    """
    drawn = front.flatten().nonzero()[:, 0]
    number = drawn // front.shape[1]  # of the picture
    corners = triangles[drawn - number * front.shape[1]] + (number * picture.shape[1])[:, None]
    x, y = _tame(picture).flatten(0, 1)[corners].unbind(2)
    z = (depth - depth.amin()).nan_to_num().flatten()[corners]

    # Rows. With corners sorted downwards, the long edge runs from 0 to 2 and the short ones from 0 to 1 and 1 to 2. Two
    # triangles that share an edge compute where it crosses a row from the same numbers in the same way: no gaps.
    y, order = y.sort(dim=1)
    points = torch.stack([x.gather(1, order), y, z.gather(1, order)], dim=2)
    starts, ends = points[:, [0, 0, 1]], points[:, [2, 1, 2]]
    slopes = (ends - starts)[..., ::2] / (ends - starts)[..., 1:2]
    edges = torch.cat([starts, slopes], dim=2).flatten(0, 1)  # x, y, z at the upper end, x and z a row
    owner, row = _ranges(y[:, 0].ceil().clamp(0, size).long(), y[:, 2].ceil().clamp(0, size).long())
    height = row.to(y.dtype)
    lower = height >= y[:, 1].index_select(0, owner)
    long_x, long_z = _crossing(edges.index_select(0, 3 * owner), height)
    short_x, short_z = _crossing(edges.index_select(0, 3 * owner + 1 + lower), height)

    # Pixels of each row, with their depths.
    left, right = torch.minimum(long_x, short_x), torch.maximum(long_x, short_x)
    line = torch.stack([long_x, long_z, (short_z - long_z) / (short_x - long_x)], dim=1)
    span, column = _ranges(left.ceil().clamp(0, size).long(), right.ceil().clamp(0, size).long())
    x, z, slope = line.index_select(0, span).unbind(1)
    z = z + (column - x) * slope
    pixel = ((number[owner] * size + row) * size).index_select(0, span) + column

    # Depths are positive, so that their bits are in the order of their values. The triangle's number comes behind them.
    keys = z.clamp(min=0).float().view(torch.int32).long() << 32
    keys |= drawn[owner].index_select(0, span)
    nearest = keys.new_full((front.shape[0] * size * size,), -1).scatter_reduce_(0, pixel, keys, "amax")
    return nearest.int()  # the lower half


@torch.no_grad()
def find_outline(
    picture: Tensor, triangles: Tensor, edges: Tensor, front: Tensor, seen: Tensor, size: int
) -> Outline:
    """Find the pixels along the outline of the surface.

    An edge is on the outline if only one triangle at it faces the viewer and the background begins beyond it. What
    `rasterise` was given and has found is given here; ``edges`` int64 [F, 3] are the numbers of the triangles' edges.
    """
    batch, vertices = picture.shape[:2]
    uses = front.new_zeros((batch, int(edges.max()) + 1), dtype=torch.int32)
    uses.index_add_(1, edges.flatten(), front.int().repeat_interleave(3, dim=1))
    alone = (uses[:, edges] == 1) & front[..., None]
    number, triangle, corner = alone.nonzero().unbind(1)
    ends = torch.stack([triangles[triangle, corner], triangles[triangle, (corner + 1) % 3]], dim=1)
    ends = ends + (number * vertices)[:, None]
    start, end = _tame(picture).flatten(0, 1)[ends].unbind(1)

    # Pixels around each edge.
    low, high = torch.minimum(start, end) - 0.5, torch.maximum(start, end) + 0.5
    first, last = low.ceil().clamp(0, size).long(), (high.floor() + 1).clamp(0, size).long()
    owner, row = _ranges(first[:, 1], last[:, 1])
    line, column = _ranges(first[owner, 0], last[owner, 0])
    owner, row = owner[line], row[line]
    centre = torch.stack([column, row], dim=1).to(start.dtype)
    along = (end - start)[owner]
    near = nearest_point(centre, start[owner], along)
    distance = (centre - near).norm(dim=1)
    close = (distance <= 0.5).nonzero()[:, 0]
    owner, row, column, along, near = owner[close], row[close], column[close], along[close], near[close]

    # The background begins beyond: a pixel further out, nothing is seen.
    outward = torch.stack([-along[:, 1], along[:, 0]], dim=1)
    probe = (near + outward / outward.norm(dim=1, keepdim=True).clamp(min=1e-6)).round().long()
    within = ((probe >= 0) & (probe < size)).all(1)
    probe = probe.clamp(0, size - 1)
    plane = number[owner] * size
    open_ = ~within | (seen[(plane + probe[:, 1]) * size + probe[:, 0]] < 0)
    pixel = ((plane + row) * size + column)[open_]

    # The nearest edge of each pixel.
    keys = (distance[close][open_].float().view(torch.int32).long() << 32) | owner[open_]
    none = torch.iinfo(torch.int64).max
    nearest = keys.new_full((len(seen),), none).scatter_reduce_(0, pixel, keys, "amin")
    pixels = (nearest != none).nonzero()[:, 0]
    owner = nearest[pixels] & 0xFFFFFFFF
    return Outline(pixels, ends[owner], (number * front.shape[1] + triangle)[owner])


def nearest_point(places: Tensor, start: Tensor, along: Tensor) -> Tensor:
    """The point nearest to each place [N, 2] on the line from ``start`` to ``start + along``; differentiable."""
    share = ((places - start) * along).sum(1) / along.square().sum(1).clamp(min=1e-12)
    return start + share.clamp(0, 1)[:, None] * along


def _tame(picture: Tensor) -> Tensor:
    return picture.nan_to_num(0.0).clamp(-_FAR_AWAY, _FAR_AWAY)


def _cross(a: Tensor, b: Tensor) -> Tensor:
    return a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]


def _crossing(edges: Tensor, height: Tensor) -> tuple[Tensor, Tensor]:
    """x and z where edges [N, 5] cross the rows at ``height``."""
    x, y, z, slope_x, slope_z = edges.unbind(1)
    down = height - y
    return x + down * slope_x, z + down * slope_z


def _ranges(first: Tensor, last: Tensor) -> tuple[Tensor, Tensor]:
    """All whole numbers from ``first`` up to ``last`` [N], the latter excluded: whose they are, and the numbers."""
    counts = (last - first).clamp(min=0)
    owner = torch.repeat_interleave(counts)
    begin = counts.cumsum(0) - counts
    return owner, torch.arange(len(owner), device=owner.device) + (first - begin).index_select(0, owner)
