"""Blur that differs over the picture: two protocols, mixed with smooth weights."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fvdeblur.datasets.protocols.averages import Average5
from fvdeblur.datasets.protocols.convolutions import Gaussian, Jung, MotionKernel, Sharp
from fvdeblur.datasets.protocols.exposure import Exposure
from fvdeblur.datasets.protocols.protocol import (
    Piece,
    Protocol,
    Window,
    decode_light,
    encode_light,
    generator,
)
from fvdeblur.errors import UsageError

COMPONENTS: dict[str, type[Protocol]] = {
    kind.name: kind for kind in (Sharp, Gaussian, MotionKernel, Jung, Average5, Exposure)
}
"""What can be mixed: protocols that leave the picture in its place and every frame in the clip."""

LAYOUTS = ("face", "field")


def face_weights(box: NDArray[np.floating[Any]], height: int, width: int) -> NDArray[np.float32]:
    """1 on the face, 0 far from it, smooth between: float32 [H, W]; the box is x0, y0, x1, y1 in pixels."""
    x0, y0, x1, y1 = (float(value) for value in box)
    x = (np.arange(width) - (x0 + x1) / 2) / max(1.0, (x1 - x0) / 2)
    y = (np.arange(height) - (y0 + y1) / 2) / max(1.0, (y1 - y0) / 2)
    distance = np.hypot(x[None], y[:, None])
    t = np.clip((1.7 - distance) / 0.7, 0, 1)  # all of it inside the ellipse of the box
    return (t * t * (3 - 2 * t)).astype(np.float32)


def field_weights(rng: np.random.Generator, height: int, width: int) -> NDArray[np.float32]:
    """A smooth random pattern between 0 and 1: float32 [H, W]."""
    y, x = np.linspace(-0.5, 0.5, height)[:, None], np.linspace(-0.5, 0.5, width)[None]
    pattern = np.zeros((height, width))
    for _ in range(4):
        direction, waves = rng.uniform(0, 2 * math.pi), rng.uniform(0.3, 1.6)
        along = x * math.cos(direction) + y * math.sin(direction)
        pattern += rng.normal() * np.sin(2 * math.pi * waves * along + rng.uniform(0, 2 * math.pi))
    pattern = (pattern - np.median(pattern)) / max(1e-6, float(pattern.std()))
    return (1 / (1 + np.exp(-2.5 * pattern))).astype(np.float32)


@dataclass(frozen=True)
class Mixed(Protocol):
    """Two protocols with their default settings, one on the face and one around it, or in a smooth random pattern.

    Attributes
    ----------
    components
        Two different ones of these are drawn for the clip.
    layouts
        ``face`` (without a known box the face is taken to fill the middle half of the picture) and ``field``; one of
        these is drawn for the clip.
    """

    name: ClassVar[str] = "mixed"
    summary: ClassVar[str] = "two of the other blurs, on the face and around it or in a smooth pattern"

    components: tuple[str, ...] = ("sharp", "gaussian", "motion-kernel", "exposure")
    layouts: tuple[str, ...] = LAYOUTS

    def __post_init__(self) -> None:
        super().__post_init__()
        if unknown := [name for name in self.components if name not in COMPONENTS]:
            raise UsageError(f"{unknown[0]!r} cannot be mixed; components are {', '.join(COMPONENTS)}")
        if len(set(self.components)) < 2:
            raise UsageError("a mixture needs two different components")
        if not self.layouts or any(name not in LAYOUTS for name in self.layouts):
            raise UsageError(f"layouts are {' and '.join(LAYOUTS)}, not {self.layouts!r}")

    def reach(self, seed: int) -> int:
        return max(part.reach(own) for part, own in self._parts(seed))

    def drawn(self, seed: int) -> dict[str, Any]:
        inside, outside = self._parts(seed)
        parts = [{"protocol": part.name, **part.drawn(own)} for part, own in (inside, outside)]
        return {"layout": self._layout(seed), "parts": parts}

    def blur(self, window: Window) -> Piece:
        pieces = [part.blur(window.narrowed(part.reach(own), own)) for part, own in self._parts(window.seed)]
        first, second = (decode_light(piece.blurred, self.light) for piece in pieces)
        weights = self._weights(window)
        mixed = second + weights * (first - second)
        records: list[dict[str, Any]] = [
            {
                "frame": a["frame"],
                "parts": [{k: v for k, v in part.items() if k != "frame"} for part in (a, b)],
            }
            for a, b in zip(pieces[0].frames, pieces[1].frames, strict=True)
        ]
        return Piece(encode_light(mixed, self.light), window.inner, records)

    def _parts(self, seed: int) -> list[tuple[Protocol, int]]:
        """The two protocols, each with a seed of its own."""
        rng = generator(seed, self.name)
        names = rng.choice(sorted(set(self.components)), 2, replace=False)
        return [
            (replace(COMPONENTS[str(name)](), light=self.light), int(rng.integers(2**31))) for name in names
        ]

    def _layout(self, seed: int) -> str:
        return str(generator(seed, self.name, "layout").choice(self.layouts))

    def _weights(self, window: Window) -> Tensor:
        """Share of the first protocol: float32 [N or 1, 1, H, W]."""
        height, width = window.frames.shape[-2:]
        if self._layout(window.seed) == "field":
            fields = [field_weights(generator(window.seed, self.name, "field"), height, width)]
        else:
            middle = np.array([width / 4, height / 4, 3 * width / 4, 3 * height / 4])
            boxes = [window.boxes(index) for index in window.indices]
            fields = [face_weights(middle if box is None else box, height, width) for box in boxes]
        return torch.from_numpy(np.stack(fields)).to(window.frames.device)[:, None]
