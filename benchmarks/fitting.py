"""How well wrong fittings of landmarks are told from right ones, on people that the classifiers have not seen.

``python -m benchmarks.fitting --data FOLDER``, with FOLDER as `fvdeblur.datasets.load_clips` reads it. Right
fittings are those of the landmarkers on sharp frames of the validation identities, checked as for training (see
`fvdeblur.datasets.mining.fittings.right_fittings`); wrong ones are made of them and are off by a tenth of the face's
size or more. Both are judged on the sharp pictures, on pictures blurred by motion over 2 to 8 % of the face's size, on
faces reduced to 48 pixels, and on pictures turned by up to 45 degrees.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import cv2
import numpy as np

from benchmarks.machine import describe_machine
from fvdeblur.datasets import Clip, load_clips, load_stills
from fvdeblur.datasets.mining.fitting import FittingClassifier
from fvdeblur.datasets.mining.fitting_training import CLIP_LENGTH, FRAMES
from fvdeblur.datasets.mining.fittings import (
    PERTURBATIONS,
    Fitting,
    blurred,
    reduced,
    right_fittings,
    wrong_landmarks,
)
from fvdeblur.faces import create_detector, create_landmarker

BLUR = (0.02, 0.08)
SMALL_FACE = 48.0
LARGEST_TURN = 45.0


def turned_picture(fitting: Fitting, rng: np.random.Generator) -> Fitting:
    """The fitting on its picture turned around the picture's centre."""
    height, width = fitting.image.shape[:2]
    angle = float(rng.uniform(-LARGEST_TURN, LARGEST_TURN))
    matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), angle, 1.0)
    image = cv2.warpAffine(fitting.image, matrix, (width, height), borderMode=cv2.BORDER_REPLICATE)
    landmarks = (fitting.landmarks - 0.5) @ matrix[:, :2].T + matrix[:, 2] + 0.5
    centre = (fitting.box[:2] + fitting.box[2:]) / 2 - 0.5
    centre = matrix[:, :2] @ centre + matrix[:, 2] + 0.5
    half = (fitting.box[2:] - fitting.box[:2]) / 2
    box = np.concatenate([centre - half, centre + half])
    return replace(fitting, image=np.asarray(image, np.uint8), landmarks=landmarks, box=box)


PICTURES: dict[str, Callable[[Fitting, np.random.Generator], Fitting]] = {
    "sharp": lambda fitting, _: fitting,
    "motion-blurred": lambda fitting, rng: blurred(fitting, rng, BLUR),
    "small": lambda fitting, _: reduced(fitting, SMALL_FACE),
    "turned": turned_picture,
}


def measure(classifier: FittingClassifier, fittings: list[Fitting], seed: int) -> dict[str, Any]:
    """Shares of right fittings kept and of wrong ones rejected, in per cent, for each sort of picture."""
    results: dict[str, Any] = {}
    for name, change in PICTURES.items():
        rng = np.random.default_rng(seed)
        kept: list[bool] = []
        rejected: dict[str, list[bool]] = {kind: [] for kind in PERTURBATIONS}
        for fitting in fittings:
            seen = change(fitting, rng)
            kept.append(classifier.score(seen.image, seen.landmarks) > 0)
            for kind, outcomes in rejected.items():
                wrong = wrong_landmarks(kind, seen, fittings, rng)
                if wrong is not None:
                    outcomes.append(classifier.score(seen.image, wrong) <= 0)
        results[name] = {
            "kept": share(kept),
            "rejected": share([outcome for outcomes in rejected.values() for outcome in outcomes]),
            "wrong": sum(map(len, rejected.values())),
            "rejected_by_kind": {kind: share(outcomes) for kind, outcomes in rejected.items()},
        }
    return results


def share(outcomes: list[bool]) -> float | None:
    """Per cent of outcomes that are true."""
    return round(100 * float(np.mean(outcomes)), 2) if outcomes else None


def milliseconds(classifier: FittingClassifier, fittings: list[Fitting]) -> float:
    """Median time of one score."""
    times = []
    for fitting in fittings[:100]:
        began = time.perf_counter()
        classifier.score(fitting.image, fitting.landmarks)
        times.append(time.perf_counter() - began)
    return round(1000 * float(np.median(times)), 2)


@click.command()
@click.option("--data", required=True, help="Folder with clips.tsv and portraits.tsv.")
@click.option("--folder", type=click.Path(path_type=Path), help="Other classifiers than the released ones.")
@click.option("--seed", type=int, default=7, show_default=True)
def main(data: str, folder: Path | None, seed: int) -> None:
    """Measure the classifiers of fittings on the validation identities; JSON on standard output."""
    material: list[Clip] = load_clips(data, "validation", limit=CLIP_LENGTH) + load_stills(data, "validation")
    detector, landmarker = create_detector("centerface"), create_landmarker("dlib68")
    fittings, counts = right_fittings(material, detector, landmarker, FRAMES)
    results: dict[str, Any] = {
        "machine": describe_machine(),
        "frames": dict(counts.most_common()),
        "identities": len({fitting.identity for fitting in fittings[68]}),
    }
    for points, of_points in fittings.items():
        classifier = FittingClassifier.load(points, folder)
        results[f"{points} points"] = {
            "milliseconds": milliseconds(classifier, of_points),
            **measure(classifier, of_points, seed),
        }
    click.echo(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
