"""What a regressor is to say: coefficients fitted to sharp faces whose dense meshes were labelled.

A label file ``<stem>.mesh.npz`` beside a clip or photograph holds ``points`` float [T, 478, 3] (x and y in pixels of
the picture), ``frames`` int [T] and ``size`` (width and height of the picture).
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fvdeblur.datasets import Clip
from fvdeblur.errors import InputError
from fvdeblur.morphable import Coefficients, MorphableModel
from fvdeblur.morphable.fitting import fit_colours, fit_shape

SIDE = 192
"""Faces are kept in pictures of this many pixels."""

SHEET = 468
"""Labelled points that are vertices of the model, in its order; the iris centres follow the sheet in the labels."""

IRISES = (468, 473)

CHUNK = 64


@dataclass(frozen=True)
class LabelledClip:
    """A clip (or photograph) whose pictures are square, with labels of some of its frames.

    Attributes
    ----------
    clip
        Its frames, [T, SIDE, SIDE, 3].
    frames
        int64 [L], the labelled frames.
    coefficients
        float32 [L, 239], with poses relative to the whole picture.
    points
        float32 [L, P, 2], the labelled points in units of half the picture's side, 0 at its centre, y down.
    vertices
        int64 [P], which vertices of the model they are.
    """

    clip: Clip
    frames: NDArray[np.int64]
    coefficients: Tensor
    points: Tensor
    vertices: Tensor


def label_clips(
    model: MorphableModel, clips: Iterable[Clip], meshes: Path, every: int = 1
) -> list[LabelledClip]:
    """Fit the model to every labelled frame of these clips; those without a label file are left out.

    Identity and texture are those of the person: the mean over the clip's frames.

    Raises
    ------
    InputError
        A label file is damaged or belongs to another picture.
    """
    labelled = []
    for clip in clips:
        path = meshes / (Path(clip.name).stem + ".mesh.npz")
        if not path.exists():
            continue
        points, frames = _read_labels(path, clip)
        points, frames = points[::every], frames[::every]
        if len(frames):
            labelled.append(_fitted(model, _square(clip, points), frames))
    return labelled


def _read_labels(path: Path, clip: Clip) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    try:
        with np.load(path, allow_pickle=False) as file:
            points, frames, size = file["points"], file["frames"], file["size"]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(f"{path}: is no file of labels ({error}); label {clip.name} again") from error
    height, width = clip.frames.shape[1:3]
    if points.ndim != 3 or points.shape[1] <= max(IRISES) or tuple(size) != (width, height):
        raise InputError(f"{path}: does not belong to {clip.name} ({width}x{height}); label it again")
    known = frames < len(clip.frames)
    chosen = np.concatenate([points[:, :SHEET, :2], points[:, list(IRISES), :2]], axis=1)
    return chosen[known].astype(np.float32), frames[known].astype(np.int64)


def _square(clip: Clip, points: NDArray[np.float32]) -> tuple[Clip, NDArray[np.float32]]:
    """The clip cut to a square around the face and reduced to SIDE; points in pixels of it."""
    low, high = points.min(axis=(0, 1)), points.max(axis=(0, 1))
    height, width = clip.frames.shape[1:3]
    face = float((points.max(axis=1) - points.min(axis=1)).max(axis=1).mean())
    side = int(min(height, width, max(1.25 * (high - low).max(), 2.4 * face)))
    left, top = (
        int(np.clip(round((low[i] + high[i]) / 2 - side / 2), 0, length - side))
        for i, length in ((0, width), (1, height))
    )
    frames = np.stack(
        [
            cv2.resize(
                frame[top : top + side, left : left + side], (SIDE, SIDE), interpolation=cv2.INTER_AREA
            )
            for frame in clip.frames
        ]
    ).astype(np.uint8)
    corner = np.array([left, top], np.float32)
    moved = ((points - corner + 0.5) * (SIDE / side) - 0.5).astype(np.float32)
    return replace(clip, frames=frames), moved


def _fitted(
    model: MorphableModel, squared: tuple[Clip, NDArray[np.float32]], frames: NDArray[np.int64]
) -> LabelledClip:
    clip, pixels = squared
    vertices = torch.cat([torch.arange(SHEET), model.landmarks["5"][:2]])
    points = torch.from_numpy(pixels)
    parts = [points[i : i + CHUNK] for i in range(0, len(points), CHUNK)]
    free = [fit_shape(model, part, SIDE, vertices=vertices) for part in parts]
    identity = torch.cat([part.identity for part in free]).mean(0, keepdim=True)
    fitted = [
        fit_shape(model, part, SIDE, vertices=vertices, identity=identity.expand(len(part), -1))
        for part in parts
    ]
    pictures = torch.from_numpy(clip.frames[frames]).permute(0, 3, 1, 2)
    coloured = [
        fit_colours(model, part, pictures[i * CHUNK : (i + 1) * CHUNK].float() / 255)
        for i, part in enumerate(fitted)
    ]
    whole = Coefficients(*(torch.cat(values) for values in zip(*coloured, strict=True)))
    whole = whole._replace(texture=whole.texture.mean(0, keepdim=True).expand_as(whole.texture))
    return LabelledClip(clip, frames, whole.vector(), (points + 0.5) * (2 / SIDE) - 1, vertices)
