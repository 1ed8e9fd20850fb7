"""The parts that the miner is given: they know what the object is, the miner does not.

To mine another kind of object, give a detector of it, a landmarker (for a plain box, its corners and centre) and a
classifier of wrong fittings that was trained for it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from fvdeblur.datasets.mining.settings import MiningSettings
from fvdeblur.faces import Detection

Image = NDArray[np.uint8]
Floats = NDArray[np.float32]


class ObjectDetector(Protocol):
    """Finds the objects of a picture."""

    def detect(self, image: Image) -> list[Detection]:
        """The objects in ``image`` (uint8 [H, W, 3], R'G'B'), best score first."""


class ObjectTracker(Protocol):
    """Follows what it was shown in one box, whatever it is."""

    def update(self, image: Image) -> tuple[Floats, float]:
        """Box float32 [4] (x0, y0, x1, y1 in pixels) in the next frame, and confidence 0..1."""


class ObjectLandmarker(Protocol):
    """Finds the landmarks of a detected object."""

    def landmarks(self, image: Image, detection: Detection) -> Floats:
        """Landmarks float32 [P, 2], x, y in pixels of ``image``."""


class FittingScorer(Protocol):
    """Tells right fittings of landmarks from wrong ones: f_cl of the algorithm."""

    def score(self, image: Image, landmarks: Floats) -> float:
        """Above 0 for a fitting (float [P, 2]) that is right."""


@dataclass(frozen=True)
class Parts:
    """What the miner works with.

    Attributes
    ----------
    name
        Detector and landmarker in words, with their versions: results of other parts are other results.
    detector, landmarker, classifier
        The object's parts.
    start_tracker
        Makes a tracker from a picture and the box (float32 [4]) of what it shall follow there.
    """

    name: str
    detector: ObjectDetector
    landmarker: ObjectLandmarker
    classifier: FittingScorer
    start_tracker: Callable[[Image, Floats], ObjectTracker]


def face_parts(settings: MiningSettings) -> Parts:
    """The parts for faces, each with one thread so that any number of processes gives the same result.

    Raises
    ------
    UsageError
        A part is not known or not installed.
    FvdeblurError
        The weights of a part are missing or damaged.
    """
    from fvdeblur.datasets.mining.correlation import CorrelationTracker
    from fvdeblur.datasets.mining.fitting import FittingClassifier
    from fvdeblur.faces import create_detector
    from fvdeblur.faces.landmarks import create_landmarker

    detector = create_detector(settings.detector, threads=1)
    landmarker = create_landmarker(settings.landmarks)
    return Parts(
        name=f"{detector.name}, {landmarker.points} landmarks",
        detector=detector,
        landmarker=landmarker,
        classifier=FittingClassifier.load(landmarker.points),
        start_tracker=CorrelationTracker,
    )
