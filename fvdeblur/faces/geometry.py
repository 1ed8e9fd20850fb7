"""Boxes and the square crops around them.

A box is float ``[x0, y0, x1, y1]`` in pixels, with continuous coordinates: the left edge of the first pixel
is 0 and the right edge of the last one is the picture's width. A *face box* reaches from the forehead to the
chin, as CenterFace and SCRFD draw it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]


def face_square(box: Floats, context: float = 1.8) -> tuple[float, float, float]:
    """Square crop around a face box.

    Parameters
    ----------
    box : float [4]
        x0, y0, x1, y1 in pixels.
    context : float
        Side of the square in units of the box's longer side.

    Returns
    -------
    tuple of float
        Centre x, centre y and side in pixels. The square may reach beyond the picture.
    """
    x0, y0, x1, y1 = (float(value) for value in box)
    return (x0 + x1) / 2, (y0 + y1) / 2, context * max(x1 - x0, y1 - y0)


def square_inside(box: Floats, context: float, width: int, height: int) -> tuple[slice, slice]:
    """Rows and columns of the square crop around a face box that lies inside a picture of the given size.

    It is that of `face_square` in whole pixels, made smaller and moved as far as the picture demands.
    """
    x, y, wanted = face_square(box, context)
    side = int(min(wanted, width, height))
    left, top = (
        int(np.clip(centre - side / 2, 0, limit - side)) for centre, limit in ((x, width), (y, height))
    )
    return slice(top, top + side), slice(left, left + side)


def face_size(box: Floats) -> float:
    """Size of a face in pixels: the square root of its box's area."""
    x0, y0, x1, y1 = (float(value) for value in box)
    return float(np.sqrt(max(x1 - x0, 0.0) * max(y1 - y0, 0.0)))


def visible_fraction(box: Floats, width: int, height: int) -> float:
    """Share of the box's area that lies within a picture of the given size, 0..1."""
    x0, y0, x1, y1 = (float(value) for value in box)
    area = (x1 - x0) * (y1 - y0)
    if area <= 0:
        return 0.0
    inside_x = max(min(x1, width) - max(x0, 0.0), 0.0)
    inside_y = max(min(y1, height) - max(y0, 0.0), 0.0)
    return inside_x * inside_y / area


def iou_matrix(first: Floats, second: Floats) -> Floats:
    """Intersection over union of every box of ``first`` [N, 4] with every box of ``second`` [M, 4].

    Returns
    -------
    float [N, M]
        Values in 0..1; boxes without area overlap nothing.
    """
    first, second = np.reshape(first, (-1, 4)), np.reshape(second, (-1, 4))
    upper_left = np.maximum(first[:, None, :2], second[None, :, :2])
    lower_right = np.minimum(first[:, None, 2:], second[None, :, 2:])
    intersection = np.clip(lower_right - upper_left, 0, None).prod(axis=2)
    areas = [np.clip(boxes[:, 2:] - boxes[:, :2], 0, None).prod(axis=1) for boxes in (first, second)]
    union = areas[0][:, None] + areas[1][None, :] - intersection
    return intersection / np.maximum(union, 1e-9)


def non_maximum_suppression(boxes: Floats, scores: Floats, threshold: float) -> NDArray[np.intp]:
    """Indices of the boxes [N, 4] to keep, best score first: no two overlap by ``threshold`` IoU."""
    remaining = np.argsort(-scores, kind="stable")
    kept = []
    while remaining.size:
        best, remaining = remaining[0], remaining[1:]
        kept.append(best)
        overlap = iou_matrix(boxes[best : best + 1], boxes[remaining])[0]
        remaining = remaining[overlap < threshold]
    return np.asarray(kept, dtype=np.intp)
