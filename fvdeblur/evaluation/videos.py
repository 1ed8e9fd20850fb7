"""Evaluation of one video against another: what was restored, frame by frame, against the sharp truth."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fvdeblur import __version__
from fvdeblur.errors import InputError, UsageError
from fvdeblur.evaluation.perceptual import read_distances
from fvdeblur.evaluation.results import Results, Row
from fvdeblur.evaluation.sequences import BETWEEN_FRAMES, Truth, find_truth, measure_frames
from fvdeblur.faces import create_detector
from fvdeblur.faces.identity import create_embedder
from fvdeblur.media import FramePlanes, VideoReader

Frames = NDArray[np.uint8]


def evaluate_videos(
    restored: str | Path,
    reference: str | Path,
    blurred: str | Path | None = None,
    *,
    detection: bool = True,
    embedder: str | None = "auto",
    networks: str | Path | None = None,
    progress: Callable[[int, int | None], None] | None = None,
) -> Results:
    """Measure a restored video against its sharp reference, in the box of the largest face of each reference frame.

    Frames are compared in order, two at a time in memory; the videos must have one size and as many frames.

    Parameters
    ----------
    restored, reference, blurred
        The videos. Without ``blurred`` the values before are missing.
    detection, embedder, networks
        As for `evaluate_dataset`.
    progress
        Called with frames done, and in all where that is known.

    Returns
    -------
    Results with one row, whose ``protocol`` and ``model`` are ``video``.

    Raises
    ------
    UsageError
        A file is missing, or the videos do not fit each other.
    InputError
        A video cannot be read, or the reference shows no face.
    """
    detector = create_detector("centerface")
    teller = None if embedder is None else create_embedder(embedder)
    distances = read_distances(networks)
    paths = [Path(path) for path in (reference, restored, *(() if blurred is None else (blurred,)))]
    totals: list[dict[str, list[float]]] = [{} for _ in paths[1:]]
    last: list[Frames] | None = None
    frames = faces = 0
    with _Opened(paths) as readers:
        total = readers[0].info.frames
        for pictures in _together(paths, readers):
            frames += 1
            now = [picture[None] for picture in pictures]
            truth = find_truth(now[0], detector)
            if truth is not None:
                faces += 1
                # Measures between frames need the one before; they are taken of pairs, where the face is now.
                pairs = now if last is None else [np.concatenate(two) for two in zip(last, now, strict=True)]
                both = Truth(pairs[0], truth.faces * len(pairs[0]), truth.boxes * len(pairs[0]))
                for found, one, pair in zip(totals, now[1:], pairs[1:], strict=True):
                    values = measure_frames(one, truth, detector if detection else None, teller, distances)
                    between = measure_frames(pair, both, None, None)
                    for name in BETWEEN_FRAMES:
                        values[name] = between[name][-1:]
                    for name, value in values.items():
                        found.setdefault(name, []).append(float(value[0]))
            last = now
            if progress is not None:
                progress(frames, total)
    if not faces:
        raise InputError(f"{reference}: no face was found in it; nothing can be measured")
    means = [{name: _mean(values) for name, values in each.items()} for each in totals]
    before = means[1] if len(means) > 1 else dict.fromkeys(means[0], math.nan)
    row = Row("video", "video", Path(reference).name, Path(restored).name, faces, before, means[0])
    about: dict[str, Any] = {
        "version": __version__,
        "restored": Path(restored).name,
        "reference": Path(reference).name,
        "blurred": None if blurred is None else Path(blurred).name,
        "frames": frames,
        "frames_with_a_face": faces,
        "detector": detector.name,
        "embedder": None if teller is None else teller.name,
    }
    return Results([row], about)


class _Opened:
    """Readers of several videos, closed together."""

    def __init__(self, paths: list[Path]) -> None:
        self._readers: list[VideoReader] = []
        try:
            for path in paths:
                self._readers.append(VideoReader(path))
        except BaseException:
            self.__exit__()
            raise

    def __enter__(self) -> list[VideoReader]:
        return self._readers

    def __exit__(self, *_: object) -> None:
        for reader in self._readers:
            reader.close()


def _together(paths: list[Path], readers: list[VideoReader]) -> Iterator[list[Frames]]:
    """The upright frames of all videos, uint8 [H, W, 3], one of each at a time."""
    sizes = {(r.info.display_width, r.info.display_height) for r in readers}
    if len(sizes) > 1:
        shapes = [f"{r.info.display_width}x{r.info.display_height}" for r in readers]
        listed = ", ".join(f"{path} {shape}" for path, shape in zip(paths, shapes, strict=True))
        raise UsageError(f"videos of one size are compared: {listed}")
    for index, decoded in enumerate(zip_longest(*readers)):
        if any(frame is None for frame in decoded):
            short = paths[next(i for i, frame in enumerate(decoded) if frame is None)]
            raise UsageError(f"{short}: has {index} frames, fewer than the others; compare whole videos")
        yield [
            FramePlanes(frame.frame, reader.info.rotation).picture()
            for frame, reader in zip(decoded, readers, strict=True)
        ]


def _mean(values: list[float]) -> float:
    known = [value for value in values if math.isfinite(value)]
    return float(np.mean(known)) if known else math.nan
