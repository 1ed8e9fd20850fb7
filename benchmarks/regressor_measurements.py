"""What `benchmarks.regressor` measures: landmarks, rendered faces, doubts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import click
import numpy as np
import torch
from torch import Tensor

from benchmarks.regressor_crops import (
    HARDER,
    MEASURED,
    TRAINING,
    Condition,
    Crop,
    make_crops,
    read_meshes_of_crops,
)
from benchmarks.regressor_errors import (
    MISSED,
    WRONG,
    Floats,
    dense_points,
    detected_points,
    errors,
    estimate,
    faceless_squares,
    five_points,
    half_covered,
    judge_doubts,
    own_offsets,
    read_all,
    reduction,
    shuffled,
)
from benchmarks.regressor_faces import training_faces, validation_faces
from benchmarks.regressor_pictures import Quality, compare
from fvdeblur.faces import create_detector
from fvdeblur.morphable.reader import FaceReader

TARGETS = ("kernel-21", "kernel-41")
WANTED = 1 / 3
"""How much smaller the regressor's error is to be than that of the best other method."""

FACELESS = 200


@dataclass(frozen=True, eq=False)
class Material:
    """All crops that are measured on, and those that the methods' own offsets are taken from."""

    measured: list[Crop]
    harder: list[Crop]
    training: list[Crop]


def make_material(
    reader: FaceReader,
    data: Path,
    meshes: Path,
    people: Path,
    seed: int,
    conditions: Sequence[Condition] = MEASURED + HARDER,
) -> Material:
    """Make the crops of these conditions, and those of training people."""
    made = [
        crop
        for face in validation_faces(reader.model, data, meshes, people, seed)
        for crop in make_crops(face, conditions, seed)
    ]
    training = [
        crop
        for face in training_faces(data, meshes, seed)
        for crop in make_crops(face, [Condition(TRAINING)], seed)
    ]
    if not made or not training:
        raise click.ClickException(f"{meshes}: holds no labels of validation and of training faces in {data}")
    measured = {condition.name for condition in MEASURED}
    return Material(
        [crop for crop in made if crop.condition in measured],
        [crop for crop in made if crop.condition not in measured],
        training,
    )


class Read(NamedTuple):
    """What the regressor read off the measured crops: coefficients [N, 239] and doubts [N]."""

    vectors: Tensor
    doubts: Floats


def read_crops(reader: FaceReader, crops: list[Crop]) -> Read:
    """Read all of them."""
    return Read(*read_all(reader, [crop.seen for crop in crops]))


def measure_landmarks(
    reader: FaceReader, material: Material, read: Read, labels: Path | None
) -> dict[str, Any]:
    """Errors of all methods under all conditions; ``labels`` is the folder of the mesh's labels of the crops."""
    crops = material.measured + material.training
    is_training = np.array([crop.condition == TRAINING for crop in crops])
    truth = np.stack([crop.points for crop in crops])
    vectors = torch.cat([read.vectors, read_crops(reader, material.training).vectors])
    dense = {"regressor": dense_points(reader, vectors)}
    if labels is not None:
        dense["mesh"] = read_meshes_of_crops(crops, labels)
    five = {name: five_points(reader, points) for name, points in dense.items()}
    detector = create_detector("auto", threads=torch.get_num_threads())
    five["detector"] = detected_points(detector, [crop.seen for crop in crops])
    eyes = truth[:, -2:]
    offsets = {
        name: own_offsets(points[is_training], five_points(reader, truth)[is_training], eyes[is_training])
        for name, points in five.items()
    }
    of_five = {
        name: errors(points, five_points(reader, truth), eyes, offsets[name]) for name, points in five.items()
    }
    of_dense = {name: errors(points, truth, eyes) for name, points in dense.items()}
    results: dict[str, Any] = {
        "detector": detector.name,
        "offsets": {name: np.round(100 * values, 2).tolist() for name, values in offsets.items()},
        "training_faces": int(is_training.sum()),
    }
    for condition in MEASURED:
        chosen = np.array([crop.condition == condition.name for crop in crops])
        if chosen.any():
            own = [crop for crop in crops if crop.condition == condition.name]
            results[condition.name] = {
                "faces": len(own),
                "people": len({crop.identity for crop in own}),
                "five": _of_methods({name: values[chosen] for name, values in of_five.items()}, own),
                "dense": _of_methods({name: values[chosen] for name, values in of_dense.items()}, own),
            }
    return results


def _of_methods(values: dict[str, Floats], crops: list[Crop]) -> dict[str, Any]:
    """Each method's error and misses, and by what share the regressor's is smaller."""
    people = [crop.identity for crop in crops]
    of_clips = np.array([not crop.is_still for crop in crops])
    results: dict[str, Any] = {}
    for name, own in values.items():
        found = np.isfinite(own)
        counted = np.where(found, own, MISSED)
        results[name] = {
            "found": int(found.sum()),
            "missed": int((~found).sum()),
            "error": estimate(own, people) if found.any() else None,
            "error_all": estimate(counted, people),
            "error_all_clips": estimate(np.where(of_clips, counted, np.nan), people)
            if of_clips.any()
            else None,
        }
        if name != "regressor":
            ours = values["regressor"]
            results[name]["regressor_smaller"] = reduction(ours, own, people) if found.any() else None
            results[name]["regressor_smaller_all"] = reduction(ours, counted, people)
    return results


def judge_target(landmarks: dict[str, Any]) -> dict[str, Any]:
    """For each of the target's conditions: by how much the regressor beats the best other, and whether that is enough.

    The strict reading: on the faces that the other method found itself, and over the points that both give.
    """
    verdict: dict[str, Any] = {}
    for name in TARGETS:
        for points in ("five", "dense"):
            methods = landmarks.get(name, {}).get(points, {})
            gains = {
                other: values["regressor_smaller"].mean
                for other, values in methods.items()
                if other != "regressor" and values["regressor_smaller"] is not None
            }
            if gains:
                least = min(gains, key=lambda other: gains[other])
                verdict[f"{name} {points}"] = {
                    "against": least,
                    "smaller_by": round(gains[least], 4),
                    "holds": gains[least] >= WANTED,
                }
    return verdict


def measure_quality(reader: FaceReader, crops: list[Crop], read: Read) -> dict[str, Any]:
    """Photometric errors inside the rendered masks, for each condition."""
    results: dict[str, Any] = {}
    for condition in MEASURED:
        own = [crop for crop in crops if crop.condition == condition.name]
        if not own:
            continue
        people = [crop.identity for crop in own]
        chosen = torch.tensor([crop.condition == condition.name for crop in crops])
        rendered, seen = compare(reader.model, read.vectors[chosen], own)
        labels = torch.stack([crop.coefficients for crop in own if crop.coefficients is not None])
        fitted, _ = compare(reader.model, labels, own)

        def means(quality: Quality, people: list[str] = people) -> dict[str, Any]:
            return {
                "absolute": estimate(quality.absolute, people),
                "psnr": estimate(quality.decibels, people),
            }

        results[condition.name] = {
            "rendered": means(rendered),
            "fitted": means(fitted),
            "blurred": means(seen),
        }
    return results


def measure_doubts(reader: FaceReader, material: Material, read: Read, seed: int) -> dict[str, Any]:
    """What the doubt says of the dense error, and whom a threshold would turn away."""
    rng = np.random.default_rng(seed)
    sharp = [crop for crop in material.measured if crop.condition == "sharp"]

    def off(found: Read, crops: list[Crop]) -> Floats:
        truth = np.stack([crop.points for crop in crops])
        return errors(dense_points(reader, found.vectors), truth, truth[:, -2:])

    crops = material.measured + material.harder
    harder = read_crops(reader, material.harder)
    doubts = np.concatenate([read.doubts, harder.doubts])
    wrong = np.concatenate([off(read, material.measured), off(harder, material.harder)])
    usual = len(material.measured)
    judged = judge_doubts(doubts, wrong)
    results: dict[str, Any] = {
        "spearman": round(judged.correlation, 3),
        "spearman_measured_conditions": round(judge_doubts(doubts[:usual], wrong[:usual]).correlation, 3),
        "bins": judged.bins,
        "threshold": judged.threshold,
    }
    covered = Read(*read_all(reader, [half_covered(crop.sharp, crop.points, rng) for crop in sharp]))
    groups: dict[str, tuple[Floats, Floats | None]] = {}
    for condition in MEASURED + HARDER:
        chosen = np.array([crop.condition == condition.name for crop in crops])
        if chosen.any():
            groups[condition.name] = doubts[chosen], wrong[chosen]
    groups["right readings"] = doubts[wrong <= WRONG], wrong[wrong <= WRONG]
    groups["wrong readings"] = doubts[wrong > WRONG], wrong[wrong > WRONG]
    groups["half covered"] = covered.doubts, off(covered, sharp)
    groups["shuffled squares"] = read_all(reader, [shuffled(crop.sharp, rng) for crop in sharp])[1], None
    groups["no face"] = read_all(reader, faceless_squares(FACELESS, rng))[1], None
    for name, (own, error) in groups.items():
        beyond = None if judged.threshold is None or not len(own) else float(np.mean(own >= judged.threshold))
        results.setdefault("groups", {})[name] = {
            "crops": len(own),
            "doubt": float(np.median(own)) if len(own) else None,
            "error": None if error is None or not len(error) else float(error.mean()),
            "beyond": beyond,
        }
    return results
