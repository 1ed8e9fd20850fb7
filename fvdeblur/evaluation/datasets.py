"""Evaluation on a dataset of sharp clips, blurred by named protocols."""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from fvdeblur import __version__
from fvdeblur.datasets import Clip, load_clips
from fvdeblur.datasets.protocols import PROTOCOLS, Protocol, apply, create
from fvdeblur.datasets.protocols.convolutions import Convolution
from fvdeblur.errors import InputError, UsageError
from fvdeblur.evaluation.baselines import BASELINES, NEED_KERNELS, Baseline, Kernels
from fvdeblur.evaluation.perceptual import read_distances
from fvdeblur.evaluation.restoring import restore_frames
from fvdeblur.evaluation.results import SECONDS, Results, Row
from fvdeblur.evaluation.sequences import SHARP_PSNR, find_truth, measure_frames
from fvdeblur.faces import create_detector
from fvdeblur.faces.identity import create_embedder
from fvdeblur.restoration import Restorer

Frames = NDArray[np.uint8]

CROP_SIDE = 288
"""Side that clips are reduced to."""

CLIP_FRAMES = 24
"""Frames of each clip that are blurred, from its beginning."""

SENSOR_NOISE = 1.0
"""Standard deviation of the noise added to blurred frames, in units of 1/255, as every camera has at least."""

Told = Callable[[int, int], None]


def evaluate_dataset(
    data: str | Path,
    protocols: Sequence[str] = tuple(PROTOCOLS),
    models: Sequence[str] = ("fvd",),
    *,
    split: str = "validation",
    clips: int | None = None,
    seed: int = 7,
    device: str = "auto",
    precision: str = "auto",
    detection: bool = True,
    embedder: str | None = "auto",
    networks: str | Path | None = None,
    progress: Told | None = None,
) -> Results:
    """Blur the clips of a dataset by protocols, restore them by models, and measure both against the truth.

    The first `CLIP_FRAMES` frames of each clip, reduced to `CROP_SIDE` pixels, are blurred; noise of `SENSOR_NOISE` is
    added; every frame is restored from its window (`restore_frames`); everything is measured in the box of the face
    that the detector finds on the sharp frame (`measure_frames`). Frames that are hardly blurred are counted apart:
    ``psnr_blurred`` takes those whose blurred PSNR is below `SHARP_PSNR` alone, ``psnr_hardly_blurred`` the others.
    `SECONDS` is what restoring a frame took, with all that the model must know of it.

    Parameters
    ----------
    data
        A dataset, or a folder with ``clips.tsv``.
    protocols
        Names of `fvdeblur.datasets.protocols.PROTOCOLS`, with their default settings.
    models
        Names of released models and of `fvdeblur.evaluation.baselines.BASELINES`; those baselines that need the true
        kernels only run where a protocol convolves, elsewhere ``left_out`` names them.
    split
        ``train``, ``validation`` or ``all``.
    clips
        Take the first so many clips only; None: all.
    seed
        Of every random number.
    device, precision
        As for `fvdeblur.Deblurrer`.
    detection
        Whether faces are detected in blurred and restored frames.
    embedder
        ``auto``, ``dlib`` or ``insightface``; None: identity is not measured.
    networks
        Folder with the networks of further measures (`fvdeblur.evaluation.perceptual`); None: there are none.
    progress
        Called with pairs of clips and protocols done, and in all.

    Raises
    ------
    UsageError
        A protocol or model is unknown, or there is nothing to measure.
    InputError
        The dataset or a clip cannot be read.
    """
    _check_protocols(protocols)
    material = load_clips(data, split, CLIP_FRAMES)[:clips]
    if not material:
        raise UsageError(f"{data}: holds no clips in the split {split}")
    results = evaluate_clips(
        material,
        protocols,
        models,
        seed=seed,
        device=device,
        precision=precision,
        detection=detection,
        embedder=embedder,
        networks=networks,
        progress=progress,
    )
    results.about = {**results.about, "data": Path(data).name, "split": split}
    return results


def evaluate_clips(
    material: Sequence[Clip],
    protocols: Sequence[str] = tuple(PROTOCOLS),
    models: Sequence[str] = ("fvd",),
    *,
    seed: int = 7,
    device: str = "auto",
    precision: str = "auto",
    detection: bool = True,
    embedder: str | None = "auto",
    networks: str | Path | None = None,
    progress: Told | None = None,
) -> Results:
    """Do what `evaluate_dataset` does with clips or stills that are in memory.

    Raises
    ------
    UsageError
        A protocol or model is unknown, or no clip could be measured.
    """
    _check_protocols(protocols)
    restorers, ran = create_restorers(models, device, precision)
    detector = create_detector("centerface")
    teller = None if embedder is None else create_embedder(embedder)
    distances = read_distances(networks)
    results = Results(
        about={
            "version": __version__,
            "seed": seed,
            "crop_side": CROP_SIDE,
            "clip_frames": CLIP_FRAMES,
            "sensor_noise": SENSOR_NOISE,
            "models": ran,
            "detector": detector.name,
            "embedder": None if teller is None else teller.name,
        }
    )
    total = len(material) * len(protocols)
    for number, clip in enumerate(map(first_frames, material)):
        truth = find_truth(clip.frames, detector)
        for place, protocol in enumerate(protocols):
            if progress is not None:
                progress(number * len(protocols) + place, total)
            pair = None if truth is None else blurred_by(protocol, clip, truth.boxes, seed)
            true = None if pair is None else find_truth(pair[1], detector)  # some protocols move the picture
            if pair is None or true is None:
                reason = (
                    "no face" if truth is None or pair is not None else "rejected by the protocol's rules"
                )
                results.left_out.append({"clip": clip.name, "protocol": protocol, "reason": reason})
                continue
            looked = detector if detection else None
            before = measure_frames(pair[0], true, looked, teller, distances)
            for name, restore in restorers.items():
                if name in NEED_KERNELS and pair[2] is None:
                    results.left_out.append(
                        {
                            "clip": clip.name,
                            "protocol": protocol,
                            "model": name,
                            "reason": "no kernel is known",
                        }
                    )
                    continue
                began = time.perf_counter()
                restored = restore(pair[0], pair[2])
                seconds = (time.perf_counter() - began) / len(restored)
                after = measure_frames(restored, true, looked, teller, distances)
                results.rows.append(
                    Row(
                        protocol,
                        name,
                        clip.identity,
                        clip.name,
                        len(pair[0]),
                        frame_means(before, before["psnr"]),
                        {**frame_means(after, before["psnr"]), SECONDS: seconds},
                    )
                )
    if progress is not None:
        progress(total, total)
    if not results.rows:
        raise UsageError("no clip could be measured; see what the protocols demand")
    return results


def _check_protocols(names: Sequence[str]) -> None:
    for name in names:
        if name not in PROTOCOLS:
            raise UsageError(f"unknown protocol {name!r}; use one of {', '.join(PROTOCOLS)}")


def create_restorers(
    models: Sequence[str], device: str, precision: str
) -> tuple[dict[str, Baseline], dict[str, Any]]:
    """What restores sequences uint8 [T, S, S, 3], by the names of models and baselines; and what they really run on.

    The kernels that a sequence was convolved with are for baselines; networks are not told.
    """
    restorers: dict[str, Baseline] = {}
    ran: dict[str, Any] = {}
    for name in models:
        if name in BASELINES:
            restorers[name] = BASELINES[name]
        else:
            restorer = Restorer(name, device, precision)
            restorers[name] = lambda frames, _, restorer=restorer: restore_frames(restorer, frames)  # type: ignore[misc]
            ran[name] = {"device": restorer.device_name, "precision": restorer.precision}
    return restorers, ran


def first_frames(clip: Clip) -> Clip:
    """The first `CLIP_FRAMES` frames of a clip, reduced to `CROP_SIDE` pixels."""
    frames = [
        cv2.resize(f, (CROP_SIDE, CROP_SIDE), interpolation=cv2.INTER_AREA) for f in clip.frames[:CLIP_FRAMES]
    ]
    return Clip(clip.name, clip.identity, np.stack(frames).astype(np.uint8), clip.fps)


def blurred_by(
    name: str, clip: Clip, boxes: Sequence[tuple[int, int, int, int]], seed: int
) -> tuple[Frames, Frames, Kernels | None] | None:
    """A clip blurred by a named protocol and with noise, sharp, and the kernels; None where its rules reject it all."""
    given = torch.from_numpy(clip.frames).permute(0, 3, 1, 2)
    own = zlib.crc32(f"{seed} {clip.name}".encode())
    faces = np.array(boxes, np.float32) if len(boxes) else None
    try:
        result = apply(name, given, own, flow=clip.flow, boxes=faces)
    except InputError:
        return None
    blurred, sharp = (
        frames.permute(0, 2, 3, 1).contiguous().numpy() for frames in (result.blurred, result.sharp)
    )
    return with_noise(blurred, seed), sharp, true_kernels(create(name), own, result.frames)


def true_kernels(protocol: Protocol, seed: int, frames: Sequence[int]) -> Kernels | None:
    """What a protocol convolves these frames of the clip with this seed with; None where it does not convolve."""
    if not isinstance(protocol, Convolution):
        return None
    return Kernels([protocol.kernel_at(seed, index)[0] for index in frames], protocol.light)


def with_noise(frames: Frames, seed: int) -> Frames:
    """Add sensor noise; without it a frame of no exposure time would be the truth itself."""
    noise = np.random.default_rng((seed, 1)).normal(0, SENSOR_NOISE, frames.shape)
    return np.clip(np.round(frames + noise), 0, 255).astype(np.uint8)


def frame_means(
    measures: dict[str, NDArray[np.float64]], blurred_psnr: NDArray[np.float64]
) -> dict[str, float]:
    """Means of `measure_frames` over the frames of which a measure exists; of PSNR, of the blurred ones apart."""
    blurred = blurred_psnr < SHARP_PSNR
    parts = {
        **measures,
        "psnr_blurred": measures["psnr"][blurred],
        "psnr_hardly_blurred": measures["psnr"][~blurred],
    }
    return {name: _mean(values) for name, values in parts.items()}


def _mean(values: Iterable[float]) -> float:
    known = [float(value) for value in values if np.isfinite(value)]
    return float(np.mean(known)) if known else float("nan")
