"""The rules by which mined clips are kept or dropped: overlap, movement, sharpness and compression.

Pure functions of boxes and pixels; nothing here knows what kind of object is mined. The thresholds are constants,
documented with what they keep and reject.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

FLOW_SIDE = 320
"""Optical flow is computed on frames of at most this longer side, in pixels."""

FLOW_TOLERANCE = 0.3, 0.1
"""Flow there and back may miss its starting point by the first in pixels of the reduced frame, plus the second times
the flow's length."""

FLOW_PERCENTILE = 99.0
"""The largest movement is that which a hundredth of the picture reaches."""

LARGEST_REMAINDER = 0.6
"""Share of the difference between two frames that may remain where flow is said to explain it."""

LEAST_MOVEMENT = 1.0
"""Pixels from frame to frame somewhere in the picture: the paper's rule."""

LEAST_MOVING_SHARE = 0.1
"""Share of the frame pairs that must show it: a compressed still may jump at its key frames, and at those only."""

MOST_MOVEMENT = 12.0
"""Pixels from frame to frame on average over picture and clip, for pictures about 350 pixels wide: give other limits
for other sizes, about 0.035 of the longer side. Face clips of this size have 0.1 to 5, and cuts alone have 20 to 27."""

FACE_SIDE = 128
"""Sharpness is measured after resampling to a square of this side."""

FINE_BAND, COARSE_BAND = (19.0, 38.0), (5.0, 15.0)
"""Bands compared by `sharpness`, in cycles across the picture."""

NOISE_BAND = 60.0
"""What lies above this many cycles across the picture is taken for noise."""

SECTORS = 4
GRID = 16
"""Period of the block grid that is looked for, in pixels; it finds one of 8 as well."""

EDGE_LENGTH = 4
"""Pixels along a block's edge that are averaged."""

REFERENCE_SIDE = 200.0
"""Size in pixels up to which blocks count in full, however large the object."""

CHANCE = 1.77
"""Standard deviations by which the greatest of 16 equal means lies above them by chance."""

LEAST_SIDE = 32
"""Shortest side in pixels of a picture whose sharpness and blockiness can be told."""

LEAST_SHARPNESS = 0.15
"""Of the faces (200 pixels) of 60 sharp clips this keeps 98 %; of the same with a motion blur of 9 pixels 0 %, with a
Gaussian blur of 2 pixels 2 %."""

MOST_BLOCKINESS = 0.03
"""Of the same 60 faces this keeps 98 %, encoded with H.264 at CRF 23 95 %, at CRF 28 77 %, at CRF 35 45 % and at CRF 40
33 %; of those intra-coded at CRF 35, or as JPEG of quality 90, 0 to 3 %."""


class Verdict(NamedTuple):
    """What a rule says of a clip.

    Attributes
    ----------
    passed
        Whether the clip may be kept.
    reason
        One line for a person: what was found, and how it compares with the limit.
    figures
        What was measured, by name.
    """

    passed: bool
    reason: str
    figures: dict[str, float]


def overlaps(boxes_a: Sequence[ArrayLike | None], boxes_b: Sequence[ArrayLike | None]) -> NDArray[np.float64]:
    """Intersection over union, frame by frame.

    Parameters
    ----------
    boxes_a, boxes_b
        One box [4] (x0, y0, x1, y1 in pixels) a frame; None or a box with nan where there is none.

    Returns
    -------
    float64 [T], 0..1; nan where one of the two is missing. Boxes without area overlap nothing.

    Raises
    ------
    ValueError
        The two differ in length, or a box has not four numbers.
    """
    first, second = _boxes(boxes_a), _boxes(boxes_b)
    if len(first) != len(second):
        raise ValueError(
            f"boxes of the same frames are compared, not of {len(first)} and {len(second)} frames"
        )
    upper_left = np.maximum(first[:, :2], second[:, :2])
    lower_right = np.minimum(first[:, 2:], second[:, 2:])
    intersection = np.clip(lower_right - upper_left, 0, None).prod(axis=1)
    areas = [np.clip(boxes[:, 2:] - boxes[:, :2], 0, None).prod(axis=1) for boxes in (first, second)]
    return intersection / np.maximum(areas[0] + areas[1] - intersection, 1e-9)


def overlap_rule(
    boxes_a: Sequence[ArrayLike | None],
    boxes_b: Sequence[ArrayLike | None],
    least: float = 0.5,
    share: float = 0.5,
) -> Verdict:
    """Whether tracker and detector agree: an IoU above ``least`` in at least the ``share`` of all frames.

    A frame in which one of them has no box counts as one without overlap. See `overlaps` for the boxes.

    Returns
    -------
    Verdict
        Figures: ``overlap_share`` (0..1, of all frames), ``mean_overlap`` (0..1, missing boxes as 0).
    """
    values = np.nan_to_num(overlaps(boxes_a, boxes_b))
    if not values.size:
        return Verdict(False, "no frames to compare tracker and detector in", {})
    found = float((values > least).mean())
    passed = found >= share
    reason = (
        f"tracker and detector overlap by more than {least:g} in {found:.0%} of the frames "
        f"({'at least' if passed else 'less than'} {share:.0%})"
    )
    return Verdict(passed, reason, {"overlap_share": found, "mean_overlap": float(values.mean())})


def movement(previous: NDArray[np.uint8], current: NDArray[np.uint8]) -> tuple[float, float]:
    """How far the picture moves from one frame to the next, by dense optical flow (DIS).

    The flow is computed both ways on reduced frames and smoothed by a median. The largest movement is the 99th
    percentile of the flow's length, set to 0 where the two ways disagree or where following the flow leaves more than
    60 % of the difference between the frames. Compression makes a still flicker, in even parts and at key
    frames most; flow follows that too, but it is not the same both ways, does not explain the flicker or is
    confined to a few pixels. The mean is of all flow as it is, for where nothing agrees (a cut, chaos)
    everything seems to move far.

    Parameters
    ----------
    previous, current
        uint8 [H, W, 3] R'G'B' or [H, W] grey, of one size, at least 32 pixels wide and high.

    Returns
    -------
    largest, mean
        In pixels of the frames given.

    Raises
    ------
    ValueError
        The frames are not as described.
    """
    first, second = _grey(previous), _grey(current)
    if first.shape != second.shape:
        raise ValueError(f"frames of one size are compared, not {first.shape} and {second.shape}")
    height, width = first.shape
    reduction = max(max(height, width) / FLOW_SIDE, 1.0)
    size = max(round(width / reduction), 16), max(round(height / reduction), 16)
    if reduction > 1:
        first, second = (
            np.asarray(cv2.resize(frame, size, interpolation=cv2.INTER_AREA), np.uint8)
            for frame in (first, second)
        )
    estimator: Any = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_FAST)
    there = _smoothed(estimator.calc(first, second, None))
    back = _smoothed(estimator.calc(second, first, None))

    rows, columns = np.indices(first.shape, np.float32)
    target = columns + there[..., 0], rows + there[..., 1]
    border = cv2.BORDER_REPLICATE
    miss = there + cv2.remap(back, *target, cv2.INTER_LINEAR, borderMode=border)
    length = np.hypot(there[..., 0], there[..., 1])
    consistent = np.hypot(miss[..., 0], miss[..., 1]) < FLOW_TOLERANCE[0] + FLOW_TOLERANCE[1] * length
    unmoved = _mean_difference(first, second)
    moved = _mean_difference(first, cv2.remap(second, *target, cv2.INTER_LINEAR, borderMode=border))
    seen = consistent & (moved < LARGEST_REMAINDER * unmoved)
    largest = float(np.percentile(np.where(seen, length, 0), FLOW_PERCENTILE))
    pixel = width / first.shape[1]
    return largest * pixel, float(length.mean()) * pixel


def movement_rule(
    movements: ArrayLike,
    least: float = LEAST_MOVEMENT,
    most: float = MOST_MOVEMENT,
    share: float = LEAST_MOVING_SHARE,
) -> Verdict:
    """Whether a clip moves, and not wildly.

    Parameters
    ----------
    movements
        [T - 1, 2]: what `movement` found for each pair of consecutive frames, in pixels.
    least
        A pair of frames moves if its largest movement is at least this; the clip is static if fewer than the
        ``share`` of its pairs move.
    most
        The mean movement, averaged over the clip, may not be above this.

    Returns
    -------
    Verdict
        Figures: ``largest_movement`` (pixels, over all pairs), ``mean_movement`` (pixels), ``moving_share`` (0..1).

    Raises
    ------
    ValueError
        The movements have another shape.
    """
    values = np.asarray(movements, np.float64).reshape(-1, 2) if np.size(movements) else np.empty((0, 2))
    if not len(values):
        return Verdict(False, "fewer than two frames: no movement to measure", {})
    largest, mean = float(values[:, 0].max()), float(values[:, 1].mean())
    moving = float((values[:, 0] >= least).mean())
    figures = {"largest_movement": largest, "mean_movement": mean, "moving_share": moving}
    if moving < share:
        reason = f"static: {moving:.0%} of the frames move by {least:g} pixel or more (less than {share:.0%})"
        return Verdict(False, reason, figures)
    if mean > most:
        return Verdict(
            False, f"moves by {mean:.1f} pixels a frame on average (more than {most:.1f})", figures
        )
    return Verdict(True, f"moves by {mean:.1f} pixels a frame on average, {largest:.1f} at most", figures)


def sharpness(image: NDArray[np.uint8]) -> float:
    """Fine detail relative to coarse structure, in the direction that has least of it.

    The picture is resampled to a fixed square, so that the same object has the same value at every size that carries
    the detail (a side of about 80 pixels and more). The energy of its spectrum from 19 to 38 cycles across the picture
    is compared with that from 5 to 15, in each of four directions; noise, measured above 60 cycles, is taken off.
    The ratio does not change with exposure or contrast. The least of the four is returned, because motion
    takes the detail along one direction only.

    Parameters
    ----------
    image
        uint8 [H, W, 3] R'G'B' or [H, W] grey: the object's box, at least 32 pixels wide and high.

    Returns
    -------
    Ratio of amplitudes, 0 or more: sharp faces have 0.17 to 0.4, and a flat picture has 0.

    Raises
    ------
    ValueError
        The picture is not as described.
    """
    grey = _grey(image)
    interpolation = cv2.INTER_AREA if min(grey.shape) >= FACE_SIDE else cv2.INTER_CUBIC
    square = cv2.resize(grey.astype(np.float32), (FACE_SIDE, FACE_SIDE), interpolation=interpolation)
    window = np.hanning(FACE_SIDE + 2)[1:-1]
    window = np.outer(window, window)
    square = (square - (square * window).sum() / window.sum()) * window
    power = np.abs(np.fft.fft2(square)) ** 2

    cycles = np.fft.fftfreq(FACE_SIDE) * FACE_SIDE
    radius = np.hypot(cycles[None], cycles[:, None])
    direction = np.arctan2(cycles[:, None], cycles[None])
    power = np.maximum(power - np.median(power[radius > NOISE_BAND]), 0)
    ratios = []
    for sector in range(SECTORS):
        # twice the angle from the sector's middle, for opposite directions are one
        inside = np.cos(2 * (direction - sector * np.pi / SECTORS)) >= np.cos(np.pi / SECTORS) - 1e-9
        fine, coarse = (
            power[inside & (radius >= low) & (radius < high)].sum() for low, high in (FINE_BAND, COARSE_BAND)
        )
        ratios.append(float(np.sqrt(fine / coarse)) if coarse > 1e-6 * FACE_SIDE**4 else 0.0)
    return min(ratios)


def blockiness(image: NDArray[np.uint8]) -> float:
    """Visible edges of compression blocks.

    A step between two neighbouring pixels, averaged over 4 pixels along the edge, is an edge if it is at least one
    grey level and at least twice as large as the steps on both sides of it, as at a block's edge in an even surface;
    in a textured one, which hides the edge, it seldom is. The share of edges is taken for each place modulo 16 across
    and down. Blocks of 8 or 16 pixels, wherever their grid lies, raise the share at their place above that at the
    others. What chance alone gives in so few pixels is taken off. Where the object is larger than 200 pixels (the root
    of its area), the value falls in proportion, as blocks become small beside it.

    Parameters
    ----------
    image
        uint8 [H, W, 3] R'G'B' or [H, W] grey: the object's box, at least 32 pixels wide and high, not resampled after
        decoding. The larger, the surer.

    Returns
    -------
    Share of the pixels along the worst lines of the grid that are visible edges, 0..1, above the share elsewhere; mean
    of across and down: under 0.03 for clean pictures, 0.1 and more for blocks that everybody sees.

    Raises
    ------
    ValueError
        The picture is not as described.
    """
    grey = _grey(image).astype(np.float32)
    relative = min(REFERENCE_SIDE / float(np.sqrt(grey.size)), 1.0)
    return float(np.mean([_grid_excess(grey), _grid_excess(grey.T)])) * relative


def _grid_excess(lines: NDArray[np.float32]) -> float:
    """Share of vertical edges on the worst columns of the grid, above the share on the others."""
    steps = np.abs(np.diff(cv2.blur(lines, (1, EDGE_LENGTH)), axis=1))
    middle, beside = steps[:, 1:-1], np.maximum(steps[:, :-2], steps[:, 2:])
    edges = (middle >= 1) & (middle >= 2 * beside)
    shares = np.array([edges[:, place::GRID].mean() for place in range(GRID)])
    usual = float(np.median(shares))
    independent = lines.size / GRID / EDGE_LENGTH
    chance = CHANCE * float(edges.std()) / np.sqrt(independent)
    return max(float(shares.max()) - usual - chance, 0.0)


def quality_rule(
    sharpnesses: ArrayLike,
    blockinesses: ArrayLike,
    least_sharpness: float = LEAST_SHARPNESS,
    most_blockiness: float = MOST_BLOCKINESS,
) -> Verdict:
    """Whether frames are sharp enough and clean enough to be learned from.

    Parameters
    ----------
    sharpnesses, blockinesses
        [T] each, or single values: what `sharpness` and `blockiness` found. Their medians are judged.
    least_sharpness, most_blockiness
        The limits.

    Returns
    -------
    Verdict
        Figures: ``sharpness`` and ``blockiness``.

    Raises
    ------
    ValueError
        There are no values.
    """
    sharp, blocks = np.atleast_1d(sharpnesses), np.atleast_1d(blockinesses)
    if not sharp.size or not blocks.size:
        raise ValueError("the quality of no frames cannot be judged")
    figures = {"sharpness": float(np.median(sharp)), "blockiness": float(np.median(blocks))}
    if figures["sharpness"] < least_sharpness:
        reason = f"blurred: sharpness {figures['sharpness']:.3f} (less than {least_sharpness:g})"
        return Verdict(False, reason, figures)
    if figures["blockiness"] > most_blockiness:
        reason = (
            f"strongly compressed: blockiness {figures['blockiness']:.3f} (more than {most_blockiness:g})"
        )
        return Verdict(False, reason, figures)
    reason = f"sharpness {figures['sharpness']:.3f}, blockiness {figures['blockiness']:.3f}"
    return Verdict(True, reason, figures)


def _boxes(boxes: Sequence[ArrayLike | None]) -> NDArray[np.float64]:
    """float64 [T, 4] with nan for what is missing."""
    rows = [np.full(4, np.nan) if box is None else np.asarray(box, np.float64) for box in boxes]
    if any(row.shape != (4,) for row in rows):
        raise ValueError("a box is four numbers x0, y0, x1, y1, or None")
    return np.array(rows).reshape(-1, 4)


def _grey(image: Any) -> NDArray[np.uint8]:
    """Luma [H, W] of a picture that is as it should be."""
    shape = np.shape(image)
    if getattr(image, "dtype", None) != np.uint8 or len(shape) not in (2, 3) or (*shape, 3)[2] != 3:
        raise ValueError(
            f"a picture is uint8 [H, W, 3] or [H, W], not {getattr(image, 'dtype', None)} {list(shape)}"
        )
    if min(shape[:2]) < LEAST_SIDE:
        raise ValueError(
            f"{shape[1]}x{shape[0]} pixels are too few; at least {LEAST_SIDE}x{LEAST_SIDE} are needed"
        )
    grey = image if len(shape) == 2 else cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    return np.ascontiguousarray(grey)


def _mean_difference(first: Any, second: Any) -> NDArray[np.float32]:
    """Difference of two grey frames, averaged over 9x9 pixels."""
    return np.asarray(cv2.blur(cv2.absdiff(first, second).astype(np.float32), (9, 9)), np.float32)


def _smoothed(flow: Any) -> NDArray[np.float32]:
    return np.dstack([cv2.medianBlur(np.ascontiguousarray(flow[..., axis]), 5) for axis in (0, 1)])
