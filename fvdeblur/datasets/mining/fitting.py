"""The classifier f_cl of Chrysos & Zafeiriou (2017, section 4): is a fitting of landmarks right?

The picture is turned, scaled and shifted so that the fitting's landmarks lie as close as they can to a mean shape of
fixed size. Around each landmark a patch of fixed size is described by histograms of oriented gradients; these and each
landmark's distance from its place in the mean shape are weighed by a linear support vector machine. A fitting that is
shifted, turned or of the wrong size thereby sees patches that are not those of its landmarks; a right one sees the same
at every scale and in-plane rotation of the picture.

Nothing here knows what a face is: the classifier is trained for an object and its landmarks (see
`fvdeblur.datasets.mining.fitting_training`).
"""

from __future__ import annotations

import hashlib
import importlib.resources
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from fvdeblur.errors import InputError, OutputError, UsageError
from fvdeblur.faces.landmarks import similarity, warp_region

CONFIG = "config.json"

LOWEST_SCORE = -100.0
"""Score of landmarks that cannot be a fitting: not finite, or all at one place."""

LARGEST_VALUE = 0.2
"""A value of a normalised histogram is cut here, and the histogram normalised again (Dalal & Triggs, 2005)."""

NOISE_FLOOR = 0.3
"""Gradient, in grey levels a pixel and averaged over a patch, below which a patch counts as flat."""

FARTHEST = 0.5
"""Distances of landmarks from their place in the mean shape are cut here."""

MARGIN = 1.2
"""Half the side of the normalised picture, in units of the mean shape's largest coordinate plus half a patch."""


@dataclass(frozen=True)
class PatchSettings:
    """What is measured around each landmark.

    Attributes
    ----------
    radius
        Root-mean-square distance of the mean shape's points from their mean, in pixels of the normalised picture.
    cell
        Side of a histogram's cell in those pixels.
    cells
        Cells along each side of a patch.
    orientations
        Bins of a histogram, over half a turn.
    """

    radius: float
    cell: int
    cells: int
    orientations: int = 8


class FittingClassifier:
    """Linear classifier of fittings.

    Parameters
    ----------
    settings
        What is measured.
    mean_shape : float [N, 2]
        Mean shape of upright objects, centred, of root-mean-square radius 1.
    weights : float [N * (cells * cells * orientations + 1)]
        Weight of each feature of `fitting_features`.
    bias
        Added to their sum.
    """

    def __init__(
        self,
        settings: PatchSettings,
        mean_shape: NDArray[np.floating[Any]],
        weights: NDArray[np.floating[Any]],
        bias: float,
    ) -> None:
        self.settings = settings
        self.mean_shape = np.asarray(mean_shape, np.float64)
        self.weights = np.asarray(weights, np.float32)
        self.bias = float(bias)
        expected = self.points * (settings.cells**2 * settings.orientations + 1)
        if self.mean_shape.shape != (self.points, 2) or self.weights.shape != (expected,):
            raise ValueError(f"{self.weights.shape} weights for {self.mean_shape.shape} points")

    @property
    def points(self) -> int:
        """Number of landmarks of a fitting."""
        return len(self.mean_shape)

    def score(self, image: NDArray[np.uint8], landmarks: NDArray[np.floating[Any]]) -> float:
        """How right a fitting is; above 0 it is accepted.

        Parameters
        ----------
        image : uint8 [H, W, 3], R'G'B'
        landmarks : float [points, 2]
            x, y in pixels of the picture.

        Returns
        -------
        float
            Signed distance from the boundary in units of the margin; `LOWEST_SCORE` for landmarks that are not finite
            or all at one place.

        Raises
        ------
        ValueError
            The number of landmarks is not the classifier's.
        """
        if np.shape(landmarks) != (self.points, 2):
            raise ValueError(f"landmarks of shape {np.shape(landmarks)}, expected {(self.points, 2)}")
        try:
            features = fitting_features(image, landmarks, self.mean_shape, self.settings)
        except ValueError:
            return LOWEST_SCORE
        return float(features @ self.weights) + self.bias

    @classmethod
    def load(cls, points: int, folder: str | Path | None = None) -> FittingClassifier:
        """Load a classifier for fittings of so many points.

        Parameters
        ----------
        points
            5 or 68 of the released ones.
        folder
            Folder that `save` wrote to; default: the released classifiers.

        Raises
        ------
        UsageError
            There is none for this number of points, or the folder has no configuration.
        InputError
            A file is damaged: its SHA-256 is not the one of the configuration, or it does not fit it.
        """
        home = Path(folder) if folder is not None else released_folder()
        remedy = "reinstall fvdeblur" if folder is None else "train it again"
        entries = _read_config(home, remedy)
        if str(points) not in entries:
            raise UsageError(
                f"{home / CONFIG}: no classifier of fittings of {points} points; there are: {', '.join(entries)}"
            )
        entry = entries[str(points)]
        path = home / _file_name(points)
        try:
            data = path.read_bytes()
        except OSError as error:
            raise InputError(f"{path}: the weights are missing ({error.strerror}); {remedy}") from error
        if not isinstance(entry, dict) or hashlib.sha256(data).hexdigest() != entry.get("sha256"):
            raise InputError(f"{path}: the weights are damaged (SHA-256 differs); {remedy}")
        from safetensors import SafetensorError
        from safetensors.numpy import load

        try:
            tensors = load(data)
            settings = PatchSettings(**entry["settings"])
            return cls(settings, tensors["mean_shape"], tensors["weights"], float(tensors["bias"][0]))
        except (SafetensorError, KeyError, TypeError, ValueError) as error:
            raise InputError(f"{path}: the weights do not fit their configuration; {remedy}") from error

    def save(self, folder: str | Path, **facts: Any) -> Path:
        """Write ``fitting<points>.safetensors`` and its entry in ``config.json``; entries of other classifiers stay.

        Parameters
        ----------
        folder
            Made where it does not exist.
        facts
            More to write into the entry, for example how it was trained.

        Raises
        ------
        OutputError
            The folder cannot be written.
        InputError
            The configuration that is there is damaged.
        """
        from safetensors.numpy import save

        home = Path(folder)
        entries = _read_config(home, "remove it") if (home / CONFIG).exists() else {}
        tensors = {
            "mean_shape": self.mean_shape.astype(np.float32),
            "weights": self.weights,
            "bias": np.array([self.bias], np.float32),
        }
        data = save(tensors)
        digest = hashlib.sha256(data).hexdigest()
        entries[str(self.points)] = {"sha256": digest, "settings": asdict(self.settings), **facts}
        ordered = {key: entries[key] for key in sorted(entries, key=lambda key: key.zfill(6))}
        try:
            home.mkdir(parents=True, exist_ok=True)
            (home / _file_name(self.points)).write_bytes(data)
            (home / CONFIG).write_text(
                json.dumps({"classifiers": ordered}, indent=2) + "\n", encoding="utf-8"
            )
        except OSError as error:
            raise OutputError(f"{home}: cannot write the classifier ({error.strerror})") from error
        return home / _file_name(self.points)


def fitting_features(
    image: NDArray[np.uint8],
    landmarks: NDArray[np.floating[Any]],
    mean_shape: NDArray[np.floating[Any]],
    settings: PatchSettings,
) -> NDArray[np.float32]:
    """What is measured of a fitting, in its own frame.

    First the histograms of oriented gradients of the patches around the landmarks; then how far each landmark lies from
    its place in the mean shape, in units of that shape's radius and `FARTHEST` at most.

    Parameters
    ----------
    image : uint8 [H, W, 3], R'G'B'
    landmarks : float [N, 2]
        x, y in pixels of the picture.
    mean_shape : float [N, 2]
        Centred, of root-mean-square radius 1.

    Returns
    -------
    float32 [N * cells * cells * orientations + N]
        Each patch of Euclidean length 1 at most.

    Raises
    ------
    ValueError
        The landmarks are not finite or all at one place.
    """
    reach = settings.radius * float(np.abs(mean_shape).max()) + settings.cell * settings.cells / 2
    side = 2 * int(np.ceil(MARGIN * reach))
    target = np.asarray(mean_shape, np.float64) * settings.radius + side / 2
    matrix = similarity(landmarks, target)
    picture = warp_region(image, matrix, (side, side))
    histograms = _cell_histograms(picture, settings)

    centres = np.asarray(landmarks, np.float64) @ matrix[:, :2].T + matrix[:, 2]
    offsets = (np.arange(settings.cells) - (settings.cells - 1) / 2) * settings.cell
    columns = _indices(centres[:, 0, None] + offsets, side)  # [N, cells]
    rows = _indices(centres[:, 1, None] + offsets, side)
    patches = histograms[rows[:, :, None], columns[:, None, :]].reshape(len(centres), -1)

    floor = NOISE_FLOOR * np.sqrt(patches.shape[1] / settings.orientations)
    patches = patches / np.sqrt(np.square(patches).sum(axis=1, keepdims=True) + floor**2)
    patches = np.minimum(patches, LARGEST_VALUE)
    length = np.sqrt(np.square(patches).sum(axis=1, keepdims=True))
    patches = patches / np.maximum(length, 0.5)
    distances = np.linalg.norm(centres - target, axis=1) / settings.radius
    return np.concatenate([patches.ravel(), np.minimum(distances, FARTHEST)]).astype(np.float32)


def _cell_histograms(picture: NDArray[np.uint8], settings: PatchSettings) -> NDArray[np.float32]:
    """At every pixel the histogram of the cell around it, float32 [H, W, orientations].

    Gradients are shared out linearly between neighbouring bins and fall off linearly over the cell's width.
    """
    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY).astype(np.float32)
    right = cv2.Sobel(grey, cv2.CV_32F, 1, 0, ksize=3, scale=0.125)
    down = cv2.Sobel(grey, cv2.CV_32F, 0, 1, ksize=3, scale=0.125)
    magnitude, angle = cv2.cartToPolar(right, down)
    count = settings.orientations
    position = np.mod(angle * (count / np.pi), count)
    histograms = np.empty((*grey.shape, count), np.float32)
    for k in range(count):
        distance = np.abs(position - k)
        share = np.maximum(1 - np.minimum(distance, count - distance), 0)
        cell = cv2.blur(share * magnitude, (settings.cell, settings.cell))
        histograms[..., k] = cv2.blur(cell, (settings.cell, settings.cell))
    return histograms


def _indices(positions: NDArray[np.float64], side: int) -> NDArray[np.intp]:
    """Pixels at continuous coordinates, those outside moved to the edge."""
    return np.clip(np.floor(positions), 0, side - 1).astype(np.intp)


def released_folder() -> Path:
    """Folder of the released classifiers."""
    return Path(str(importlib.resources.files("fvdeblur.models"))) / "fitting"


def _file_name(points: int) -> str:
    return f"fitting{points}.safetensors"


def _read_config(home: Path, remedy: str) -> dict[str, Any]:
    path = home / CONFIG
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))["classifiers"]
        return dict(entries)
    except OSError as error:
        raise UsageError(f"{path}: there are no classifiers of fittings ({error.strerror})") from error
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: the configuration is damaged; {remedy}") from error
