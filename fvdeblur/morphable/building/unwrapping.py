"""The UV map: where each vertex lies in the texture, and which triangle covers each texel."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from fvdeblur.errors import InputError

Floats = NDArray[np.floating]
Numbers = NDArray[np.int64]

AXIS = -2.5
"""z of the vertical axis around which the face is unrolled: behind the head, so that cheeks take less room."""

MARGIN = 0.02
"""Of the map's side, free on each side of the face."""

SMALLEST = 0.02
"""A triangle's area in the map is at least this share of the average."""


@dataclass(frozen=True, eq=False)
class Texels:
    """Which triangle each texel lies in.

    Attributes
    ----------
    triangle : int64 [U, U]
        Its number; -1 outside the face.
    weights : float64 [U, U, 3]
        Barycentric coordinates of the texel's centre.
    """

    triangle: Numbers
    weights: Floats

    @property
    def covered(self) -> NDArray[np.bool_]:
        """Whether a texel lies on the face, [U, U]."""
        return self.triangle >= 0

    def interpolate(self, values: Floats, triangles: Numbers) -> Floats:
        """Values [V, C] of the vertices at each covered texel, [texels, C]."""
        corners = triangles[self.triangle[self.covered]]
        return np.einsum("tk,tkc->tc", self.weights[self.covered], values[corners])


def unwrap(shape: Floats, triangles: Numbers, mirror: Numbers) -> Floats:
    """Place of each vertex in the map, float64 [V, 2] in 0..1, symmetric about u = 0.5, v downwards.

    A symmetric shape [V, 3] with its mouth open is unrolled around a vertical axis. Where triangles turn over (at the
    nostrils and wherever the surface folds back), their vertices move to the mean of their neighbours until none does.

    Raises
    ------
    InputError
        Some triangle stays turned over: the shape is no face.
    """
    angle = np.arctan2(shape[:, 0], shape[:, 2] - AXIS)
    flat = np.stack([angle * (shape[:, 2].max() - AXIS) * 0.8, -shape[:, 1]], axis=1)
    neighbours = _neighbours(triangles, len(shape))
    border = _border(triangles)
    for _ in range(500):
        areas = -_areas(flat, triangles)
        small = areas < SMALLEST * np.abs(areas).mean()
        if not small.any():
            break
        moved = np.zeros(len(flat), bool)
        moved[triangles[small]] = True
        moved |= moved[mirror]
        moved[border] = False
        means = (neighbours @ flat) / neighbours.sum(1, keepdims=True)
        flat[moved] = (flat[moved] + means[moved]) / 2
        reflected = flat[mirror] * np.array([-1.0, 1.0])
        flat = (flat + reflected) / 2
    else:
        raise InputError("the mean of the meshes cannot be unrolled; are they meshes of faces?")
    low, high = flat.min(0), flat.max(0)
    return MARGIN + (flat - low) / (high - low) * (1 - 2 * MARGIN)


def rasterise(uv: Floats, triangles: Numbers, side: int) -> Texels:
    """The triangle at the centre of every texel of a square map."""
    owner = np.full((side, side), -1, np.int64)
    weights = np.zeros((side, side, 3))
    for number, corners in enumerate(uv[triangles] * side - 0.5):
        low = np.maximum(np.ceil(corners.min(0)).astype(int), 0)
        high = np.minimum(np.floor(corners.max(0)).astype(int), side - 1)
        x, y = np.meshgrid(np.arange(low[0], high[0] + 1), np.arange(low[1], high[1] + 1))
        system = np.concatenate([corners.T, np.ones((1, 3))])
        share = np.stack([x, y, np.ones_like(x)], axis=-1) @ np.linalg.inv(system).T
        inside = (share >= -1e-9).all(-1)
        owner[y[inside], x[inside]] = number
        weights[y[inside], x[inside]] = share[inside]
    return Texels(owner, weights)


def skin_mask(uv: Floats, loops: list[Numbers], covered: NDArray[np.bool_]) -> Floats:
    """Where the map shows skin, float32 [U, U] in 0..1: the face without what the loops of vertices go round."""
    side = len(covered)
    mask = covered.astype(np.float32)
    for loop in loops:
        outline = cv2.convexHull(((uv[loop] * side - 0.5) * 16).round().astype(np.int32))
        cv2.fillPoly(mask, [outline], 0.0, cv2.LINE_8, 4)
    grown = cv2.erode(mask, np.ones((3, 3), np.uint8))
    return np.asarray(cv2.GaussianBlur(grown, (0, 0), side / 192) * covered, np.float32)


def fill_outside(maps: Floats, covered: NDArray[np.bool_]) -> Floats:
    """Maps [U, U, C] with every texel outside the face given the value of the nearest one on it."""
    labels = cv2.distanceTransformWithLabels(
        (~covered).astype(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )[1]
    nearest = np.zeros((labels.max() + 1, maps.shape[2]), maps.dtype)
    nearest[labels[covered]] = maps[covered]
    return nearest[labels]


def dilate(covered: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The covered texels and those within two of them, which reading the map between texels touches."""
    return cv2.dilate(covered.astype(np.uint8), np.ones((5, 5), np.uint8)) > 0


def _areas(flat: Floats, triangles: Numbers) -> Floats:
    a, b, c = (flat[triangles[:, k]] for k in range(3))
    return 0.5 * ((b - a)[:, 0] * (c - a)[:, 1] - (b - a)[:, 1] * (c - a)[:, 0])


def _neighbours(triangles: Numbers, count: int) -> Floats:
    """Whether two vertices share an edge, 0 or 1, [V, V]."""
    table = np.zeros((count, count))
    for k in range(3):
        table[triangles[:, k], triangles[:, k - 1]] = 1
        table[triangles[:, k - 1], triangles[:, k]] = 1
    return table


def _border(triangles: Numbers) -> Numbers:
    """Vertices on an edge of one triangle alone."""
    edges = np.sort(
        np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]]), axis=1
    )
    unique, counts = np.unique(edges, axis=0, return_counts=True)
    return np.unique(unique[counts == 1])
