"""Training of `FittingClassifier`: a linear support vector machine on right fittings and wrong ones made of them."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fvdeblur.datasets.clips import load_clips, load_stills
from fvdeblur.datasets.mining.fitting import FittingClassifier, PatchSettings, fitting_features
from fvdeblur.datasets.mining.fittings import (
    PERTURBATIONS,
    Fitting,
    Floats,
    blanked,
    blurred,
    mean_shape,
    reduced,
    right_fittings,
    wrong_landmarks,
)
from fvdeblur.errors import UsageError
from fvdeblur.faces import create_detector
from fvdeblur.faces.landmarks import create_landmarker

SETTINGS = {
    5: PatchSettings(radius=20.0, cell=5, cells=5),
    68: PatchSettings(radius=26.0, cell=6, cells=2),
}

PENALTIES = (1e-4, 1e-3, 1e-2)
"""Values of the machine's C to choose from."""

FOLDS = 4

CLIP_LENGTH = 64
"""Frames read of each clip."""

FRAMES = 8
"""Frames taken of these."""

VARIED_SHARE = 0.5
"""Share of the pictures that are blurred or reduced, so that the classifier judges the fitting and not the picture."""

LONGEST_BLUR = 0.08
SMALLEST_FACE = 32.0
"""Limits of that: length of the motion in shares of the face's size, size of the face in pixels."""

JITTER = 0.02
"""Right fittings are off by up to about this share of the face's size, as a landmarker's are from frame to frame."""

RIGHT = ("as it is", "jittered")
"""Kinds of right fittings."""

BLANK = "blank"
"""Kind of the landmarks on a picture that shows nothing of the face: wrong, wherever they are."""

Report = Callable[[str], None]


def train_from_material(
    data: str | Path, output: str | Path, points: int, seed: int = 1, report: Report = print
) -> Path:
    """Train a classifier for fittings of faces on the training identities of a folder of material.

    Parameters
    ----------
    data
        Folder with ``clips.tsv`` and ``portraits.tsv`` (see `fvdeblur.datasets.load_clips`).
    output
        Folder for ``fitting<points>.safetensors`` and ``config.json``.
    points
        5, the detector's points, or 68.
    seed
        Of everything that is drawn.
    report
        Is given a line of text now and then.

    Returns
    -------
    Path
        The written weights.

    Raises
    ------
    UsageError
        No such number of points, a package that training needs is missing, or the material cannot be found.
    """
    if points not in SETTINGS:
        raise UsageError(f"no classifier for {points} points; choose one of {', '.join(map(str, SETTINGS))}")
    _require_sklearn()
    landmarker, detector = create_landmarker("dlib68"), create_detector("centerface")
    report("reading the material")
    material = load_clips(data, "train", limit=CLIP_LENGTH) + load_stills(data, "train")
    report(f"fitting landmarks to {len(material)} clips and stills")
    fittings, counts = right_fittings(material, detector, landmarker, FRAMES)
    material.clear()
    report("fittings: " + ", ".join(f"{count} {reason}" for reason, count in counts.most_common()))
    classifier, facts = train_classifier(fittings[points], SETTINGS[points], seed=seed, report=report)
    return classifier.save(output, training={"fittings": dict(counts.most_common()), "seed": seed, **facts})


def train_classifier(
    fittings: list[Fitting], settings: PatchSettings, seed: int = 1, report: Report = print
) -> tuple[FittingClassifier, dict[str, Any]]:
    """Train a classifier on right fittings; the wrong ones are made of them.

    The penalty C is chosen by cross-validation, in which no identity is on both sides.

    Returns
    -------
    FittingClassifier
    dict
        The penalty, and the shares kept and rejected in the cross-validation with it.

    Raises
    ------
    UsageError
        scikit-learn is missing, or the fittings show fewer than two identities.
    """
    _require_sklearn()
    from sklearn.model_selection import GroupKFold

    identities = {fitting.identity for fitting in fittings}
    if len(identities) < 2:
        raise UsageError("fittings of at least two identities are needed to train a classifier")
    mean = mean_shape(fitting.landmarks for fitting in fittings)
    features, kinds, groups = make_samples(fittings, mean, settings, np.random.default_rng(seed))
    right = np.array([kind in RIGHT for kind in kinds])
    report(f"{np.count_nonzero(right)} right and {np.count_nonzero(~right)} wrong fittings to learn from")

    folds = list(GroupKFold(min(FOLDS, len(identities))).split(features, right, groups))
    best: dict[str, Any] = {}
    for penalty in PENALTIES:
        scores = np.empty(len(right))
        for inside, outside in folds:
            weights, bias = _fit(features[inside], right[inside], penalty, seed)
            scores[outside] = features[outside] @ weights + bias
        kept, rejected = float(np.mean(scores[right] > 0)), float(np.mean(scores[~right] <= 0))
        report(f"C = {penalty:g}: {kept:.2%} of right kept, {rejected:.2%} of wrong rejected")
        if kept + rejected > best.get("kept", 0) + best.get("rejected", 0):
            by_kind = {
                kind: round(float(np.mean(scores[[each == kind for each in kinds]] <= 0)), 4)
                for kind in (*PERTURBATIONS, BLANK)
                if kind in kinds
            }
            best = {"penalty": penalty, "kept": round(kept, 4), "rejected": round(rejected, 4)}
            best["rejected_by_kind"] = by_kind
    weights, bias = _fit(features, right, best["penalty"], seed)
    return FittingClassifier(settings, mean, weights, bias), {"cross_validation": best}


def make_samples(
    fittings: list[Fitting], mean: Floats, settings: PatchSettings, rng: np.random.Generator
) -> tuple[NDArray[np.float32], list[str], list[str]]:
    """Features of right and wrong fittings, float32 [S, D], with the kind and the identity of each.

    Of each fitting: itself and, moved a little, once more (the kinds of `RIGHT`); and a wrong one of each kind of
    `PERTURBATIONS`, and its landmarks where nothing is to be seen (`BLANK`).
    """
    rows: list[NDArray[np.float32]] = []
    kinds: list[str] = []
    groups: list[str] = []
    for fitting in fittings:
        for kind in (*RIGHT, *PERTURBATIONS, BLANK):
            if kind == BLANK:
                seen = blanked(fitting, rng)
            else:
                seen = _varied(fitting, rng) if rng.random() < VARIED_SHARE else fitting
            landmarks: Floats | None = seen.landmarks
            if kind == "jittered":
                landmarks = _jittered(seen, rng)
            elif kind in PERTURBATIONS:
                landmarks = wrong_landmarks(kind, seen, fittings, rng)
            if landmarks is not None:
                rows.append(fitting_features(seen.image, landmarks, mean, settings))
                kinds.append(kind)
                groups.append(fitting.identity)
    return np.stack(rows), kinds, groups


def _varied(fitting: Fitting, rng: np.random.Generator) -> Fitting:
    """The fitting on a picture that is motion-blurred or smaller."""
    if rng.random() < 0.5:
        return blurred(fitting, rng, (0.0, LONGEST_BLUR))
    size = float(np.exp(rng.uniform(np.log(SMALLEST_FACE), np.log(max(fitting.size, SMALLEST_FACE + 1)))))
    return reduced(fitting, size)


def _jittered(fitting: Fitting, rng: np.random.Generator) -> Floats:
    """The landmarks turned, scaled and shifted a little."""
    centre = fitting.landmarks.mean(axis=0)
    turn = complex(1 + rng.uniform(-1, 1) * 2 * JITTER, rng.uniform(-1, 1) * 2 * JITTER)
    matrix = np.array([[turn.real, -turn.imag], [turn.imag, turn.real]])
    shift = rng.uniform(-1, 1, 2) * JITTER * fitting.size
    return np.asarray((fitting.landmarks - centre) @ matrix.T + centre + shift)


def _fit(
    features: NDArray[np.float32], right: NDArray[np.bool_], penalty: float, seed: int
) -> tuple[NDArray[np.float32], float]:
    """Weights [D] and bias of the machine trained on standardised features, for features as they are."""
    from sklearn.svm import LinearSVC

    mean = features.mean(axis=0)
    deviation = np.maximum(features.std(axis=0), 1e-3)
    machine = LinearSVC(C=penalty, class_weight="balanced", tol=1e-3, max_iter=2000, random_state=seed)
    machine.fit((features - mean) / deviation, right)
    weights = machine.coef_[0] / deviation
    return weights.astype(np.float32), float(machine.intercept_[0] - weights @ mean)


def _require_sklearn() -> None:
    if importlib.util.find_spec("sklearn") is None:
        raise UsageError('training a classifier needs scikit-learn: pip install "fvdeblur[train]"')
