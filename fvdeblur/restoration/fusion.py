"""One picture from several of one face: moved onto the best of them, and joined frequency by frequency.

Every frame was blurred in a direction of its own and carries noise of its own. Where frames agree, each frequency is
taken mostly from those that show it most strongly (Delbracio & Sapiro 2015, "Burst deblurring: removing camera shake
through Fourier burst accumulation"), and noise averages out; where a frame disagrees, the reference takes its place.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

Picture = NDArray[np.uint8]
FloatArray = NDArray[np.float32]

LARGEST_FUSED = 1024
"""Pictures with a longer side are not fused: it would take too much memory."""

LEAST_SIDE = 32
LEAST_FRAMES = 3
POWER = 3.0
"""How strongly frames that show a frequency most are preferred; 0: all alike."""

TOLERANCE = 4.0
"""Difference from the reference, both smoothed, in codes, at which a frame's weight has fallen to 1/e."""

LOOP_TOLERANCE = 1.0
"""The same for the distance in pixels by which the flow there and back misses its beginning."""

LEAST_AGREEMENT = 0.1
"""Mean weight of the other frames below which there is nothing to fuse."""

LEAST_GAIN = 0.01
"""Share of the error against frames left out that must be gained."""

LEAST_DETAIL = 0.98
"""A fused picture that shows less than this share of the reference's detail is softer."""


class Moved(NamedTuple):
    """A frame moved onto the reference, float32 [H, W, 3], and how far it is trusted, float32 [H, W, 1] in 0..1."""

    picture: FloatArray
    weight: FloatArray


def fuse(pictures: Sequence[Picture]) -> Picture | None:
    """Fuse pictures of one face, if that is better than the first of them.

    Pictures that were left out decide: half of the pictures are fused and compared with the other half, and the other
    way round. The squared error must be less than that of the first picture; noise and ghosts count against both. As
    soft pictures prefer soft ones, the product of the fine detail with theirs, in which noise has no part, must not be
    less either.

    Parameters
    ----------
    pictures
        uint8 [H, W, 3], R'G'B', about aligned, the best one first. Those of another size are left out; very small and
        very large ones (`LEAST_SIDE`, `LARGEST_FUSED`) are not fused.

    Returns
    -------
    The fused picture in the place of the first; None where it is not better or there is too little to fuse.
    """
    first = pictures[0]
    others = [picture for picture in pictures[1:] if picture.shape == first.shape]
    fits = min(first.shape[:2]) >= LEAST_SIDE and max(first.shape) <= LARGEST_FUSED
    if not fits or len(others) + 1 < LEAST_FRAMES:
        return None
    reference = first.astype(np.float32)
    moved = [move(first, other) for other in others]
    if np.mean([each.weight.mean() for each in moved]) < LEAST_AGREEMENT:
        return None
    single = fused = shown = confirmed = 0.0
    halves = moved[::2], moved[1::2]
    for used, left in (halves, halves[::-1]):
        half = join(reference, used)
        for each in left:
            single += float((each.weight * (reference - each.picture) ** 2).sum())
            fused += float((each.weight * (half - each.picture) ** 2).sum())
            weighted = each.weight * _detail(each.picture)
            shown += float((weighted * _detail(reference)).sum())
            confirmed += float((weighted * _detail(half)).sum())
    if not (fused < (1 - LEAST_GAIN) * single and confirmed > LEAST_DETAIL * shown):
        return None
    whole = join(reference, moved)
    return np.asarray(np.clip(np.round(whole), 0, 255), np.uint8)


def join(reference: FloatArray, moved: Sequence[Moved]) -> FloatArray:
    """The reference and what was moved onto it, float32 [H, W, 3], joined frequency by frequency."""
    from scipy import fft  # takes a while to load, and is not needed for videos

    height, width = reference.shape[:2]
    total = np.zeros((height, width // 2 + 1, 3), np.complex64)
    weights = np.zeros((height, width // 2 + 1, 1), np.float32)
    for each in (Moved(reference, np.ones((height, width, 1), np.float32)), *moved):
        mixed = reference + each.weight * (each.picture - reference)
        spectrum = fft.rfft2(mixed, axes=(0, 1))
        strength = np.abs(spectrum).mean(axis=2) / mixed.size
        weight = np.asarray(cv2.GaussianBlur(strength, (0, 0), max(1.0, height / 50)), np.float32) ** POWER
        total += spectrum * weight[..., None]
        weights += weight[..., None]
    joined = fft.irfft2(total / np.maximum(weights, np.float32(1e-30)), s=(height, width), axes=(0, 1))
    return np.asarray(joined, np.float32)


def move(reference: Picture, other: Picture) -> Moved:
    """Move a picture onto the reference by optical flow, and weigh it by how well it fits there."""
    height, width = reference.shape[:2]
    smooth = [
        cv2.GaussianBlur(cv2.cvtColor(each, cv2.COLOR_RGB2GRAY), (0, 0), 1.0) for each in (reference, other)
    ]
    estimator = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    empty = np.zeros((height, width, 2), np.float32)
    there = estimator.calc(smooth[0], smooth[1], empty.copy())
    back = estimator.calc(smooth[1], smooth[0], empty.copy())
    x = there[..., 0] + np.arange(width, dtype=np.float32)
    y = there[..., 1] + np.arange(height, dtype=np.float32)[:, None]
    edge = cv2.BORDER_REPLICATE
    picture = cv2.remap(other.astype(np.float32), x, y, cv2.INTER_CUBIC, borderMode=edge)
    missed = there + cv2.remap(back, x, y, cv2.INTER_LINEAR, borderMode=edge)
    apart = cv2.GaussianBlur(picture - reference.astype(np.float32), (0, 0), 1.5)
    apart = cv2.GaussianBlur(np.sqrt((apart**2).mean(axis=2)), (0, 0), 2.0)
    weight = np.exp(-((apart / TOLERANCE) ** 2) - (missed**2).sum(axis=2) / LOOP_TOLERANCE**2)
    return Moved(np.asarray(picture, np.float32), np.asarray(weight[..., None], np.float32))


def _detail(picture: FloatArray) -> FloatArray:
    return picture - np.asarray(cv2.GaussianBlur(picture, (0, 0), 1.0), np.float32)
