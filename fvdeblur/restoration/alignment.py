"""Crops of faces to look at: aligned, upright or as they are in the frame."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fvdeblur.errors import UsageError
from fvdeblur.faces import TrackedFace
from fvdeblur.faces.identity import ARCFACE_POINTS
from fvdeblur.faces.landmarks import similarity, warp_region
from fvdeblur.media import FramePlanes
from fvdeblur.restoration.crops import CropPlan, cut

MODES = ("aligned", "upright", "raw")
LEAST_SIZE, LARGEST_SIZE = 16, 4096

_POINTS = (ARCFACE_POINTS - 56) / 112
"""Eyes, nose tip and mouth corners around the middle of an aligned crop without a margin, in units of its side."""


class Aligner:
    """Cuts the faces of frames out.

    Parameters
    ----------
    mode
        ``aligned``: turned, scaled and moved (a similarity transform) so that eyes, nose and mouth always lie in the
        same places, as far as that goes; ``upright``: the box's square, turned so that the eyes are level; ``raw``: the
        box's square, pixel by pixel as it is in the frame, in whatever size it has. A face without landmarks is cut by
        its box.
    size
        Side of the crops in pixels; does not matter to ``raw``.
    margin
        What is shown around the face on each side, in units of its size.

    Raises
    ------
    UsageError
        A value is out of its range.
    """

    def __init__(self, mode: str = "aligned", size: int = 256, margin: float = 0.25) -> None:
        if mode not in MODES:
            raise UsageError(f"unknown kind of crop {mode!r}; choose one of {', '.join(MODES)}")
        if not LEAST_SIZE <= size <= LARGEST_SIZE:
            raise UsageError(f"the size of crops must be between {LEAST_SIZE} and {LARGEST_SIZE}, not {size}")
        if not 0 <= margin <= 3:
            raise UsageError(f"the margin must be between 0 and 3, not {margin:g}")
        self.mode, self.size, self.margin = mode, size, margin

    def check_format(self, kind: str) -> None:
        """Raise UsageError where crops like these do not fit the format ``kind``."""
        if kind == "video" and self.mode == "raw":
            raise UsageError(
                "raw crops differ in size from frame to frame; choose aligned or upright for a video"
            )

    def crop(self, planes: FramePlanes, face: TrackedFace) -> NDArray[np.uint8]:
        """The crop of a face, uint8 [size, size, 3], R'G'B'; what lies outside the frame repeats its edge."""
        if self.mode == "raw":
            x0, y0, x1, y1 = (float(value) for value in face.box)
            side = max(1, round((1 + 2 * self.margin) * max(x1 - x0, y1 - y0)))
            plan = CropPlan(round((x0 + x1 - side) / 2), round((y0 + y1 - side) / 2), side, side)
            return np.round(cut(planes, plan) * 255).astype(np.uint8)
        matrix = self.matrix(face)
        corners = np.array([[0, 0], [self.size, 0], [0, self.size], [self.size, self.size]], np.float64)
        seen = (corners - matrix[:, 2]) @ np.linalg.inv(matrix[:, :2]).T
        low, high = np.floor(seen.min(axis=0)) - 2, np.ceil(seen.max(axis=0)) + 2
        side = int((high - low).max())
        part = cut(planes, CropPlan(int(low[0]), int(low[1]), side, side))
        inside = matrix.copy()
        inside[:, 2] += matrix[:, :2] @ low
        return warp_region(np.round(part * 255).astype(np.uint8), inside, (self.size, self.size))

    def matrix(self, face: TrackedFace) -> NDArray[np.float64]:
        """Similarity, float64 [2, 3], from the upright frame to the crop, for ``aligned`` and ``upright``."""
        scale = self.size / (1 + 2 * self.margin)
        if self.mode == "aligned" and face.landmarks is not None:
            return similarity(np.asarray(face.landmarks, np.float64), _POINTS * scale + self.size / 2)
        box = np.asarray(face.box, np.float64).reshape(2, 2)
        angle = 0.0
        if face.landmarks is not None:
            right, down = np.asarray(face.landmarks[1] - face.landmarks[0], np.float64)
            angle = -float(np.arctan2(down, right))
        factor = scale / max(float((box[1] - box[0]).max()), 1.0)
        turn = factor * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        shift = self.size / 2 - turn @ box.mean(axis=0)
        return np.hstack([turn, shift[:, None]])
