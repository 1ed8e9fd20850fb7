"""Blurred faces with their coefficients, cropped anew at every step."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from fvdeblur.datasets import BlurSettings, synthesise
from fvdeblur.datasets.degradation import Degradation, degrade
from fvdeblur.datasets.protocols.convolutions import Gaussian, MotionKernel
from fvdeblur.datasets.protocols.kernels import convolve
from fvdeblur.morphable import Coefficients
from fvdeblur.morphable.mirror import Mirror
from fvdeblur.morphable.squares import Squares
from fvdeblur.training.production import produce
from fvdeblur.training.regression.config import RegressionConfig
from fvdeblur.training.regression.labels import SIDE, LabelledClip

GAUSSIAN_SHARE = 0.3
"""Of the kernels."""

WHOLE = ((SIDE - 1) / 2 + 0.5, (SIDE - 1) / 2 + 0.5, float(SIDE))


class Face(NamedTuple):
    """A blurred face and what is known of it, in a picture of SIDE pixels.

    Attributes
    ----------
    blurred, sharp
        uint8 [3, SIDE, SIDE], R'G'B'.
    coefficients
        float32 [239].
    points
        float32 [P, 2], in units of half the side.
    """

    blurred: Tensor
    sharp: Tensor
    coefficients: Tensor
    points: Tensor


class Faces(NamedTuple):
    """A batch of crops of B faces.

    Attributes
    ----------
    blurred
        float32 [B, 3, S, S], R'G'B' in 0..1.
    sharp
        float32 [N, 3, R, R], the first N faces sharp and in the size that they are rendered in.
    coefficients
        float32 [B, 239], with poses relative to the crops.
    points
        float32 [B, P, 2], in units of half the crop's side.
    """

    blurred: Tensor
    sharp: Tensor
    coefficients: Tensor
    points: Tensor


class FaceMaker(Dataset[Face]):
    """Blurred face number i, made from the seed and i alone; from ``first_blurred`` on, before that sharp ones."""

    def __init__(self, config: RegressionConfig, clips: list[LabelledClip], first_blurred: int) -> None:
        self._config, self._clips, self._first_blurred = config, clips, first_blurred
        frames = np.sqrt([len(clip.frames) for clip in clips])
        self._weights = frames / frames.sum()
        self._degradation = Degradation(config.noise, config.compression_share, config.compression)
        self._motion = MotionKernel(supports=config.kernel_supports)
        self._defocus = Gaussian(
            supports=config.kernel_supports, deviations=(0.5, config.kernel_supports[1] / 6)
        )

    def __getitem__(self, index: int) -> Face:
        rng = np.random.default_rng((self._config.seed, 0, index))
        clip = self._clips[int(rng.choice(len(self._clips), p=self._weights))]
        return self.make(clip, int(rng.integers(len(clip.frames))), rng, index >= self._first_blurred)

    def make(self, labelled: LabelledClip, number: int, rng: np.random.Generator, blur: bool) -> Face:
        """Blur one labelled frame by its own motion and by a kernel, add noise and compress it."""
        config, frame = self._config, int(labelled.frames[number])
        sharp = torch.from_numpy(labelled.clip.frames[frame]).permute(2, 0, 1)
        picture = sharp[None].float() / 255
        if blur and not labelled.clip.is_still:
            settings = BlurSettings(
                size=SIDE, length=1, exposure=config.exposure, noise=0.0, compression_share=0.0
            )
            segment = synthesise(
                labelled.clip,
                settings,
                rng,
                region=WHOLE,
                speed=0.0,
                exposure=np.array([rng.uniform(*config.exposure)]),
                start=(frame, int(rng.choice(config.strides))),
            )
            picture = segment.blurred.float() / 255
        if blur and rng.random() < config.kernel_share:
            protocol = self._defocus if rng.random() < GAUSSIAN_SHARE else self._motion
            picture = convolve(picture**2.2, [protocol.kernel(rng)[0]]).clamp(0, 1) ** (1 / 2.2)
        picture = degrade(picture, rng, self._degradation)
        blurred = (picture[0] * 255).round().to(torch.uint8)
        return Face(blurred, sharp, labelled.coefficients[number], labelled.points[number])


class FacePool:
    """Holds the newest blurred faces and draws batches of crops from them, the same for the same seed and step.

    Parameters
    ----------
    config
        The recipe.
    clips
        The material.
    size
        Side of the crops in pixels.
    first_step
        Step that drawing begins with; the pool is filled as it was at that step.
    mirror
        What mirroring does to the model's faces; None where it cannot be mirrored.
    """

    def __init__(
        self,
        config: RegressionConfig,
        clips: list[LabelledClip],
        size: int,
        first_step: int,
        mirror: Mirror | None = None,
    ) -> None:
        self._config, self._size, self._mirror = config, size, mirror
        self._partners = None if mirror is None else _partners(clips[0].vertices, mirror)
        maker = FaceMaker(config, clips, self._made_before(config.sharp_steps))
        begin = self._made_before(first_step) - config.pool
        self._made = begin
        self._source = produce(maker, range(begin, 2**62), config.workers, ahead=16)
        self._held: dict[int, Face] = {}

    def _made_before(self, step: int) -> int:
        return self._config.pool + step * self._config.batch // self._config.uses

    def batch(self, step: int) -> Faces:
        """The crops of this step (steps must follow each other)."""
        while self._made < self._made_before(step):
            self._held[self._made % self._config.pool] = next(self._source)
            self._made += 1
        rng = np.random.default_rng((self._config.seed, 1, step))
        chosen = [self._held[int(i)] for i in rng.integers(self._config.pool, size=self._config.batch)]
        faces = Face(*(torch.stack(values) for values in zip(*chosen, strict=True)))
        if self._mirror is not None and self._partners is not None:
            turned = torch.from_numpy(rng.random(len(chosen)) < self._config.mirror_share)
            faces = _mirrored(faces, turned, self._mirror.signs, self._partners)
        squares = self._squares(faces.points, rng)
        return crop(faces, squares, self._size, self._config.photometric_size, self._config.photometric_batch)

    def _squares(self, points: Tensor, rng: np.random.Generator) -> Squares:
        config, count = self._config, len(points)
        centre, half, _ = Squares.around(points)
        factor = np.exp(rng.uniform(-1, 1, count) * math.log(config.zoom))
        half = half * torch.from_numpy(factor.astype(np.float32))
        shift = rng.uniform(-config.shift, config.shift, (count, 2)).astype(np.float32)
        roll = np.radians(rng.uniform(-config.roll, config.roll, count)).astype(np.float32)
        return Squares(centre + torch.from_numpy(shift) * half[:, None], half, torch.from_numpy(roll))


def _partners(vertices: Tensor, mirror: Mirror) -> Tensor:
    """Which of the labelled points [P] is each one's partner on the other side."""
    place = {int(vertex): number for number, vertex in enumerate(vertices)}
    return torch.tensor([place[int(partner)] for partner in mirror.vertices[vertices]])


def _mirrored(faces: Face, chosen: Tensor, signs: Tensor, partners: Tensor) -> Face:
    """A batch of faces with the chosen ones (bool [B]) mirrored left to right."""
    flip = torch.tensor([-1.0, 1.0])
    mirrored = Face(
        faces.blurred.flip(3),
        faces.sharp.flip(3),
        faces.coefficients * signs,
        (faces.points * flip)[:, partners],
    )
    both = zip(faces, mirrored, strict=True)
    return Face(*(torch.where(chosen.view(-1, *[1] * (a.ndim - 1)), b, a) for a, b in both))


def crop(faces: Face, squares: Squares, size: int, sharp_size: int, sharp_count: int) -> Faces:
    """Cut square crops out of a batch of pictures, and express coefficients and points in them.

    Parameters
    ----------
    faces
        Stacked: pictures uint8 [B, 3, SIDE, SIDE], coefficients [B, 239], points [B, P, 2].
    squares
        Where the crops lie.
    size
        Side of the crops in pixels.
    sharp_size, sharp_count
        Side in pixels and number of the sharp crops.
    """
    parts = Coefficients.split(faces.coefficients)
    first = Squares(*(value[:sharp_count] for value in squares))
    return Faces(
        squares.cut(faces.blurred.float() / 255, size),
        first.cut(faces.sharp[:sharp_count].float() / 255, sharp_size),
        parts._replace(pose=squares.pose(parts.pose)).vector(),
        squares.points(faces.points),
    )
