"""The shape model: mean, identity basis and expression basis of labelled pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fvdeblur.morphable.building import alignment, statistics, topology
from fvdeblur.morphable.building.material import Labelled
from fvdeblur.morphable.coefficients import EXPRESSION, IDENTITY

Floats = NDArray[np.floating]
Numbers = NDArray[np.int64]

SHARE, MOST_AXES = 0.9995, 200
"""Share of the variance of shapes within which directions are looked for, and the largest number of its axes."""

FIT_ROUNDS = 3
"""Alternations between coefficients and alignment when a held-out shape is described."""


@dataclass(frozen=True, eq=False)
class ShapeModel:
    """What the shapes of labelled pictures came to.

    Attributes
    ----------
    mean : [V, 3]
        Neutral face in head coordinates, symmetric.
    identity, expression : [n, V, 3]
        Scaled bases.
    aligned : [N, V, 3]
        The pictures' shapes without their pose.
    people : int64 [N]
        Number of the person on each.
    angles : [N, 3]
        Pitch, yaw, roll of each in radians.
    mirror : int64 [V]
        The vertex on the other side of the face.
    weights : [478]
        Of the labelled points in an alignment.
    slopes : [5, 478, 3]
        How labels change as the head turns (`fvdeblur.morphable.building.alignment.pose_slopes`).
    noise
        Standard deviation of the noise of each coordinate.
    pose_share, closeness
        See `fvdeblur.morphable.building.builder.Report`.
    """

    mean: Floats
    identity: Floats
    expression: Floats
    aligned: Floats
    people: Numbers
    angles: Floats
    mirror: Numbers
    weights: Floats
    slopes: Floats
    noise: float
    pose_share: float
    closeness: float

    @property
    def eye_distance(self) -> float:
        """Distance of the irises of the mean face."""
        return float(np.linalg.norm(self.mean[topology.EYES[1]] - self.mean[topology.EYES[0]]))

    def frontal(self, head: Floats) -> tuple[float, Floats, Floats]:
        """Scale, rotation and offset that lay labelled points (y up) over the mean."""
        surface = slice(0, topology.SURFACE)
        return alignment.similarity(head[surface], self.mean[surface], self.weights[surface])


def build_shapes(used: Sequence[Labelled]) -> ShapeModel:
    """Mean, identity and expression basis of labelled pictures.

    Raises
    ------
    InputError
        The meshes are not of faces.
    """
    names = {person: number for number, person in enumerate(dict.fromkeys(label.person for label in used))}
    people = np.array([names[labelled.person] for labelled in used])
    points = np.stack([alignment.to_head(labelled.points) for labelled in used])
    aligned, mean, angles, weights = alignment.procrustes(points, people)
    slopes, pose_share = alignment.pose_slopes(aligned, people, angles)
    aligned = aligned - np.tensordot(alignment.pose_terms(angles), slopes, 1)
    aligned, closeness = alignment.without_perspective(aligned, mean)
    complete = topology.complete(aligned)
    mirror = alignment.find_mirror(topology.complete(mean))
    neutral = np.array([labelled.neutral for labelled in used])
    if neutral.all():  # then this says nothing
        neutral[:] = False
    mean = _class_mean(complete, people, mirror, neutral if neutral.any() else ~neutral)
    centre = mean.mean(0)
    scale = np.sqrt(((mean - centre) ** 2).sum(1).mean())
    complete, mean = (complete - centre) / scale, (mean - centre) / scale
    expressive = _class_mean(complete, people, mirror, ~neutral)

    centres = np.where(neutral[:, None, None], mean, expressive)
    both = np.concatenate([complete - centres, (complete - centres)[:, mirror] * alignment.FLIP])
    both_people = np.concatenate([people, people + len(names)])
    axes = _axes(both.reshape(len(both), -1), alignment.person_weights(both_people))
    places = both.reshape(len(both), -1) @ axes.T
    calm = np.tile(neutral, 2)
    group = np.tile(np.arange(len(names)), 2)  # a person and their mirror image are held out together
    between, within, _, _ = statistics.choose_ranks(places, both_people, calm, group, EXPRESSION)
    fitted = statistics.fit_covariances(places, both_people, calm)
    inner, noise = statistics.reduce_rank(fitted.within, within)
    fitted = statistics.Covariances(fitted.between, statistics.with_noise(inner, noise))
    outer = statistics.between_of_rank(fitted, between)
    identity = statistics.reduce_rank(outer, min(between, IDENTITY))[0]
    # Expressions are counted from the neutral face: their mean square is about it, not about their mean.
    offset = (expressive - mean).ravel() @ axes.T
    expression = statistics.reduce_rank(inner @ inner.T + np.outer(offset, offset), within)[0]
    return ShapeModel(
        mean=mean,
        identity=(identity.T @ axes).reshape(-1, *mean.shape),
        expression=(expression.T @ axes).reshape(-1, *mean.shape),
        aligned=complete,
        people=people,
        angles=angles,
        mirror=mirror,
        weights=weights,
        slopes=slopes / scale,
        noise=float(np.sqrt(noise)),
        pose_share=pose_share,
        closeness=float(closeness.std()),
    )


def _class_mean(shapes: Floats, people: Numbers, mirror: Numbers, chosen: NDArray[np.bool_]) -> Floats:
    """Mean of the chosen shapes, each person with the same weight, made symmetric."""
    numbers = np.unique(people[chosen], return_inverse=True)[1]
    mean = np.tensordot(alignment.person_weights(numbers), shapes[chosen], 1)
    return (mean + mean[mirror] * alignment.FLIP) / 2


def _axes(values: Floats, weights: Floats) -> Floats:
    """Directions [D, V * 3] that carry `SHARE` of the variance of values [N, V * 3]."""
    variances, directions = np.linalg.eigh(values.T @ (values * weights[:, None]))
    variances, directions = variances[::-1], directions[:, ::-1]
    count = int(np.searchsorted(np.cumsum(variances) / variances.sum(), SHARE)) + 1
    return directions[:, : min(count, MOST_AXES)].T


def shape_errors(held: Sequence[Labelled], model: ShapeModel) -> tuple[dict[int, float], dict[int, float]]:
    """Errors of held-out shapes, after the most probable coefficients and the best similarity.

    What turn and perspective did to the labels is taken out of them first, as it was when the model was built.

    Returns
    -------
    By the number of identity vectors alone, of neutral faces (of all faces, if none is known to be neutral); and by the
    number of expression vectors beside all identity vectors, of all faces: root-mean-square distance of the labelled
    points from the model in % of the eye distance.
    """
    people, faces = len(model.identity), len(model.expression)
    neutral = any(labelled.neutral for labelled in held)
    identity: dict[int, list[float]] = {count: [] for count in steps(people)}
    expression: dict[int, list[float]] = {count: [] for count in steps(faces)}
    for labelled in held:
        head = alignment.to_head(labelled.points)
        scale, rotation, offset = model.frontal(head)
        shape = topology.complete(scale * head @ rotation.T + offset)[: topology.SURFACE]
        terms = alignment.pose_terms(alignment.angles_of(rotation.T)[None])[0]
        shape = shape - np.tensordot(terms, model.slopes, 1)[: topology.SURFACE]
        shape = alignment.without_perspective(shape[None], model.mean[: topology.SURFACE])[0][0]
        if labelled.neutral or not neutral:
            for count, squares in identity.items():
                squares.append(_square_error(shape, model, model.identity[:count]))
        for count, squares in expression.items():
            basis = np.concatenate([model.identity, model.expression[:count]])
            squares.append(_square_error(shape, model, basis))
    to_share = 100 / model.eye_distance
    return (
        {count: to_share * float(np.sqrt(np.mean(squares))) for count, squares in identity.items()},
        {count: to_share * float(np.sqrt(np.mean(squares))) for count, squares in expression.items()},
    )


def steps(most: int) -> list[int]:
    """Numbers of vectors for which errors are reported."""
    return sorted({count for count in (0, 5, 10, 20, 40, 64) if count < most} | {most})


def _square_error(shape: Floats, model: ShapeModel, basis: Floats) -> float:
    """Mean squared distance of a face's surface [V, 3] from mean and basis; its alignment follows the coefficients."""
    mean = model.mean[: len(shape)]
    flat = basis[:, : len(shape)].reshape(len(basis), mean.size)
    normal = flat @ flat.T + max(model.noise, 1e-4) ** 2 * np.eye(len(basis))
    described = mean
    for _ in range(FIT_ROUNDS):
        scale, rotation, offset = alignment.similarity(shape, described)
        placed = scale * shape @ rotation.T + offset
        coefficients = np.linalg.solve(normal, flat @ (placed - mean).ravel())
        described = mean + (coefficients @ flat).reshape(mean.shape)
    return float(((placed - described) ** 2).sum(1).mean())
