"""Averages of consecutive frames, the middle one being the sharp truth."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from fvdeblur.datasets.protocols.protocol import (
    Light,
    Piece,
    Protocol,
    Window,
    decode_light,
    encode_light,
    generator,
)
from fvdeblur.errors import UsageError


def average(frames: Tensor, count: int, light: Light) -> Tensor:
    """Mean of every ``count`` consecutive frames.

    Parameters
    ----------
    frames
        uint8 [N + count - 1, 3, H, W], R'G'B'.
    count
        How many, an odd number.
    light
        What is averaged.

    Returns
    -------
    float32 [N, 3, H, W], R'G'B' in 0..1.
    """
    linear = decode_light(frames.float() / 255, light)
    number = len(frames) - count + 1
    total = linear[:number].clone()
    for k in range(1, count):
        total += linear[k : k + number]
    return encode_light(total / count, light)


@dataclass(frozen=True)
class Average5(Protocol):
    """Ren et al. 2019, section 4.2."""

    name: ClassVar[str] = "average-5"
    summary: ClassVar[str] = "mean of 5 consecutive frames (Ren et al. 2019, 4.2)"

    def reach(self, seed: int) -> int:
        return 2

    def blur(self, window: Window) -> Piece:
        records: list[dict[str, Any]] = [{"frame": index} for index in window.indices]
        return Piece(average(window.frames, 5, self.light), window.inner, records)


@dataclass(frozen=True)
class Average7To11(Protocol):
    """Chrysos & Zafeiriou 2017, section 5.3: one number of frames a clip, and two rules.

    The paper draws the number of frames for each video and takes the middle one as the truth, so it is odd here.
    It leaves out frames without movement, by the optical flow of each two of them, and those that became too noisy,
    by the PSNR of the mean against the middle frame; it does not give the limits.

    Attributes
    ----------
    counts
        Numbers of frames, odd; one is drawn for the clip.
    least_movement
        Between each two of the frames something must move by this many pixels; 0: no rule.
    least_psnr
        Least PSNR of the mean against the middle frame in dB; 0: no rule.
    """

    name: ClassVar[str] = "average-7-11"
    summary: ClassVar[str] = "mean of 7, 9 or 11 frames; still or too noisy ones left out (Chrysos 2017, 5.3)"

    counts: tuple[int, ...] = (7, 9, 11)
    least_movement: float = 1.0
    least_psnr: float = 20.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.counts or any(not isinstance(n, int) or n < 1 or n % 2 == 0 for n in self.counts):
            raise UsageError(
                f"counts must be odd numbers of frames, so that there is a middle one, not {self.counts}"
            )

    def reach(self, seed: int) -> int:
        return int(generator(seed, self.name).choice(self.counts)) // 2

    def drawn(self, seed: int) -> dict[str, Any]:
        return {"frames_averaged": 2 * self.reach(seed) + 1}

    def blur(self, window: Window) -> Piece:
        count = 2 * window.reach + 1
        blurred = average(window.frames, count, self.light)
        records: list[dict[str, Any]] = []
        for index, psnr in zip(window.indices, _quality(blurred, window.inner), strict=True):
            record: dict[str, Any] = {"frame": index, "psnr": round(psnr, 2)}
            if self.least_movement > 0:
                pairs = range(index - window.reach, index + window.reach)
                movement = min((self._movement(window, i) for i in pairs), default=0.0)
                record["movement"] = round(movement, 2)
                if movement < self.least_movement:
                    record["rejected"] = f"no movement ({movement:.2f} of {self.least_movement:g} px)"
            if "rejected" not in record and psnr < self.least_psnr:
                record["rejected"] = f"too noisy ({psnr:.1f} of {self.least_psnr:g} dB)"
            records.append(record)
        return Piece(blurred, window.inner, records)

    def _movement(self, window: Window, index: int) -> float:
        """Largest movement from a frame to the next in pixels."""
        flow = np.asarray(window.flow(index, index + 1), np.float32)
        return float(np.hypot(flow[0], flow[1]).max())


def _quality(blurred: Tensor, sharp: Tensor) -> list[float]:
    """PSNR of each blurred frame in dB, at most 99."""
    difference = (torch.round(blurred * 255) - sharp.float()).square().mean(dim=(1, 2, 3))
    return [min(99.0, 10 * math.log10(255**2 / max(error, 1e-9))) for error in difference.tolist()]
