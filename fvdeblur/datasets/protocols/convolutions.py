"""Protocols that convolve with a kernel: the same blur everywhere in the picture."""

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from fvdeblur.datasets.protocols.kernels import (
    Kernel,
    convolve,
    draw_stroke,
    gaussian_kernel,
    linear_stroke,
    random_stroke,
)
from fvdeblur.datasets.protocols.protocol import (
    Piece,
    Protocol,
    Range,
    Window,
    check_range,
    decode_light,
    encode_light,
    generator,
)
from fvdeblur.errors import UsageError


@dataclass(frozen=True)
class Convolution(Protocol):
    """A kernel a frame.

    Attributes
    ----------
    supports
        Sides of the smallest and the largest kernel in pixels, odd.
    each_frame
        A kernel of its own for every frame; else one for the clip.
    """

    supports: tuple[int, int] = (5, 31)
    each_frame: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range("supports", self.supports, 1, 255)
        if any(not isinstance(side, int) or side % 2 == 0 for side in self.supports):
            raise UsageError(
                f"supports must be odd numbers, so that kernels have a middle, not {self.supports}"
            )

    @abstractmethod
    def kernel(self, rng: np.random.Generator) -> tuple[Kernel, dict[str, Any]]:
        """Draw a kernel, and say what it is."""

    def kernel_at(self, seed: int, index: int) -> tuple[Kernel, dict[str, Any]]:
        """The kernel of frame ``index`` of the clip with this seed, and what it is."""
        return self.kernel(generator(seed, self.name, index + 1 if self.each_frame else 0))

    def blur(self, window: Window) -> Piece:
        kernels, records = [], []
        for index in window.indices:
            kernel, record = self.kernel_at(window.seed, index)
            kernels.append(kernel)
            records.append({"frame": index, **record})
        light = decode_light(window.inner.float() / 255, self.light)
        return Piece(encode_light(convolve(light, kernels), self.light), window.inner, records)

    def _support(self, rng: np.random.Generator) -> int:
        low, high = self.supports
        return low + 2 * int(rng.integers((high - low) // 2 + 1))


@dataclass(frozen=True)
class Gaussian(Convolution):
    """Gaussian kernels (Chrysos & Zafeiriou 2017, section 3.2).

    Attributes
    ----------
    deviations
        Smallest and largest standard deviation in pixels.
    """

    name: ClassVar[str] = "gaussian"
    summary: ClassVar[str] = "Gaussian kernels of random deviation and support (Chrysos 2017, 3.2)"

    supports: tuple[int, int] = (7, 31)
    deviations: Range = (0.8, 4.0)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range("deviations", self.deviations, 0)

    def kernel(self, rng: np.random.Generator) -> tuple[Kernel, dict[str, Any]]:
        deviation, support = float(rng.uniform(*self.deviations)), self._support(rng)
        return gaussian_kernel(deviation, support), {"deviation": round(deviation, 3), "support": support}


@dataclass(frozen=True)
class MotionKernel(Convolution):
    """Kernels of motion: straight, or along a random trajectory (Chrysos & Zafeiriou 2017, section 3.2).

    Attributes
    ----------
    deviations
        Smallest and largest standard deviation of the stroke's profile in pixels.
    linear_share
        Share of straight kernels.
    filling
        Smallest and largest extent of the stroke as a share of the support.
    """

    name: ClassVar[str] = "motion-kernel"
    summary: ClassVar[str] = "kernels of straight motion or random trajectories (Chrysos 2017, 3.2)"

    deviations: Range = (0.4, 1.0)
    linear_share: float = 0.5
    filling: Range = (0.5, 1.0)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range("deviations", self.deviations, 0)
        check_range("filling", self.filling, 0, 1)
        if not 0 <= self.linear_share <= 1:
            raise UsageError(f"linear_share must lie in 0..1, not {self.linear_share}")

    def kernel(self, rng: np.random.Generator) -> tuple[Kernel, dict[str, Any]]:
        support, width = self._support(rng), float(rng.uniform(*self.deviations))
        # room for the stroke's own width, so that the cut at the rim does not move the middle
        extent = max(0.0, (support - 1) / 2 - 2 * width) * float(rng.uniform(*self.filling))
        record = {"support": support, "deviation": round(width, 3)}
        if rng.random() < self.linear_share:
            angle = float(rng.uniform(0, math.pi))
            length = 2 * extent
            kernel = draw_stroke(linear_stroke(length, angle, width), support)
            return kernel, {**record, "length": round(length, 2), "angle": round(math.degrees(angle), 1)}
        return draw_stroke(random_stroke(rng, extent, width), support), {**record, "extent": round(extent, 2)}


@dataclass(frozen=True)
class Jung(MotionKernel):
    """Trajectories in kernels of 13 x 13 to 27 x 27 pixels, as in the test sets that Jung et al. 2022 report on."""

    name: ClassVar[str] = "jung"
    summary: ClassVar[str] = (
        "random trajectories in kernels of 13 to 27 pixels (sets used by Jung et al. 2022)"
    )

    supports: tuple[int, int] = (13, 27)
    deviations: Range = (0.5, 0.5)
    linear_share: float = 0.0
    filling: Range = (0.8, 1.0)


@dataclass(frozen=True)
class Sharp(Protocol):
    """No blur at all: for the modifiers alone, and to show that a method leaves sharp frames as they are."""

    name: ClassVar[str] = "sharp"
    summary: ClassVar[str] = "no blur: for noise, defocus, scaling or compression alone"

    def blur(self, window: Window) -> Piece:
        records: list[dict[str, Any]] = [{"frame": index} for index in window.indices]
        return Piece(window.inner.float() / 255, window.inner, records)
