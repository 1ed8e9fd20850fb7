"""A pool of blurred segments that patches are drawn from, the same for the same seed and step."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset

from fvdeblur.datasets import Clip, Segment, synthesise
from fvdeblur.networks import window_indices
from fvdeblur.training.config import TrainConfig

CANDIDATES = 3
"""Patches looked at for each one taken; the more blurred ones are likelier."""

LEAST_CHANCE = 3.0
"""Added to this difference, so that patches without blur are seen too."""

MOST_BLURRED = 10.0
"""Root-mean-square difference (of 255) from which on a patch is no likelier: there is little to learn from it."""

CELL = 8
"""Differences are kept for cells of 8x8 pixels, so that looking at a candidate costs nothing on any device."""


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
    """Holds the newest segments on their device and draws batches of windows from them.

    Parameters
    ----------
    segments
        Source of the segments.
    config
        The recipe; its batch, pool and patches a segment are those of one process.
    frames
        Frames of a window.
    first_step
        Step that drawing begins with; the pool is filled as it was at that step.
    rank, world
        Of several processes, the number of this one and how many there are: segment i of a process is segment
        i * world + rank of all.
    """

    def __init__(
        self,
        segments: Segments,
        config: TrainConfig,
        frames: int,
        first_step: int,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        self._config, self._rank = config, rank
        begin = self._made_before(first_step) - config.pool
        self._made = begin
        self._source = self._produce(segments, range(begin * world + rank, 2**62, world))
        self._blurred: Tensor | None = None
        self._sharp: Tensor | None = None
        self._difference: NDArray[np.float32] = np.empty(0, np.float32)
        length = config.blur.length
        self._windows = np.array([window_indices(k, length, frames) for k in range(length)])

    def _made_before(self, step: int) -> int:
        return self._config.pool + step * self._config.batch // self._config.patches_per_segment

    def _produce(self, segments: Segments, numbers: range) -> Iterator[Segment]:
        if self._config.workers == 0:
            for number in numbers:
                yield segments[number]
        options: dict[str, Any] = {
            "batch_size": None,
            "sampler": numbers,
            "num_workers": self._config.workers,
            "prefetch_factor": 4,
            "worker_init_fn": _start_worker,
            "multiprocessing_context": "fork",
        }
        yield from DataLoader(segments, **options)

    def _put(self, segment: Segment) -> None:
        """Keep a segment in the place of the oldest one."""
        if self._blurred is None or self._sharp is None:
            size = (self._config.pool, *segment.sharp.shape)
            self._blurred = torch.empty(size, dtype=torch.uint8, device=segment.sharp.device)
            self._sharp = torch.empty_like(self._blurred)
            length, _, height, width = segment.sharp.shape
            cells = (self._config.pool, length, height // CELL + 1, width // CELL + 1)
            self._difference = np.zeros(cells, np.float32)
        place = self._made % self._config.pool
        self._blurred[place], self._sharp[place] = segment.blurred, segment.sharp
        square = (segment.blurred.float() - segment.sharp.float()).square().mean(dim=1, keepdim=True)
        table = functional.avg_pool2d(square, CELL)[:, 0].cumsum(1).cumsum(2)  # summed-area table
        self._difference[place, :, 1:, 1:] = table.cpu().numpy()
        self._made += 1

    def batch(self, step: int) -> tuple[Tensor, Tensor]:
        """Windows and their sharp central frames for this step (steps must follow each other).

        Returns
        -------
        windows
            float32 [B, 3 * frames, P, P], R'G'B' in 0..1, on the segments' device.
        sharp
            float32 [B, 3, P, P].
        """
        while self._made < self._made_before(step):
            self._put(next(self._source))
        assert self._blurred is not None
        assert self._sharp is not None
        rng = np.random.default_rng((self._config.seed, 1, step, self._rank))
        segment, k, y, x = self._draw(rng)
        reverse, mirror = rng.random((2, len(segment))) < 0.5
        frames = np.where(reverse[:, None], self._windows[k][:, ::-1], self._windows[k])
        patch = np.arange(self._config.patch)
        columns = x[:, None] + np.where(mirror[:, None], patch[::-1], patch)
        rows = y[:, None] + patch
        windows = _gather(self._blurred, segment, frames, rows, columns)
        sharp = _gather(self._sharp, segment, k[:, None], rows, columns)
        return windows.flatten(1, 2).float().div_(255), sharp[:, 0].float().div_(255)

    def _draw(self, rng: np.random.Generator) -> NDArray[np.int64]:
        """Segment, frame, top and left of each patch: [4, B]."""
        assert self._sharp is not None
        patch, batch = self._config.patch, self._config.batch
        height, width = self._sharp.shape[-2:]
        limits = (self._config.pool, self._sharp.shape[1], height - patch + 1, width - patch + 1)
        places = np.stack([rng.integers(limit, size=(batch, CANDIDATES)) for limit in limits])
        chances = np.minimum(self._blur_of(*places), MOST_BLURRED) + LEAST_CHANCE
        shares = chances.cumsum(axis=1) / chances.sum(axis=1, keepdims=True)
        taken = (rng.random((batch, 1)) >= shares[:, :-1]).sum(axis=1)
        return places[:, np.arange(batch), taken]

    def _blur_of(
        self, segment: NDArray[np.int64], k: NDArray[np.int64], y: NDArray[np.int64], x: NDArray[np.int64]
    ) -> NDArray[np.float32]:
        """Root-mean-square difference from the truth (of 255) of patches, to whole cells."""
        cells = max(1, self._config.patch // CELL)
        top = np.minimum(np.round(y / CELL).astype(int), self._difference.shape[2] - 1 - cells)
        left = np.minimum(np.round(x / CELL).astype(int), self._difference.shape[3] - 1 - cells)
        table = self._difference
        total = (
            table[segment, k, top + cells, left + cells]
            - table[segment, k, top, left + cells]
            - table[segment, k, top + cells, left]
            + table[segment, k, top, left]
        )
        return np.sqrt(np.maximum(total, 0) / cells**2)


def _gather(
    pixels: Tensor,
    segment: NDArray[np.int64],
    frames: NDArray[np.int64],
    rows: NDArray[np.int64],
    columns: NDArray[np.int64],
) -> Tensor:
    """Patches [B, F, 3, P, P] of pixels [N, T, 3, H, W] at segment [B], frames [B, F], rows and columns [B, P]."""

    def index(values: NDArray[np.int64], *shape: int) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(values)).to(pixels.device).reshape(len(values), *shape)

    count, side = frames.shape[1], rows.shape[1]
    return pixels[
        index(segment, 1, 1, 1, 1),
        index(frames, count, 1, 1, 1),
        torch.arange(3, device=pixels.device).reshape(1, 1, 3, 1, 1),
        index(rows, 1, 1, side, 1),
        index(columns, 1, 1, 1, side),
    ]
