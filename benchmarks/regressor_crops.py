"""Blurred crops of faces whose sharp dense mesh is known: what `benchmarks.regressor` measures on.

A crop is a square of 1.8 times the longer side of the labelled face box, moved by up to 5 % of its side and 10 % larger
or smaller, of 256 pixels; sensor noise of 1/255 is added last. Everything is drawn from the seed and the face, so that
every run makes the same crops, and every method is given the same ones.
"""

from __future__ import annotations

import json
import math
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from benchmarks.regressor_faces import Face, Points, Region, read_mesh
from fvdeblur.datasets import BlurSettings, Clip, synthesise
from fvdeblur.datasets.protocols.convolutions import MotionKernel
from fvdeblur.datasets.protocols.kernels import Kernel, convolve
from fvdeblur.errors import InputError
from fvdeblur.training.regression.labels import IRISES, SHEET

Picture = NDArray[np.uint8]

SIDE = 256
"""Of a crop in pixels."""

FACE_WIDTH = 220
"""Width in pixels of the face's box at which a kernel has its stated support."""

NOISE = 1.0
GAMMA = 2.2

EXPOSURE, STRIDES = 4.0, (2, 3)
RIM = 0.1
"""What is kept around a region, in units of its side, while it is blurred."""

TRAINING = "training"
"""Condition of the sharp crops of training people that the methods' own offsets are measured on."""


@dataclass(frozen=True)
class Condition:
    """How faces are blurred: one of these, or not at all.

    Attributes
    ----------
    name
        As it is printed, and as a part of a file name.
    exposure
        In frame intervals, of the clip's own motion; stills have none and are left out.
    kernel
        Support of a straight motion kernel at a random angle, in pixels (odd) of a face `FACE_WIDTH` pixels wide. It
        is passed at constant speed and its middle is the face's true place.
    width
        The face is reduced to this many pixels and enlarged again.
    """

    name: str
    exposure: float = 0.0
    kernel: int = 0
    width: int = 0


MEASURED = (
    Condition("sharp"),
    Condition("exposure-4", exposure=EXPOSURE),
    Condition("kernel-21", kernel=21),
    Condition("kernel-41", kernel=41),
)

HARDER = (
    Condition("kernel-81", kernel=81),
    Condition("kernel-121", kernel=121),
    Condition("width-16", width=16),
    Condition("width-8", width=8),
)
"""Beyond what is promised: readings that go wrong, to learn from what doubt on they do."""


@dataclass(frozen=True, eq=False)
class Crop:
    """A face as the methods are given it.

    Attributes
    ----------
    name
        Of its file without suffix, unique; its last part is the CRC-32 of the pixels.
    condition, identity, clip
        Names of the condition, the person and the file.
    is_still
        Whether the file is a still.
    seen, sharp
        uint8 [SIDE, SIDE, 3], R'G'B': blurred and noisy, and neither.
    points
        float32 [470, 2], those of the face in pixels of the crop.
    coefficients
        Those of the face.
    """

    name: str
    condition: str
    identity: str
    clip: str
    is_still: bool
    seen: Picture
    sharp: Picture
    points: Points
    coefficients: Tensor | None


def motion_kernel(support: int, rng: np.random.Generator) -> Kernel:
    """A straight kernel, [support, support] (odd), that fills its support and whose centroid is its middle."""
    protocol = MotionKernel(supports=(support, support), linear_share=1.0, filling=(1.0, 1.0))
    return protocol.kernel(rng)[0]


def see(
    clip: Clip, frame: int, region: Region, width: float, condition: Condition, rng: np.random.Generator
) -> Picture:
    """One crop under a condition, without noise: uint8 [SIDE, SIDE, 3].

    Parameters
    ----------
    width
        Of the face's box in pixels of the frame.
    """
    if not condition.kernel:
        picture = _cut(clip, frame, region, SIDE, condition.exposure, rng)
        if condition.width:
            small = (max(2, round(SIDE * condition.width / (width / region.side * SIDE))),) * 2
            picture = functional.interpolate(
                picture, small, mode="bilinear", antialias=True, align_corners=False
            )
            picture = functional.interpolate(picture, (SIDE, SIDE), mode="bilinear", align_corners=False)
    else:
        side = round(FACE_WIDTH * region.side / width)
        margin = condition.kernel // 2
        wider = Region(region.x, region.y, region.side * (side + 2 * margin) / side)
        picture = _cut(clip, frame, wider, side + 2 * margin, 0.0, rng)
        kernel = motion_kernel(condition.kernel, rng)
        picture = convolve(picture**GAMMA, [kernel]).clamp(0, 1) ** (1 / GAMMA)
        picture = picture[..., margin : margin + side, margin : margin + side]
        picture = functional.interpolate(
            picture, (SIDE, SIDE), mode="bilinear", antialias=True, align_corners=False
        )
    return (picture[0].permute(1, 2, 0) * 255).round().clamp(0, 255).to(torch.uint8).numpy()


def noisy(picture: Picture, rng: np.random.Generator) -> Picture:
    """The picture with sensor noise."""
    noise = rng.normal(0, NOISE, picture.shape)
    return np.clip(np.round(picture + noise), 0, 255).astype(np.uint8)


def _cut(
    clip: Clip, frame: int, region: Region, size: int, exposure: float, rng: np.random.Generator
) -> Tensor:
    """float32 [1, 3, size, size], R'G'B' in 0..1; the exposure's middle is the frame."""
    stride = int(rng.choice(STRIDES)) if exposure else 1
    reach = math.ceil(exposure / 2 * stride)
    part, inside = _window(clip, frame, region, reach)
    settings = BlurSettings(size=size, length=1, noise=0.0, compression_share=0.0)
    start = (reach if len(part.frames) > 1 else 0, stride)
    segment = synthesise(
        part, settings, rng, region=inside, speed=0.0, exposure=np.array([exposure]), start=start
    )
    return segment.blurred.float() / 255


def _window(clip: Clip, frame: int, region: Region, reach: int) -> tuple[Clip, Region]:
    """The frames from ``frame - reach`` to ``frame + reach`` around a region alone, and the region in them.

    Beyond the frame its edges are repeated; mirrored, as in `synthesise`, there would be a second head.
    """
    left, top = (math.floor(middle - region.side * (0.5 + RIM)) for middle in region[:2])
    along = np.arange(math.ceil(region.side * (1 + 2 * RIM)))
    frames = clip.frames[max(0, frame - reach) : frame + reach + 1]
    rows, columns = (
        np.clip(along + first, 0, length - 1)
        for first, length in zip((top, left), frames.shape[1:3], strict=True)
    )
    part = Clip(clip.name, clip.identity, frames[:, rows[:, None], columns], clip.fps)
    return part, Region(region.x - left, region.y - top, region.side)


def make_crops(face: Face, conditions: Iterable[Condition], seed: int) -> Iterator[Crop]:
    """The crops of a face; of a still, not those of exposures."""
    frame, region = face.frame, face.region
    own = (seed, zlib.crc32(face.clip.name.encode()), frame)
    width = float(np.ptp(face.points[:, 0]))
    sharp = see(face.clip, frame, region, width, Condition("sharp"), np.random.default_rng(own))
    points = (face.points + 0.5 - np.array(region[:2], np.float32)) * (SIDE / region.side) + (SIDE - 1) / 2
    for condition in conditions:
        if condition.exposure and face.clip.is_still:
            continue
        rng = np.random.default_rng((*own, zlib.crc32(condition.name.encode())))
        seen = noisy(see(face.clip, frame, region, width, condition, rng), rng)
        clip = face.clip.name.replace(".", "-")
        name = f"{condition.name}.{clip}.{frame:05d}.{zlib.crc32(seen.tobytes()):08x}"
        yield Crop(
            name,
            condition.name,
            face.identity,
            face.clip.name,
            face.clip.is_still,
            seen,
            sharp,
            points.astype(np.float32),
            face.coefficients,
        )


def write_crops(crops: Iterable[Crop], folder: Path) -> int:
    """Write crops as PNG, and ``manifest.json``, which says what each is; return their number."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for crop in crops:
        path = folder / f"{crop.name}.png"
        path.write_bytes(cv2.imencode(".png", cv2.cvtColor(crop.seen, cv2.COLOR_RGB2BGR))[1].tobytes())
        rows.append(
            {"file": path.name, "condition": crop.condition, "clip": crop.clip, "identity": crop.identity}
        )
    (folder / "manifest.json").write_text(json.dumps(rows, indent=1), encoding="utf-8")
    return len(rows)


def read_meshes_of_crops(crops: Sequence[Crop], folder: Path) -> NDArray[np.float32]:
    """Dense points [N, 470, 2] that were labelled on the crops; NaN where no face was found.

    Raises
    ------
    InputError
        The folder holds labels of other crops: names carry the CRC-32 of the pixels.
    """
    ending = ".mesh.npz"
    present = {path.name.removesuffix(ending) for path in folder.glob(f"*{ending}")}
    foreign = present - {crop.name for crop in crops}
    if foreign or not present:
        what = f"holds labels of other crops ({min(foreign)})" if foreign else "holds no labels"
        raise InputError(f"{folder}: {what}; write the crops again and label them into an empty folder")
    points = np.full((len(crops), SHEET + len(IRISES), 2), np.nan, np.float32)
    for number, crop in enumerate(crops):
        if crop.name in present:
            points[number] = read_mesh(folder / (crop.name + ending))[0][0]
    return points
