"""Faces rendered from blurred crops: how near they come to the sharp ones, and pictures of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from benchmarks.regressor_crops import SIDE, Condition, Crop, Picture, noisy, see
from benchmarks.regressor_errors import read_all
from benchmarks.regressor_faces import Region
from fvdeblur.datasets import Clip
from fvdeblur.errors import InputError, OutputError
from fvdeblur.faces import create_detector, face_size
from fvdeblur.morphable import Coefficients, MorphableModel, render
from fvdeblur.morphable.reader import FaceReader
from fvdeblur.morphable.squares import box_square

BATCH = 16
INSIDE = 0.99
"""Pixels that the rendered face covers by less are not looked at."""

SHEET_FACES, SHEET_COLUMNS, SHEET_SIDE = 12, 3, 160
PHOTOGRAPH_FACES, PHOTOGRAPH_SIDE = 2, 112


class Quality(NamedTuple):
    """Photometric errors [N] of crops inside a mask: mean absolute (of 255) and PSNR in dB."""

    absolute: NDArray[np.float64]
    decibels: NDArray[np.float64]


@torch.inference_mode()
def compare(model: MorphableModel, vectors: Tensor, crops: Sequence[Crop]) -> tuple[Quality, Quality]:
    """Faces rendered from coefficients [N, 239] against the sharp crops, and the crops as they are seen against these.

    Both inside the rendered mask.
    """
    rows = []
    for i in range(0, len(crops), BATCH):
        part = crops[i : i + BATCH]
        rendering = render(model, Coefficients.split(vectors[i : i + BATCH]), SIDE)
        inside = (rendering.mask > INSIDE).float()
        sharp, seen = (
            tensor([picture(crop) for crop in part])
            for picture in (lambda crop: crop.sharp, lambda crop: crop.seen)
        )
        for picture in (rendering.rgb, seen):
            apart = (picture - sharp) * inside
            samples = 3 * inside.sum((1, 2, 3)).clamp_min(1)
            absolute = 255 * apart.abs().sum((1, 2, 3)) / samples
            square = apart.square().sum((1, 2, 3)) / samples
            rows.append(torch.stack([absolute, -10 * square.clamp_min(1e-10).log10()]))
    values = [torch.cat(rows[kind::2], dim=1).double().numpy() for kind in (0, 1)]
    return Quality(*values[0]), Quality(*values[1])


def tensor(pictures: Sequence[Picture]) -> Tensor:
    """float32 [N, 3, H, W] in 0..1 of N pictures uint8 [H, W, 3]."""
    return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).float() / 255


@torch.inference_mode()
def triples(
    reader: FaceReader, seen: Sequence[Picture], sharp: Sequence[Picture], side: int
) -> list[Picture]:
    """Blurred, rendered over grey and sharp, uint8 [side, 3 * side, 3] for each crop."""
    vectors, _ = read_all(reader, seen)
    rendering = render(reader.model, Coefficients.split(vectors), SIDE)
    faces = rendering.rgb + (1 - rendering.mask) * 0.5
    rows = torch.cat([tensor(seen), faces, tensor(sharp)], dim=3)
    rows = functional.interpolate(
        rows, (side, 3 * side), mode="bilinear", antialias=True, align_corners=False
    )
    return list((rows.permute(0, 2, 3, 1) * 255).round().clamp(0, 255).to(torch.uint8).numpy())


def draw_sheet(reader: FaceReader, crops: Sequence[Crop], path: Path) -> None:
    """Write `SHEET_FACES` faces, spread over people (as many of clips as of stills) and blurred conditions.

    Raises
    ------
    OutputError
        The file cannot be written.
    """
    blurred = [crop for crop in crops if crop.condition != "sharp"]
    chosen: list[Crop] = []
    for kind in (False, True):
        people = sorted({crop.identity for crop in blurred if crop.is_still == kind})
        count = min(len(people), SHEET_FACES // 2)
        for k, number in enumerate(np.linspace(0, len(people) - 1, count).round().astype(int)):
            own = [c for c in blurred if c.identity == people[number] and c.is_still == kind]
            conditions = sorted({crop.condition for crop in own})
            own = [crop for crop in own if crop.condition == conditions[k % len(conditions)]]
            chosen.append(own[len(own) // 2])
    shown = triples(reader, [crop.seen for crop in chosen], [crop.sharp for crop in chosen], SHEET_SIDE)
    shown += [np.zeros_like(shown[0])] * (-len(shown) % SHEET_COLUMNS)
    write_picture(
        np.vstack([np.hstack(shown[i : i + SHEET_COLUMNS]) for i in range(0, len(shown), SHEET_COLUMNS)]),
        path,
    )


def draw_photographs(reader: FaceReader, path: Path) -> None:
    """Write faces of two photographs that packages carry, blurred by kernels of 41 pixels at a face of 220.

    They are cut out by the detector's boxes, as in use.

    Raises
    ------
    OutputError
        The file cannot be written.
    """
    detector = create_detector("centerface")
    seen: list[Picture] = []
    sharp: list[Picture] = []
    for number, photograph in enumerate(photographs()):
        found = sorted(detector.detect(photograph), key=lambda face: -face_size(face.box))
        clip = Clip(f"photograph {number}", f"photograph {number}", photograph[None], 0.0)
        for face in found[:PHOTOGRAPH_FACES]:
            x0, y0, x1, y1 = face.box.tolist()
            region = Region(*box_square((x0, y0, x1, y1)))
            rng = np.random.default_rng(len(seen))
            condition = Condition("kernel-41", kernel=41)
            seen.append(noisy(see(clip, 0, region, x1 - x0, condition, rng), rng))
            sharp.append(see(clip, 0, region, x1 - x0, Condition("sharp"), rng))
    write_picture(np.vstack(triples(reader, seen, sharp, PHOTOGRAPH_SIDE)), path)


def photographs() -> list[Picture]:
    """scikit-image's portrait of Eileen Collins (NASA, public domain) and insightface's picture of a group."""
    import insightface
    from skimage import data

    path = Path(insightface.__file__).parent / "data" / "images" / "t1.jpg"
    group = cv2.imread(str(path))
    if group is None:
        raise InputError(f"{path}: the picture cannot be read; reinstall insightface")
    return [np.asarray(data.astronaut()), np.asarray(cv2.cvtColor(group, cv2.COLOR_BGR2RGB), np.uint8)]


def write_picture(picture: Picture, path: Path) -> None:
    encoded = cv2.imencode(".png", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_PNG_COMPRESSION, 9])
    try:
        path.write_bytes(encoded[1].tobytes())
    except OSError as error:
        raise OutputError(f"{path}: the picture cannot be written ({error.strerror})") from error
