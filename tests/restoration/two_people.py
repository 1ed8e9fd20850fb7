"""A clip of two people side by side, who change sides at a cut in the middle."""

import functools
import os
from pathlib import Path

import cv2
import insightface
import numpy as np
import skimage.data
from media_samples import make_video

from fvdeblur.faces import create_detector
from fvdeblur.morphable.reader import FaceReader

COUNT, CUT = 14, 7
WIDTH, HEIGHT = 320, 240


@functools.cache
def reader() -> FaceReader:
    return FaceReader()


def crowd() -> np.ndarray:
    path = Path(os.path.dirname(insightface.__file__)) / "data" / "images" / "t1.jpg"
    return np.ascontiguousarray(cv2.imread(str(path))[..., ::-1])


@functools.cache
def frames() -> tuple[np.ndarray, ...]:
    """The astronaut is on the left before the cut and on the right after it: uint8 [HEIGHT, WIDTH, 3] each."""
    detector = create_detector("centerface", threads=1)
    half = WIDTH // 2
    halves = []
    for picture in (skimage.data.astronaut(), crowd()):
        box = max(detector.detect(picture), key=lambda found: found.score).box
        if halves:
            box = sorted(detector.detect(picture), key=lambda found: found.box[0])[3].box
        scale = half / (2.2 * float((box[2:] - box[:2]).max()))
        shift = np.array([half, 1.1 * HEIGHT]) / 2 - scale * (box[:2] + box[2:]) / 2
        moved = []
        for k in range(COUNT):
            x, y = shift[0] + 2 * np.sin(k / 2), shift[1] + 1.5 * np.cos(k / 3)
            matrix = np.array([[scale, 0, x], [0, scale, y]])
            seen = cv2.warpAffine(
                picture, matrix, (half, HEIGHT), flags=cv2.INTER_AREA, borderMode=cv2.BORDER_REPLICATE
            )
            moved.append(cv2.blur(seen, (5, 1)) if k % 7 > 3 else seen)
        halves.append(moved)
    pairs = zip(*halves, strict=True)
    return tuple(np.hstack([one, other] if k < CUT else [other, one]) for k, (one, other) in enumerate(pairs))


def clip(path: Path) -> Path:
    return make_video(path, list(frames()), options={"crf": "12"})


def is_astronaut(frame: int, box: list[float]) -> bool:
    """Who is in this place, by how the clip was made."""
    return ((box[0] + box[2]) / 2 < WIDTH / 2) == (frame < CUT)
