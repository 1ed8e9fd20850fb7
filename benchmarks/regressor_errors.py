"""Errors of landmarks on crops, their spread over people, and what a reading's doubt says of them.

Detectors mean slightly other points by "eye" or "corner of the mouth" than the labelled mesh. What is constant of this
is no error of theirs: for each method and each of the five points, the median displacement from the label on *sharp*
crops of *training* people (along and across the line of the eyes, in units of the eye distance) is subtracted before
the error is taken. The dense points are those of the labels for both methods that give them; nothing is subtracted.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import isotonic_regression
from scipy.stats import spearmanr
from torch import Tensor

from benchmarks.regressor_crops import SIDE, Picture
from fvdeblur.faces import Detector
from fvdeblur.morphable import Coefficients, project
from fvdeblur.morphable.reader import FaceReader, Reading
from fvdeblur.training.regression.labels import SHEET

Floats = NDArray[np.floating]

BATCH = 32
MISSED = 100.0
"""What a face that was not found counts, in % of the eye distance."""

DRAWS = 2000
"""Of the bootstrap."""

WRONG = 12.0
"""Mean error in % of the eye distance beyond which a rendered face does harm."""

DOUBTS = (0, 1, 2, 3, 4, 6, 8, 12, 20, float("inf"))
"""Edges of the doubt's bins."""


class Estimate(NamedTuple):
    """A mean over people with its 95 % interval."""

    mean: float
    low: float
    high: float


def read_all(reader: FaceReader, pictures: Sequence[Picture]) -> tuple[Tensor, NDArray[np.float64]]:
    """Coefficients [N, 239] and doubts [N] of crops uint8 [S, S, 3]."""
    readings: list[Reading] = []
    for i in range(0, len(pictures), BATCH):
        part = torch.from_numpy(np.stack(pictures[i : i + BATCH])).permute(0, 3, 1, 2)
        readings.append(reader.read(part.float() / 255))
    vectors = torch.cat([reading.coefficients.vector() for reading in readings])
    return vectors, torch.cat([reading.doubt for reading in readings]).double().numpy()


@torch.inference_mode()
def dense_points(reader: FaceReader, vectors: Tensor) -> NDArray[np.float32]:
    """Where the labelled points are in crops, [N, 470, 2] in their pixels, for coefficients [N, 239]."""
    model = reader.model
    chosen = torch.cat([torch.arange(SHEET), model.landmarks["5"][:2]])
    places = []
    for part in vectors.split(BATCH):
        found = Coefficients.split(part)
        shape = model.shape(found.identity, found.expression)[:, chosen]
        places.append(project(model, shape, found.pose, SIDE)[0])
    return torch.cat(places).float().numpy()


def five_points(reader: FaceReader, dense: NDArray[np.float32]) -> NDArray[np.float32]:
    """Eyes, nose tip and corners of the mouth, [N, 5, 2], among the labelled points [N, 470, 2]."""
    rest = reader.model.landmarks["5"][2:].tolist()
    return dense[:, [SHEET, SHEET + 1, *rest]]


def detected_points(detector: Detector, pictures: Sequence[Picture]) -> NDArray[np.float32]:
    """The five points of the surest detection in each crop, [N, 5, 2]; NaN where there is none."""
    points = np.full((len(pictures), 5, 2), np.nan, np.float32)
    for number, picture in enumerate(pictures):
        found = detector.detect(picture)
        if found and found[0].landmarks is not None:
            points[number] = found[0].landmarks
    return points


def displacements(found: Floats, truth: Floats, eyes: Floats) -> Floats:
    """How far points [N, P, 2] lie from the truth, in eye distances along and across the line of the eyes [N, 2, 2]."""
    across = eyes[:, 1] - eyes[:, 0]
    square = np.square(across).sum(axis=1)[:, None]
    apart = found - truth
    along = (apart * across[:, None]).sum(axis=2) / square
    beside = (apart[..., 1] * across[:, None, 0] - apart[..., 0] * across[:, None, 1]) / square
    return np.stack([along, beside], axis=2)


def own_offsets(found: Floats, truth: Floats, eyes: Floats) -> Floats:
    """A method's constant displacement of each point, [P, 2]: the median over the faces that it found."""
    return np.asarray(np.nanmedian(displacements(found, truth, eyes), axis=0))


def errors(found: Floats, truth: Floats, eyes: Floats, offsets: Floats | float = 0.0) -> Floats:
    """Mean distance over the points in % of the eye distance, [N]; NaN where the face was not found."""
    apart = displacements(found, truth, eyes) - offsets
    return np.asarray(100 * np.hypot(apart[..., 0], apart[..., 1]).mean(axis=1))


def estimate(values: Floats, people: Sequence[str], seed: int = 0) -> Estimate:
    """Mean over people of their means, and its bootstrap interval over people; NaN values are left out."""
    (means,) = _means_of_people([values], people)
    drawn = _drawn(len(means), seed)
    return Estimate(float(means.mean()), *_limits(means[drawn].mean(axis=1)))


def reduction(ours: Floats, theirs: Floats, people: Sequence[str], seed: int = 0) -> Estimate:
    """By what share our error is smaller than theirs on the faces that both found, with its interval over people."""
    one, other = _means_of_people([ours, theirs], people)
    drawn = _drawn(len(one), seed)
    spread = 1 - one[drawn].mean(axis=1) / other[drawn].mean(axis=1)
    return Estimate(float(1 - one.mean() / other.mean()), *_limits(spread))


def _means_of_people(tables: list[Floats], people: Sequence[str]) -> list[Floats]:
    """Of each table [N], the means over each person's values that no table lacks."""
    names = np.asarray(people)
    known = np.all([np.isfinite(values) for values in tables], axis=0)
    if not known.any():
        raise ValueError("no face was found")
    groups = [known & (names == name) for name in np.unique(names[known])]
    return [np.array([values[group].mean() for group in groups]) for values in tables]


def _drawn(count: int, seed: int) -> NDArray[np.int64]:
    return np.random.default_rng(seed).integers(count, size=(DRAWS, count))


def _limits(values: Floats) -> tuple[float, float]:
    low, high = np.quantile(values, [0.025, 0.975])
    return float(low), float(high)


class Doubts(NamedTuple):
    """What doubts say of errors.

    Attributes
    ----------
    correlation
        Spearman's.
    bins
        Smallest and largest doubt (None: any), number of readings and mean error; empty bins are left out.
    threshold
        The doubt from which a reading's expected error, which grows with the doubt (isotonic regression), exceeds
        `WRONG`; None where it never does.
    """

    correlation: float
    bins: list[tuple[float, float | None, int, float]]
    threshold: float | None


def judge_doubts(doubts: Floats, wrong: Floats) -> Doubts:
    """How well doubts [N] foretell errors [N], both in % of the eye distance."""
    bins: list[tuple[float, float | None, int, float]] = []
    for low, high in pairwise(DOUBTS):
        inside = (doubts >= low) & (doubts < high)
        if inside.any():
            upper = float(high) if high < np.inf else None
            bins.append((float(low), upper, int(inside.sum()), float(wrong[inside].mean())))
    order = np.argsort(doubts, kind="stable")
    expected = isotonic_regression(wrong[order]).x
    beyond = np.flatnonzero(expected > WRONG)
    threshold = float(doubts[order][beyond[0]]) if len(beyond) else None
    return Doubts(float(spearmanr(doubts, wrong).statistic), bins, threshold)


def shuffled(picture: Picture, rng: np.random.Generator, parts: int = 8) -> Picture:
    """The picture with its ``parts`` x ``parts`` squares in another order: colours of a face, but none to read."""
    side = len(picture) // parts
    squares = picture[: side * parts, : side * parts].reshape(parts, side, parts, side, 3).swapaxes(1, 2)
    squares = squares.reshape(-1, side, side, 3)[rng.permutation(parts * parts)]
    return squares.reshape(parts, parts, side, side, 3).swapaxes(1, 2).reshape(side * parts, -1, 3)


def half_covered(picture: Picture, points: NDArray[np.float32], rng: np.random.Generator) -> Picture:
    """The picture with a grey block over the left, right, upper or lower half of the face's box."""
    low, high = points.min(axis=0), points.max(axis=0)
    axis, first = int(rng.integers(2)), bool(rng.integers(2))
    middle = (low[axis] + high[axis]) / 2
    if first:
        high[axis] = middle
    else:
        low[axis] = middle
    x0, y0, x1, y1 = np.clip(np.round([*low, *high]), 0, len(picture)).astype(int)
    covered = picture.copy()
    covered[y0:y1, x0:x1] = 128
    return covered


def faceless_squares(count: int, rng: np.random.Generator) -> list[Picture]:
    """Random squares of photographs without faces that scikit-image carries, resized to crops."""
    import cv2
    from skimage import data

    sources: list[Callable[[], Picture]] = [
        data.coffee,
        data.rocket,
        data.immunohistochemistry,
        data.hubble_deep_field,
    ]
    photographs = [np.asarray(source(), np.uint8) for source in sources]
    squares = []
    for number in range(count):
        photograph = photographs[number % len(photographs)]
        side = int(rng.integers(80, min(photograph.shape[:2]) + 1))
        y, x = (int(rng.integers(length - side + 1)) for length in photograph.shape[:2])
        square = photograph[y : y + side, x : x + side]
        squares.append(np.asarray(cv2.resize(square, (SIDE, SIDE), interpolation=cv2.INTER_AREA), np.uint8))
    return squares
