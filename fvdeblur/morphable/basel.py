"""The Basel Face Model in the layout of Deng et al. 2019 (``BFM_model_front.mat``), for people who hold its licence.

=============  ============  =========================================================================
name           shape         meaning
=============  ============  =========================================================================
meanshape      [1, 3V]       mean face, x, y, z of each vertex in turn, in decimetres
idBase         [3V, 80]      identity, each column scaled by its standard deviation
exBase         [3V, 64]      expression, likewise
meantex        [1, 3V]       R'G'B' of each vertex, 0..255
texBase        [3V, 80]      likewise, scaled by the standard deviation
tri            [F, 3]        vertices of each triangle, from 1
keypoints      [1, 68]       vertices of the landmarks in the order of iBUG, from 1
skinmask       [1, V]        1 where skin is; optional
=============  ============  =========================================================================

``point_buf``, the triangles around each vertex, is not needed: it follows from ``tri``. What else the file holds is
left aside.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fvdeblur.errors import InputError
from fvdeblur.morphable.coefficients import EXPRESSION, IDENTITY, TEXTURE
from fvdeblur.morphable.light import decode
from fvdeblur.morphable.model import MorphableModel


def load_basel(path: Path | str) -> MorphableModel:
    """Read a Basel Face Model in the layout of Deng et al. 2019.

    The mean face is moved to its centre, as their code does, and scaled to the unit of head coordinates; their axes
    are the same. The camera is their perspective one. Their textures are R'G'B', so the mean is made linear, and the
    basis with the slope of the transfer function there: exact to the first order. The eyes among the five landmarks
    are the vertices nearest to the mean of each eye's six landmarks; ``"dense"`` are all vertices.

    Raises
    ------
    InputError
        It cannot be read, or something is missing or does not fit.
    """
    from scipy.io import loadmat
    from scipy.io.matlab import MatReadError

    path = Path(path)
    try:
        values = loadmat(path, appendmat=False)
    except OSError as error:
        raise InputError(
            f"{path}: the Basel Face Model cannot be read ({error.strerror or error})"
        ) from error
    except (MatReadError, ValueError, TypeError, NotImplementedError) as error:
        raise InputError(f"{path}: this is not a MATLAB 5 file, or it is damaged ({error})") from error
    try:
        return _convert(values)
    except KeyError as error:
        raise InputError(
            f"{path}: {error.args[0]} is missing; give the BFM_model_front.mat of Deng et al. 2019"
        ) from error
    except (ValueError, TypeError, RuntimeError, IndexError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"{path}: the Basel Face Model is damaged ({reason})") from error


def _convert(values: dict[str, Any]) -> MorphableModel:
    mean_shape = _tensor(values["meanshape"]).reshape(-1, 3)
    mean_shape = mean_shape - mean_shape.mean(0)
    unit = float(mean_shape.square().sum(1).mean().sqrt())
    encoded = (_tensor(values["meantex"]).reshape(-1, 3) / 255).clamp(0, 1).requires_grad_()
    mean_texture = decode(encoded)
    (slope,) = torch.autograd.grad(mean_texture.sum(), encoded)
    texture_basis = _basis(values["texBase"], TEXTURE) / 255 * slope
    triangles = _indices(values["tri"])
    a, b, c = mean_shape[triangles].unbind(1)
    if torch.linalg.cross(b - a, c - a)[:, 2].sum() < 0:  # a face is seen from the front
        triangles = triangles.flip(1)
    points = _indices(values["keypoints"]).flatten()
    vertices = len(mean_shape)
    return MorphableModel(
        mean_shape=mean_shape / unit,
        identity_basis=_basis(values["idBase"], IDENTITY) / unit,
        expression_basis=_basis(values["exBase"], EXPRESSION) / unit,
        mean_texture=mean_texture.detach(),
        texture_basis=texture_basis,
        uv=None,
        triangles=triangles,
        landmarks={"5": _five(mean_shape, points), "68": points, "dense": torch.arange(vertices)},
        skin=_tensor(values.get("skinmask", np.ones(vertices))).flatten().clamp(0, 1),
        supported=(IDENTITY, EXPRESSION, TEXTURE),
        version="Basel Face Model, Deng et al. 2019",
        camera="perspective",
        unit=unit,
    )


def _tensor(values: Any) -> Tensor:
    return torch.from_numpy(np.array(values, np.float32))


def _indices(values: Any) -> Tensor:
    return torch.from_numpy(np.array(values, np.int64)) - 1


def _basis(values: Any, count: int) -> Tensor:
    """[3V, count] as [count, V, 3]."""
    return _tensor(np.asarray(values).T).reshape(count, -1, 3)


def _five(mean_shape: Tensor, points: Tensor) -> Tensor:
    if len(points) != 68:
        raise ValueError(f"{len(points)} keypoints, not 68")
    eyes = torch.stack([mean_shape[points[start : start + 6]].mean(0) for start in (36, 42)])
    nearest = torch.cdist(eyes, mean_shape).argmin(1)
    return torch.cat([nearest, points[[30, 48, 54]]])
