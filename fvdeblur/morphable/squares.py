"""Squares cut out of pictures, and what a face is in them."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

CONTEXT = 1.8
"""Side of the square that a face is read in, in units of the longer side of the box of its landmarks."""

BOX_EXCESS, BOX_RISE = 1.105, 0.04
"""Longer side of a detected box, and how far its centre lies above, in units of the box of the landmarks."""


class Squares(NamedTuple):
    """Where B square crops lie in square pictures, one in each.

    Attributes
    ----------
    centre, half
        [B, 2] (x and y) and [B]: centre and half the side, in units of half the picture's side, 0 at its centre.
    roll
        [B] in radians: how far the picture is turned counter-clockwise in the crop.
    """

    centre: Tensor
    half: Tensor
    roll: Tensor

    @classmethod
    def around(cls, points: Tensor) -> Squares:
        """Upright ones around faces whose landmarks [B, P, 2] lie there, in the same units."""
        low, high = points.amin(1), points.amax(1)
        half = CONTEXT / 2 * (high - low).amax(1)
        return cls((low + high) / 2, half, torch.zeros_like(half))

    def _turn(self) -> Tensor:
        """[B, 2, 2], from directions in the crop to directions in the picture."""
        cosine, sine = self.roll.cos(), self.roll.sin()
        return torch.stack([torch.stack([cosine, -sine], 1), torch.stack([sine, cosine], 1)], 1)

    def cut(self, pictures: Tensor, size: int) -> Tensor:
        """Cut the crops, float [B, 3, size, size], out of float pictures [B, 3, S, S]; beyond an edge it is repeated.

        A pixel is the mean of about as many samples as the picture has pixels there.
        """
        samples = max(1, round(float(self.half.mean()) * pictures.shape[-1] / size))
        theta = torch.cat([self._turn() * self.half[:, None, None], self.centre[:, :, None]], dim=2)
        shape = [len(pictures), 3, samples * size, samples * size]
        grid = functional.affine_grid(theta, shape, False)
        seen = functional.grid_sample(pictures, grid, padding_mode="border", align_corners=False)
        return functional.avg_pool2d(seen, samples)

    def points(self, points: Tensor) -> Tensor:
        """Points [B, P, 2] of the picture in units of half the crop's side."""
        return (points - self.centre[:, None]) @ self._turn() / self.half[:, None, None]

    def pose(self, pose: Tensor) -> Tensor:
        """Weak-perspective poses [B, 6] of heads in the picture, as they are in the crop."""
        place = self.points(pose[:, None, 3:5])[:, 0]
        angles = torch.cat([pose[:, :2], pose[:, 2:3] + self.roll[:, None]], dim=1)
        return torch.cat([angles, place, pose[:, 5:] - self.half.log()[:, None]], dim=1)

    def pose_outside(self, pose: Tensor) -> Tensor:
        """The inverse of `pose`: of heads in the crop, as they are in the picture."""
        place = pose[:, None, 3:5] * self.half[:, None, None] @ self._turn().mT + self.centre[:, None]
        angles = torch.cat([pose[:, :2], pose[:, 2:3] - self.roll[:, None]], dim=1)
        return torch.cat([angles, place[:, 0], pose[:, 5:] + self.half.log()[:, None]], dim=1)


def box_square(box: tuple[float, float, float, float]) -> tuple[float, float, float]:
    """Centre x, centre y and side in pixels of the square that the face of a detected box is read in.

    Detected boxes are a little larger than those of the landmarks and lie a little higher.
    """
    x0, y0, x1, y1 = box
    longer = max(x1 - x0, y1 - y0) / BOX_EXCESS
    return (x0 + x1) / 2, (y0 + y1) / 2 + BOX_RISE * longer, CONTEXT * longer
