"""Where the figures are taken: the face box that the detector finds on the sharp frame."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fvdeblur.faces import Detector, face_size

Box = tuple[int, int, int, int]


def face_box(detector: Detector, frame: NDArray[np.uint8]) -> Box | None:
    """The largest face of a frame as x0, y0, x1, y1, in whole pixels inside it."""
    found = detector.detect(frame)
    if not found:
        return None
    box = max(found, key=lambda face: face_size(face.box)).box
    x0, y0 = np.maximum(np.round(box[:2]).astype(int), 0)
    x1, y1 = np.round(box[2:]).astype(int)
    return int(x0), int(y0), int(min(x1, frame.shape[1])), int(min(y1, frame.shape[0]))
