"""A pool of blurred segments that patches are drawn from, the same for the same seed and step."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from fvdeblur.datasets import Clip, Segment, synthesise
from fvdeblur.networks import window_indices
from fvdeblur.training.config import TrainConfig

CANDIDATES = 3
"""Patches looked at for each one taken; the more blurred ones are likelier."""

MOST_BLURRED = 10.0
"""Root-mean-square difference (of 255) from which on a patch is no likelier: there is little to learn from it."""


class Segments(Dataset[Segment]):
    """Segment number i, made from the seed and i alone."""

    def __init__(self, config: TrainConfig, clips: list[Clip], stills: list[Clip], device: str) -> None:
        self._config, self._clips, self._stills, self._device = config, clips, stills, device
        frames = np.array([np.sqrt(len(clip.frames)) for clip in clips])
        self._weights = frames / frames.sum() if len(clips) else frames

    def __getitem__(self, index: int) -> Segment:
        rng = np.random.default_rng((self._config.seed, 0, index))
        if self._stills and (not self._clips or rng.random() < self._config.stills_share):
            clip = self._stills[int(rng.integers(len(self._stills)))]
        else:
            clip = self._clips[int(rng.choice(len(self._clips), p=self._weights))]
        return synthesise(clip, self._config.blur, rng, device=self._device)


def _start_worker(_: int) -> None:
    torch.set_num_threads(1)
    cv2.setNumThreads(1)


class Pool:
    """Holds the newest segments and draws batches of windows from them.

    Parameters
    ----------
    first_step
        Step that drawing begins with; the pool is filled as it was at that step.
    """

    def __init__(self, segments: Segments, config: TrainConfig, frames: int, first_step: int) -> None:
        self._config, self._frames = config, frames
        begin = self._made_before(first_step) - config.pool
        self._made = begin
        self._held: deque[Segment] = deque(maxlen=config.pool)
        self._source = self._produce(segments, begin)

    def _made_before(self, step: int) -> int:
        return self._config.pool + step * self._config.batch // self._config.patches_per_segment

    def _produce(self, segments: Segments, begin: int) -> Iterator[Segment]:
        if self._config.workers == 0:
            index = begin
            while True:
                yield segments[index]
                index += 1
        options: dict[str, Any] = {
            "batch_size": None,
            "sampler": range(begin, begin + 10**9),
            "num_workers": self._config.workers,
            "prefetch_factor": 4,
            "worker_init_fn": _start_worker,
            "multiprocessing_context": "fork",
        }
        yield from DataLoader(segments, **options)

    def batch(self, step: int) -> tuple[Tensor, Tensor]:
        """Windows and their sharp central frames for this step (steps must follow each other).

        Returns
        -------
        windows
            float32 [B, 3 * frames, P, P], R'G'B' in 0..1.
        sharp
            float32 [B, 3, P, P].
        """
        while self._made < self._made_before(step):
            self._held.append(next(self._source))
            self._made += 1
        rng = np.random.default_rng((self._config.seed, 1, step))
        drawn = [self._draw(rng) for _ in range(self._config.batch)]
        windows = torch.stack([window for window, _ in drawn]).float().div_(255)
        sharp = torch.stack([truth for _, truth in drawn]).float().div_(255)
        return windows.flatten(1, 2), sharp

    def _draw(self, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        patch = self._config.patch
        places, weights = [], []
        for _ in range(CANDIDATES):
            segment = self._held[int(rng.integers(len(self._held)))]
            length, _, height, width = segment.sharp.shape
            k, y, x = (
                int(rng.integers(length)),
                int(rng.integers(height - patch + 1)),
                int(rng.integers(width - patch + 1)),
            )
            at = (k, slice(None), slice(y, y + patch), slice(x, x + patch))
            difference = (segment.blurred[at].float() - segment.sharp[at].float()).square().mean().sqrt()
            places.append((segment, at))
            weights.append(difference.clamp(max=MOST_BLURRED) + 2.0)
        chances = torch.stack(weights).cpu().numpy().astype(np.float64)
        segment, (k, _, rows, columns) = places[int(rng.choice(CANDIDATES, p=chances / chances.sum()))]
        index = window_indices(k, len(segment.sharp), self._frames)
        if rng.random() < 0.5:
            index = index[::-1]
        window = segment.blurred[index][:, :, rows, columns]
        truth = segment.sharp[k][:, rows, columns]
        if rng.random() < 0.5:
            window, truth = window.flip(-1), truth.flip(-1)
        return window, truth
