"""What a correlation filter sees of a picture: squares around a target, described cell by cell."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

ORIENTATIONS = 9
CHANNELS = ORIENTATIONS + 3
CELL = 4
"""Side of a cell in pixels of the resampled square."""

LARGEST_CHANNEL = 0.3
"""Share of its neighbourhood's gradient energy that one orientation in one cell can stand for."""


def patches_around(
    image: NDArray[np.uint8], centre: NDArray[np.float64], sides: NDArray[np.float64], pixels: int
) -> NDArray[np.uint8]:
    """Squares of some sizes around one centre, resampled to one size.

    Beyond the picture its border goes on. A large square is first reduced by a whole factor, so that nothing aliases.

    Parameters
    ----------
    image
        uint8 [H, W, 3], R'G'B'.
    centre
        float64 [2], x and y in pixels of the picture.
    sides
        float64 [S], sides of the squares in pixels of the picture.
    pixels
        Side of the result.

    Returns
    -------
    uint8 [S, pixels, pixels, 3], R'G'B'.
    """
    height, width = image.shape[:2]
    reduction = max(int(sides.min() / pixels), 1)
    reach = sides.max() / 2 + 2 * reduction
    x0, y0 = (int(value) for value in np.clip(np.floor(centre - reach), 0, [width - 1, height - 1]))
    x1, y1 = (int(value) for value in np.clip(np.ceil(centre + reach), [x0 + 1, y0 + 1], [width, height]))
    part = image[y0:y1, x0:x1]
    if reduction > 1:
        size = -(-(x1 - x0) // reduction), -(-(y1 - y0) // reduction)
        wanted = size[1] * reduction - (y1 - y0), size[0] * reduction - (x1 - x0)
        whole = cv2.copyMakeBorder(part, 0, wanted[0], 0, wanted[1], cv2.BORDER_REPLICATE)
        part = np.asarray(cv2.resize(whole, size, interpolation=cv2.INTER_AREA), np.uint8)
    patches = np.empty((len(sides), pixels, pixels, 3), np.uint8)
    for patch, side in zip(patches, sides, strict=True):
        step = side / pixels / reduction
        first = (centre - side / 2 - (x0, y0)) / reduction + 0.5 * step - 0.5
        matrix = np.array([[step, 0, first[0]], [0, step, first[1]]])
        cv2.warpAffine(
            part,
            matrix,
            (pixels, pixels),
            dst=patch,
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_REPLICATE,
        )
    return patches


def cell_channels(patches: NDArray[np.uint8]) -> Floats:
    """Describe the cells of some patches by gradient orientations, brightness and colour.

    Parameters
    ----------
    patches
        uint8 [S, n, n, 3], R'G'B'; n is a multiple of `CELL`.

    Returns
    -------
    float32 [S, CHANNELS, n / CELL, n / CELL]. In each patch the orientations together have a mean square of 1, and so
    have brightness and the two colour differences, whose means are taken off.
    """
    count, pixels = patches.shape[:2]
    cells = pixels // CELL
    tall = cv2.cvtColor(patches.reshape(count * pixels, pixels, 3), cv2.COLOR_RGB2YCrCb)
    histogram = _orientations(tall[..., 0], count, cells)
    colours = cv2.resize(tall, (cells, count * cells), interpolation=cv2.INTER_AREA).astype(np.float32)
    colours = colours.reshape(count, cells, cells, 3)
    colours -= colours.mean(axis=(1, 2), keepdims=True)
    groups = [_unit_energy(histogram), _unit_energy(colours)]
    return np.ascontiguousarray(np.concatenate(groups, axis=3).transpose(0, 3, 1, 2))


def _orientations(grey: Any, count: int, cells: int) -> Floats:
    """Normalised histograms of unsigned gradient orientations [count, cells, cells, ORIENTATIONS]."""
    along_x = cv2.Sobel(grey, cv2.CV_32F, 1, 0, ksize=1)
    along_y = cv2.Sobel(grey, cv2.CV_32F, 0, 1, ksize=1)
    magnitude, angle = cv2.cartToPolar(along_x, along_y)
    position = angle * np.float32(ORIENTATIONS / np.pi)
    lower = position.astype(np.int32)
    share = (position - lower) * magnitude
    rows, columns = (np.arange(length) // CELL for length in grey.shape)
    cell = (rows[:, None] * cells + columns[None]) * ORIENTATIONS
    total = count * cells * cells * ORIENTATIONS
    histogram = np.bincount((cell + lower % ORIENTATIONS).ravel(), (magnitude - share).ravel(), total)
    histogram += np.bincount((cell + (lower + 1) % ORIENTATIONS).ravel(), share.ravel(), total)
    strength = histogram.astype(np.float32).reshape(count * cells, cells, ORIENTATIONS)
    energy = np.asarray(cv2.blur(np.square(strength).sum(axis=2), (3, 3)), np.float32)
    share_of_all = strength / (3 * np.sqrt(energy + CELL**4))[..., None]
    return np.minimum(share_of_all, LARGEST_CHANNEL).reshape(count, cells, cells, ORIENTATIONS)


def _unit_energy(channels: Floats) -> Floats:
    """Scale each patch's channels to a mean square of 1."""
    energy = np.square(channels).mean(axis=(1, 2, 3), keepdims=True)
    return channels / np.sqrt(energy + np.float32(1e-6))
