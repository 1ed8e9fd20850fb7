"""The mesh of the model: that of the labels, with eyes and the inside of the mouth added, and what its vertices mean.

The labelled surface is open at the eyes and between the lips. Each eye gets the centre of its iris and a ring of 16
vertices between that and the lids, which follows the edge of the iris where the lids leave it free, so that the iris
keeps its place in the texture when the gaze moves. The mouth gets a ring of 20 vertices and a centre behind the lips,
which carry the teeth and the dark of an open mouth.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import cdist

from fvdeblur.morphable.building.tessellation import EYELIDS, IRISES, LIPS, SURFACE, TRIANGLES

Floats = NDArray[np.floating]
Numbers = NDArray[np.int64]

_LID, _LIP = len(EYELIDS[0]), len(LIPS)
EYES = (SURFACE, SURFACE + 1 + _LID)
"""Vertices at the centre of the right and of the left iris; each is followed by its ring."""
MOUTH = EYES[1] + 1 + _LID
"""First vertex of the ring in the mouth; its centre is the last vertex."""
VERTICES = MOUTH + _LIP + 1

EYEBALL_RECESS = 0.017
"""How far the iris lies behind the lids, in eye distances (about 1 mm)."""
IRIS_LIMIT = 0.8
"""The ring goes at most this far from the centre of the iris to the lid."""
MOUTH_RING = 0.65
"""Where the ring in the mouth lies on the way from its centre to the lips."""
TEETH_RECESS, MOUTH_RECESS = 0.07, 0.1
"""How far the ring and the centre of the mouth lie behind the lips, in eye distances (about 4 and 6 mm)."""

EYE_GAPS = ((159, 145), (386, 374))
"""Middle of the upper and of the lower lid, of the right and of the left eye."""

RIGHT_68 = {
    0: 127, 1: 234, 2: 93, 3: 132, 4: 172, 5: 136, 6: 149, 7: 176,  # outline
    17: 70, 18: 63, 19: 105, 20: 66, 21: 107,  # brow
    31: 75, 32: 97,  # nostril
    36: 33, 37: 160, 38: 158, 39: 133, 40: 153, 41: 144,  # eye
    48: 61, 49: 39, 50: 37, 58: 84, 59: 181, 60: 78, 61: 82, 67: 87,  # mouth
}  # fmt: skip
"""Number in the iBUG order and vertex, right half of the face; found by their median distance on portraits."""
MIDDLE_68 = {8: 152, 27: 168, 28: 197, 29: 5, 30: 4, 33: 2, 51: 0, 57: 17, 62: 13, 66: 14}
LEFT_OF_RIGHT_68 = {
    0: 16, 1: 15, 2: 14, 3: 13, 4: 12, 5: 11, 6: 10, 7: 9,
    17: 26, 18: 25, 19: 24, 20: 23, 21: 22,
    31: 35, 32: 34,
    36: 45, 37: 44, 38: 43, 39: 42, 40: 47, 41: 46,
    48: 54, 49: 53, 50: 52, 58: 56, 59: 55, 60: 64, 61: 63, 67: 65,
}  # fmt: skip
"""Number of the landmark on the other side of the face, in the iBUG order."""
NOSE_TIP = 4
DENSE = 106
"""Number of landmarks of the dense set."""

RIGHT_BROW = (46, 53, 52, 65, 55, 107, 66, 105, 63, 70)
RIGHT_NOSTRIL = (79, 239, 238, 20, 60, 75, 166)
OUTER_LIPS = (61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 409, 270, 269, 267, 0, 37, 39, 40, 185)


def complete(points: Floats) -> Floats:
    """The vertices of the model's mesh, [..., V, 3], of labelled points [..., 478, 3] in head coordinates.

    The faces must look along z; their scale does not matter.
    """
    centres, rings = [], []
    right, left = (points[..., centre, :] for centre, _ in IRISES)
    eye_distance = np.linalg.norm(left - right, axis=-1)[..., None]
    for (centre, edge), lids in zip(IRISES, EYELIDS, strict=True):
        middle = points[..., centre, :].copy()
        radius = np.linalg.norm(points[..., edge, :2] - middle[..., None, :2], axis=-1).mean(-1)[..., None]
        lid = points[..., lids, :]
        # The labels give the iris no depth of its own: take that of the lids above and below it.
        near = np.linalg.norm(lid[..., :2] - middle[..., None, :2], axis=-1) + 0.02 * eye_distance
        depth = (lid[..., 2] / near).sum(-1) / (1 / near).sum(-1)
        middle[..., 2] = depth - EYEBALL_RECESS * eye_distance[..., 0]
        reach = np.linalg.norm(lid[..., :2] - middle[..., None, :2], axis=-1)
        share = np.minimum(radius / np.maximum(reach, 1e-6 * eye_distance), IRIS_LIMIT)[..., None]
        centres.append(middle[..., None, :])
        rings.append(middle[..., None, :] + share * (lid - middle[..., None, :]))
    lips = points[..., LIPS, :]
    middle = lips.mean(-2, keepdims=True)
    ring = middle + MOUTH_RING * (lips - middle)
    ring[..., 2] -= TEETH_RECESS * eye_distance
    middle[..., 2] -= MOUTH_RECESS * eye_distance
    added = [centres[0], rings[0], centres[1], rings[1], ring, middle]
    return np.concatenate([points[..., :SURFACE, :], *added], axis=-2)


def mesh_triangles() -> Numbers:
    """Triangles of the completed mesh, int64 [F, 3], counter-clockwise seen from outside."""
    parts = [TRIANGLES]
    openings = [(lids, centre, centre + 1) for lids, centre in zip(EYELIDS, EYES, strict=True)]
    for loop, centre, first in [*openings, (LIPS, VERTICES - 1, MOUTH)]:
        outer = np.array(loop)
        inner = first + np.arange(len(loop))
        outer_next, inner_next = np.roll(outer, -1), np.roll(inner, -1)
        parts.append(np.stack([outer_next, outer, inner], axis=1))
        parts.append(np.stack([outer_next, inner, inner_next], axis=1))
        parts.append(np.stack([inner_next, inner, np.full_like(inner, centre)], axis=1))
    return np.concatenate(parts).astype(np.int64)


def landmarks(mean: Floats, mirror: Numbers) -> dict[str, Numbers]:
    """Vertices of the sets of landmarks: "5", "68" (iBUG order) and "dense".

    The dense set is the 68, and pairs of vertices on both sides of the face that lie farthest from all chosen ones.
    """
    chosen = np.empty(68, np.int64)
    for number, vertex in RIGHT_68.items():
        chosen[number] = vertex
        chosen[LEFT_OF_RIGHT_68[number]] = mirror[vertex]
    for number, vertex in MIDDLE_68.items():
        chosen[number] = vertex
    dense = chosen.tolist()
    gaps = cdist(mean[:SURFACE], mean[dense]).min(1)
    while len(dense) < DENSE:
        farthest = int(gaps.argmax())
        for vertex in {farthest, int(mirror[farthest])}:
            dense.append(vertex)
            gaps = np.minimum(gaps, np.linalg.norm(mean[:SURFACE] - mean[vertex], axis=1))
    five = [EYES[0], EYES[1], NOSE_TIP, RIGHT_68[48], int(mirror[RIGHT_68[48]])]
    return {"5": np.array(five), "68": chosen, "dense": np.array(dense)}


def features(mirror: Numbers) -> list[Numbers]:
    """Outlines of what is not skin, each a loop of vertices: eyes, brows, nostrils and lips."""
    right = [EYELIDS[0], RIGHT_BROW, RIGHT_NOSTRIL]
    loops = [np.array(loop) for loop in right]
    return [*loops, *(mirror[loop] for loop in loops), np.array(OUTER_LIPS)]
