"""Albedo of faces in the UV map: read from pictures, lighting taken out, and reduced to a mean and a basis.

Only what is alike on both sides of a face is kept: what differs is mostly light that nine spherical harmonics cannot
tell, and one side fills what the other hides.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from fvdeblur.morphable.light import decode, spherical_harmonics

Floats = NDArray[np.floating]
Numbers = NDArray[np.int64]

FACING = (0.2, 0.6)
"""Cosines between normal and viewer at which a texel begins to count, and counts fully."""

STRETCH = (0.05, 0.25)
"""Likewise the area of a texel in the picture, relative to that of most texels: less where the surface is folded up."""

CELL, DEPTH_TOLERANCE = 3.0, 0.12
"""A texel is hidden if another one in its cell of so many pixels is nearer by so many head units."""

LIGHT_ROUNDS = 5
"""Reweightings in the robust fit of the light."""

SHADING = (0.35, 2.5)
"""Range of the shading, relative to its mean, that is divided out; what is beyond counts for little."""

OUTLIER = 4.0
"""A texel that is off by so many standard deviations is hidden by something: hair, glasses, a hand."""

FILL_ROUNDS, FILL_RANK = 3, 40
"""Rounds in which what is hidden is filled from the basis so far, and its number of vectors."""


def read_colours(picture: NDArray[np.uint8], places: Floats, step: float) -> Floats:
    """Linear light, float32 [N, 3], of an R'G'B' picture at x, y places [N, 2] that lie about ``step`` pixels apart."""
    linear = decode(torch.from_numpy(picture.astype(np.float32) / 255)).numpy()
    if step > 1:
        linear = cv2.GaussianBlur(linear, (0, 0), 0.5 * np.sqrt(step**2 - 1) + 1e-3)
    columns = 1024  # OpenCV takes no rows of more than 32767
    rows = -(-len(places) // columns)
    x, y = (np.resize(values.astype(np.float32), (rows, columns)) for values in places.T)
    colours = cv2.remap(linear, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(colours.reshape(-1, 3)[: len(places)])


def visibility(
    places: Floats, depths: Floats, normals: Floats, areas: Floats, size: tuple[int, int], unit: float
) -> Floats:
    """How well each texel is seen, [N] in 0..1.

    Parameters
    ----------
    places : [N, 2]
        x, y in the picture in pixels.
    depths : [N]
        Larger is nearer, in pixels.
    normals : [N, 3]
        Of the turned head, z towards the viewer.
    areas : [N]
        Pixels that each texel covers.
    size
        Width and height of the picture.
    unit
        Pixels of one head unit.
    """
    seen = _ramp(normals[:, 2], FACING) * _ramp(areas / np.median(areas), STRETCH)
    seen *= ((places >= 0) & (places <= np.array(size) - 1)).all(1)
    cells = np.floor((places - places.min(0)) / CELL).astype(np.int64)
    index = cells[:, 0] + (cells[:, 0].max() + 1) * cells[:, 1]
    nearest = np.full(index.max() + 1, -np.inf)
    np.maximum.at(nearest, index, np.where(normals[:, 2] > 0, depths, -np.inf))
    seen[depths < nearest[index] - DEPTH_TOLERANCE * unit] = 0
    return seen


def remove_light(
    colours: Floats, seen: Floats, normals: Floats, albedo: Floats, skin: Floats
) -> tuple[Floats, Floats]:
    """Divide the shading out of colours [N, 3].

    The nine light coefficients that turn ``albedo`` [N, 3] into the colours are fitted robustly where skin [N] is
    seen [N]. How light the face is as a whole goes with the light, from which it cannot be told; its tone stays.

    Returns
    -------
    albedo : [N, 3]
        Of this face.
    seen : [N]
        Less than before where the shading is extreme.
    """
    harmonics = spherical_harmonics(torch.from_numpy(np.ascontiguousarray(normals, np.float32))).numpy()
    used = np.flatnonzero(seen * skin > 0.3)
    design = (albedo[used, :, None] * harmonics[used, None, :]).reshape(-1, 9)
    target = (colours[used] - albedo[used]).reshape(-1)
    weights = np.ones(len(target))
    for _ in range(LIGHT_ROUNDS):
        weighted = design * weights[:, None]
        precision = weighted.T @ design + 1e-3 * len(target) * np.eye(9) * (albedo[used] ** 2).mean()
        light = np.linalg.solve(precision, weighted.T @ target)
        misfit = np.abs(target - design @ light)
        spread = 1.48 * np.median(misfit) + 1e-6
        weights = 1 / np.maximum(misfit / (1.5 * spread), 1)
    shading = 1 + harmonics @ light
    level = max(float(shading[used].mean()), 0.02)
    low, high = SHADING[0] * level, SHADING[1] * level
    usable = seen * np.where((shading > low) & (shading < high), 1.0, 0.1)
    return colours / np.clip(shading, low, high)[:, None], usable


@dataclass(frozen=True)
class TextureBasis:
    """Mean [D], basis [n, D] scaled by its standard deviation, and what was found on people who were held out.

    ``errors`` [n + 1] is the root-mean-square error of held-out albedo with 0 to n vectors.
    """

    mean: Floats
    basis: Floats
    errors: Floats


def symmetrise(values: Floats, seen: Floats, mirror: Numbers) -> tuple[Floats, Floats]:
    """Mean of both sides of maps [N, T, 3], weighted by how well they are seen [N, T]; and how well the better is."""
    both = seen + seen[:, mirror] + 1e-6
    share = ((seen + 5e-7) / both)[:, :, None].astype(values.dtype)
    return values * share + values[:, mirror] * (1 - share), np.maximum(seen, seen[:, mirror])


def principal_textures(values: Floats, seen: Floats, group: Numbers, most: int, folds: int) -> TextureBasis:
    """Mean and basis of albedo maps of which parts are hidden.

    Parameters
    ----------
    values : float32 [N, T, 3]
        Maps; changed in place: what is hidden is filled in.
    seen : [N, T]
        How well each texel is seen, 0..1.
    group : int64 [N]
        Maps of one person have the same number; numbers modulo ``folds`` are held out together.
    most
        Largest number of vectors.
    folds
        Number of groups that are held out, one after the other.
    """
    weight = seen.sum(0)[:, None] + 1e-3
    mean = (np.einsum("nt,ntc->tc", seen, values) + 1e-3 * values.mean(0)) / weight
    hidden = 1 - seen[:, :, None].astype(np.float32)
    values += (mean - values) * hidden
    rank = min(FILL_RANK, len(values) // 4)
    for round_number in range(FILL_ROUNDS):
        deviations = (values - mean).reshape(len(values), -1)
        scores, vectors = _principal(deviations @ deviations.T, rank, deviations)
        guess = (scores @ vectors).reshape(values.shape)
        guess += mean
        if round_number == 0:
            off = np.abs(values - guess).max(2)
            limit = OUTLIER * np.sqrt((off**2 * seen).sum(0) / weight[:, 0])
            hidden = np.maximum(hidden, (off > limit + 0.02)[:, :, None].astype(np.float32))
        values += (guess - values) * hidden
        mean = values.mean(0)
    deviations = (values - mean).reshape(len(values), -1)
    products = deviations @ deviations.T
    count, shrink, errors = _held_out(products, group % folds, most, deviations.shape[1])
    scores, vectors = _principal(products, count, deviations)
    deviation = scores.std(0) * np.sqrt(shrink)
    return TextureBasis(mean.reshape(-1), vectors * deviation[:, None].astype(vectors.dtype), errors)


def _held_out(products: Floats, fold: Numbers, most: int, dimensions: int) -> tuple[int, Floats, Floats]:
    """How many vectors are real, the share of their variance that is, and errors, from inner products [N, N] alone.

    Each fold is described by the principal vectors of the others. A vector is real if it makes the held-out maps more
    probable under probabilistic PCA; the share of its variance that held-out maps show is the real one.
    """
    most = min(most, int(len(fold) * (1 - 1 / max(len(np.unique(fold)), 2))) - 2)
    shown, expected = np.zeros(most), np.zeros(most)
    likelihood, squares, maps = np.zeros(most + 1), np.zeros(most + 1), 0
    for number in np.unique(fold):
        rest, held = np.flatnonzero(fold != number), np.flatnonzero(fold == number)
        if not len(rest) or not len(held):
            continue
        centre = products[np.ix_(rest, rest)].mean(0)
        level = centre.mean()
        inner = products[np.ix_(rest, rest)] - centre - centre[:, None] + level
        cross = products[np.ix_(held, rest)]
        own = products[held, held] - 2 * cross.mean(1) + level
        cross = cross - cross.mean(1, keepdims=True) - centre + level
        values, vectors = np.linalg.eigh(inner)
        values, vectors = np.maximum(values[::-1], 1e-12), vectors[:, ::-1]
        scores = (cross @ vectors[:, :most]) ** 2 / values[:most]
        variances = values / len(rest)
        shown += scores.sum(0)
        expected += variances[:most] * len(held)
        left = own.sum() - np.concatenate([[0], np.cumsum(scores.sum(0))])
        for rank in range(most + 1):
            noise = max(variances[rank:].sum() / (dimensions - rank), 1e-12)
            fit = (scores[:, :rank] / variances[:rank]).sum() + len(held) * np.log(variances[:rank]).sum()
            likelihood[rank] -= 0.5 * (
                fit + left[rank] / noise + len(held) * (dimensions - rank) * np.log(noise)
            )
        squares += left
        maps += len(held)
    count = int(likelihood.argmax())
    share = np.clip(shown / expected, 0.05, 1)[:count]
    return count, share, np.sqrt(np.maximum(squares, 0) / (maps * dimensions))[: count + 1]


def _principal(products: Floats, count: int, deviations: Floats) -> tuple[Floats, Floats]:
    """Scores [N, count] and unit vectors [count, D] of deviations [N, D] with inner products [N, N]."""
    values, vectors = np.linalg.eigh(products)
    values, vectors = np.maximum(values[::-1][:count], 1e-12), vectors[:, ::-1][:, :count]
    scores = (vectors * np.sqrt(values)).astype(deviations.dtype)
    return scores, (vectors / np.sqrt(values)).T.astype(deviations.dtype) @ deviations


def _ramp(values: Floats, limits: tuple[float, float]) -> Floats:
    low, high = limits
    return np.clip((values - low) / (high - low), 0, 1)
