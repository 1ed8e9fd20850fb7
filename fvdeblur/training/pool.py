"""A pool of blurred segments that patches are drawn from, the same for the same seed and step."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional
from torch.utils.data import Dataset

from fvdeblur.datasets import Clip, Segment, synthesise
from fvdeblur.datasets.protocol_segments import protocol_segment
from fvdeblur.flow import FLOW_STEP
from fvdeblur.networks import window_table
from fvdeblur.training.colours import colour, draw_colouring
from fvdeblur.training.config import TrainConfig
from fvdeblur.training.guides import NORMALS, Guide, identity_signs, unpack_prior
from fvdeblur.training.production import produce

CANDIDATES = 3
"""Patches looked at for each one taken; the more blurred ones are likelier."""

LEAST_CHANCE = 3.0
"""Added to this difference, so that patches without blur are seen too."""

MOST_BLURRED = 10.0
"""Root-mean-square difference (of 255) from which on a patch is no likelier: there is little to learn from it."""

CELL = 8
"""Differences are kept for cells of 8x8 pixels, so that looking at a candidate costs nothing on any device."""


class Drawn(NamedTuple):
    """A segment, and what the network is told of each of its T frames (`fvdeblur.training.guides.Guide.of`).

    Attributes
    ----------
    segment
        The segment.
    guides
        ``flow`` float16 [T, F - 1, 2, H/4, W/4], ``prior`` uint8 [T, C, H, W], ``identity`` float32 [T, 80]: those
        that the network wants.
    """

    segment: Segment
    guides: dict[str, Tensor]


class Segments(Dataset[Drawn]):
    """Segment number i, made from the seed and i alone.

    Parameters
    ----------
    config
        The recipe.
    clips, stills
        The material.
    device
        Where blur is made.
    guide
        Makes what the network is told beside the frames; None: it is told nothing.
    """

    def __init__(
        self,
        config: TrainConfig,
        clips: list[Clip],
        stills: list[Clip],
        device: str,
        guide: Guide | None = None,
    ) -> None:
        self._config, self._clips, self._stills, self._device = config, clips, stills, device
        self._guide = guide
        frames = np.array([np.sqrt(len(clip.frames)) for clip in clips])
        self._weights = frames / frames.sum() if len(clips) else frames

    def __getitem__(self, index: int) -> Drawn:
        rng = np.random.default_rng((self._config.seed, 0, index))
        if self._stills and (not self._clips or rng.random() < self._config.stills_share):
            clip = self._stills[int(rng.integers(len(self._stills)))]
        else:
            clip = self._clips[int(rng.choice(len(self._clips), p=self._weights))]
        segment = self._coloured(self._blurred(clip, rng), rng)
        if self._guide is None:
            return Drawn(segment, {})
        windows = window_table(len(segment.blurred), self._guide.shape.frames)
        return Drawn(segment, self._guide.of(segment.blurred, windows))

    def _coloured(self, segment: Segment, rng: np.random.Generator) -> Segment:
        if self._config.colour_change == 0:
            return segment
        colouring = draw_colouring(rng, self._config.colour_change)
        blurred, sharp = (colour(frames, *colouring) for frames in (segment.blurred, segment.sharp))
        return segment._replace(blurred=blurred, sharp=sharp)

    def _blurred(self, clip: Clip, rng: np.random.Generator) -> Segment:
        """By a named protocol as often as the recipe says; where that finds no segment in the clip, by motion."""
        if self._config.protocols:
            chance = rng.random() - np.cumsum(list(self._config.protocols.values()))
            chosen = [name for name, left in zip(self._config.protocols, chance, strict=True) if left < 0]
            segment = None
            if chosen:
                segment = protocol_segment(chosen[0], clip, self._config.blur, rng, device=self._device)
            if segment is not None:
                return segment
        return synthesise(clip, self._config.blur, rng, device=self._device)


class Batch(NamedTuple):
    """What one step learns from, on the segments' device.

    Attributes
    ----------
    windows
        float32 [B, 3 * F, P, P], R'G'B' in 0..1.
    sharp
        float32 [B, 3, P, P], the truth of the central frames.
    guides
        Further arguments of the network, float32: ``flow`` [B, 2 * (F - 1), P/4, P/4] in pixels, ``prior``
        [B, C, P, P], ``identity`` [B, 80]; those that it wants. Of the share `TrainConfig.prior_dropout` of the
        patches, prior and identity are zero.
    """

    windows: Tensor
    sharp: Tensor
    guides: dict[str, Tensor]


class Pool:
    """Holds the newest segments on their device and draws batches of windows from them.

    Parameters
    ----------
    segments
        Source of the segments.
    config
        The recipe; its batch, pool and patches a segment are those of one process.
    windows
        Frames of the window around each frame of a segment, [T, F].
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
        windows: NDArray[np.int64],
        first_step: int,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        self._config, self._rank = config, rank
        begin = self._made_before(first_step) - config.pool
        self._made = begin
        self._source = produce(segments, range(begin * world + rank, 2**62, world), config.workers, ahead=4)
        self._blurred: Tensor | None = None
        self._sharp: Tensor | None = None
        self._guides: dict[str, Tensor] = {}
        self._difference: NDArray[np.float32] = np.empty(0, np.float32)
        self._windows = windows

    def _made_before(self, step: int) -> int:
        return self._config.pool + step * self._config.batch // self._config.patches_per_segment

    def _put(self, drawn: Drawn) -> None:
        """Keep a segment in the place of the oldest one."""
        segment, guides = drawn
        if self._blurred is None or self._sharp is None:
            size = (self._config.pool, *segment.sharp.shape)
            self._blurred = torch.empty(size, dtype=torch.uint8, device=segment.sharp.device)
            self._sharp = torch.empty_like(self._blurred)
            self._guides = {name: _places_for(self._config.pool, value) for name, value in guides.items()}
            length, _, height, width = segment.sharp.shape
            cells = (self._config.pool, length, height // CELL + 1, width // CELL + 1)
            self._difference = np.zeros(cells, np.float32)
        place = self._made % self._config.pool
        self._blurred[place], self._sharp[place] = segment.blurred, segment.sharp
        for name, value in guides.items():
            self._guides[name][place] = value
        square = (segment.blurred.float() - segment.sharp.float()).square().mean(dim=1, keepdim=True)
        table = functional.avg_pool2d(square, CELL)[:, 0].cumsum(1).cumsum(2)  # summed-area table
        self._difference[place, :, 1:, 1:] = table.cpu().numpy()
        self._made += 1

    def batch(self, step: int) -> Batch:
        """Windows and their sharp central frames for this step (steps must follow each other)."""
        while self._made < self._made_before(step):
            self._put(next(self._source))
        assert self._blurred is not None
        assert self._sharp is not None
        rng = np.random.default_rng((self._config.seed, 1, step, self._rank))
        segment, k, y, x = self._draw(rng)
        reverse, mirror = rng.random((2, len(segment))) < 0.5
        frames = np.where(reverse[:, None], self._windows[k][:, ::-1], self._windows[k])
        told = rng.random(len(segment)) >= self._config.prior_dropout
        alone = rng.random(len(segment)) < self._config.photograph_share
        frames[alone] = k[alone, None]
        patch = np.arange(self._config.patch)
        columns = x[:, None] + np.where(mirror[:, None], patch[::-1], patch)
        rows = y[:, None] + patch
        windows = _gather(self._blurred, segment, frames, rows, columns)
        sharp = _gather(self._sharp, segment, k[:, None], rows, columns)
        places = _Places(segment, k, rows, columns, reverse, mirror, told, alone)
        guides = {name: _GATHERERS[name](value, places) for name, value in self._guides.items()}
        return Batch(windows.flatten(1, 2).float().div_(255), sharp[:, 0].float().div_(255), guides)

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


def _places_for(count: int, value: Tensor) -> Tensor:
    """Uninitialised memory for so many tensors like this one."""
    return torch.empty((count, *value.shape), dtype=value.dtype, device=value.device)


def _gather(
    pixels: Tensor,
    segment: NDArray[np.int64],
    frames: NDArray[np.int64],
    rows: NDArray[np.int64],
    columns: NDArray[np.int64],
) -> Tensor:
    """Patches [B, F, C, P, P] of pixels [N, T, C, H, W] at segment [B], frames [B, F], rows and columns [B, P]."""

    def index(values: NDArray[np.int64], *shape: int) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(values)).to(pixels.device).reshape(len(values), *shape)

    count, side = frames.shape[1], rows.shape[1]
    return pixels[
        index(segment, 1, 1, 1, 1),
        index(frames, count, 1, 1, 1),
        torch.arange(pixels.shape[2], device=pixels.device).reshape(1, 1, -1, 1, 1),
        index(rows, 1, 1, side, 1),
        index(columns, 1, 1, 1, side),
    ]


class _Places(NamedTuple):
    """Where the B patches of a batch lie: segment and frame [B], rows and columns [B, P], and what is done to each."""

    segment: NDArray[np.int64]
    k: NDArray[np.int64]
    rows: NDArray[np.int64]
    columns: NDArray[np.int64]
    reverse: NDArray[np.bool_]
    mirror: NDArray[np.bool_]
    told: NDArray[np.bool_]
    alone: NDArray[np.bool_]


def _gather_flow(flow: Tensor, places: _Places) -> Tensor:
    """Flow of patches, float32 [B, 2 * (F - 1), P/4, P/4], of flow [N, T, F - 1, 2, H/4, W/4].

    A patch that begins between two vectors takes the nearest ones: neighbouring vectors differ little.
    """
    count = flow.shape[2]
    others = np.where(places.reverse[:, None], np.arange(count)[::-1], np.arange(count))
    cells = [line[:, FLOW_STEP // 2 :: FLOW_STEP] // FLOW_STEP for line in (places.rows, places.columns)]
    windows = flow[torch.from_numpy(places.segment), torch.from_numpy(places.k)]
    taken = _gather(windows, np.arange(len(places.k)), others, *cells)
    sign = np.where(places.mirror[:, None], [-1.0, 1.0], [1.0, 1.0]).astype(np.float32)
    sign[places.alone] = 0
    return (taken.float() * torch.from_numpy(sign).to(taken.device)[:, None, :, None, None]).flatten(1, 2)


def _gather_prior(prior: Tensor, places: _Places) -> Tensor:
    """Rendered faces of patches, float32 [B, C, P, P], of those of the segments, uint8 [N, T, C, H, W].

    The columns of mirrored patches run backwards already; their normals point to the other side.
    """
    segment, k, rows, columns = places[:4]
    taken = unpack_prior(_gather(prior, segment, k[:, None], rows, columns)[:, 0])
    factors = np.repeat(places.told[:, None].astype(np.float32), taken.shape[1], axis=1)
    factors[places.mirror, NORMALS : NORMALS + 1] *= -1
    return taken * torch.from_numpy(factors).to(taken.device)[:, :, None, None]


def _gather_identity(identity: Tensor, places: _Places) -> Tensor:
    """Identity vectors of patches, float32 [B, 80], of those of the segments' frames, [N, T, 80]."""
    taken = identity[torch.from_numpy(places.segment), torch.from_numpy(places.k)]
    signs = np.where(places.mirror[:, None], identity_signs().numpy(), np.float32(1)) * places.told[:, None]
    return taken * torch.from_numpy(signs.astype(np.float32)).to(taken.device)


_GATHERERS = {"flow": _gather_flow, "prior": _gather_prior, "identity": _gather_identity}
