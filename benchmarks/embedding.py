"""How alike two pictures of a face are to a network that tells people apart and is never used in training.

dlib's 128-d embedding (128 numbers a face, of the package ``face-recognition-models``), on the chips that dlib itself
cuts around the 68 landmarks.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fvdeblur.errors import FvdeblurError
from fvdeblur.faces import create_detector, face_size
from fvdeblur.faces.identity import DlibEmbedder

Frames = NDArray[np.uint8]


class Embedder:
    """dlib's network with what finds the faces."""

    def __init__(self) -> None:
        self._dlib = DlibEmbedder()
        self._detector = create_detector("centerface")

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
            points = self._dlib.landmarker.landmarks(truth, face)
            alike.append(float(self._dlib.embed_at(picture, points) @ self._dlib.embed_at(truth, points)))
        return alike


def open_embedder() -> tuple[Embedder | None, str]:
    """The embedder, or None and what is missing for it."""
    try:
        return Embedder(), ""
    except FvdeblurError as error:
        return None, str(error)
