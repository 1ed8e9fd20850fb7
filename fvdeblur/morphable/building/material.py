"""The material of a model: photographs and frames of clips, with their labelled meshes and the people they show."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from fvdeblur.datasets.clips import PHOTOGRAPHS
from fvdeblur.errors import InputError, UsageError
from fvdeblur.morphable.building.tessellation import POINTS

CLIPS = {".mp4", ".mov", ".mkv", ".avi", ".webm", ".m4v"}
ENDING = ".mesh.npz"

FRAMES = 8
"""Of a clip, at most so many frames are taken, spread over it."""


@dataclass(frozen=True, eq=False)
class Labelled:
    """A labelled picture of a person.

    Attributes
    ----------
    source
        The photograph or clip.
    frame
        Number of the frame in a clip; 0 for a photograph.
    points : float32 [478, 3]
        x to the right and y down in pixels, (0, 0) the centre of the first pixel; z in the same scale, larger nearer.
    size
        Width and height of the picture in pixels.
    person
        Who it is.
    neutral
        Whether the face is known to be without expression.
    held_out
        Whether the person is kept out of the model, to measure it.
    """

    source: Path
    frame: int
    points: NDArray[np.float32]
    size: tuple[int, int]
    person: str
    neutral: bool
    held_out: bool


def read_material(
    photos: Sequence[Path],
    meshes: Path,
    people: Mapping[str, str],
    neutral: Iterable[str],
    is_held_out: Callable[[str], bool],
) -> list[Labelled]:
    """Photographs and clips among paths and in folders that have a labelled mesh, in the order of their names.

    Parameters
    ----------
    photos
        Photographs, clips, or folders of them.
    meshes
        Folder with ``<stem>.mesh.npz`` files, or with folders of them.
    people
        Person of a file name; a file that is not there shows a person of its own, named as the file.
    neutral
        Names of files whose faces are without expression.
    is_held_out
        Whether a person, or a photograph of this file name, is held out. A person with one such photograph is.

    Raises
    ------
    UsageError
        A path is missing, or nothing has a mesh.
    InputError
        A mesh file cannot be read or is no mesh of 478 points.
    """
    without_expression = frozenset(neutral)
    labels = {path.name: path for path in sorted(meshes.rglob("*" + ENDING))}
    found: list[tuple[Path, str, Path]] = []
    for source in _sources(photos):
        label = labels.get(source.stem + ENDING)
        if label is not None:
            found.append((source, people.get(source.name, source.name), label))
    if not found:
        raise UsageError(f"{meshes}: holds no mesh of these pictures; make them with tools/label_meshes.py")
    held_out = {person for _, person, _ in found if is_held_out(person)}
    held_out |= {p for source, p, _ in found if _is_photograph(source) and is_held_out(source.name)}
    return [
        Labelled(source, frame, points, size, person, source.name in without_expression, person in held_out)
        for source, person, label in found
        for frame, points, size in _read_mesh(label)
    ]


def read_picture(source: Path, frame: int) -> NDArray[np.uint8]:
    """A photograph, or one frame of a clip: uint8 [H, W, 3], R'G'B'.

    Raises
    ------
    InputError
        It cannot be read.
    """
    picture = None
    if _is_photograph(source):
        picture = cv2.imread(str(source), cv2.IMREAD_COLOR)
    else:
        capture = cv2.VideoCapture(str(source))
        if all(capture.grab() for _ in range(frame + 1)):
            picture = capture.retrieve()[1]
        capture.release()
    if picture is None:
        raise InputError(
            f"{source}: frame {frame} cannot be read; is it a photograph or a clip that can be decoded?"
        )
    return np.asarray(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB), np.uint8)


def _read_mesh(path: Path) -> list[tuple[int, NDArray[np.float32], tuple[int, int]]]:
    """Frames of a mesh file, at most `FRAMES`: number, points and size of the picture."""
    try:
        with np.load(path, allow_pickle=False) as file:
            points, frames, size = file["points"], file["frames"], file["size"]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(f"{path}: is no mesh file ({error}); label it again") from error
    if points.ndim != 3 or points.shape[1:] != (POINTS, 3) or len(frames) != len(points) or len(size) != 2:
        raise InputError(f"{path}: holds {list(points.shape)} numbers, not [T, {POINTS}, 3]; label it again")
    if not np.isfinite(points).all():
        raise InputError(f"{path}: holds points that are not finite; label it again")
    chosen = np.unique(np.linspace(0, len(points) - 1, min(FRAMES, len(points))).round().astype(int))
    width, height = (int(value) for value in size)
    return [(int(frames[k]), points[k].astype(np.float32), (width, height)) for k in chosen]


def _sources(paths: Iterable[Path]) -> list[Path]:
    sources: list[Path] = []
    for path in paths:
        if path.is_dir():
            kinds = PHOTOGRAPHS | CLIPS
            sources += sorted(file for file in path.rglob("*") if file.suffix.lower() in kinds)
        elif path.is_file():
            sources.append(path)
        else:
            raise UsageError(f"{path}: there is no such file or folder")
    return sources


def _is_photograph(path: Path) -> bool:
    return path.suffix.lower() in PHOTOGRAPHS
