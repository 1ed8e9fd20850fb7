"""Optical flow between pictures, by dense inverse search (DIS) on reduced grey versions of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

FLOW_SIDE = 176
"""The longer side of the reduced pictures, which is enough for faces of 200 pixels."""

FLOW_STEP = 4
"""One vector is kept for so many pixels, in each direction."""


def dis_flow(source: NDArray[np.uint8], target: NDArray[np.uint8]) -> NDArray[np.float16]:
    """Flow from one picture to another.

    Parameters
    ----------
    source, target
        uint8 [H, W, 3], R'G'B'.

    Returns
    -------
    float16 [2, H/4, W/4] (rounded up): x and y displacement in pixels of the pictures. A point of ``source`` is seen
    in ``target`` at its place plus this.
    """
    return np.asarray(sequence_flow([source, target], [(0, 1)])[0])


def sequence_flow(
    pictures: Iterable[NDArray[np.uint8]], pairs: Iterable[tuple[int, int]]
) -> NDArray[np.float16]:
    """Flow between pairs of pictures of a sequence, each of which is reduced once.

    Parameters
    ----------
    pictures
        uint8 [H, W, 3] each, R'G'B', all of one size.
    pairs
        Numbers of source and target.

    Returns
    -------
    float16 [N, 2, H/4, W/4] (rounded up), as `dis_flow` gives it, a pair.
    """
    greys = []
    height = width = 0
    for picture in pictures:
        height, width = picture.shape[:2]
        factor = min(1.0, FLOW_SIDE / max(height, width))
        size = (max(16, round(width * factor)), max(16, round(height * factor)))
        reduced = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
        greys.append(np.asarray(cv2.cvtColor(reduced, cv2.COLOR_RGB2GRAY), np.uint8))
    estimator = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_FAST)
    kept = (-(-width // FLOW_STEP), -(-height // FLOW_STEP))
    result = []
    for source, target in pairs:
        rows, columns = greys[source].shape
        flow = estimator.calc(greys[source], greys[target], np.zeros((rows, columns, 2), np.float32))
        flow = cv2.resize(flow, kept, interpolation=cv2.INTER_AREA)
        flow = flow * np.array([width / columns, height / rows], np.float32)
        result.append(flow.transpose(2, 0, 1).astype(np.float16))
    return np.stack(result)


def move_pictures(pictures: Sequence[NDArray[np.uint8]], flows: NDArray[np.float16]) -> NDArray[np.uint8]:
    """Move pictures along flow that leads to them, to where it begins.

    Parameters
    ----------
    pictures
        uint8 [H, W, 3] each, R'G'B', all of one size.
    flows
        float16 [N, 2, H/4, W/4] (rounded up), as `sequence_flow` gives it, to each of them.

    Returns
    -------
    uint8 [H, W, 3 * N]; beyond a picture's edge the edge is repeated. Places are rounded to 1/32 of a pixel.
    """
    height, width = pictures[0].shape[:2]
    columns, rows = np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32)[:, None]
    moved = []
    for picture, flow in zip(pictures, flows, strict=True):
        x, y = (cv2.resize(part.astype(np.float32), (width, height)) for part in flow)
        seen = cv2.remap(picture, x + columns, y + rows, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        moved.append(np.asarray(seen, np.uint8))
    return np.concatenate(moved, axis=2)
