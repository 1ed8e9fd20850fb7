"""A video as upright pictures, each with the shot that it belongs to."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fvdeblur.faces import CutDetector
from fvdeblur.media import DecodedFrame, FramePlanes

PREVIEW_SIDE = 128
"""Longer side of the pictures in which cuts are sought."""


@dataclass(frozen=True, eq=False)
class ShotFrame:
    """One frame.

    Attributes
    ----------
    index
        Its number in the video, from 0.
    shot
        Number of its shot, from 0.
    starts_shot
        Whether it is the first of its shot.
    image
        uint8 [H, W, 3], R'G'B', upright, of full size.
    """

    index: int
    shot: int
    starts_shot: bool
    image: NDArray[np.uint8]


def shot_frames(frames: Iterable[DecodedFrame], rotation: int) -> Iterator[ShotFrame]:
    """Turn decoded frames into pictures and count the shots.

    Parameters
    ----------
    frames
        All frames of a video, in order.
    rotation
        Degrees clockwise that turn the coded picture upright.
    """
    cuts = CutDetector()
    shot = -1
    for decoded in frames:
        planes = FramePlanes(decoded.frame, rotation)
        starts = cuts.update(planes.preview(PREVIEW_SIDE))
        shot += starts
        yield ShotFrame(decoded.index, shot, starts, planes.preview(max(planes.width, planes.height)))
