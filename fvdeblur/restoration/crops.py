"""Square crops around faces: cut from the planes, brought to the network's size, and the soft mask to blend back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeVar, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from fvdeblur.faces import face_square
from fvdeblur.media import FramePlanes

FloatArray = NDArray[np.float32]
Bytes = NDArray[np.uint8]
Pixels = TypeVar("Pixels", FloatArray, Bytes)

CONTEXT = 1.8
"""Side of a crop in units of the longer side of the face box."""

KEPT_SIDE = 448
"""Squares up to so many pixels are kept for the next windows: larger ones, which are reduced, take too much memory."""

KEPT_MARGIN = 0.1
"""Kept around them, in units of their side, as the face will move a little."""

MASK_FULL, MASK_ZERO = 0.66, 0.96
"""The blend mask is 1 up to the first and 0 from the second distance on, in units of half the crop's side."""

SPARED_EDGE = 0.15
"""Around a face that is to stay as it is, in units of half its box."""


@dataclass(frozen=True)
class CropPlan:
    """Which square of the picture a face is restored in, and at what size.

    Attributes
    ----------
    left, top, side
        The square in pixels of the upright picture; it may reach beyond the picture.
    size
        Side that the crop is brought to. For restoration it is ``side`` unless the face is larger or smaller than the
        network's limits.
    """

    left: int
    top: int
    side: int
    size: int


def plan_crop(box: FloatArray, multiple: int, largest_side: int, smallest_side: int = 0) -> CropPlan:
    """Plan the crop of a face box [x0, y0, x1, y1] in pixels, brought to a size between these sides.

    The side is rounded up to twice ``multiple``, so that a slowly growing face does not change the network's shape
    at every frame.
    """
    x, y, side = face_square(box, CONTEXT)
    step = 2 * multiple
    whole = max(step, int(np.ceil(side / step)) * step)
    size = min(max(whole, smallest_side), largest_side)
    return CropPlan(round(x - whole / 2), round(y - whole / 2), whole, size)


def cut(planes: FramePlanes, plan: CropPlan) -> FloatArray:
    """Cut a crop: float32 [size, size, 3], R'G'B' clipped to 0..1; outside the picture its edge is repeated."""
    return np.clip(_brought(planes, plan, planes.read_rgb(*_inside(planes, plan))), 0, 1)


def _brought(planes: FramePlanes, plan: CropPlan, inside: Pixels) -> Pixels:
    """A crop of which this part lies in the picture: the edge repeated around it, at the size of the plan."""
    x0, y0, x1, y1 = _inside(planes, plan)
    crop: Any = inside
    around = (y0 - plan.top, plan.top + plan.side - y1, x0 - plan.left, plan.left + plan.side - x1)
    if any(around):
        crop = cv2.copyMakeBorder(crop, *around, cv2.BORDER_REPLICATE)
    if plan.size != plan.side:
        kind = cv2.INTER_AREA if plan.size < plan.side else cv2.INTER_LINEAR
        crop = cv2.resize(crop, (plan.size, plan.size), interpolation=kind)
    return cast(Pixels, crop)


class KeptPixels:
    """Cuts the crops of one frame as bytes, and keeps what was converted for them.

    The windows of the frames around it need nearly the same pixels again and again.

    Parameters
    ----------
    planes
        The frame, which must not change meanwhile.
    """

    def __init__(self, planes: FramePlanes) -> None:
        self._planes = planes
        self._parts: list[tuple[tuple[int, int, int, int], Bytes]] = []

    def cut(self, plan: CropPlan) -> Bytes:
        """Cut a crop as `cut` does, in bytes: uint8 [size, size, 3], R'G'B', as networks are trained on."""
        if plan.side > KEPT_SIDE:
            return _as_bytes(cut(self._planes, plan))
        return _brought(self._planes, plan, self._read(*_inside(self._planes, plan)))

    def _read(self, x0: int, y0: int, x1: int, y1: int) -> Bytes:
        for (left, top, right, bottom), pixels in self._parts:
            if left <= x0 and top <= y0 and x1 <= right and y1 <= bottom:
                return pixels[y0 - top : y1 - top, x0 - left : x1 - left]
        margin = round(KEPT_MARGIN * max(x1 - x0, y1 - y0))
        left, top = max(0, x0 - margin), max(0, y0 - margin)
        right, bottom = min(self._planes.width, x1 + margin), min(self._planes.height, y1 + margin)
        pixels = _as_bytes(self._planes.read_rgb(left, top, right, bottom))
        self._parts.append(((left, top, right, bottom), pixels))
        return pixels[y0 - top : y1 - top, x0 - left : x1 - left]


def _as_bytes(picture: FloatArray) -> Bytes:
    """A picture of 0..1 in bytes, clipped and rounded."""
    return np.asarray(cv2.convertScaleAbs(np.maximum(picture, 0), alpha=255), np.uint8)


def blend(planes: FramePlanes, changes: Sequence[tuple[CropPlan, FloatArray]], strength: float) -> None:
    """Add changes, float32 [size, size, 3] each, to the picture under their soft masks, in place.

    Where crops of several faces overlap, their changes are averaged by the masks instead of added up.
    """
    plans = [plan for plan, _ in changes]
    for i, (plan, change) in enumerate(changes):
        if plan.size != plan.side:
            side = (plan.side, plan.side)
            kind = cv2.INTER_CUBIC if plan.size < plan.side else cv2.INTER_AREA
            change = np.asarray(cv2.resize(change, side, interpolation=kind), np.float32)
        weight = soft_mask(plan.side) * np.float32(strength)
        total = _mask_total(plan, plans[:i] + plans[i + 1 :])
        if total is not None:
            weight /= np.maximum(total, 1)
        change = change * weight[:, :, None]
        x0, y0, x1, y1 = _inside(planes, plan)
        planes.add_rgb(x0, y0, change[y0 - plan.top : y1 - plan.top, x0 - plan.left : x1 - plan.left])


def _mask_total(plan: CropPlan, others: Sequence[CropPlan]) -> FloatArray | None:
    """Sum of all masks over one crop's square, float32 [side, side]; None where no other crop reaches it."""
    total = None
    for other in others:
        x0, x1 = max(plan.left, other.left), min(plan.left + plan.side, other.left + other.side)
        y0, y1 = max(plan.top, other.top), min(plan.top + plan.side, other.top + other.side)
        if x1 > x0 and y1 > y0:
            total = soft_mask(plan.side).copy() if total is None else total
            part = soft_mask(other.side)
            total[y0 - plan.top : y1 - plan.top, x0 - plan.left : x1 - plan.left] += part[
                y0 - other.top : y1 - other.top, x0 - other.left : x1 - other.left
            ]
    return total


def spared(plan: CropPlan, own: FloatArray, others: Sequence[FloatArray]) -> FloatArray:
    """How much of a crop's change is kept where other faces are to stay as they are.

    Parameters
    ----------
    plan
        The crop.
    own, others
        Boxes [x0, y0, x1, y1] of its face and of the other faces, in pixels of the picture.

    Returns
    -------
    float32 [size, size] in 0..1: 0 within the ellipse of another box, growing to 1 over the next `SPARED_EDGE` of it;
    but 1 within the own, which stands in front as far as anybody knows.
    """
    kept = np.ones((plan.size, plan.size), np.float32)
    for box in others:
        kept = np.minimum(kept, np.clip((_ellipse(plan, box) - 1) / SPARED_EDGE, 0, 1))
    return np.maximum(kept, np.clip((1 + SPARED_EDGE - _ellipse(plan, own)) / SPARED_EDGE, 0, 1))


def _ellipse(plan: CropPlan, box: FloatArray) -> FloatArray:
    """Distance of a crop's pixels from the middle of a box, 1 on the ellipse within it: float32 [size, size]."""
    step = plan.side / plan.size
    axes = []
    for start, low, high in ((plan.left, box[0], box[2]), (plan.top, box[1], box[3])):
        places = start + step * (np.arange(plan.size) + 0.5)
        axes.append((places - (low + high) / 2) / max(1.0, (high - low) / 2))
    return np.hypot(axes[0][None, :], axes[1][:, None]).astype(np.float32)


def overlaps(planes: FramePlanes, plan: CropPlan) -> bool:
    """Whether any of the square lies in the picture."""
    x0, y0, x1, y1 = _inside(planes, plan)
    return x1 > x0 and y1 > y0


def _inside(planes: FramePlanes, plan: CropPlan) -> tuple[int, int, int, int]:
    return (
        max(plan.left, 0),
        max(plan.top, 0),
        min(plan.left + plan.side, planes.width),
        min(plan.top + plan.side, planes.height),
    )


@lru_cache(maxsize=8)  # masks of faces that fill the picture are large
def soft_mask(side: int) -> FloatArray:
    """Blend mask float32 [side, side] in 0..1: a rounded square that falls smoothly to exactly 0 at the edge."""
    axis = np.abs((np.arange(side) + 0.5) / (side / 2) - 1)
    distance = (axis[None, :] ** 4 + axis[:, None] ** 4) ** 0.25
    ramp = np.clip((MASK_ZERO - distance) / (MASK_ZERO - MASK_FULL), 0, 1)
    return (ramp * ramp * (3 - 2 * ramp)).astype(np.float32)
