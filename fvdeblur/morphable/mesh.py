"""Triangle meshes: normals and edges."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def vertex_normals(vertices: Tensor, triangles: Tensor) -> Tensor:
    """Smooth unit normals, [B, V, 3]: the mean of the normals of the triangles around a vertex, weighted by area.

    Parameters
    ----------
    vertices : [B, V, 3]
        Places.
    triangles : int64 [F, 3]
        Counter-clockwise seen from outside. A vertex of no triangle gets a normal of zeros.
    """
    a, b, c = vertices[:, triangles].unbind(2)
    faces = torch.linalg.cross(b - a, c - a, dim=-1)
    corners = faces[:, :, None].expand(-1, -1, 3, -1).flatten(1, 2)
    sums = torch.zeros_like(vertices).index_add(1, triangles.flatten(), corners)
    return functional.normalize(sums, dim=-1, eps=1e-12)


def edge_numbers(triangles: Tensor) -> Tensor:
    """Number of the edge from corner k to corner k + 1 of each triangle: int64 [F, 3] for triangles int64 [F, 3].

    Triangles that share an edge name it by the same number, whichever way round they go through it.
    """
    ends = torch.stack([triangles, triangles.roll(-1, dims=1)], dim=2).sort(dim=2).values
    keys = ends[..., 0] * (triangles.max() + 1) + ends[..., 1]
    return torch.unique(keys, return_inverse=True)[1]
