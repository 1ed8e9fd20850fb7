"""Landmarks of a detected face behind one small interface.

Two landmarkers are known. ``five`` gives the detector's own five points. ``dlib68`` gives the 68 points of the
iBUG 300-W markup, found by the ensemble of regression trees of Kazemi & Sullivan (2014) with the predictor that the
package ``face-recognition-models`` carries and ``dlib`` runs; both come with the extra ``fvdeblur[landmarks]``.

Licence of the 68-point predictor: dlib's code is under the Boost Software License and the file itself was given to the
public domain by its author, but it was trained on iBUG 300-W, whose licence excludes commercial use; its author advises
to ask Imperial College London before using it in a commercial product.

Points are in pixels of the picture with continuous coordinates, as boxes are: the centre of the first pixel
is at 0.5.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from fvdeblur.errors import FvdeblurError, UsageError
from fvdeblur.faces.detector import Detection

LANDMARKERS = ("auto", "dlib68", "five")

PREDICTOR_FILE = "shape_predictor_68_face_landmarks.dat"
REMEDY = 'pip install "fvdeblur[landmarks]"'

CROP_SIDE = 288
"""Side in pixels of the upright picture of the face that the predictor sees."""

SQUARE_SIDE = 192
"""Side in pixels of the square within that picture that stands for the box of dlib's own detector."""

UPRIGHT = np.array([[-1, -0.95], [1, -0.95], [0, 0.1], [-0.8, 0.95], [0.8, 0.95]], np.float64)
"""Five points of an upright face around their mean, in any unit: eyes, nose tip, mouth corners."""

SQUARE_BY_POINTS = (1.12, 0.0)
"""Side of the square, and how far its centre lies below the mean of the five points.

In units of the distance of the eyes plus that of the eyes' middle from the mouth's. Sides of 1.0 to 1.4 and shifts of
-0.06 to 0.06 give the same fits; from 0.85 and 1.6 on they come apart.
"""

SQUARE_BY_BOX = (1.00, 0.05)
"""The same for a face whose detector gives no points: below the box's centre, in units of the root of its area."""


class Landmarker(Protocol):
    """What finds the landmarks of a detected face."""

    @property
    def points(self) -> int:
        """Number of landmarks."""

    def landmarks(self, image: NDArray[np.uint8], detection: Detection) -> NDArray[np.float32]:
        """Landmarks of the face ``detection`` in ``image`` (uint8 R'G'B' [H, W, 3]): float32 [points, 2].

        x, y in pixels of the picture; they may lie beyond its edges.
        """


class FiveLandmarker:
    """The five points that the detector gave: eyes, nose tip, mouth corners, those on the picture's left first."""

    points = 5

    def landmarks(self, image: NDArray[np.uint8], detection: Detection) -> NDArray[np.float32]:
        """Landmarks of the face ``detection``: float32 [5, 2], x, y in pixels of ``image``.

        Raises
        ------
        UsageError
            The detector gives no points.
        """
        if detection.landmarks is None:
            raise UsageError("the detector gives no landmarks; choose the detector centerface or scrfd")
        return np.array(detection.landmarks, np.float32)


class Dlib68Landmarker:
    """68 points by an ensemble of regression trees (Kazemi & Sullivan, 2014) as dlib runs it.

    The predictor has seen upright faces in the boxes of dlib's own detector: it is shown the face turned upright by
    the detector's five points (without them, as it is), in the square that suits it, at one size.

    Raises
    ------
    UsageError
        A package of the extra ``landmarks`` is missing.
    FvdeblurError
        The predictor's file is missing or damaged.
    """

    points = 68

    def __init__(self) -> None:
        path = _find_predictor()
        import dlib

        try:
            self._predictor: Any = dlib.shape_predictor(str(path))
        except RuntimeError as error:
            reason = str(error).strip().partition("\n")[0]
            raise FvdeblurError(
                f"cannot load the landmark predictor {path}: {reason}; reinstall face-recognition-models"
            ) from error
        low = (CROP_SIDE - SQUARE_SIDE) // 2
        self._square = dlib.rectangle(low, low, low + SQUARE_SIDE - 1, low + SQUARE_SIDE - 1)

    def landmarks(self, image: NDArray[np.uint8], detection: Detection) -> NDArray[np.float32]:
        """Landmarks of the face ``detection`` in ``image`` (uint8 R'G'B' [H, W, 3]): float32 [68, 2].

        In the order of the iBUG markup: jaw 0 to 16, brows to 26, nose to 35, eyes to 47, mouth to 67.
        """
        to_crop = upright_square(detection)
        crop = warp_region(image, to_crop, (CROP_SIDE, CROP_SIDE))
        shape = self._predictor(crop, self._square)
        found = np.array([(part.x, part.y) for part in shape.parts()], np.float64) + 0.5
        inverse = cv2.invertAffineTransform(to_crop)
        return np.asarray(found @ inverse[:, :2].T + inverse[:, 2], np.float32)


def create_landmarker(name: str = "auto") -> Landmarker:
    """Make a landmarker.

    Parameters
    ----------
    name : str
        ``dlib68``, ``five``, or ``auto``: dlib68 where the extra ``landmarks`` is installed, else five.

    Raises
    ------
    UsageError
        Unknown name, or dlib68 was asked for and a package that it needs is missing.
    FvdeblurError
        The predictor's file is missing or damaged.
    """
    if name not in LANDMARKERS:
        raise UsageError(f"unknown landmarker {name!r}; choose one of {', '.join(LANDMARKERS)}")
    if name == "five" or (name == "auto" and _missing_packages()):
        return FiveLandmarker()
    return Dlib68Landmarker()


def five_of_68(landmarks: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """The detector's five points out of 68: float [68, 2] to float64 [5, 2] (an eye is the mean of its outline)."""
    points = np.asarray(landmarks, np.float64)
    eyes = [points[36:42].mean(axis=0), points[42:48].mean(axis=0)]
    return np.stack([*eyes, points[30], points[48], points[54]])


def similarity(source: NDArray[np.floating[Any]], target: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """Rotation, scale and shift that bring ``source`` [N, 2] closest to ``target`` [N, 2] in the least squares.

    Returns
    -------
    float64 [2, 3]
        Matrix M with target = M[:, :2] @ source + M[:, 2].

    Raises
    ------
    ValueError
        The points of ``source`` coincide or are not finite.
    """
    z, w = (np.ascontiguousarray(points, np.float64).view(np.complex128)[:, 0] for points in (source, target))
    with np.errstate(invalid="ignore", over="ignore"):
        centred = z - z.mean()
        energy = float(np.sum(np.abs(centred) ** 2))
    if not np.isfinite(energy) or energy < 1e-12:
        raise ValueError("the points coincide or are not finite")
    turn = complex(np.vdot(centred, w - w.mean()) / energy)
    shift = complex(w.mean() - turn * z.mean())
    return np.array([[turn.real, -turn.imag, shift.real], [turn.imag, turn.real, shift.imag]])


def upright_square(detection: Detection) -> NDArray[np.float64]:
    """Similarity, float64 [2, 3], from the picture to the `CROP_SIDE` crop that shows a face upright to the predictor.

    The square that stands for the box of dlib's own detector is the middle `SQUARE_SIDE` of the crop.
    """
    if detection.landmarks is None:
        x0, y0, x1, y1 = (float(value) for value in detection.box)
        origin, unit, angle = complex(x0 + x1, y0 + y1) / 2, np.sqrt(max((x1 - x0) * (y1 - y0), 1.0)), 0.0
        side, down = SQUARE_BY_BOX
    else:
        five = np.asarray(detection.landmarks, np.float64)
        to_upright = similarity(five, UPRIGHT)
        angle = -float(np.arctan2(to_upright[1, 0], to_upright[0, 0]))
        eyes, mouth = five[:2].mean(axis=0), five[3:].mean(axis=0)
        unit = max(float(np.linalg.norm(five[1] - five[0]) + np.linalg.norm(mouth - eyes)), 1.0)
        origin = complex(*five.mean(axis=0))
        side, down = SQUARE_BY_POINTS
    turn = np.exp(-1j * angle) * SQUARE_SIDE / (side * unit)
    centre = origin + np.exp(1j * angle) * 1j * down * unit
    shift = CROP_SIDE * complex(0.5, 0.5) - turn * centre
    return np.array([[turn.real, -turn.imag, shift.real], [turn.imag, turn.real, shift.imag]])


def warp_region(
    image: NDArray[np.uint8], matrix: NDArray[np.float64], size: tuple[int, int]
) -> NDArray[np.uint8]:
    """Picture of the given size (width, height) that a similarity, float64 [2, 3], maps ``image`` to.

    Coordinates are continuous; what lies outside repeats the edge. A reduction is averaged, not sampled.

    Parameters
    ----------
    image : uint8 [H, W, 3] or [H, W]
    """
    scale = float(np.hypot(matrix[0, 0], matrix[1, 0]))
    corners = np.array([[0, 0], [size[0], 0], [0, size[1]], size], np.float64)
    inverse = cv2.invertAffineTransform(matrix)
    seen = corners @ inverse[:, :2].T + inverse[:, 2]
    margin = 2 + 2 / max(scale, 1e-6)
    limits = np.array([image.shape[1], image.shape[0]])
    low = np.clip(np.floor(seen.min(axis=0) - margin), 0, limits - 1).astype(int)
    high = np.clip(np.ceil(seen.max(axis=0) + margin), low + 1, limits).astype(int)
    region = image[low[1] : high[1], low[0] : high[0]]
    factor = np.ones(2)
    if scale < 0.75:
        reduced = np.maximum(1, np.round((high - low) * scale * 1.25)).astype(int)
        factor = reduced / (high - low)
        region = np.asarray(cv2.resize(region, reduced.tolist(), interpolation=cv2.INTER_AREA), np.uint8)
    # region's index i stands for the continuous coordinate (i + 0.5) / factor + low
    change = np.array(
        [[1 / factor[0], 0, 0.5 / factor[0] + low[0]], [0, 1 / factor[1], 0.5 / factor[1] + low[1]]]
    )
    linear = matrix[:, :2] @ change[:, :2]
    offset = matrix[:, :2] @ change[:, 2] + matrix[:, 2] - 0.5
    full = np.hstack([linear, offset[:, None]])
    warped = cv2.warpAffine(region, full, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(warped, np.uint8)


def _missing_packages() -> list[str]:
    """Names, as pip knows them, of the packages that dlib68 needs and that are not installed."""
    modules = {"dlib-bin": "dlib", "face-recognition-models": "face_recognition_models"}
    return [package for package, module in modules.items() if importlib.util.find_spec(module) is None]


def _find_predictor() -> Path:
    """Path of the predictor's file; the package that carries it is not imported (it needs pkg_resources)."""
    if missing := _missing_packages():
        raise UsageError(f"the landmarker dlib68 needs {' and '.join(missing)}: {REMEDY}")
    spec = importlib.util.find_spec("face_recognition_models")
    assert spec is not None
    folders = [Path(folder) for folder in spec.submodule_search_locations or []]
    for folder in folders:
        if (path := folder / "models" / PREDICTOR_FILE).is_file():
            return path
    raise FvdeblurError(
        f"the landmark predictor {PREDICTOR_FILE} is missing from the package face-recognition-models; reinstall it"
    )
