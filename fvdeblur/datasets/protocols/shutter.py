"""How long the shutter stays open in each frame, and what is seen through it."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from fvdeblur.datasets.protocols.protocol import Range, Window, generator

MOST_SUB_FRAMES = 48
SAMPLES_AT_ONCE = 1 << 23
"""Pixels that are sampled in one call, which bounds the memory."""

Camera = Callable[[NDArray[np.float64]], Tensor]
"""Homographies [M, 3, 3] from output to source pixels (x, y, 1) at these times, in frame intervals."""


class Shutter:
    """Exposure of each frame of a clip: the same in all, or rising and falling, or different in each.

    Parameters
    ----------
    seed
        Seed of the clip.
    exposure
        Shortest and longest exposure in frame intervals.
    varying_share
        Share of clips whose exposure changes.
    sharp_share
        In these, share of frames with no exposure time at all.
    """

    def __init__(self, seed: int, exposure: Range, varying_share: float, sharp_share: float) -> None:
        rng = generator(seed, "shutter")
        low, high = self._limits = exposure
        self._seed, self._sharp_share = seed, sharp_share
        self._centre = rng.uniform(low, high)
        kind, span = rng.random(), rng.uniform(0.2, 1.0) * (high - low)
        frequency, phase = rng.uniform(0.03, 0.2), rng.uniform(0, 2 * math.pi)
        self._varies = kind < varying_share
        swings = kind < varying_share / 2
        self._swing = span / 2 if swings else 0.0
        self._spread = 0.0 if swings else span / 2
        self._frequency, self._phase = 2 * math.pi * frequency, phase

    def exposure(self, index: int) -> float:
        """Exposure of the frame of this index in frame intervals."""
        if not self._varies:
            return float(self._centre)
        rng = generator(self._seed, "shutter", index + 1)
        if rng.random() < self._sharp_share:
            return 0.0
        value = self._centre + self._swing * math.sin(self._frequency * index + self._phase)
        return float(np.clip(value + rng.uniform(-self._spread, self._spread), *self._limits))

    def drawn(self) -> dict[str, Any]:
        """For the record: one exposure for all frames, or that it varies."""
        return {"exposure": "varying" if self._varies else round(float(self._centre), 4)}


def instants(index: int, exposure: float, travelled: float) -> NDArray[np.float64]:
    """Times in frame intervals that a frame is averaged over, about one for every pixel ``travelled``."""
    if exposure < 0.02:
        return np.array([float(index)])
    count = int(np.clip(math.ceil(1.3 * travelled), 3, MOST_SUB_FRAMES)) | 1
    return index + exposure * ((np.arange(count) + 0.5) / count - 0.5)


def sharp_peak(flow: NDArray[np.float16]) -> float:
    """Speed of the fastest hundredth of the picture, in pixels a frame interval."""
    magnitude = np.hypot(*np.asarray(flow, np.float32))
    return float(np.quantile(magnitude, 0.99)) if magnitude.size else 0.0


class _Sample(NamedTuple):
    """One sub-frame: the frame that it is taken from, and how far along the flow to which neighbour."""

    source: int
    target: int
    factor: float


class SubFrames:
    """Sub-frames of a window: its frames moved in time by the optical flow, and seen by a moving camera.

    Parameters
    ----------
    window
        The frames; where ``moving`` is set, with the neighbours that the exposures reach.
    light
        The same frames as float32 [M, 3, H, W], in the light that is to be averaged.
    moving
        Whether the scene moves while the shutter is open; else each frame stands still.
    camera
        How the camera moves; None: it does not.
    """

    def __init__(self, window: Window, light: Tensor, *, moving: bool, camera: Camera | None = None) -> None:
        self._window, self._light, self._moving, self._camera = window, light, moving, camera
        height, width = light.shape[-2:]
        axes = [torch.arange(size, dtype=torch.float32, device=light.device) for size in (width, height)]
        self._points = torch.stack(torch.meshgrid(*axes, indexing="xy"), dim=-1)
        self._size = torch.tensor([width, height], dtype=torch.float32, device=light.device)
        self._flow: dict[tuple[int, int], Tensor] = {}

    def average(self, index: int, times: NDArray[np.float64]) -> Tensor:
        """Mean of what is seen at these times around frame ``index``: float32 [3, H, W]."""
        height, width = self._light.shape[-2:]
        at_once = max(1, SAMPLES_AT_ONCE // (height * width))
        samples = [self._sample(index, float(time)) for time in times]
        total = torch.zeros_like(self._light[0])
        for source in dict.fromkeys(sample.source for sample in samples):
            members = [m for m, sample in enumerate(samples) if sample.source == source]
            for begin in range(0, len(members), at_once):
                some = members[begin : begin + at_once]
                points = self._seen(times[some], [samples[m] for m in some])
                seen = self._sampled(source, points, "bilinear")
                total += seen.sum(dim=0)
        return total / len(times)

    def still(self, index: int, time: float) -> Tensor:
        """What the camera sees of frame ``index`` as it is: float32 [3, H, W], sampled with a sharper filter."""
        if self._camera is None:
            return self._light[index - self._window.first]
        return self._sampled(index, self._seen(np.array([time]), [_Sample(index, index, 0.0)]), "bicubic")[0]

    def _sample(self, index: int, time: float) -> _Sample:
        if not self._moving:
            return _Sample(index, index, 0.0)
        nearest = round(time)
        past = time - nearest
        if abs(past) < 1e-4:
            return _Sample(nearest, nearest, 0.0)
        return _Sample(nearest, nearest + (1 if past > 0 else -1), abs(past))

    def _seen(self, times: NDArray[np.float64], samples: list[_Sample]) -> Tensor:
        """Where the pixels of each sub-frame lie in its source frame: float32 [M, H, W, 2], in pixels."""
        if self._camera is None:
            points = self._points.expand(len(times), -1, -1, -1).clone()
        else:
            h = self._camera(times)
            x, y = self._points[..., 0], self._points[..., 1]
            a, b, c = (
                h[:, i, 0, None, None] * x + h[:, i, 1, None, None] * y + h[:, i, 2, None, None]
                for i in range(3)
            )
            points = torch.stack([a / c, b / c], dim=-1)
        for m, sample in enumerate(samples):
            if sample.factor:
                flow = self._flow_between(sample.source, sample.target)[None]
                where = self._normalised(points[m : m + 1])
                # a point that has moved on by then is found where it comes from
                moved = functional.grid_sample(flow, where, padding_mode="border", align_corners=False)
                points[m] -= sample.factor * moved[0].permute(1, 2, 0)
        return points

    def _sampled(self, source: int, points: Tensor, mode: str) -> Tensor:
        """A source frame at these points: float32 [M, 3, H, W]."""
        count, height, width = points.shape[:3]
        frame = self._light[source - self._window.first][None]
        grid = self._normalised(points).reshape(1, count * height, width, 2)
        seen = functional.grid_sample(frame, grid, mode=mode, padding_mode="reflection", align_corners=False)
        return seen[0].reshape(3, count, height, width).transpose(0, 1)

    def _normalised(self, points: Tensor) -> Tensor:
        return (2 * points + 1) / self._size - 1

    def _flow_between(self, source: int, target: int) -> Tensor:
        if (source, target) not in self._flow:
            flow = np.asarray(self._window.flow(source, target), np.float32)
            self._flow[source, target] = torch.from_numpy(flow).to(self._light.device)
        return self._flow[source, target]
