"""The two cameras, which turn the head coordinates of a model into places in a square picture.

Head coordinates are right-handed: x to the right of the picture, y up, z towards the viewer. The first three numbers
of a pose are pitch, yaw and roll in radians; a point v is turned to R v with R = Rz(roll) Ry(yaw) Rx(pitch). A
positive pitch makes the face look down, a positive yaw turns it to the right of the picture, a positive roll turns the
picture of it counter-clockwise.

Pictures are measured in pixels, x to the right and y down; (0, 0) is the *centre* of the first pixel, so that a
picture of S pixels reaches from -0.5 to S - 0.5.

``weak-perspective``
    The other three numbers are the place of the model's origin, x to the right and y down, in units of half the
    picture's side with 0 at its centre, and the logarithm of the scale (model units to half the picture's side).
``perspective``
    The camera of Deng et al. 2019 ("Accurate 3D face reconstruction with weakly-supervised learning", their reference
    implementation): a pinhole with a focal length of 1015 pixels of a 224 pixel picture, standing at z = 10 on the
    axis of the picture and looking along -z. The other three numbers are the translation x, y (up), z that is added
    to the turned points; all of it in the units of the model file, decimetres for the Basel Face Model
    (`MorphableModel.unit` of them make one unit of the head coordinates). They write points as rows, ``v R`` with
    R = (Rz Ry Rx)^T, which is the same rotation as above.
"""

from __future__ import annotations

import torch
from torch import Tensor

from fvdeblur.morphable.coefficients import Coefficients
from fvdeblur.morphable.model import MorphableModel

FOCAL_LENGTH = 1015 / 112
"""Of the perspective camera, in units of half the picture's side."""

CAMERA_DISTANCE = 10.0
"""Of the perspective camera from the origin, in the units of the model file."""

_NEAREST = 0.1
"""Points nearer to the perspective camera, or behind it, are drawn as if they were at this distance."""


def rotation_matrix(angles: Tensor) -> Tensor:
    """R = Rz(roll) Ry(yaw) Rx(pitch), [B, 3, 3], of pitch, yaw, roll [B, 3] in radians."""
    (sx, sy, sz), (cx, cy, cz) = angles.sin().unbind(1), angles.cos().unbind(1)
    rows = [
        [cz * cy, cz * sy * sx - sz * cx, cz * sy * cx + sz * sx],
        [sz * cy, sz * sy * sx + cz * cx, sz * sy * cx - cz * sx],
        [-sy, cy * sx, cy * cx],
    ]
    return torch.stack([torch.stack(row, dim=1) for row in rows], dim=1)


def project(model: MorphableModel, vertices: Tensor, pose: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Where points of the head are seen.

    Parameters
    ----------
    model
        Names the camera.
    vertices : [B, V, 3]
        Points in head coordinates.
    pose : [B, 6]
        Rotation and place of each head, as the camera takes it.
    size
        Side of the square picture in pixels.

    Returns
    -------
    picture : [B, V, 2]
        x and y in pixels.
    depth : [B, V]
        Larger is nearer, and linear in the picture: z in units of half the picture's side for the weak-perspective
        camera, 1 / distance along the axis for the perspective one.
    """
    turned = vertices @ rotation_matrix(pose[:, :3]).transpose(1, 2)
    if model.camera == "weak-perspective":
        placed = turned * pose[:, None, 5:].exp()
        place = torch.stack([pose[:, 3:4] + placed[..., 0], pose[:, 4:5] - placed[..., 1]], dim=2)
        depth = placed[..., 2]
    else:
        placed = turned * model.unit + pose[:, None, 3:]
        depth = 1 / (CAMERA_DISTANCE - placed[..., 2]).clamp(min=_NEAREST)
        place = FOCAL_LENGTH * depth[..., None] * torch.stack([placed[..., 0], -placed[..., 1]], dim=2)
    return (place + 1) * (size / 2) - 0.5, depth


def place(model: MorphableModel, coefficients: Coefficients, vertices: Tensor | None = None) -> Tensor:
    """Where vertices [P] of the model are seen, or all, [B, P, 2] in units of half the picture's side, y down."""
    shape = model.shape(coefficients.identity, coefficients.expression)
    shape = shape if vertices is None else shape[:, vertices]
    return project(model, shape, coefficients.pose, 2)[0] - 0.5
