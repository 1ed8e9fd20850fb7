"""What every blur protocol has in common: its settings, the frames it is given, the light it works in."""

from __future__ import annotations

import math
import zlib
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from fvdeblur.datasets.flow import FlowSource
from fvdeblur.errors import UsageError

GAMMA = 2.2
"""Exponent between R'G'B' and linear light, the trainer's as well."""

Light = Literal["linear", "gamma"]
"""What is averaged: linear light, as in a camera, or gamma-encoded R'G'B', as in most papers."""

Range = tuple[float, float]
"""Smallest and largest value; one is drawn between them."""

BoxSource = Callable[[int], "NDArray[np.floating[Any]] | None"]
"""Box of the face, x0, y0, x1, y1 in pixels, of the frame of this index; None where there is none."""


def decode_light(frames: Tensor, light: Light) -> Tensor:
    """R'G'B' in 0..1 as the light that is averaged."""
    return frames**GAMMA if light == "linear" else frames


def encode_light(frames: Tensor, light: Light) -> Tensor:
    """The inverse of `decode_light`, clipped to 0..1."""
    frames = frames.clamp(0, 1)
    return frames ** (1 / GAMMA) if light == "linear" else frames


def generator(seed: int, *keys: int | str) -> np.random.Generator:
    """Random numbers that depend on a seed and on what they are for, not on the order in which they are drawn."""
    return np.random.default_rng([seed, *(zlib.crc32(k.encode()) if isinstance(k, str) else k for k in keys)])


def check_range(name: str, values: Range, least: float, most: float = math.inf) -> None:
    """Demand two numbers in rising order within these limits.

    Raises
    ------
    UsageError
        They are not.
    """
    numbers = (
        isinstance(values, tuple) and len(values) == 2 and all(isinstance(v, int | float) for v in values)
    )
    if not numbers or not least <= values[0] <= values[1] <= most:
        limits = f"from {least:g} on" if math.isinf(most) else f"between {least:g} and {most:g}"
        raise UsageError(f"{name} must be two numbers, the smaller first, {limits}, not {values!r}")


@dataclass(frozen=True)
class Window:
    """Consecutive frames of a clip that a protocol is given at once.

    Attributes
    ----------
    frames
        uint8 [N + 2 * reach, 3, H, W], R'G'B'; the first and last ``reach`` frames are there as neighbours only.
    first
        Index of ``frames[0]`` in the clip.
    reach
        Number of neighbours on either side.
    seed
        Seed of the clip.
    flow
        Flow between neighbouring frames, by their indices in the clip.
    boxes
        Face of a frame, by its index in the clip.
    """

    frames: Tensor
    first: int
    reach: int
    seed: int
    flow: FlowSource
    boxes: BoxSource

    @property
    def inner(self) -> Tensor:
        """The frames to blur, uint8 [N, 3, H, W]."""
        return self.frames[self.reach : len(self.frames) - self.reach]

    @property
    def indices(self) -> range:
        """Their indices in the clip."""
        return range(self.first + self.reach, self.first + len(self.frames) - self.reach)

    def narrowed(self, reach: int, seed: int) -> Window:
        """The same frames to blur with fewer neighbours, and with another seed."""
        margin = self.reach - reach
        frames = self.frames[margin : len(self.frames) - margin]
        return replace(self, frames=frames, first=self.first + margin, reach=reach, seed=seed)


class Piece(NamedTuple):
    """A window, blurred.

    Attributes
    ----------
    blurred
        float32 [N, 3, H, W], R'G'B' in 0..1.
    sharp
        uint8 [N, 3, H, W], R'G'B': what each blurred frame would be without blur.
    frames
        What was done to each frame; under ``rejected`` the reason why it must not be used.
    """

    blurred: Tensor
    sharp: Tensor
    frames: list[dict[str, Any]]


@dataclass(frozen=True)
class Protocol(ABC):
    """A way to blur, with its settings; a pure function of frames and seed.

    Attributes
    ----------
    light
        ``linear`` or ``gamma``: what is averaged.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    moves_picture: ClassVar[bool] = False
    """Whether the sharp frames are moved too, so that they are not the clip's own."""

    light: Light = "gamma"

    def __post_init__(self) -> None:
        if self.light not in ("linear", "gamma"):
            raise UsageError(f"light must be linear or gamma, not {self.light!r}")

    def reach(self, seed: int) -> int:
        """Neighbours that are needed on either side of a frame; as many at the clip's ends are not blurred."""
        return 0

    def drawn(self, seed: int) -> dict[str, Any]:
        """What is drawn once for the clip, for the record."""
        return {}

    @abstractmethod
    def blur(self, window: Window) -> Piece:
        """Blur the inner frames of a window."""
