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


def face_boxes(detector: Detector, frames: NDArray[np.uint8]) -> list[Box]:
    """The same of each frame of uint8 [T, H, W, 3]; where none is found, the neighbour's; empty without any face."""
    boxes: list[Box | None] = []
    for frame in frames:
        found = face_box(detector, frame)
        boxes.append(found or (boxes[-1] if boxes else None))
    known = next((box for box in boxes if box is not None), None)
    return [] if known is None else [box or known for box in boxes]
