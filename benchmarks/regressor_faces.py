"""Labelled faces of the material, and where crops of them lie: what `benchmarks.regressor` measures on."""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fvdeblur.datasets import Clip, is_validation, load_clips, load_stills
from fvdeblur.datasets.tables import read_table
from fvdeblur.errors import InputError
from fvdeblur.morphable import Coefficients, MorphableModel
from fvdeblur.morphable.squares import CONTEXT, Squares
from fvdeblur.training.regression.labels import IRISES, SHEET, label_clips

Points = NDArray[np.float32]

SHIFT, ZOOM = 0.05, 1.1
"""Largest shift of a crop in units of its side, and largest factor of its size."""

FRAMES = 8
"""Labelled frames of a clip that are measured, evenly spread; about, as those near its ends are left out."""

CLIP_LENGTH = 120
END = 7
"""Frames at a clip's ends that are not measured: the longest exposure would reach beyond the clip."""

TRAINING_STILLS = 60


class Region(NamedTuple):
    """A square in a picture: centre x, y and side in pixels, where 0 is the outer edge of the first pixel."""

    x: float
    y: float
    side: float


@dataclass(frozen=True, eq=False)
class Face:
    """A labelled face in a frame.

    Attributes
    ----------
    clip, frame
        Where it is seen.
    identity
        Who it is.
    points
        float32 [470, 2], the points of the dense mesh and, last, the irises, in pixels of the frame; (0, 0) is the
        centre of its first pixel.
    region
        The crop.
    coefficients
        float32 [239], fitted to the sharp frame, with a pose relative to the crop; None where they were not asked for.
    """

    clip: Clip
    frame: int
    identity: str
    points: Points
    region: Region
    coefficients: Tensor | None = None


def draw_region(points: Points, rng: np.random.Generator) -> Region:
    """The crop around a face with these points [P, 2]."""
    low, high = points.min(axis=0).astype(float), points.max(axis=0).astype(float)
    side = CONTEXT * float((high - low).max()) * ZOOM ** rng.uniform(-1, 1)
    x, y = (low + high) / 2 + 0.5 + rng.uniform(-SHIFT, SHIFT, 2) * side
    return Region(float(x), float(y), side)


def validation_faces(
    model: MorphableModel, data: Path, meshes: Path, people: Path, seed: int
) -> Iterator[Face]:
    """Faces of the validation identities, with coefficients fitted to their sharp frames.

    A still whose person has other stills in the training split is left out: ``people`` (columns file and identity)
    says which show one person; a still that it does not name shows a person of its own.
    """
    for clip in load_clips(data, "validation", limit=CLIP_LENGTH):
        yield from _faces(model, clip, clip.identity, meshes / "clips", seed)
    known = {row["file"]: row["identity"] for row in read_table(people, "file", "identity")}
    trained = {identity for file, identity in known.items() if not is_validation(file)}
    for clip in load_stills(data, "validation"):
        identity = known.get(clip.name, clip.identity)
        if identity not in trained:
            yield from _faces(model, clip, identity, meshes / "portraits", seed)


def training_faces(data: Path, meshes: Path, seed: int) -> Iterator[Face]:
    """The first frame of every training identity's first clip, and some stills; without coefficients."""
    seen: Counter[str] = Counter()
    for clip in load_clips(data, "train", limit=1):
        seen[clip.identity] += 1
        if seen[clip.identity] == 1:
            yield from _faces(None, clip, clip.identity, meshes / "clips", seed)
    stills = load_stills(data, "train")
    for clip in stills[:: max(1, len(stills) // TRAINING_STILLS)]:
        yield from _faces(None, clip, clip.identity, meshes / "portraits", seed)


def _faces(
    model: MorphableModel | None, clip: Clip, identity: str, meshes: Path, seed: int
) -> Iterator[Face]:
    path = meshes / (Path(clip.name).stem + ".mesh.npz")
    if not path.exists():
        return
    points, frames = read_mesh(path)
    points, frames = points[frames < len(clip.frames)], frames[frames < len(clip.frames)]
    every = max(1, round(len(frames) / FRAMES))
    labelled = [] if model is None else label_clips(model, [clip], meshes, every)
    if model is not None and not labelled:
        return
    for number in range(0, len(frames), every):
        frame, here = int(frames[number]), points[number]
        if len(clip.frames) > 1 and not END <= frame < len(clip.frames) - END:
            continue
        rng = np.random.default_rng((seed, zlib.crc32(clip.name.encode()), frame, 1))
        region = draw_region(here, rng)
        coefficients = None
        if labelled:
            vector = labelled[0].coefficients[number // every]
            coefficients = _relative_to(vector, labelled[0].points[number // every].numpy(), here, region)
        yield Face(clip, frame, identity, here, region, coefficients)


def _relative_to(vector: Tensor, labelled: Points, points: Points, region: Region) -> Tensor:
    """Coefficients [239] of a labelled clip, whose points are in units of half its square, for the crop."""
    scale = float(np.ptp(points[:, 0]) / np.ptp(labelled[:, 0]))
    x, y = (points + 0.5 - scale * labelled).mean(axis=0)
    centre = torch.tensor([[(region.x - x) / scale, (region.y - y) / scale]], dtype=torch.float32)
    square = Squares(centre, torch.tensor([region.side / 2 / scale]), torch.zeros(1))
    parts = Coefficients.split(vector[None])
    return parts._replace(pose=square.pose(parts.pose)).vector()[0]


def read_mesh(path: Path) -> tuple[Points, NDArray[np.int64]]:
    """Points [T, 470, 2] (the sheet and the irises) and frames [T] of a label file.

    Raises
    ------
    InputError
        It is damaged.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            points, frames = file["points"][..., :2], file["frames"]
        chosen = np.concatenate([points[:, :SHEET], points[:, list(IRISES)]], axis=1)
    except (OSError, ValueError, KeyError, EOFError, IndexError) as error:
        raise InputError(f"{path}: is no file of labels ({error}); label it again") from error
    return chosen.astype(np.float32), frames.astype(np.int64)
