"""What is measured on a sequence of frames of one face beside the sharp truth."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import cv2
import numpy as np
from numpy.typing import NDArray

from fvdeblur.datasets.mining.rules import sharpness
from fvdeblur.evaluation.metrics import psnr, ssim
from fvdeblur.evaluation.perceptual import Distance, measure_distances
from fvdeblur.faces import Detection, Detector, face_size
from fvdeblur.faces.identity import Embedder
from fvdeblur.flow import FLOW_STEP, dis_flow

Frames = NDArray[np.uint8]
Box = tuple[int, int, int, int]

MOST_PSNR = 99.0
"""dB counted for equal pictures, so that means stay finite."""

FOUND_OVERLAP = 0.5
"""Intersection over union from which on a face counts as found where it is."""

FOUND_SCORE = 0.5
"""Score from which on a detection counts."""

BETWEEN_FRAMES = ("temporal_error", "warping_error")
"""Measures that compare a frame with the one before."""

SHARP_PSNR = 35.0
"""PSNR of the blurred frame, in dB, from which on a frame counts as hardly blurred."""


@dataclass(frozen=True)
class Truth:
    """Sharp frames and the face in them.

    Attributes
    ----------
    frames
        uint8 [T, H, W, 3], R'G'B'.
    faces
        The largest face of each frame; where none was found, the one of the frame before (or the first found).
    boxes
        x0, y0, x1, y1 of each, in whole pixels inside the frame, the latter two exclusive.
    """

    frames: Frames
    faces: list[Detection]
    boxes: list[Box]


def find_truth(frames: Frames, detector: Detector) -> Truth | None:
    """Find the face that is measured in sharp frames, uint8 [T, H, W, 3]; None where there is none."""
    found: list[Detection | None] = []
    for frame in frames:
        faces = detector.detect(frame)
        found.append(_largest(faces) or (found[-1] if found else None))
    first = next((face for face in found if face is not None), None)
    if first is None:
        return None
    faces = [face or first for face in found]
    height, width = frames.shape[1:3]
    boxes = []
    for face in faces:
        x0, y0 = (int(v) for v in np.maximum(np.round(face.box[:2]), 0))
        x1, y1 = (int(v) for v in np.round(face.box[2:]))
        boxes.append((min(x0, width - 11), min(y0, height - 11), min(x1, width), min(y1, height)))
    return Truth(frames, faces, [(x0, y0, max(x1, x0 + 11), max(y1, y0 + 11)) for x0, y0, x1, y1 in boxes])


def measure_frames(
    frames: Frames,
    truth: Truth,
    detector: Detector | None,
    embedder: Embedder | None,
    distances: Mapping[str, Distance] = MappingProxyType({}),
) -> dict[str, NDArray[np.float64]]:
    """Measure each frame of a sequence in the face box.

    Parameters
    ----------
    frames
        uint8 [T, H, W, 3], R'G'B', aligned with the truth.
    truth
        What they should be.
    detector
        Finds faces for ``detected`` and ``landmark_error``; None: these are left out.
    embedder
        For ``identity``; None: it is left out.
    distances
        Further measures by name (`fvdeblur.evaluation.perceptual.read_distances`).

    Returns
    -------
    float64 [T] a measure, NaN where it cannot be taken:

    ``psnr``, ``ssim``
        In the face box (see `fvdeblur.evaluation.psnr` and `ssim`); PSNR is cut at `MOST_PSNR`.
    ``sharpness``
        Of the face box, without a reference (`fvdeblur.datasets.mining.rules.sharpness`); NaN below 32 pixels.
    ``temporal_error``
        Mean absolute difference between the change from the frame before and the true change, in units of 1/255.
    ``warping_error``
        Mean absolute difference to the frame before moved along the true optical flow, in units of 1/255. What the
        flow cannot explain counts for the sharp frames too.
    ``detected``
        1 where a detection with a score of `FOUND_SCORE` overlaps the true face by `FOUND_OVERLAP`, else 0.
    ``landmark_error``
        Mean distance of the five landmarks of that detection from those found in the true frame, in % of the true
        distance between the eyes; NaN where it was not detected.
    ``identity``
        Cosine between the embeddings of the frame and of the true one.
    ``lpips``, ``d_vgg``
        Distances in the features of networks (`fvdeblur.evaluation.perceptual`).

    Raises
    ------
    ValueError
        The frames differ from the truth in number or size.
    """
    if frames.shape != truth.frames.shape:
        raise ValueError(f"frames {frames.shape} do not fit their truth {truth.frames.shape}")
    count = len(frames)
    inside = [(slice(y0, y1), slice(x0, x1)) for x0, y0, x1, y1 in truth.boxes]
    measures = {
        "psnr": np.array(
            [min(MOST_PSNR, psnr(frames[k][inside[k]], truth.frames[k][inside[k]])) for k in range(count)]
        ),
        "ssim": np.array([ssim(frames[k][inside[k]], truth.frames[k][inside[k]]) for k in range(count)]),
        "sharpness": np.array([_sharpness(frames[k][inside[k]]) for k in range(count)]),
        "temporal_error": _temporal_error(frames, truth, inside),
        "warping_error": _warping_error(frames, truth, inside),
    }
    if detector is not None:
        measures |= _detection(frames, truth, detector)
    if embedder is not None:
        measures["identity"] = np.array(
            [
                float(embedder.embed(frame, face) @ embedder.embed(sharp, face))
                for frame, sharp, face in zip(frames, truth.frames, truth.faces, strict=True)
            ]
        )
    return measures | measure_distances(distances, frames, truth.frames, truth.boxes)


def _largest(faces: Sequence[Detection]) -> Detection | None:
    return max(faces, key=lambda face: face_size(face.box), default=None)


def _sharpness(picture: Frames) -> float:
    return sharpness(np.ascontiguousarray(picture)) if min(picture.shape[:2]) >= 32 else math.nan


def _temporal_error(frames: Frames, truth: Truth, inside: list[tuple[slice, slice]]) -> NDArray[np.float64]:
    errors = [np.nan]
    for k in range(1, len(frames)):
        own, true = (
            each[k][inside[k]].astype(np.float64) - each[k - 1][inside[k]] for each in (frames, truth.frames)
        )
        errors.append(float(np.abs(own - true).mean()))
    return np.array(errors)


def _warping_error(frames: Frames, truth: Truth, inside: list[tuple[slice, slice]]) -> NDArray[np.float64]:
    height, width = frames.shape[1:3]
    rows, columns = np.mgrid[0:height, 0:width].astype(np.float32)
    errors = [np.nan]
    for k in range(1, len(frames)):
        coarse = dis_flow(truth.frames[k], truth.frames[k - 1]).astype(np.float32).transpose(1, 2, 0)
        size = (coarse.shape[1] * FLOW_STEP, coarse.shape[0] * FLOW_STEP)
        flow = cv2.resize(coarse, size, interpolation=cv2.INTER_LINEAR)[:height, :width]
        moved = cv2.remap(
            frames[k - 1],
            columns + flow[..., 0],
            rows + flow[..., 1],
            cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_REPLICATE,
        )
        errors.append(float(np.abs(frames[k][inside[k]].astype(np.float64) - moved[inside[k]]).mean()))
    return np.array(errors)


def _detection(frames: Frames, truth: Truth, detector: Detector) -> dict[str, NDArray[np.float64]]:
    detected, errors = [], []
    for frame, face in zip(frames, truth.faces, strict=True):
        near = [
            each
            for each in detector.detect(frame)
            if each.score >= FOUND_SCORE and _overlap(each.box, face.box) >= FOUND_OVERLAP
        ]
        best = max(near, key=lambda each: _overlap(each.box, face.box), default=None)
        detected.append(float(best is not None))
        if best is None or best.landmarks is None or face.landmarks is None:
            errors.append(np.nan)
            continue
        eyes = float(np.linalg.norm(face.landmarks[1] - face.landmarks[0]))
        errors.append(
            100 * float(np.linalg.norm(best.landmarks - face.landmarks, axis=1).mean()) / max(eyes, 1e-6)
        )
    return {"detected": np.array(detected), "landmark_error": np.array(errors)}


def _overlap(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    """Intersection over union."""
    low, high = np.maximum(one[:2], other[:2]), np.minimum(one[2:], other[2:])
    common = float(np.prod(np.maximum(high - low, 0)))
    areas = [float(np.prod(np.maximum(box[2:] - box[:2], 0))) for box in (one, other)]
    return common / max(sum(areas) - common, 1e-6)
