"""Restoring, measuring and comparing for ``benchmarks.ablation``."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from benchmarks.boxes import Box
from benchmarks.embedding import Embedder
from benchmarks.quality import SEGMENTS, make_segment
from fvdeblur.datasets import Clip
from fvdeblur.evaluation import psnr, ssim
from fvdeblur.evaluation.datasets import with_noise
from fvdeblur.evaluation.sequences import find_truth
from fvdeblur.faces import create_detector
from fvdeblur.networks import window_table
from fvdeblur.training.guides import Guide, as_inputs

EMBEDDED = 4
"""Every so many frames of a segment are compared by identity."""

MEASURES = ("psnr", "ssim", "identity")

RESAMPLES, PERCENTILES = 10000, (2.5, 97.5)

Frames = NDArray[np.uint8]

Table = list[tuple[str, dict[str, float]]]
"""Clip and figures of each segment."""


class Measured(NamedTuple):
    """A segment that is measured on: frames uint8 [T, H, W, 3], R'G'B', and where the face is in them."""

    clip: str
    given: Frames
    sharp: Frames
    boxes: list[Box]


def measured_segments(clips: list[Clip], seed: int) -> list[Measured]:
    """The segments of the protocol ``motion``."""
    detector = create_detector("centerface")
    segments = []
    for clip, shaken, number in itertools.product(clips, (False, True), range(SEGMENTS)):
        segment = make_segment(clip, shaken, number, seed)
        sharp = segment.sharp.permute(0, 2, 3, 1).contiguous().numpy()
        given = with_noise(segment.blurred.permute(0, 2, 3, 1).numpy(), seed)
        truth = find_truth(sharp, detector)
        if truth is not None:
            segments.append(Measured(clip.name, given, sharp, truth.boxes))
    return segments


@torch.inference_mode()
def restore(network: nn.Module, guide: Guide, frames: Frames) -> Frames:
    """Restore every frame of a sequence, uint8 [T, H, W, 3] in and out, told what it is in the product."""
    device = next(network.parameters()).device
    given = torch.from_numpy(frames).permute(0, 3, 1, 2).contiguous()
    windows = window_table(len(frames), guide.shape.frames)
    told = {name: value.to(device) for name, value in as_inputs(guide.of(given, windows)).items()}
    restored = []
    for k, window in enumerate(windows):
        picture = given[window].to(device).float() / 255
        stacked = picture.flatten(0, 1)[None].contiguous(memory_format=torch.channels_last)
        change = network(stacked, **{name: value[k : k + 1] for name, value in told.items()})[0]
        restored.append(picture[len(window) // 2] + change)
    pictures = (torch.stack(restored).clamp(0, 1) * 255).round().to(torch.uint8)
    return pictures.permute(0, 2, 3, 1).cpu().contiguous().numpy()


def figures_of(restored: Frames, segment: Measured, embedder: Embedder | None) -> dict[str, float]:
    """Mean PSNR, SSIM and, where it can be had, identity similarity of the frames of a segment."""
    pairs = [
        (restored[k, y0:y1, x0:x1], segment.sharp[k, y0:y1, x0:x1])
        for k, (x0, y0, x1, y1) in enumerate(segment.boxes)
    ]
    figures = {
        "psnr": float(np.mean([min(99.0, psnr(*pair)) for pair in pairs])),
        "ssim": float(np.mean([ssim(*pair) for pair in pairs])),
    }
    if embedder is not None:
        chosen = slice(EMBEDDED // 2, None, EMBEDDED)
        alike = embedder.similarities(restored[chosen], segment.sharp[chosen])
        if alike:
            figures["identity"] = float(np.mean(alike))
    return figures


def by_clip(table: Table, measure: str) -> dict[str, float]:
    """Mean of a measure over the segments and seeds of each clip."""
    values: dict[str, list[float]] = defaultdict(list)
    for clip, figures in table:
        if measure in figures:
            values[clip].append(figures[measure])
    return {clip: float(np.mean(of_clip)) for clip, of_clip in values.items()}


def mean_and_interval(values: Iterable[float]) -> dict[str, Any]:
    """Mean, and the 95 % interval of the mean of so many clips drawn with replacement."""
    given = np.array(list(values))
    drawn = np.random.default_rng(0).integers(len(given), size=(RESAMPLES, len(given)))
    low, high = np.percentile(given[drawn].mean(axis=1), PERCENTILES)
    return {"mean": round(float(given.mean()), 4), "interval": [round(float(low), 4), round(float(high), 4)]}


def summary(tables: dict[str, Table], against: dict[str, tuple[str, ...]]) -> dict[str, Any]:
    """Means and intervals of the rows that were measured, and of their paired differences to the rows ``against``."""
    results: dict[str, Any] = {}
    for name, table in tables.items():
        results[name] = {}
        for measure in MEASURES:
            own = by_clip(table, measure)
            if not own:
                continue
            results[name][measure] = mean_and_interval(own.values())
            for other in against.get(name, ()):
                theirs = by_clip(tables.get(other, []), measure)
                common = sorted(own.keys() & theirs.keys())
                if common:
                    apart = mean_and_interval(own[clip] - theirs[clip] for clip in common)
                    results[name][measure][f"less {other}"] = apart
    return results
