"""The texture model: albedo of labelled pictures in the UV map, without their light."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from fvdeblur.errors import InputError
from fvdeblur.morphable.building import alignment, statistics, topology
from fvdeblur.morphable.building.material import Labelled, read_picture
from fvdeblur.morphable.building.shapes import ShapeModel, steps
from fvdeblur.morphable.building.tessellation import LOWER_LIP, UPPER_LIP
from fvdeblur.morphable.building.texture import (
    TextureBasis,
    principal_textures,
    read_colours,
    remove_light,
    symmetrise,
    visibility,
)
from fvdeblur.morphable.building.unwrapping import Texels
from fvdeblur.morphable.coefficients import TEXTURE
from fvdeblur.morphable.light import encode
from fvdeblur.morphable.mesh import vertex_normals

Floats = NDArray[np.floating]
Numbers = NDArray[np.int64]

MOST_TURNED = 0.6
"""Faces turned by more than so many radians (34 degrees) are left out."""

SMALLEST_FACE = 100
"""And faces whose outermost points are fewer pixels apart from top to bottom."""

FEWEST_PEOPLE = 12
"""A texture is built of at least so many people."""

LIGHT_PASSES = 2
"""Times that the light is taken out: with the mean albedo, then with what the basis makes of each face."""


@dataclass(frozen=True, eq=False)
class Surface:
    """The mesh and its map, as far as the texture needs them: triangles [F, 3], texels, and skin [U, U] in 0..1."""

    triangles: Numbers
    texels: Texels
    skin: Floats

    @property
    def mirror(self) -> Numbers:
        """Number of the covered texel on the other side of each covered texel; itself where that is not covered."""
        covered = self.texels.covered
        numbers = np.full(covered.shape, -1, np.int64)
        numbers[covered] = np.arange(covered.sum())
        other = numbers[:, ::-1][covered]
        return np.where(other < 0, np.arange(len(other)), other)


@dataclass(frozen=True, eq=False)
class View:
    """A face in a picture: of each texel its colour, how well it is seen, and its normal."""

    colours: Floats
    seen: Floats
    normals: Floats


def look(labelled: Labelled, shapes: ShapeModel, surface: Surface) -> View | None:
    """What a picture shows of the texture; None if the face is too small in it.

    Raises
    ------
    InputError
        The picture cannot be read.
    """
    triangles, texels = surface.triangles, surface.texels
    head = alignment.to_head(labelled.points)
    if np.ptp(head[:, 1]) < SMALLEST_FACE:
        return None
    scale, rotation, offset = shapes.frontal(head)
    frontal = topology.complete(scale * head @ rotation.T + offset)
    vertices = (frontal - offset) @ rotation / scale
    normals = vertex_normals(torch.from_numpy(vertices[None]), torch.from_numpy(triangles))[0].numpy()
    at = texels.interpolate(np.concatenate([vertices, normals], axis=1), triangles)
    places, depths = at[:, :2] * np.array([1, -1]), at[:, 2]
    directions = at[:, 3:] / np.maximum(np.linalg.norm(at[:, 3:], axis=1, keepdims=True), 1e-9)
    flat = vertices[triangles][:, :, :2]
    areas = np.abs(_cross(flat[:, 1] - flat[:, 0], flat[:, 2] - flat[:, 0])) / 2
    covered = np.maximum(np.bincount(texels.triangle[texels.covered], minlength=len(triangles)), 1)
    area = (areas / covered)[texels.triangle[texels.covered]]
    step = float(np.sqrt(np.median(area)))
    seen = visibility(places, depths, directions, area, labelled.size, 1 / scale)
    colours = read_colours(read_picture(labelled.source, labelled.frame), places, step)
    return View(colours, seen.astype(np.float32), directions.astype(np.float32))


def choose_pictures(used: Sequence[Labelled], shapes: ShapeModel) -> list[int]:
    """Numbers of the pictures: of each source the most frontal one, and of clips the one with the widest mouth too."""
    turned = np.abs(shapes.angles[:, :2]).max(1)
    gaps = shapes.aligned[:, UPPER_LIP, 1] - shapes.aligned[:, LOWER_LIP, 1]
    sources: dict[Path, list[int]] = {}
    for number, labelled in enumerate(used):
        if turned[number] <= MOST_TURNED:
            sources.setdefault(labelled.source, []).append(number)
    chosen: list[int] = []
    for numbers in sources.values():
        chosen += sorted({min(numbers, key=turned.__getitem__), max(numbers, key=gaps.__getitem__)})
    return chosen


def build_textures(
    used: Sequence[Labelled], shapes: ShapeModel, surface: Surface
) -> tuple[TextureBasis, int]:
    """The texture model, and the number of pictures it is made of.

    Raises
    ------
    InputError
        A picture cannot be read, or too few people are shown large enough.
    """
    views: list[View] = []
    people: list[int] = []
    for number in choose_pictures(used, shapes):
        view = look(used[number], shapes, surface)
        if view is not None:
            views.append(view)
            people.append(int(shapes.people[number]))
    folds = np.unique(people, return_inverse=True)[1]
    if len(set(people)) < FEWEST_PEOPLE:
        raise InputError(
            f"{len(set(people))} people have frontal faces of {SMALLEST_FACE} pixels or more; "
            f"the texture needs {FEWEST_PEOPLE}"
        )
    weights = np.stack([view.seen for view in views]) + 1e-4
    mean = sum((w[:, None] * view.colours for w, view in zip(weights, views, strict=True)), np.zeros(1))
    mean /= weights.sum(0)[:, None]
    mean = (mean + mean[surface.mirror]) / 2
    albedo = [mean] * len(views)
    for _ in range(LIGHT_PASSES):
        values, seen = _albedo(views, albedo, surface)
        basis = principal_textures(values, seen, folds, TEXTURE, statistics.FOLDS)
        albedo = list(_described(values, np.ones_like(seen), basis, len(basis.basis)))
    return basis, len(views)


def texture_errors(
    held: Sequence[Labelled], shapes: ShapeModel, surface: Surface, basis: TextureBasis
) -> tuple[dict[int, float], int]:
    """Errors of the albedo of held-out people, and the number of pictures measured.

    Returns
    -------
    By the number of vectors: root-mean-square difference of R'G'B' (0 to 255), over the texels that are seen.
    """
    angles = np.stack([_angles(labelled, shapes) for labelled in held])
    frontal = [
        labelled for labelled, turn in zip(held, angles, strict=True) if np.abs(turn[:2]).max() <= MOST_TURNED
    ]
    first = list({labelled.source: labelled for labelled in reversed(frontal)}.values())
    views = [view for view in (look(labelled, shapes, surface) for labelled in first) if view is not None]
    if not views:
        return {}, 0
    albedo = [basis.mean.reshape(-1, 3)] * len(views)
    values, seen = _albedo(views, albedo, surface)
    values, seen = _albedo(views, list(_described(values, seen, basis, len(basis.basis))), surface)
    errors = {}
    for count in steps(len(basis.basis)):
        pair = (torch.from_numpy(part) for part in (values, _described(values, seen, basis, count)))
        wanted, got = (encode(part).numpy() for part in pair)
        squares = ((wanted - got) ** 2).mean(2) * seen
        errors[count] = 255 * float(np.sqrt(squares.sum() / seen.sum()))
    return errors, len(views)


def _albedo(views: Sequence[View], guesses: Sequence[Floats], surface: Surface) -> tuple[Floats, Floats]:
    """Albedo float32 [N, T, 3] without light and alike on both sides, and how well it is seen, [N, T]."""
    skin = surface.skin[surface.texels.covered]
    values = np.empty((len(views), *guesses[0].shape), np.float32)
    seen = np.empty(values.shape[:2], np.float32)
    for number, (view, guess) in enumerate(zip(views, guesses, strict=True)):
        values[number], seen[number] = remove_light(view.colours, view.seen, view.normals, guess, skin)
    return symmetrise(values, seen, surface.mirror)


def _described(values: Floats, seen: Floats, basis: TextureBasis, count: int) -> Floats:
    """Maps [N, T, 3] as the mean and ``count`` vectors describe what is seen of them."""
    vectors = basis.basis[:count]
    described = np.empty_like(values)
    for number, (value, weight) in enumerate(zip(values, seen, strict=True)):
        deviation = (value.reshape(-1) - basis.mean) * np.repeat(weight, 3)
        normal = (vectors * np.repeat(weight, 3)) @ vectors.T
        normal += 1e-4 * (np.trace(normal) / max(count, 1)) * np.eye(count)
        coefficients = np.linalg.solve(normal, vectors @ deviation)
        described[number] = (basis.mean + coefficients @ vectors).reshape(value.shape)
    return np.clip(described, 0.002, 1)


def _angles(labelled: Labelled, shapes: ShapeModel) -> Floats:
    return alignment.angles_of(shapes.frontal(alignment.to_head(labelled.points))[1].T)


def _cross(a: Floats, b: Floats) -> Floats:
    return a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]
