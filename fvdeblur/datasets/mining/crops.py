"""Where a clip is cut from its video: one fixed square around the whole path of the object."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

MARGIN = 0.4
"""What the crop shows around the object's path on each side, in units of the object's (median) longer side."""

LONGEST_PATH = 2.0
"""Side of the object's path in units of its longer side, above which a clip is cut in two: the crop of a longer
one would show little of the object."""

Boxes = NDArray[np.floating[Any]]


def split_path(boxes: Boxes, width: int, height: int) -> list[tuple[int, int]]:
    """Cut the path of an object into pieces that a crop of reasonable size holds.

    Parameters
    ----------
    boxes
        float [T, 4]: x0, y0, x1, y1 in every frame.
    width, height
        Size of the picture.

    Returns
    -------
    list of (first, stop)
        Pieces in order, as long as can be from the first frame on; together they are all frames.
    """
    limit = min(width, height)
    pieces = []
    first, hull, largest = 0, boxes[0].copy(), 0.0
    for number, box in enumerate(boxes):
        grown = _joined(hull, box)
        side, size = float((grown[2:] - grown[:2]).max()), max(largest, float((box[2:] - box[:2]).max()))
        if number > first and side > min(limit, LONGEST_PATH * size):
            pieces.append((first, number))
            first, grown, size = number, box.copy(), float((box[2:] - box[:2]).max())
        hull, largest = grown, size
    return [*pieces, (first, len(boxes))]


def plan_crop(boxes: Boxes, width: int, height: int) -> tuple[int, int, int]:
    """The square that shows an object in all frames, with a margin.

    Parameters
    ----------
    boxes
        float [T, 4]: x0, y0, x1, y1 in pixels of the picture.
    width, height
        Size of the picture.

    Returns
    -------
    tuple of int
        Left, top and side in pixels. The side is even, the square within the picture: at its edges it is moved, and
        where the picture is too small it is as large as the picture allows.
    """
    low, high = boxes[:, :2].min(axis=0), boxes[:, 2:].max(axis=0)
    size = float(np.median((boxes[:, 2:] - boxes[:, :2]).max(axis=1)))
    side = min(float((high - low).max()) + 2 * MARGIN * size, width, height)
    even = max(2, int(side) // 2 * 2)
    corner = np.round((low + high - even) / 2)
    left, top = np.clip(corner, 0, [width - even, height - even]).astype(int)
    return int(left), int(top), even


def _joined(hull: Boxes, box: Boxes) -> Boxes:
    return np.concatenate([np.minimum(hull[:2], box[:2]), np.maximum(hull[2:], box[2:])])
