"""Face verification: are two pictures of one person? On sharp pairs, blurred ones, and ones that were restored."""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from fvdeblur import __version__
from fvdeblur.datasets.clips import read_still
from fvdeblur.datasets.protocols import apply, create
from fvdeblur.errors import InputError, UsageError
from fvdeblur.evaluation.baselines import Kernels
from fvdeblur.evaluation.datasets import create_restorers, true_kernels, with_noise
from fvdeblur.evaluation.results import Interval, interval
from fvdeblur.faces import Detection
from fvdeblur.faces.identity import ARCFACE_POINTS, create_embedder

PAIRS_FILE = "pairs.txt"

ALIGNED_SIDE = 112
"""Side of the aligned crops, to which `fvdeblur.faces.identity.ARCFACE_POINTS` refer."""

SUPPORTS = (5, 13)
"""Smallest and largest kernels of the blur, in pixels of these crops."""

FOLDS = 10

SHARP, BLURRED = "sharp", "blurred"

Frames = NDArray[np.uint8]


@dataclass(frozen=True)
class Pair:
    """Two pictures by their paths, and whether they show one person."""

    one: Path
    other: Path
    same: bool


@dataclass
class Verification:
    """How well people are told apart.

    Attributes
    ----------
    accuracy
        Share of pairs told rightly, by ``sharp``, ``blurred`` or model, with the interval over pairs. The threshold is
        that of the nine tenths of the pairs that a pair does not belong to.
    similarities
        float64 [N] of every pair, by the same names.
    same
        bool [N].
    about
        What it was made of and with.
    """

    accuracy: dict[str, Interval]
    similarities: dict[str, NDArray[np.float64]]
    same: NDArray[np.bool_]
    about: dict[str, Any] = field(default_factory=dict)

    def recovered(self, name: str) -> float:
        """Share of the gap between blurred and sharp that a model closes; NaN where there is no gap."""
        gap = self.accuracy[SHARP].mean - self.accuracy[BLURRED].mean
        return (self.accuracy[name].mean - self.accuracy[BLURRED].mean) / gap if gap > 0 else float("nan")

    def as_json(self) -> dict[str, Any]:
        """Everything but the single similarities, for ``json.dump``."""
        rows = {
            name: {
                **{key: round(each, 4) for key, each in value._asdict().items()},
                "gap_closed": None if name in (SHARP, BLURRED) else _known(self.recovered(name)),
            }
            for name, value in self.accuracy.items()
        }
        return {
            "schema": "fvdeblur.verification/1",
            "about": self.about,
            "pairs": len(self.same),
            "accuracy": rows,
        }

    def as_markdown(self) -> str:
        """A table in Markdown."""
        lines = ["| pictures | accuracy | 95 % | gap closed |", "| --- | --- | --- | --- |"]
        for name, row in self.as_json()["accuracy"].items():
            closed = "" if row["gap_closed"] is None else f"{row['gap_closed']:.0%}"
            lines.append(f"| {name} | {row['mean']:.4f} | {row['low']:.4f} to {row['high']:.4f} | {closed} |")
        return "\n".join(lines) + "\n"


def evaluate_pairs(
    folder: str | Path,
    models: Sequence[str] = ("fvd",),
    *,
    pairs: int | None = None,
    seed: int = 7,
    device: str = "auto",
    precision: str = "auto",
    embedder: str = "auto",
    progress: Callable[[int, int], None] | None = None,
) -> Verification:
    """Tell pairs of aligned crops apart: sharp, blurred by trajectories (Jung et al. 2022), and restored.

    Every picture has a kernel of its own of `SUPPORTS` pixels, and noise of 1/255; both pictures of a pair are blurred
    and restored. Faces are not detected: the crops are aligned, so it is known where they are.

    Parameters
    ----------
    folder
        Aligned crops of 112x112 pixels named ``NAME_0001.jpg``, with ``pairs.txt``: lines of ``name i j`` for pairs of
        one person and ``name i name j`` for pairs of two.
    models
        As for `evaluate_dataset`.
    pairs
        Take so many pairs only, half of them of one person, spread over the file; None: all.
    seed, device, precision
        As for `evaluate_dataset`.
    embedder
        ``auto``, ``dlib`` or ``insightface``.
    progress
        Called with pictures done, and in all.

    Raises
    ------
    UsageError
        There is no ``pairs.txt``, a model is unknown, or no embedder is installed.
    InputError
        A line or a picture cannot be read.
    """
    chosen = _some(read_pairs(folder), pairs)
    teller = create_embedder(embedder)
    if teller is None:
        raise UsageError('verification needs an embedder: pip install "fvdeblur[identity]"')
    restorers, ran = create_restorers(models, device, precision)
    face = Detection(
        np.array([8, 8, ALIGNED_SIDE - 8, ALIGNED_SIDE - 2], np.float32),
        1.0,
        ARCFACE_POINTS.astype(np.float32),
    )
    paths = list(dict.fromkeys(path for pair in chosen for path in (pair.one, pair.other)))
    embeddings: dict[str, dict[Path, NDArray[np.float32]]] = {
        name: {} for name in (SHARP, BLURRED, *restorers)
    }
    for number, path in enumerate(paths):
        if progress is not None:
            progress(number, len(paths))
        sharp = read_still(path)
        if sharp.shape[1:3] != (ALIGNED_SIDE, ALIGNED_SIDE):
            raise InputError(
                f"{path}: is {sharp.shape[2]}x{sharp.shape[1]}, not {ALIGNED_SIDE}x{ALIGNED_SIDE}"
            )
        blurred, kernels = _blurred(path.name, sharp, seed)
        versions = {SHARP: sharp, BLURRED: blurred}
        versions |= {name: restore(blurred, kernels) for name, restore in restorers.items()}
        for name, frames in versions.items():
            embeddings[name][path] = teller.embed(frames[0], face)
    if progress is not None:
        progress(len(paths), len(paths))
    same = np.array([pair.same for pair in chosen])
    similarities = {
        name: np.array([float(vectors[pair.one] @ vectors[pair.other]) for pair in chosen])
        for name, vectors in embeddings.items()
    }
    accuracy = {name: interval(told_rightly(values, same)) for name, values in similarities.items()}
    about = {
        "version": __version__,
        "data": Path(folder).name,
        "pairs": len(chosen),
        "seed": seed,
        "kernels": list(SUPPORTS),
        "models": ran,
        "embedder": teller.name,
    }
    return Verification(accuracy, similarities, same, about)


def read_pairs(folder: str | Path) -> list[Pair]:
    """The pairs that ``pairs.txt`` lists.

    Raises
    ------
    UsageError
        There is no such file, or it lists none.
    InputError
        A line cannot be read.
    """
    folder = Path(folder)
    try:
        lines = (folder / PAIRS_FILE).read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise UsageError(
            f"{folder / PAIRS_FILE}: cannot be read ({error.strerror}); check the folder"
        ) from error
    pairs = []
    for number, line in enumerate(lines, 1):
        words = line.split()
        if not words or (number == 1 and all(re.fullmatch(r"\d+", word) for word in words)):
            continue  # the head of the original file gives counts
        try:
            if len(words) == 3:
                pairs.append(Pair(_path(folder, words[0], words[1]), _path(folder, words[0], words[2]), True))
            elif len(words) == 4:
                pairs.append(Pair(_path(folder, *words[:2]), _path(folder, *words[2:]), False))
            else:
                raise ValueError
        except ValueError as error:
            raise InputError(
                f"{folder / PAIRS_FILE}: line {number} is neither 'name i j' nor 'name i name j'"
            ) from error
    if not pairs:
        raise UsageError(f"{folder / PAIRS_FILE}: lists no pairs")
    return pairs


def told_rightly(similarities: NDArray[np.float64], same: NDArray[np.bool_]) -> NDArray[np.float64]:
    """For each pair 1 where it is told rightly by the threshold that is best on the other folds, else 0.

    Parameters
    ----------
    similarities, same
        float64 [N] and bool [N].

    Returns
    -------
    float64 [N]
    """
    order = np.random.default_rng(0).permutation(len(same))
    fold = np.empty(len(same), int)
    fold[order] = np.arange(len(same)) % min(FOLDS, len(same))
    right = np.zeros(len(same))
    for number in np.unique(fold):
        held = fold == number
        threshold = best_threshold(similarities[~held], same[~held])
        right[held] = (similarities[held] >= threshold) == same[held]
    return right


def best_threshold(similarities: NDArray[np.float64], same: NDArray[np.bool_]) -> float:
    """The similarity from which on to call pairs one person, so that most are told rightly."""
    if not len(same):
        return 0.0
    order = np.argsort(similarities)
    values, truth = similarities[order], same[order]
    # With the threshold before place k, the pairs from k on are called the same.
    right = np.concatenate([[truth.sum()], truth.sum() - np.cumsum(truth) + np.cumsum(~truth)])
    k = int(right.argmax())
    if k == 0:
        return float(values[0]) - 1e-6
    return float(values[-1]) + 1e-6 if k == len(values) else float((values[k - 1] + values[k]) / 2)


def _path(folder: Path, name: str, number: str) -> Path:
    if Path(name).name != name:
        raise ValueError(name)
    return folder / f"{name}_{int(number):04d}.jpg"


def _some(pairs: list[Pair], count: int | None) -> list[Pair]:
    """So many pairs, half of one person and half of two, evenly spread."""
    if count is None or count >= len(pairs):
        return pairs
    kinds = [[pair for pair in pairs if pair.same == same] for same in (True, False)]
    chosen = []
    for kind, wanted in zip(kinds, (count - count // 2, count // 2), strict=True):
        places = np.unique(np.linspace(0, len(kind) - 1, min(wanted, len(kind))).round().astype(int))
        chosen += [kind[place] for place in places]
    return chosen


def _blurred(name: str, sharp: Frames, seed: int) -> tuple[Frames, Kernels | None]:
    own = zlib.crc32(f"{seed} {name}".encode())
    frames = torch.from_numpy(sharp).permute(0, 3, 1, 2).contiguous()
    settings = {"supports": SUPPORTS}
    result = apply("jung", frames, own, settings=settings)
    blurred = with_noise(result.blurred.permute(0, 2, 3, 1).contiguous().numpy(), own)
    return blurred, true_kernels(create("jung", settings), own, result.frames)


def _known(value: float) -> float | None:
    return None if np.isnan(value) else round(value, 4)
