"""Translation of a face between frames, measured on small grey previews."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from fvdeblur.faces.geometry import Floats, face_size
from fvdeblur.faces.state import State, pack, unpack

PATCH_SIZE = 32
"""A face is matched on the pyramid level on which its size in pixels is between this and twice this."""

LEVELS = 4
SEARCH_RADIUS = 0.5
"""Half-width of the search in units of the face's size."""

LEAST_RADIUS = 0.03
"""Least half-width of the search in units of the preview's width: shake moves small faces as far as large."""

CAMERA_BORDER = 0.25
LEAST_CAMERA_CORRELATION = 0.5

Pyramid = list[NDArray[np.uint8]]


def grey_pyramid(image: NDArray[np.uint8]) -> Pyramid:
    """Grey versions (uint8 [h, w]) of ``image`` (uint8 RGB [H, W, 3]), each half the size of the last."""
    levels = [np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), np.uint8)]
    while len(levels) < LEVELS:
        height, width = levels[-1].shape
        half = max(width // 2, 1), max(height // 2, 1)
        levels.append(np.asarray(cv2.resize(levels[-1], half, interpolation=cv2.INTER_AREA), np.uint8))
    return levels


def camera_shift(before: Pyramid, after: Pyramid) -> NDArray[np.float64]:
    """Roughly how far the whole picture moved (x, y in pixels of the preview); zeros if that cannot be told."""
    image, other = after[-1], before[-1]
    if image.shape != other.shape:
        return np.zeros(2)
    height, width = other.shape
    top, left = int(height * CAMERA_BORDER), int(width * CAMERA_BORDER)
    found = cv2.matchTemplate(image, other[top : height - top, left : width - left], cv2.TM_CCOEFF_NORMED)
    _, peak, _, (x, y) = cv2.minMaxLoc(found)
    if peak < LEAST_CAMERA_CORRELATION:
        return np.zeros(2)
    return np.array([x - left, y - top]) * _pixel_size(before, LEVELS - 1)


@dataclass(frozen=True)
class Match:
    """Where a patch was found.

    Attributes
    ----------
    shift : float64 [2]
        x, y displacement since the patch was taken, in pixels of the preview.
    correlation : float
        Normalised cross-correlation, -1..1; 0 when the patch cannot be where it was looked for.
    """

    shift: NDArray[np.float64]
    correlation: float


class Patch:
    """The pixels of one face, to be found again in other frames.

    Parameters
    ----------
    pyramid : Pyramid
        The frame's `grey_pyramid`.
    box : float [4]
        Face box in pixels of the preview; the part inside the picture is used.
    """

    def __init__(self, pyramid: Pyramid, box: Floats) -> None:
        size = face_size(box)
        self._level = int(np.clip(np.floor(np.log2(max(size, 1.0) / PATCH_SIZE)), 0, LEVELS - 1))
        self._pixel = _pixel_size(pyramid, self._level)
        crop = _crop(pyramid[self._level], box, self._pixel)
        self._origin = np.zeros(2, np.int64)
        self._template: NDArray[np.uint8] | None = None
        if crop is not None and min(crop[2] - crop[0], crop[3] - crop[1]) >= 6:
            self._origin = np.array(crop[:2])
            self._template = pyramid[self._level][crop[1] : crop[3], crop[0] : crop[2]].copy()
        radius = max(SEARCH_RADIUS * size, LEAST_RADIUS * pyramid[0].shape[1])
        self._radius = max(round(radius / float(self._pixel[0])), 3)

    def state(self) -> State:
        """Its pixels and where they were, for `restored`."""
        return {
            "level": self._level,
            "pixel": pack(self._pixel),
            "origin": pack(self._origin),
            "template": pack(self._template),
            "radius": self._radius,
        }

    @classmethod
    def restored(cls, state: State) -> Patch:
        """The patch of a `state`."""
        patch = cls.__new__(cls)
        patch._level, patch._radius = int(state["level"]), int(state["radius"])
        patch._pixel, patch._origin = unpack(state["pixel"]), unpack(state["origin"])
        patch._template = unpack(state["template"])
        return patch

    def find(self, pyramid: Pyramid, expected: Floats) -> Match:
        """Find the patch in another frame of the same size, near the ``expected`` shift (x, y in pixels)."""
        nowhere = Match(np.asarray(expected, np.float64), 0.0)
        if self._template is None:
            return nowhere
        image = pyramid[self._level]
        size = np.array(self._template.shape[::-1])
        target = self._origin + np.round(np.asarray(expected) / self._pixel).astype(np.int64)
        start = np.maximum(target - self._radius, 0)
        stop = np.minimum(target + size + self._radius, image.shape[::-1])
        if (stop - start < size + 2).any():
            return nowhere

        found = cv2.matchTemplate(
            image[start[1] : stop[1], start[0] : stop[0]], self._template, cv2.TM_CCOEFF_NORMED
        )
        _, peak, _, (x, y) = cv2.minMaxLoc(found)
        place = np.array([x, y], np.float64)
        if 0 < x < found.shape[1] - 1:
            place[0] += _peak_offset(found[y, x - 1 : x + 2])
        if 0 < y < found.shape[0] - 1:
            place[1] += _peak_offset(found[y - 1 : y + 2, x])
        return Match((start + place - self._origin) * self._pixel, float(np.clip(peak, -1, 1)))


def _pixel_size(pyramid: Pyramid, level: int) -> NDArray[np.float64]:
    """Width and height of a pixel of one level in pixels of the preview."""
    return np.array(pyramid[0].shape[::-1]) / np.array(pyramid[level].shape[::-1])


def _crop(image: NDArray[np.uint8], box: Floats, pixel: Floats) -> tuple[int, int, int, int] | None:
    """Whole-pixel x0, y0, x1, y1 of the part of the box inside the picture, None if there is none."""
    height, width = image.shape
    corners = np.round(np.asarray(box, np.float64) / np.tile(pixel, 2))
    x0, y0 = np.maximum(corners[:2], 0).astype(int)
    x1, y1 = np.minimum(corners[2:], [width, height]).astype(int)
    return (int(x0), int(y0), int(x1), int(y1)) if x1 > x0 and y1 > y0 else None


def _peak_offset(values: NDArray[Any]) -> float:
    """Position of the maximum of the parabola through three values at -1, 0 and 1."""
    before, peak, after = (float(value) for value in values)
    curvature = before - 2 * peak + after
    return float(np.clip((before - after) / (2 * curvature), -0.5, 0.5)) if curvature < 0 else 0.0
