"""Real photographs, a camera that moves over them, and a detector that knows the answer."""

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np
import pytest
import skimage.data

from fvdeblur.faces import Detection, Detector, create_detector

Render = Callable[..., np.ndarray]


def _read(path: Path) -> np.ndarray:
    return cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)


@pytest.fixture(scope="session")
def astronaut() -> np.ndarray:
    return skimage.data.astronaut()


@pytest.fixture(scope="session")
def crowd() -> np.ndarray:
    """Six faces, 1280x886."""
    folder = Path(find_spec("insightface").origin).parent
    return _read(folder / "data" / "images" / "t1.jpg")


@pytest.fixture(scope="session")
def photographs(astronaut: np.ndarray, crowd: np.ndarray) -> dict[str, np.ndarray]:
    folder = Path(skimage.data.__file__).parent
    return {
        "astronaut": astronaut,
        "crowd": crowd,
        "chelsea": skimage.data.chelsea(),
        "coffee": skimage.data.coffee(),
        "rocket": skimage.data.rocket(),
        "motorcycle": _read(folder / "motorcycle_left.png"),
    }


@pytest.fixture(scope="session")
def detector() -> Detector:
    return create_detector("centerface")


@pytest.fixture(scope="session")
def render() -> Render:
    """Picture of a camera that looks at the point ``centre`` of ``image``, magnified by ``zoom``.

    With ``motion`` (x, y in output pixels) the exposure averages the path around the centre.
    """

    def view(
        image: np.ndarray,
        centre: tuple[float, float],
        zoom: float = 1.0,
        size: tuple[int, int] = (640, 360),
        motion: tuple[float, float] = (0.0, 0.0),
    ) -> np.ndarray:
        steps = int(np.ceil(np.hypot(*motion) / 3)) + 1
        total = np.zeros((size[1], size[0], 3), np.float32)
        for share in np.linspace(-0.5, 0.5, steps) if steps > 1 else [0.0]:
            shift = [size[axis] / 2 - zoom * centre[axis] + share * motion[axis] for axis in (0, 1)]
            matrix = np.array([[zoom, 0, shift[0]], [0, zoom, shift[1]]], np.float64)
            total += cv2.warpAffine(
                image, matrix, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
            )
        return np.round(total / steps).astype(np.uint8)

    return view


class ScriptedDetector:
    """Reports the boxes that the test wrote down for each frame.

    The tracker calls only for some frames, therefore the test sets ``frame`` before each push.
    """

    name = "scripted"
    provider = "none"

    def __init__(self, boxes: list[list[tuple[np.ndarray, float]]]) -> None:
        self.boxes = boxes
        self.frame = 0
        self.calls: list[int] = []

    def detect(self, image: np.ndarray) -> list[Detection]:
        self.calls.append(self.frame)
        return [Detection(np.asarray(box, np.float32), score) for box, score in self.boxes[self.frame]]


@pytest.fixture
def scripted() -> type[ScriptedDetector]:
    return ScriptedDetector
