"""Segments for training that are blurred by a named protocol instead of by the trainer's own blur."""

from __future__ import annotations

import numpy as np
import torch

from fvdeblur.datasets import protocols
from fvdeblur.datasets.blur import BlurSettings, Segment, draw_region, resampled
from fvdeblur.datasets.clips import Clip
from fvdeblur.datasets.degradation import degrade
from fvdeblur.errors import InputError

ATTEMPTS = 3
"""Draws of frames until one has a whole segment that the protocol's rules do not reject."""


def protocol_segment(
    name: str,
    clip: Clip,
    settings: BlurSettings,
    rng: np.random.Generator,
    *,
    device: str | torch.device = "cpu",
) -> Segment | None:
    """Draw one segment from a sharp clip and blur it by a protocol, then add noise and compression.

    Parameters
    ----------
    name
        One of ``fvdeblur.datasets.protocols.PROTOCOLS``, with its default settings.
    clip
        The sharp frames; a still is repeated.
    settings
        Size, length, scale, strides, noise and compression are drawn from these.
    rng
        Source of every random number.
    device
        Where to compute.

    Returns
    -------
    The segment, its exposure and speed zero; None where the protocol finds no whole segment in the clip.
    """
    seed = int(rng.integers(2**31))
    needed = settings.length + 2 * protocols.create(name).reach(seed)
    for _ in range(ATTEMPTS):
        strides = [s for s in settings.strides if needed * s <= len(clip.frames)]
        if not strides and not clip.is_still:
            return None
        stride = int(rng.choice(strides)) if strides else 1
        span = 0 if clip.is_still else (needed - 1) * stride
        first = int(rng.integers(len(clip.frames) - span))
        region = draw_region(rng, clip, settings)
        sharp = _cut(
            clip, np.minimum(first + stride * np.arange(needed), len(clip.frames) - 1), region, settings
        )
        try:
            result = protocols.apply(name, sharp.to(device), seed)
        except InputError:  # all frames were rejected
            continue
        start = _run(result.frames, settings.length)
        if start is None:
            continue
        kept = slice(start, start + settings.length)
        blurred = degrade(result.blurred[kept].float() / 255, rng, settings)
        return Segment(
            (blurred * 255).round_().to(torch.uint8),
            result.sharp[kept],
            torch.zeros(settings.length),
            0.0,
            region,
            first,
            stride,
        )
    return None


def _cut(
    clip: Clip, index: np.ndarray, region: tuple[float, float, float], settings: BlurSettings
) -> torch.Tensor:
    """The region of these frames at the segment's size, uint8 [T, 3, size, size]."""
    unique, back = np.unique(index, return_inverse=True)
    frames = torch.from_numpy(np.ascontiguousarray(clip.frames[unique]))
    source, unit, centre = resampled(frames, region, settings.size)
    reach = (settings.size - 1) / 2 * unit
    extent = torch.tensor([source.shape[-1] - 1, source.shape[-2] - 1], dtype=torch.float32)
    axis = torch.linspace(-reach, reach, settings.size)
    points = torch.stack(torch.meshgrid(axis + centre[0], axis + centre[1], indexing="xy"), dim=-1)
    grid = (points / extent * 2 - 1)[None].expand(len(source), -1, -1, -1)
    pictures = torch.nn.functional.grid_sample(
        source, grid, mode="bicubic", padding_mode="reflection", align_corners=True
    )
    return (pictures.clamp(0, 1) * 255).round().to(torch.uint8)[torch.from_numpy(back)]


def _run(frames: list[int], length: int) -> int | None:
    """Where the first ``length`` consecutive frames begin."""
    for start in range(len(frames) - length + 1):
        if frames[start + length - 1] - frames[start] == length - 1:
            return start
    return None
