"""What a network in training reaches on people that it is not trained on."""

from __future__ import annotations

import dataclasses
import zlib
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from fvdeblur.datasets import BlurSettings, Clip, synthesise
from fvdeblur.networks import central_frame, window_indices
from fvdeblur.training.guides import Guide, as_inputs

SEGMENTS = 2
"""Segments of a clip: one moved by its own motion alone, one by a shaking camera too."""

FRAMES = (3, 6, 9)
"""Frames of a segment that are restored."""

BATCH = 16


def protocols(blur: BlurSettings) -> dict[str, BlurSettings]:
    """Blur that is validated on, by name: exposures of 1 to 4 intervals with sensor noise, then compressed."""
    motion = dataclasses.replace(
        blur,
        exposure=(1.0, 4.0),
        speed=(0.8, 4.0),
        varying_share=1.0,
        sharp_share=0.0,
        noise=1.0,
        compression_share=0.0,
        codec_share=0.0,
    )
    return {
        "motion": motion,
        "motion-compressed": dataclasses.replace(motion, compression_share=1.0, compression=(3.0, 6.0)),
    }


@dataclass
class Validation:
    """Windows with their truth, by protocol.

    Attributes
    ----------
    windows
        uint8 [N, 3 * frames, H, W] a protocol, R'G'B'.
    sharp
        uint8 [N, 3, H, W] a protocol.
    guides
        What the network is told of them a protocol, as `Guide.of` gives it, on the processor.
    """

    windows: dict[str, Tensor]
    sharp: dict[str, Tensor]
    guides: dict[str, dict[str, Tensor]]

    @classmethod
    def make(cls, clips: list[Clip], blur: BlurSettings, guide: Guide) -> Validation:
        """Blur these clips; the same clips and settings always give the same windows."""
        shape = guide.shape
        windows: dict[str, Tensor] = {}
        sharp: dict[str, Tensor] = {}
        guides: dict[str, dict[str, Tensor]] = {}
        chosen = [k for k in FRAMES if k < blur.length] or [blur.length // 2]
        side = blur.size // shape.multiple * shape.multiple
        for name, settings in protocols(blur).items():
            given, truth, told = [], [], []
            for clip in clips:
                height, width = clip.frames.shape[1:3]
                region = (width / 2, height / 2, float(min(height, width, blur.size * 1.25)))
                for number in range(SEGMENTS):
                    rng = np.random.default_rng((number, zlib.crc32(clip.name.encode())))
                    speed = None if number else 0.0
                    shaken = dataclasses.replace(settings, shake_share=1.0)
                    segment = synthesise(clip, shaken, rng, region=region, speed=speed)
                    blurred = segment.blurred[..., :side, :side]
                    numbers = np.array([window_indices(k, blur.length, shape.frames) for k in chosen])
                    given += [blurred[row].flatten(0, 1) for row in numbers]
                    truth += [segment.sharp[k, ..., :side, :side] for k in chosen]
                    told.append(guide.of(blurred, numbers))
            windows[name], sharp[name] = torch.stack(given), torch.stack(truth)
            guides[name] = {key: torch.cat([each[key].cpu() for each in told]) for key in told[0]}
        return cls(windows, sharp, guides)

    @torch.no_grad()
    def measure(self, network: nn.Module, weights: dict[str, Tensor]) -> dict[str, dict[str, float]]:
        """Mean PSNR in dB of the blurred and of the restored windows, and the gain, by protocol."""
        device = next(network.parameters()).device
        figures = {}
        for name, windows in self.windows.items():
            sums = torch.zeros(2, device=device)
            for i in range(0, len(windows), BATCH):
                given = windows[i : i + BATCH].to(device).float() / 255
                truth = self.sharp[name][i : i + BATCH].to(device).float() / 255
                given = given.contiguous(memory_format=torch.channels_last)
                parts = {key: value[i : i + BATCH].to(device) for key, value in self.guides[name].items()}
                guides = as_inputs(parts)
                with torch.autocast(device.type, torch.bfloat16):
                    change = torch.func.functional_call(network, weights, (given,), guides)
                central = central_frame(given)
                sums += torch.stack([decibels(central, truth).sum(), decibels(central + change, truth).sum()])
            blurred, restored = (sums / len(windows)).tolist()
            figures[name] = {
                "blurred_db": round(blurred, 3),
                "restored_db": round(restored, 3),
                "gain_db": round(restored - blurred, 3),
            }
        return figures


def decibels(image: Tensor, sharp: Tensor) -> Tensor:
    """PSNR in dB of each picture [B, 3, H, W] in 0..1, clipped to that range; at most 60."""
    error = (image.float().clamp(0, 1) - sharp).square().mean(dim=(1, 2, 3))
    return -10 * torch.log10(error + 1e-6)
