"""What a camera and a codec do to blurred frames: sensor noise, then compression."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from fvdeblur.datasets.codec import draw_encoding, encode_decode


@dataclass(frozen=True)
class Degradation:
    """How much noise and compression.

    Attributes
    ----------
    noise
        Largest standard deviation of the noise at a quarter of full brightness, in units of 1/255 (at black half of
        it, at white one and a half times as much).
    compression_share
        Share of segments that are compressed as single pictures, by a block transform; fast on every device.
    compression
        Finest and coarsest quantiser step of this compression, in units of 1/255.
    codec_share
        Share of segments that real video encoders encode (needs PyAV; on the processor).
    codec_quality
        Finest and coarsest constant rate factor of these encoders.
    """

    noise: float = 0.0
    compression_share: float = 0.0
    compression: tuple[float, float] = (1.0, 8.0)
    codec_share: float = 0.0
    codec_quality: tuple[float, float] = (15.0, 31.0)


def degrade(frames: Tensor, rng: np.random.Generator, settings: Degradation) -> Tensor:
    """Add noise to most segments; encode some, and compress some of the others.

    Parameters
    ----------
    frames
        float [T, 3, H, W], R'G'B' in 0..1.
    rng
        Source of every random number.
    settings
        How much of what.

    Returns
    -------
    float [T, 3, H, W], R'G'B' in 0..1.
    """
    generator = torch.Generator(device=frames.device)
    generator.manual_seed(int(rng.integers(2**62)))
    sigma = rng.uniform(0, settings.noise) / 255 if rng.random() < 0.7 else 0.0
    if sigma > 0:
        colour = torch.randn(frames.shape, generator=generator, device=frames.device)
        grain = torch.randn(frames[:, :1].shape, generator=generator, device=frames.device)
        frames = add_noise(frames, sigma, colour, grain)
    frames = frames.clamp(0, 1)
    chance = rng.random()
    if chance < settings.codec_share:
        pictures = (frames * 255).round().to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()
        pictures = encode_decode(pictures, draw_encoding(rng, settings.codec_quality))
        return torch.from_numpy(pictures).to(frames.device).permute(0, 3, 1, 2).float() / 255
    if chance < settings.codec_share + settings.compression_share:
        offset = rng.integers(0, 8, 2)
        frames = compress(frames, float(rng.uniform(*settings.compression)), int(offset[0]), int(offset[1]))
    return frames.clamp(0, 1)


def add_noise(frames: Tensor, sigma: float, colour: Tensor, grain: Tensor) -> Tensor:
    """Add sensor noise, which grows with the light.

    Parameters
    ----------
    frames
        float [T, 3, H, W], R'G'B' in 0..1.
    sigma
        Standard deviation at a quarter of full brightness: half of it at black, one and a half times at white.
    colour, grain
        Normal random numbers, float [T, 3, H, W] for each colour and [T, 1, H, W] common to the three.

    Returns
    -------
    float [T, 3, H, W], not clipped.
    """
    level = sigma * (0.5 + frames.mean(dim=1, keepdim=True).sqrt())
    return frames + level * (0.6 * colour + 0.8 * grain)


def compress(frames: Tensor, step: float, x: int = 0, y: int = 0) -> Tensor:
    """Block-transform compression as in video codecs: 4:2:0, 8x8 cosine transform, uniform quantiser.

    Parameters
    ----------
    frames
        float [T, 3, H, W], R'G'B' in 0..1.
    step
        Quantiser step of a luma coefficient in units of 1/255 (chroma: 1.5 times as much); high frequencies have a
        dead zone, as encoders use.
    x, y
        Offset of the block grid, 0..7.
    """
    height, width = frames.shape[-2:]
    pad = (x, -(width + x) % 16, y, -(height + y) % 16)
    padded = functional.pad(frames, pad, mode="replicate")
    matrix = torch.tensor(
        [[0.299, 0.587, 0.114], [-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]],
        device=frames.device,
    )
    colour = torch.einsum("ij,tjhw->tihw", matrix, padded)
    luma = _quantise(colour[:, :1], step / 255)
    chroma = _quantise(functional.avg_pool2d(colour[:, 1:], 2), 1.5 * step / 255)
    chroma = functional.interpolate(chroma, scale_factor=2, mode="bilinear", align_corners=False)
    result = torch.einsum("ij,tjhw->tihw", torch.linalg.inv(matrix), torch.cat([luma, chroma], dim=1))
    return result[..., y : y + height, x : x + width]


def _quantise(planes: Tensor, step: float) -> Tensor:
    count, channels, height, width = planes.shape
    n = torch.arange(8, device=planes.device, dtype=torch.float32)
    basis = torch.cos(math.pi / 8 * (n[None] + 0.5) * n[:, None]) * math.sqrt(2 / 8)
    basis[0] /= math.sqrt(2)
    blocks = planes.reshape(count, channels, height // 8, 8, width // 8, 8).permute(0, 1, 2, 4, 3, 5)
    coefficients = basis @ blocks @ basis.T / step
    magnitude = (coefficients.abs() + 0.33).floor()
    magnitude[..., 0, 0] = coefficients[..., 0, 0].abs().round()
    restored = basis.T @ (coefficients.sign() * magnitude * step) @ basis
    return restored.permute(0, 1, 2, 4, 3, 5).reshape(count, channels, height, width)
