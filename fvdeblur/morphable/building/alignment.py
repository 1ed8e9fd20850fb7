"""Shapes without their pose: Procrustes alignment, and what pose and perspective leave in the labels.

Labels are in pictures: turned, scaled, shifted, and seen in perspective, and the labelling network sees a turned head
with a slightly different shape. What is left after the alignment that depends on the turn is found within people, whose
own shape stays the same, and taken out of all shapes; so is the part of every shape that a nearer or farther camera
would explain, to which the model's weak-perspective camera is blind.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist

from fvdeblur.errors import InputError

Floats = NDArray[np.floating]
Numbers = NDArray[np.int64]

ROUNDS = 6
"""Alternations between aligning the shapes with their mean and taking the mean."""

FARTHEST = 3.0
"""A camera is not taken to stand nearer than this many units (about 16 cm) in front of the face's centre."""


FLIP = np.array([-1.0, 1.0, 1.0])
"""Reflects head coordinates about the plane between the halves of the face."""


def similarity(moving: Floats, fixed: Floats, weights: Floats | None = None) -> tuple[float, Floats, Floats]:
    """Scale s, rotation R [3, 3] and offset t [3] so that s R x + t lies closest to ``fixed``; both are [V, 3].

    ``weights`` [V] weigh the squared distances (default: all alike). The rotation never reflects.
    """
    share = np.full(len(moving), 1.0) if weights is None else np.asarray(weights, float)
    share = share / share.sum()
    centre, aim = share @ moving, share @ fixed
    x, y = moving - centre, fixed - aim
    left, values, right = np.linalg.svd((y * share[:, None]).T @ x)
    signs = np.array([1.0, 1.0, np.sign(np.linalg.det(left @ right))])
    rotation = left * signs @ right
    scale = float((values * signs).sum() / (share @ (x**2).sum(1)))
    return scale, rotation, aim - scale * rotation @ centre


def angles_of(rotation: Floats) -> Floats:
    """Pitch, yaw and roll in radians, [..., 3], of R = Rz(roll) Ry(yaw) Rx(pitch) [..., 3, 3]."""
    pitch = np.arctan2(rotation[..., 2, 1], rotation[..., 2, 2])
    yaw = np.arcsin(np.clip(-rotation[..., 2, 0], -1, 1))
    roll = np.arctan2(rotation[..., 1, 0], rotation[..., 0, 0])
    return np.stack([pitch, yaw, roll], axis=-1)


def to_head(points: Floats) -> Floats:
    """Labelled points in pixels (y down) with y up."""
    return np.asarray(points, float) * np.array([1.0, -1.0, 1.0])


def align(shapes: Floats, mean: Floats, weights: Floats | None = None) -> tuple[Floats, Floats]:
    """Shapes [N, V, 3] laid over a mean [V, 3], and the angles [N, 3] at which their heads were turned."""
    aligned, angles = np.empty_like(shapes), np.empty((len(shapes), 3))
    for number, shape in enumerate(shapes):
        scale, rotation, offset = similarity(shape, mean, weights)
        aligned[number] = scale * shape @ rotation.T + offset
        angles[number] = angles_of(rotation.T)
    return aligned, angles


def procrustes(shapes: Floats, people: Numbers) -> tuple[Floats, Floats, Floats, Floats]:
    """Generalised Procrustes alignment.

    Vertices that move little within a person (forehead, nose, temples) weigh more than those that expressions move
    (mouth, jaw), so that an open mouth does not turn or shrink the rest of the face.

    Parameters
    ----------
    shapes : [N, V, 3]
        Labelled shapes, y up.
    people : int64 [N]
        Number of the person each one shows.

    Returns
    -------
    aligned : [N, V, 3]
        In units of the mean's root-mean-square distance from its centre.
    mean : [V, 3]
        Their mean, each person with the same weight, made symmetric, centred; it looks where they do on average.
    angles : [N, 3]
        Pitch, yaw, roll of each head in radians.
    weights : [V]
        Of the vertices.

    Raises
    ------
    InputError
        The shapes are no faces.
    """
    share = person_weights(people)
    mean = _normalised(np.tensordot(share, np.stack([_normalised(shape) for shape in shapes]), 1))
    mirror = find_mirror(mean)
    weights = np.ones(shapes.shape[1])
    for _ in range(ROUNDS):
        aligned, angles = align(shapes, mean, weights)
        mean = np.tensordot(share, aligned, 1)
        mean = _normalised((mean + mean[mirror] * FLIP) / 2)
        variance = share @ (within_people(aligned, people) ** 2).sum(2)
        weights = 1 / (variance + variance.mean())
    aligned, angles = align(shapes, mean, weights)
    return aligned, mean, angles, weights


def person_weights(people: Numbers) -> Floats:
    """Weights [N] that add up to 1, the same for every person."""
    counts = np.bincount(people)
    weights = 1.0 / counts[people]
    return weights / weights.sum()


def within_people(values: Floats, people: Numbers) -> Floats:
    """Deviations [N, ...] of each value from its person's mean."""
    sums = np.zeros((people.max() + 1, *values.shape[1:]))
    np.add.at(sums, people, values)
    means = sums / np.maximum(np.bincount(people), 1).reshape(-1, *[1] * (values.ndim - 1))
    return values - means[people]


def pose_terms(angles: Floats) -> Floats:
    """What the labels of a turned head may depend on, [N, 5], of its angles [N, 3]."""
    pitch, yaw = angles[:, 0], angles[:, 1]
    return np.stack([pitch, yaw, pitch**2, yaw**2, pitch * yaw], axis=1)


def pose_slopes(aligned: Floats, people: Numbers, angles: Floats) -> tuple[Floats, float]:
    """How labelled shapes change as the head turns: a linear regression within people, which leaves people apart.

    Returns
    -------
    slopes : [5, V, 3]
        So that ``pose_terms(angles) @ slopes`` is what the turn adds to a shape.
    share
        Of the variance within people, that the turn explains.
    """
    weight = np.sqrt(person_weights(people))[:, None]
    inner = within_people(pose_terms(angles), people) * weight
    outcome = within_people(aligned, people).reshape(len(aligned), -1) * weight
    # A little ridge (a turn of 1 degree in every picture) where too few heads turn to tell anything.
    precision = inner.T @ inner + np.radians(1.0) ** 2 * np.eye(inner.shape[1])
    slopes = np.linalg.solve(precision, inner.T @ outcome)
    total = float((outcome**2).sum())
    share = 1 - float(((outcome - inner @ slopes) ** 2).sum()) / total if total > 0 else 0.0
    return slopes.reshape(-1, *aligned.shape[1:]), share


def without_perspective(aligned: Floats, mean: Floats) -> tuple[Floats, Floats]:
    """Shapes without the part that a nearer or farther camera explains.

    Seen from a distance d, a point of the face at depth z is enlarged by 1 + z / d. The enlargement of every shape
    beyond that of the mean is found by least squares, beside a similarity that the enlargement may be mistaken for.

    Returns
    -------
    shapes : [N, V, 3]
        Corrected.
    closeness : [N]
        1 / d of each beyond that of the mean, per unit.
    """
    field = np.concatenate([mean[:, :2] * mean[:, 2:], np.zeros((len(mean), 1))], axis=1)
    tangents = [_unit(mean)]
    for axis in np.eye(3):
        tangents += [_unit(np.broadcast_to(axis, mean.shape)), _unit(np.cross(axis, mean))]
    basis = np.stack([tangent.ravel() for tangent in tangents])
    own = field.ravel() - np.linalg.lstsq(basis.T, field.ravel(), rcond=None)[0] @ basis
    closeness = (aligned - mean).reshape(len(aligned), -1) @ own / (own @ own)
    closeness = np.clip(closeness, -1 / FARTHEST, 1 / FARTHEST)
    return aligned - closeness[:, None, None] * own.reshape(mean.shape), closeness


def find_mirror(shape: Floats) -> Numbers:
    """The vertex on the other side of the face of every vertex, int64 [V], of a shape [V, 3] that is nearly symmetric.

    Raises
    ------
    InputError
        The shape is not: some vertex has no partner of its own.
    """
    mirror = np.arange(len(shape))
    for _ in range(5):  # the plane of symmetry is found with the partners, and these with the plane
        distances = cdist(shape, _laid_over(shape[mirror] * FLIP, shape, mirror))
        mirror = linear_sum_assignment(distances)[1]
    if not np.array_equal(mirror[mirror], np.arange(len(shape))):
        raise InputError("the mean of the meshes has no two like halves; are they meshes of faces?")
    return mirror.astype(np.int64)


def _laid_over(moving: Floats, fixed: Floats, mirror: Numbers) -> Floats:
    """``moving``, whose rows belong to those of ``fixed``, laid over it; its rows in the order before mirroring."""
    if np.array_equal(mirror, np.arange(len(mirror))):
        return moving - moving.mean(0) + fixed.mean(0)
    scale, rotation, offset = similarity(moving, fixed)
    placed = np.empty_like(moving)
    placed[mirror] = scale * moving @ rotation.T + offset
    return placed


def _normalised(shape: Floats) -> Floats:
    centred = shape - shape.mean(0)
    return centred / np.sqrt((centred**2).sum(1).mean())


def _unit(field: Floats) -> Floats:
    return field / np.linalg.norm(field)
