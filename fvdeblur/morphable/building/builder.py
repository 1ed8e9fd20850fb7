"""Building a morphable model: from labelled pictures to `fvdeblur.morphable.model.MorphableModel`."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from fvdeblur.errors import InputError, OutputError
from fvdeblur.morphable.building import alignment, topology, unwrapping
from fvdeblur.morphable.building.material import Labelled
from fvdeblur.morphable.building.shapes import ShapeModel, build_shapes, shape_errors
from fvdeblur.morphable.building.surfaces import FEWEST_PEOPLE, Surface, build_textures, texture_errors
from fvdeblur.morphable.building.tessellation import LOWER_LIP, UPPER_LIP
from fvdeblur.morphable.building.texture import TextureBasis
from fvdeblur.morphable.coefficients import EXPRESSION, IDENTITY, TEXTURE
from fvdeblur.morphable.model import MorphableModel

Floats = NDArray[np.floating]
Numbers = NDArray[np.int64]

OPEN_MOUTH, OPEN_EYES = 0.3, 0.2
"""How far mouth and eyes are opened in the UV map, in eye distances."""

FARTHEST = 1.5
"""No vertex moves farther than so many times the opening for it."""


@dataclass
class Report:
    """What went into a model and how well it describes people who were held out.

    Attributes
    ----------
    people, pictures, textures
        Numbers that the model was built of.
    held_out_people, held_out_pictures, held_out_textures
        Numbers that it was measured on.
    supported
        Identity, expression and texture vectors.
    shape_errors
        Number of identity vectors, without expression, to the root-mean-square distance of the vertices of held-out
        neutral faces from their places, in % of the eye distance.
    expression_errors
        Number of expression vectors, with all identity vectors, to the same of all held-out faces.
    texture_errors
        Number of texture vectors to the root-mean-square error of held-out albedo in R'G'B' of 0 to 255, where seen.
    pose_share
        Share of the variance within people that the turn of the head explained in the labels, and that was removed.
    closeness
        Standard deviation of 1 / distance of the camera, per head unit, that was removed.
    """

    people: int = 0
    pictures: int = 0
    textures: int = 0
    held_out_people: int = 0
    held_out_pictures: int = 0
    held_out_textures: int = 0
    supported: tuple[int, int, int] = (0, 0, 0)
    shape_errors: dict[int, float] = field(default_factory=dict)
    expression_errors: dict[int, float] = field(default_factory=dict)
    texture_errors: dict[int, float] = field(default_factory=dict)
    pose_share: float = 0.0
    closeness: float = 0.0


def build(
    material: Sequence[Labelled],
    side: int = 192,
    version: str = "1",
    report: Callable[[str], None] | None = None,
) -> tuple[MorphableModel, Report]:
    """Build a model (Ren et al. 2019, section 3.1) of labelled pictures.

    Parameters
    ----------
    material
        Pictures (`fvdeblur.morphable.building.material.read_material`). Those that are held out measure the model and
        are not used for anything else. Pictures that are known to be neutral say which face has no expression;
        without any the mean face has the mean expression.
    side
        Texels along each side of the UV map.
    version
        Of the model's data.
    report
        Is told, in a line, what is done.

    Raises
    ------
    InputError
        There are too few people, or the meshes are not of faces; or a picture cannot be read.
    """
    say = report or (lambda text: None)
    used = [labelled for labelled in material if not labelled.held_out]
    held = [labelled for labelled in material if labelled.held_out]
    figures = Report(people=len({labelled.person for labelled in used}), pictures=len(used))
    figures.held_out_people = len({labelled.person for labelled in held})
    figures.held_out_pictures = len(held)
    if figures.people < FEWEST_PEOPLE:
        raise InputError(
            f"{figures.people} people with meshes are too few for a face model; give pictures of {FEWEST_PEOPLE}"
        )
    say(f"shapes of {figures.people} people in {figures.pictures} pictures")
    shapes = build_shapes(used)
    figures.pose_share, figures.closeness = shapes.pose_share, shapes.closeness
    say(f"{len(shapes.identity)} identity and {len(shapes.expression)} expression vectors")
    triangles = topology.mesh_triangles()
    uv = _unwrap(shapes, triangles)
    texels = unwrapping.rasterise(uv, triangles, side)
    skin = unwrapping.skin_mask(uv, topology.features(shapes.mirror), texels.covered)
    surface = Surface(triangles, texels, skin)
    textures, figures.textures = build_textures(used, shapes, surface)
    say(f"{len(textures.basis)} texture vectors from {figures.textures} pictures")
    figures.supported = (len(shapes.identity), len(shapes.expression), len(textures.basis))
    if held:
        figures.shape_errors, figures.expression_errors = shape_errors(held, shapes)
        figures.texture_errors, figures.held_out_textures = texture_errors(held, shapes, surface, textures)
    return _assemble(shapes, uv, surface, textures, version), figures


def _unwrap(shapes: ShapeModel, triangles: Numbers) -> Floats:
    """The UV map, with mouth and eyes open so that what they hide has room."""
    within = alignment.within_people(shapes.aligned, shapes.people)
    shape = shapes.mean.copy()
    for pairs, target in (([(UPPER_LIP, LOWER_LIP)], OPEN_MOUTH), (topology.EYE_GAPS, OPEN_EYES)):
        gaps = np.mean([within[:, upper, 1] - within[:, lower, 1] for upper, lower in pairs], axis=0)
        now = float(np.mean([shape[upper, 1] - shape[lower, 1] for upper, lower in pairs]))
        opening = np.tensordot(gaps, within, 1) / max(float(gaps @ gaps), 1e-9)
        opening = (opening + opening[shapes.mirror] * alignment.FLIP) / 2
        opening *= max(target * shapes.eye_distance - now, 0)
        farthest = float(np.linalg.norm(opening, axis=1).max())  # large where no picture opens them
        shape += opening * min(FARTHEST * target * shapes.eye_distance / max(farthest, 1e-9), 1)
    return unwrapping.unwrap(shape, triangles, shapes.mirror)


def _assemble(
    shapes: ShapeModel, uv: Floats, surface: Surface, textures: TextureBasis, version: str
) -> MorphableModel:
    texels = surface.texels
    side = len(texels.triangle)
    centre = shapes.mean.mean(0)
    unit = float(np.sqrt(((shapes.mean - centre) ** 2).sum(1).mean()))
    mean_texture = np.zeros((side, side, 3), np.float32)
    mean_texture[texels.covered] = textures.mean.reshape(-1, 3).clip(0, 1)
    basis = np.zeros((TEXTURE, side, side, 3), np.float32)
    basis[: len(textures.basis), texels.covered] = textures.basis.reshape(len(textures.basis), -1, 3)
    near = unwrapping.dilate(texels.covered)
    mean_texture = unwrapping.fill_outside(mean_texture, texels.covered)
    for number in range(len(textures.basis)):
        basis[number] = unwrapping.fill_outside(basis[number], texels.covered) * near[:, :, None]

    def tensor(values: Floats) -> torch.Tensor:
        return torch.from_numpy(np.ascontiguousarray(values, np.float32))

    def padded(vectors: Floats, count: int) -> torch.Tensor:
        return torch.cat([tensor(vectors), torch.zeros(count - len(vectors), *shapes.mean.shape)])

    landmarks = topology.landmarks(shapes.mean, shapes.mirror)
    return MorphableModel(
        mean_shape=tensor((shapes.mean - centre) / unit),
        identity_basis=padded(shapes.identity / unit, IDENTITY),
        expression_basis=padded(shapes.expression / unit, EXPRESSION),
        mean_texture=tensor(mean_texture),
        texture_basis=tensor(basis),
        uv=tensor(uv),
        triangles=torch.from_numpy(surface.triangles),
        landmarks={kind: torch.from_numpy(np.asarray(v, np.int64)) for kind, v in landmarks.items()},
        skin=tensor(surface.skin),
        supported=(len(shapes.identity), len(shapes.expression), len(textures.basis)),
        version=version,
    )


def write(model: MorphableModel, report: Report, folder: Path) -> Path:
    """Write ``model.safetensors`` and ``report.json`` to a folder, made if need be; the model file's path.

    Raises
    ------
    OutputError
        They cannot be written.
    """
    path = folder / "model.safetensors"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        model.save(path)
        (folder / "report.json").write_text(json.dumps(asdict(report), indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        raise OutputError(f"{folder}: cannot be written ({error.strerror}); choose another folder") from error
    return path
