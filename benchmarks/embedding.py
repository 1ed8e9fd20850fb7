"""How alike two pictures of a face are to a network that tells people apart and is never used in training.

dlib's 128-d embedding (128 numbers a face, of the package ``face-recognition-models``), on the chips that dlib itself
cuts around the 68 landmarks.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fvdeblur.errors import FvdeblurError
from fvdeblur.faces import create_detector, create_landmarker, face_size

EMBEDDING_FILE = "dlib_face_recognition_resnet_model_v1.dat"
SIDE, PADDING = 150, 0.25
"""Of dlib's chips: what the embedding was trained with."""

Frames = NDArray[np.uint8]


class Embedder:
    """dlib's network with what finds the landmarks that it needs."""

    def __init__(self, path: Path) -> None:
        import dlib

        self._dlib: Any = dlib
        self._network: Any = dlib.face_recognition_model_v1(str(path))
        self._detector = create_detector("centerface")
        self._landmarker = create_landmarker("dlib68")

    def similarities(self, restored: Frames, sharp: Frames) -> list[float]:
        """Cosine of the embeddings of frames uint8 [N, H, W, 3], R'G'B'; of those with a face in the sharp one.

        Both are cut where the face of the sharp frame is.
        """
        alike = []
        for picture, truth in zip(restored, sharp, strict=True):
            found = self._detector.detect(truth)
            if not found:
                continue
            face = max(found, key=lambda each: face_size(each.box))
            points = np.round(self._landmarker.landmarks(truth, face) - 0.5).astype(int)
            first, second = (self._embed(each, points) for each in (picture, truth))
            alike.append(float(first @ second / (np.linalg.norm(first) * np.linalg.norm(second))))
        return alike

    def _embed(self, picture: Frames, points: NDArray[np.int64]) -> NDArray[np.float64]:
        dlib = self._dlib
        (left, top), (right, bottom) = points.min(axis=0).tolist(), points.max(axis=0).tolist()
        places = [dlib.point(x, y) for x, y in points.tolist()]
        shape = dlib.full_object_detection(dlib.rectangle(left, top, right, bottom), places)
        chip = dlib.get_face_chip(np.ascontiguousarray(picture), shape, SIDE, PADDING)
        return np.array(self._network.compute_face_descriptor(chip), np.float64)


def open_embedder() -> tuple[Embedder | None, str]:
    """The embedder, or None and what is missing for it."""
    home = importlib.util.find_spec("face_recognition_models")
    if home is None or importlib.util.find_spec("dlib") is None:
        return None, "dlib or face-recognition-models is not installed (the extra 'landmarks')"
    path = Path((home.submodule_search_locations or ["."])[0]) / "models" / EMBEDDING_FILE
    try:
        return Embedder(path), ""
    except (FvdeblurError, RuntimeError, ImportError) as error:
        return None, str(error).partition("\n")[0]
