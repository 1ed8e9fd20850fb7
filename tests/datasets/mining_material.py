"""Videos to be mined: a face that moves, and an object of another kind with the parts that know it."""

import os
import signal
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import skimage.data

from fvdeblur.datasets.mining.correlation import CorrelationTracker
from fvdeblur.datasets.mining.parts import Parts
from fvdeblur.datasets.mining.settings import MiningSettings
from fvdeblur.faces import Detection

FACE = (225.0, 118.0)
"""Centre of the astronaut's face in the photograph, 512x512; its box is about 90 pixels wide and 120 high."""


def write_video(path: Path, frames: list[np.ndarray], rate: int = 25, crf: int = 10) -> Path:
    """H.264 in MP4, nearly without loss."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        options = {"crf": str(crf), "preset": "ultrafast"}
        stream = container.add_stream("libx264", rate=Fraction(rate), options=options)
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        for frame in frames:
            picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
    return path


def sway(number: int) -> tuple[float, float]:
    """Where a slow, smooth movement is in a frame, in pixels; up to 3 pixels a frame."""
    return 10 * np.sin(number / 4), 5 * np.sin(number / 3 + 1)


def face_frames(
    count: int, place: Callable[[int], tuple[float, float]] = sway, size: tuple[int, int] = (280, 200)
) -> list[np.ndarray]:
    """The astronaut, seen by a camera that moves: uint8 [h, w, 3] each."""
    frames = []
    for number in range(count):
        x, y = place(number)
        matrix = np.array([[1, 0, size[0] / 2 - FACE[0] + x], [0, 1, size[1] / 2 - FACE[1] + y]])
        frames.append(
            cv2.warpAffine(
                skimage.data.astronaut(), matrix, size, flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT
            )
        )
    return frames


def faceless_frames(count: int, size: tuple[int, int] = (280, 200)) -> list[np.ndarray]:
    """A cup of coffee, panned over."""
    return [skimage.data.coffee()[i : i + size[1], 2 * i : 2 * i + size[0]] for i in range(count)]


def coins(
    places: list[list[tuple[float, float] | None]], size: tuple[int, int] = (320, 240), side: int = 80
) -> list[np.ndarray]:
    """Round tiles of coins, tinted red, before a cup of coffee; for each frame their centres, or None."""
    grey = cv2.cvtColor(cv2.resize(skimage.data.coffee(), size), cv2.COLOR_RGB2GRAY)
    background = np.repeat(grey[:, :, None], 3, axis=2)
    tile = cv2.resize(skimage.data.coins()[40:240, 60:260], (side, side), interpolation=cv2.INTER_AREA)
    tinted = (tile[:, :, None] * np.array([0.5, 0.25, 0.25]) + np.array([120, 0, 0])).astype(np.float32)
    disc = cv2.circle(
        np.zeros((side, side), np.float32), (side // 2, side // 2), side // 2 - 2, 1.0, -1, cv2.LINE_AA
    )
    frames = []
    for centres in places:
        frame = background.astype(np.float32)
        for centre in centres:
            if centre is not None:
                matrix = np.array([[1, 0, centre[0] - side / 2], [0, 1, centre[1] - side / 2]])
                share = cv2.warpAffine(disc, matrix, size)[:, :, None]
                frame += share * (cv2.warpAffine(tinted, matrix, size) - frame)
        frames.append(frame.astype(np.uint8))
    return frames


class CoinDetector:
    """Finds what is red."""

    def detect(self, image: np.ndarray) -> list[Detection]:
        red = (image[..., 0].astype(int) - image[..., 1] > 50).astype(np.uint8)
        count, _, parts, _ = cv2.connectedComponentsWithStats(red)
        found = []
        for x, y, width, height, area in parts[1:count]:
            if area > 500:
                box = np.array([x, y, x + width, y + height], np.float32)
                found.append(Detection(box, min(1.0, area / 5000)))
        return sorted(found, key=lambda one: (-one.score, float(one.box[0])))


class BoxLandmarker:
    """The corners and the centre of the box."""

    def landmarks(self, image: np.ndarray, detection: Detection) -> np.ndarray:
        x0, y0, x1, y1 = detection.box
        return np.array([[x0, y0], [x1, y0], [x0, y1], [x1, y1], [(x0 + x1) / 2, (y0 + y1) / 2]], np.float32)


class RednessScorer:
    """Accepts what is red in the middle."""

    def score(self, image: np.ndarray, landmarks: np.ndarray) -> float:
        x, y = landmarks[4].astype(int)
        height, width = image.shape[:2]
        pixel = image[min(max(y, 0), height - 1), min(max(x, 0), width - 1)].astype(float)
        return (pixel[0] - pixel[1] - 40) / 100


def coin_parts(settings: MiningSettings | None = None) -> Parts:
    return custom_parts()


def slow_parts(settings: MiningSettings) -> Parts:
    """As `coin_parts`, so slow that a process can be stopped at work."""
    return custom_parts(scorer=SlowScorer())


class SlowScorer(RednessScorer):
    def score(self, image: np.ndarray, landmarks: np.ndarray) -> float:
        time.sleep(0.05)
        return super().score(image, landmarks)


def dying_parts(settings: MiningSettings) -> Parts:
    """As `coin_parts`, but the process dies when the object is below the middle of the picture."""
    return custom_parts(scorer=DyingScorer())


class DyingScorer(RednessScorer):
    def score(self, image: np.ndarray, landmarks: np.ndarray) -> float:
        if landmarks[4, 1] > 150:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().score(image, landmarks)


def custom_parts(tracker: Callable[..., object] = CorrelationTracker, scorer: object | None = None) -> Parts:
    return Parts("coins", CoinDetector(), BoxLandmarker(), scorer or RednessScorer(), tracker)  # type: ignore[arg-type]
