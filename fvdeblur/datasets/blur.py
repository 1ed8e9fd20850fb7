"""Blur by motion: sharp frames moved along a smooth path and averaged over an exposure, then noise and compression.

Frames are interpolated in time by optical flow, seen by a camera that shakes (or, of a still, by a head that moves),
and averaged over an exposure that may change from frame to frame. Everything runs on the device of the frames.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from fvdeblur.datasets.clips import Clip
from fvdeblur.datasets.degradation import Degradation, degrade
from fvdeblur.datasets.sway import Sway

GRID_STEP = 8
"""The displacement field is computed on every 8th pixel and interpolated between."""


@dataclass(frozen=True)
class BlurSettings(Degradation):
    """Ranges that a segment's blur, and the noise and compression after it, are drawn from.

    Attributes
    ----------
    size, length
        Side of the square segment in pixels, and its number of frames.
    scale
        Source pixels an output pixel, smallest and largest (limited by the source's own size).
    exposure
        Shortest and longest exposure in frame intervals.
    strides
        Every n-th source frame is a frame of the segment; one of these is drawn (repeat a value to make it likelier).
        The frames between are seen in the blur.
    shake_share
        Share of segments of moving clips with camera shake (stills are always moved).
    speed
        Slowest and fastest root-mean-square speed of the shake, in output pixels a frame interval (log-uniform).
    varying_share
        Share of segments whose exposure changes from frame to frame.
    sharp_share
        In a segment of varying exposure, share of frames with no exposure time at all.
    """

    size: int = 192
    length: int = 12
    scale: tuple[float, float] = (0.9, 2.0)
    exposure: tuple[float, float] = (0.0, 4.4)
    strides: tuple[int, ...] = (1, 2, 2, 3, 3)
    shake_share: float = 0.6
    speed: tuple[float, float] = (0.4, 5.0)
    varying_share: float = 0.5
    sharp_share: float = 0.1
    noise: float = 1.5
    compression_share: float = 0.25


class Segment(NamedTuple):
    """A piece of blurred video with its sharp truth.

    Attributes
    ----------
    blurred, sharp
        uint8 [T, 3, H, W], R'G'B'.
    exposure
        float32 [T], in frame intervals.
    speed
        Root-mean-square speed of the path in output pixels a frame interval.
    region
        Centre x, centre y and side of the region in source pixels.
    first, stride
        Source frame of the first frame, and the step to the next.
    """

    blurred: Tensor
    sharp: Tensor
    exposure: Tensor
    speed: float
    region: tuple[float, float, float]
    first: int
    stride: int


class CameraPath:
    """A smooth random path of translation, rotation and zoom whose speed rises and falls.

    ``speed`` is the root-mean-square speed of the translation in output pixels a frame interval; rotation and zoom
    move points at the segment's edge at a random share of it.
    """

    def __init__(self, rng: np.random.Generator, speed: float, size: int) -> None:
        self._sway = Sway(rng, 4)
        direction = rng.uniform(0, 2 * math.pi)
        spread = rng.uniform(0.15, 1.0)
        axes = np.array(
            [
                math.cos(direction) + spread * abs(math.sin(direction)),
                math.sin(direction) + spread * abs(math.cos(direction)),
                2 / size * rng.uniform(0, 0.4),
                2 / size * rng.uniform(0, 0.25),
            ]
        )
        axes[:2] /= max(1e-6, math.hypot(axes[0], axes[1]))
        self._sway.begin(rng, speed * axes)

    def at(self, time: np.ndarray) -> np.ndarray:
        """Translation x, y (output pixels), rotation (radians) and relative zoom at each time: float [M, 4]."""
        return self._sway.at(time)


def draw_exposures(rng: np.random.Generator, settings: BlurSettings) -> np.ndarray:
    """Exposure of each frame of a segment, in frame intervals: float [T]."""
    low, high = settings.exposure
    if rng.random() >= settings.varying_share:
        return np.full(settings.length, rng.uniform(low, high))
    centre, span = rng.uniform(low, high), rng.uniform(0.2, 1.0) * (high - low)
    if rng.random() < 0.5:
        time = np.arange(settings.length)
        wave = np.sin(2 * math.pi * rng.uniform(0.03, 0.2) * time + rng.uniform(0, 2 * math.pi))
        exposure = centre + span / 2 * wave
    else:
        exposure = centre + rng.uniform(-span / 2, span / 2, settings.length)
    exposure[rng.random(settings.length) < settings.sharp_share] = 0
    return np.clip(exposure, low, high)


def synthesise(
    clip: Clip,
    settings: BlurSettings,
    rng: np.random.Generator,
    *,
    device: str | torch.device = "cpu",
    region: tuple[float, float, float] | None = None,
    speed: float | None = None,
    exposure: np.ndarray | None = None,
    start: tuple[int, int] | None = None,
) -> Segment:
    """Draw one blurred segment from a sharp clip.

    Parameters
    ----------
    clip
        The sharp frames; a still is moved as a whole.
    settings
        Ranges that everything not given below is drawn from.
    rng
        Source of every random number, so that one seed gives one segment.
    device
        Where to compute.
    region
        Centre x, centre y and side in source pixels; drawn when left out.
    speed
        Speed of the camera path (0: none).
    exposure
        float [T] exposures in frame intervals.
    start
        First source frame, and the step to the next; beyond the clip's ends their frames are repeated.
    """
    if exposure is None:
        exposure = draw_exposures(rng, settings)
    margin = math.ceil(max(float(settings.exposure[1]), float(exposure.max())) / 2) + 1
    first, stride = _draw_frames(rng, clip, settings, margin) if start is None else start
    if speed is None:
        shaken = clip.is_still or rng.random() < settings.shake_share
        speed = math.exp(rng.uniform(*np.log(settings.speed))) if shaken else 0.0
    if region is None:
        region = draw_region(rng, clip, settings)
    path = CameraPath(rng, speed, settings.size)
    gamma = 2.2 if rng.random() < 0.5 else 1.0
    interpolate = speed > 0 or stride > 1 or rng.random() < 0.7

    reach = math.ceil(float(exposure.max()) / 2) + 1
    steps = _Steps(clip, first, stride, settings.length, reach)
    source, unit, centre = resampled(steps.frames(device), region, settings.size)
    linear = source**gamma
    camera = _Camera(source.shape[-1], source.shape[-2], unit, centre, settings.size, path, device)

    sharp_times = np.arange(settings.length) + 0.0
    sharp = torch.empty(settings.length, 3, settings.size, settings.size, device=device)
    for k, grid in enumerate(camera.grids(sharp_times, [None] * settings.length)):
        frame = source[steps.nearest(k)[0]]
        sharp[k] = functional.grid_sample(
            frame[None], grid[None], mode="bicubic", padding_mode="reflection", align_corners=True
        )[0]
    sharp.clamp_(0, 1)

    blurred = sharp**gamma
    flow = None if clip.is_still or not interpolate else _Flow(steps, source, device)
    for k in range(settings.length):
        times = _sub_frame_times(k, float(exposure[k]), speed, clip, stride, flow is not None)
        if len(times) > 1:
            blurred[k] = _average(linear, times, steps, camera, flow)
    blurred = blurred.clamp_(0, 1) ** (1 / gamma)
    blurred = degrade(blurred, rng, settings)
    return Segment(
        (blurred * 255).round_().to(torch.uint8),
        (sharp * 255).round_().to(torch.uint8),
        torch.from_numpy(exposure.astype(np.float32)),
        speed,
        region,
        first,
        stride,
    )


def hold(clips: list[Clip], device: str | torch.device) -> bool:
    """Keep the frames of these clips on a device, so that blur is made there without copying them again.

    Returns
    -------
    Whether they fit: they may take half of a GPU's free memory. Otherwise frames are copied as they are needed.
    """
    device = torch.device(device)
    size = sum(clip.frames.nbytes for clip in clips)
    if device.type == "cuda" and size > torch.cuda.mem_get_info(device)[0] // 2:
        return False
    for clip in clips:
        clip.held = torch.from_numpy(np.ascontiguousarray(clip.frames)).to(device)
    return True


def _draw_frames(
    rng: np.random.Generator, clip: Clip, settings: BlurSettings, margin: int
) -> tuple[int, int]:
    """First frame of the segment and the stride between its frames."""
    if clip.is_still:
        return 0, 1
    strides = [s for s in settings.strides if (settings.length + 2 * margin - 1) * s < len(clip.frames)]
    stride = int(rng.choice(strides)) if strides else 1
    last = len(clip.frames) - (settings.length + margin - 1) * stride - 1
    return int(rng.integers(margin * stride, max(margin * stride, last) + 1)), stride


def draw_region(rng: np.random.Generator, clip: Clip, settings: BlurSettings) -> tuple[float, float, float]:
    height, width = clip.frames.shape[1:3]
    largest = min(settings.scale[1], min(height, width) / settings.size)
    scale = math.exp(rng.uniform(math.log(min(settings.scale[0], largest)), math.log(largest)))
    side = scale * settings.size
    x = (
        rng.uniform(min(side, width) / 2, max(side, width) - min(side, width) / 2)
        if side < width
        else width / 2
    )
    y = rng.uniform(side / 2, height - side / 2) if side < height else height / 2
    return float(x), float(y), float(side)


class _Steps:
    """The source frames that a segment is made of, and where in them an instant lies.

    All source frames are used, those that the stride passes over too: they were really seen between the frames of
    the segment, and the flow from one to the next is small.
    """

    def __init__(self, clip: Clip, first: int, stride: int, length: int, reach: int) -> None:
        self.clip, self._stride, self._reach = clip, stride, reach
        count = 1 if clip.is_still else (length - 1 + 2 * reach) * stride + 1
        self._index = np.clip(first - reach * stride + np.arange(count), 0, len(clip.frames) - 1)

    def frames(self, device: str | torch.device) -> Tensor:
        """uint8 [N, H, W, 3] on the device."""
        if self.clip.held is not None:
            return self.clip.held[torch.from_numpy(self._index).to(self.clip.held.device)].to(device)
        return torch.from_numpy(np.ascontiguousarray(self.clip.frames[self._index])).to(device)

    def nearest(self, time: float) -> tuple[int, float]:
        """The frame nearest to an instant (in frame intervals of the segment), and how far past it that is."""
        if self.clip.is_still:
            return 0, 0.0
        place = (time + self._reach) * self._stride
        return round(place), place - round(place)

    def flow(self, base: int, step: int) -> np.ndarray:
        """Flow from frame ``base`` to ``base + step`` in pixels of the source."""
        return self.clip.flow(int(self._index[base]), int(self._index[base + step]))


def resampled(
    key: Tensor, region: tuple[float, float, float], size: int
) -> tuple[Tensor, float, tuple[float, float]]:
    """Key frames as float [N, 3, H, W], reduced to at most 1.25 samples an output pixel, and the region in them."""
    frames = key.permute(0, 3, 1, 2).float() / 255
    factor = min(1.0, 1.25 * size / region[2])
    if factor < 0.95:
        height, width = frames.shape[-2:]
        target = (max(2, round(height * factor)), max(2, round(width * factor)))
        frames = functional.interpolate(frames, target, mode="bilinear", antialias=True, align_corners=False)
        factor = target[1] / width
    else:
        factor = 1.0
    centre = (region[0] * factor - 0.5, region[1] * factor - 0.5)
    return frames, region[2] / size * factor, centre


class _Flow:
    """Optical flow between neighbouring source frames, in pixels of the resampled frames."""

    def __init__(self, steps: _Steps, source: Tensor, device: str | torch.device) -> None:
        self._steps, self._device = steps, device
        self._factor = source.shape[-1] / steps.clip.frames.shape[2]
        self._cache: dict[tuple[int, int], Tensor] = {}

    def __call__(self, base: int, step: int) -> Tensor:
        """Flow from frame ``base`` to ``base + step``: float [2, h, w]."""
        if (base, step) not in self._cache:
            flow = torch.from_numpy(self._steps.flow(base, step)).to(self._device)
            self._cache[base, step] = flow.float() * self._factor
        return self._cache[base, step]


class _Camera:
    """Sampling grids of the moving camera."""

    def __init__(
        self,
        width: int,
        height: int,
        unit: float,
        centre: tuple[float, float],
        size: int,
        path: CameraPath,
        device: str | torch.device,
    ) -> None:
        self._unit, self._centre, self._size, self._path = unit, centre, size, path
        self._extent = torch.tensor([width - 1, height - 1], dtype=torch.float32, device=device)
        nodes = max(2, size // GRID_STEP)
        axis = torch.linspace(-(size - 1) / 2, (size - 1) / 2, nodes, device=device)
        self._points = torch.stack(torch.meshgrid(axis, axis, indexing="xy"), dim=-1)

    def grids(self, times: np.ndarray, flows: list[tuple[Tensor, float] | None]) -> Tensor:
        """Normalised sampling grids (corners aligned), float [M, size, size, 2].

        A flow is a pair of field and factor: the point sampled is moved by factor times the flow there.
        """
        pose = torch.from_numpy(self._path.at(times)).to(self._points)
        cosine, sine, zoom = torch.cos(pose[:, 2]), torch.sin(pose[:, 2]), 1 + pose[:, 3]
        rotation = torch.stack([cosine, -sine, sine, cosine], dim=1).reshape(-1, 2, 2) * zoom[:, None, None]
        points = torch.einsum("mij,yxj->myxi", rotation, self._points) + pose[:, None, None, :2]
        points = points * self._unit + torch.tensor(self._centre, device=points.device)
        for m, flow in enumerate(flows):
            if flow is not None:
                where = (points[m] / self._extent * 2 - 1)[None]
                moved = functional.grid_sample(
                    flow[0][None], where, padding_mode="border", align_corners=True
                )
                points[m] += flow[1] * moved[0].permute(1, 2, 0)
        grid = (points / self._extent * 2 - 1).permute(0, 3, 1, 2)
        size = (self._size, self._size)
        return functional.interpolate(grid, size, mode="bilinear", align_corners=True).permute(0, 2, 3, 1)


def _sub_frame_times(
    k: int, exposure: float, speed: float, clip: Clip, stride: int, interpolated: bool
) -> np.ndarray:
    """Instants that frame ``k``'s exposure is averaged over, in frame intervals from the first frame."""
    if exposure < 0.02:
        return np.array([float(k)])
    if not interpolated and not clip.is_still:
        reach = exposure / 2
        return np.arange(math.ceil(k - reach), math.floor(k + reach) + 1).astype(float)
    travelled = exposure * (1.6 * speed + (0 if clip.is_still else 1.5 * stride))
    count = int(np.clip(math.ceil(travelled), 3, 28))
    return k + exposure * ((np.arange(count) + 0.5) / count - 0.5)


def _average(linear: Tensor, times: np.ndarray, steps: _Steps, camera: _Camera, flow: _Flow | None) -> Tensor:
    """Mean of the frames seen at these times, float [3, size, size], in linear light."""
    keys: dict[int, list[int]] = {}
    flows: list[tuple[Tensor, float] | None] = []
    for m, time in enumerate(times):
        nearest, past = steps.nearest(float(time))
        keys.setdefault(nearest, []).append(m)
        if flow is None or abs(past) < 1e-3:
            flows.append(None)
        else:
            flows.append((flow(nearest, 1 if past > 0 else -1), -abs(past)))
    grids = camera.grids(times, flows)
    size = grids.shape[1]
    total = torch.zeros(3, size, size, device=linear.device)
    for key, members in keys.items():
        grid = grids[members].reshape(1, -1, size, 2)
        seen = functional.grid_sample(linear[key][None], grid, padding_mode="reflection", align_corners=True)
        total += seen.reshape(3, len(members), size, size).sum(dim=1)
    return total / len(times)
