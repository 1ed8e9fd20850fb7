"""Smooth random movement, as of a hand that holds a camera."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

WAVES = 3


class Sway:
    """Several degrees of freedom that swing smoothly at random, and pause together.

    What is drawn comes in two steps, so that a caller can draw in between: first the waves, then `begin`.

    Parameters
    ----------
    rng
        Source of every random number.
    degrees
        Number of degrees of freedom.
    """

    def __init__(self, rng: np.random.Generator, degrees: int) -> None:
        self._shape = (degrees, WAVES)
        self._frequency = 2 * math.pi * rng.uniform(0.04, 0.35, self._shape)
        weight = rng.uniform(0.2, 1.0, self._shape)
        self._weight = weight / np.sqrt((weight**2).sum(axis=1, keepdims=True) / 2)

    def begin(self, rng: np.random.Generator, speeds: NDArray[np.float64]) -> None:
        """Draw where the swings begin; ``speeds`` are the root-mean-square speeds of the degrees, a unit of time."""
        self._amplitude = speeds[:, None] * self._weight / self._frequency
        self._phase = rng.uniform(0, 2 * math.pi, self._shape)
        self._pause_frequency = 2 * math.pi * rng.uniform(0.05, 0.15)
        self._pause_phase = rng.uniform(0, 2 * math.pi)
        self._pause = rng.uniform(0, 1)

    def at(self, times: NDArray[np.float64]) -> NDArray[np.float64]:
        """Place of each degree of freedom at each time: float64 [M, degrees]."""
        # time passes faster and more slowly, which is how a hand pauses
        angle = self._pause_frequency * times + self._pause_phase
        passed = times + self._pause / self._pause_frequency * np.sin(angle)
        angle = self._frequency[None] * passed[:, None, None] + self._phase[None]
        return np.asarray((self._amplitude[None] * np.sin(angle)).sum(axis=2))
