"""What may follow the blur: defocus, loss of resolution, sensor noise, compression."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from fvdeblur.datasets.codec import Encoding, draw_encoding, encode_decode
from fvdeblur.datasets.degradation import add_noise, compress
from fvdeblur.datasets.protocols.kernels import convolve, disc_kernel
from fvdeblur.datasets.protocols.protocol import (
    Light,
    Range,
    check_range,
    decode_light,
    encode_light,
    generator,
)

NONE: Range = (0.0, 0.0)


@dataclass(frozen=True)
class Modifiers:
    """What follows the blur, in this order; each value is drawn once for the clip.

    Attributes
    ----------
    defocus
        Smallest and largest radius of the disc in pixels; 0: none.
    scale
        Smallest and largest factor that the picture is reduced by and enlarged again; 1: none.
    noise
        Smallest and largest standard deviation of the sensor noise at a quarter of full brightness, in units of
        1/255 (half as much at black, one and a half times at white); 0: none.
    compression
        Finest and coarsest quantiser step of the block transform, in units of 1/255; 0: none.
    codec
        Finest and coarsest constant rate factor of a real video encoder (H.264, HEVC or MPEG-4, on the processor),
        which encodes groups of `GROUP` frames; None: no encoder.
    """

    defocus: Range = NONE
    scale: Range = (1.0, 1.0)
    noise: Range = NONE
    compression: Range = NONE
    codec: Range | None = None

    def __post_init__(self) -> None:
        check_range("defocus", self.defocus, 0, 100)
        check_range("scale", self.scale, 1, 32)
        check_range("noise", self.noise, 0, 255)
        check_range("compression", self.compression, 0, 255)
        if self.codec is not None:
            check_range("codec", self.codec, 0, 51)

    def draw(self, seed: int) -> Modification:
        """Draw what is done to the clip with this seed."""
        rng = generator(seed, "modifiers")
        radius, factor, sigma, step = (
            float(rng.uniform(*pair)) for pair in (self.defocus, self.scale, self.noise, self.compression)
        )
        offset = rng.integers(0, 8, 2)
        encoding = None if self.codec is None else draw_encoding(rng, self.codec)
        return Modification(seed, radius, factor, sigma, step, (int(offset[0]), int(offset[1])), encoding)


@dataclass(frozen=True)
class Modification:
    """What is done to one clip; its values are those of `Modifiers`, drawn."""

    seed: int
    defocus: float
    scale: float
    noise: float
    compression: float
    blocks: tuple[int, int]
    encoding: Encoding | None

    def record(self) -> dict[str, Any]:
        """What is done, in words and numbers; what is not done is left out."""
        record: dict[str, Any] = {}
        if self.defocus > 0:
            record["defocus_radius"] = round(self.defocus, 4)
        if self.scale > 1:
            record["scale"] = round(self.scale, 4)
        if self.noise > 0:
            record["noise"] = round(self.noise, 4)
        if self.compression > 0:
            record |= {"compression_step": round(self.compression, 4), "block_offset": list(self.blocks)}
        if self.encoding is not None:
            record["encoding"] = asdict(self.encoding)
        return record

    def modified(self, frames: Tensor, indices: list[int], light: Light) -> Tensor:
        """Defocus, reduce, make noisy and compress frames of these indices.

        Parameters
        ----------
        frames
            float32 [N, 3, H, W], R'G'B' in 0..1.
        indices
            Of the frames in the clip.
        light
            The light that defocus averages.

        Returns
        -------
        uint8 [N, 3, H, W], R'G'B'.
        """
        if self.defocus > 0:
            blurred = convolve(decode_light(frames, light), [disc_kernel(self.defocus)])
            frames = encode_light(blurred, light)
        if self.scale > 1:
            frames = _reduced(frames, self.scale)
        if self.noise > 0:
            frames = self._noisy(frames, indices)
        if self.compression > 0:
            frames = compress(frames.clamp(0, 1), self.compression, *self.blocks)
        return (frames.clamp(0, 1) * 255).round().to(torch.uint8)

    def encoded(self, frames: Tensor) -> Tensor:
        """Encode and decode uint8 [N, 3, H, W]; as they are where no encoder was asked for."""
        if self.encoding is None:
            return frames
        pictures = np.ascontiguousarray(frames.permute(0, 2, 3, 1).cpu().numpy())
        decoded = encode_decode(pictures, self.encoding)
        return torch.from_numpy(decoded).to(frames.device).permute(0, 3, 1, 2).contiguous()

    def _noisy(self, frames: Tensor, indices: list[int]) -> Tensor:
        shape = (4, *frames.shape[-2:])
        drawn = [generator(self.seed, "noise", index).standard_normal(shape, np.float32) for index in indices]
        noise = torch.from_numpy(np.stack(drawn)).to(frames.device)
        return add_noise(frames, self.noise / 255, noise[:, :3], noise[:, 3:])


def _reduced(frames: Tensor, factor: float) -> Tensor:
    height, width = frames.shape[-2:]
    size = (max(1, round(height / factor)), max(1, round(width / factor)))
    small = functional.interpolate(frames, size, mode="bilinear", antialias=True, align_corners=False)
    return functional.interpolate(small, (height, width), mode="bicubic", align_corners=False)
