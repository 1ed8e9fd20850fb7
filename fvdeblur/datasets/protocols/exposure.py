"""Blur by the scene's own motion: sub-frames interpolated by optical flow, averaged while a shutter is open."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import torch

from fvdeblur.datasets.protocols.protocol import (
    Light,
    Piece,
    Protocol,
    Range,
    Window,
    check_range,
    decode_light,
    encode_light,
)
from fvdeblur.datasets.protocols.shutter import Shutter, SubFrames, instants, sharp_peak
from fvdeblur.errors import UsageError


@dataclass(frozen=True)
class Exposed(Protocol):
    """What a shutter needs.

    Attributes
    ----------
    exposure
        Shortest and longest exposure in frame intervals.
    varying_share
        Share of clips whose exposure changes from frame to frame.
    sharp_share
        In these, share of frames with no exposure time at all.
    """

    light: Light = "linear"
    exposure: Range = (0.5, 4.0)
    varying_share: float = 0.5
    sharp_share: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range("exposure", self.exposure, 0, 60)
        for name in ("varying_share", "sharp_share"):
            if not 0 <= getattr(self, name) <= 1:
                raise UsageError(f"{name} must lie in 0..1, not {getattr(self, name)}")

    def shutter(self, seed: int) -> Shutter:
        """The shutter of the clip with this seed."""
        return Shutter(seed, self.exposure, self.varying_share, self.sharp_share)

    def drawn(self, seed: int) -> dict[str, Any]:
        return self.shutter(seed).drawn()


@dataclass(frozen=True)
class Exposure(Exposed):
    """A camera that stands still before a scene that moves."""

    name: ClassVar[str] = "exposure"
    summary: ClassVar[str] = "sub-frames by optical flow, averaged over a random exposure"

    def reach(self, seed: int) -> int:
        return math.ceil(self.exposure[1] / 2)

    def blur(self, window: Window) -> Piece:
        light = decode_light(window.frames.float() / 255, self.light)
        sub_frames = SubFrames(window, light, moving=True)
        shutter = self.shutter(window.seed)
        blurred, records = [], []
        for index in window.indices:
            exposure = shutter.exposure(index)
            neighbours = range(index - window.reach, index + window.reach) if exposure else ()
            speed = max((sharp_peak(window.flow(i, i + 1)) for i in neighbours), default=0.0)
            times = instants(index, exposure, exposure * speed)
            still = len(times) == 1
            blurred.append(sub_frames.still(index, index) if still else sub_frames.average(index, times))
            records.append({"frame": index, "exposure": round(exposure, 4)})
        return Piece(encode_light(torch.stack(blurred), self.light), window.inner, records)
