"""Hard cuts between shots.

Two consecutive frames of one shot show the same things in much the same place, whatever the camera does. Two
measures tell a cut from motion, and a cut must show in both: the histograms of brightness and colour differ
(a pan or a shake changes them little), and the middle of neither frame is found anywhere in the other (a
flash or a change of exposure does not hide it).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from fvdeblur.faces.state import State, pack, unpack

LONGER_SIDE = 64
BORDER = 0.2
"""Margin on each side of the part that is searched for: the largest motion that is compensated fully."""

LEAST_CONTRAST = 4.0
"""Standard deviation of the brightness, of 255, under which a frame shows nothing to compare."""

DARKEST_PICTURE = 40.0
"""Mean brightness, of 255, under which a frame without contrast is black."""

LEAST_MISMATCH = 0.2
"""Frames whose middles correlate better than 1 minus this show one scene, however the colours differ."""

THRESHOLD = 0.12
"""Difference that makes a cut. Two photographs differ by 0.23 or more and two people in one room by 0.13; a
camera thrown by a quarter of the picture's width from frame to frame stays under 0.08."""


@dataclass(frozen=True)
class _Signature:
    shape: tuple[int, ...]
    grey: NDArray[np.float32]
    brightness: NDArray[np.float32]
    colour: NDArray[np.float32]


class CutDetector:
    """Tells, frame by frame, where a new shot begins.

    Black frames are a shot of their own. A white flash is passed over: what follows it is compared
    with the last frame that showed something. Dissolves are not found.

    Attributes
    ----------
    mismatch : float
        How little of the latest frame's middle was found in the one before, and the other way round: 0 all, 1 nothing.
        Not a cut by itself, for the colours may be the same.
    """

    def __init__(self) -> None:
        self.mismatch = 0.0
        self._reference: _Signature | None = None
        self._started = False
        self._black = False

    def update(self, image: NDArray[np.uint8]) -> bool:
        """Take the next frame.

        Parameters
        ----------
        image : uint8 RGB [H, W, 3]
            A small preview; more than about 100 pixels of width change nothing.

        Returns
        -------
        bool
            True when this frame begins a new shot, as the very first one does.
        """
        current = _signature(image)
        blank = float(current.grey.std()) < LEAST_CONTRAST
        black = blank and float(current.grey.mean()) < DARKEST_PICTURE
        self.mismatch = 0.0
        cut = not self._started or black != self._black or (not blank and self._differs(current))
        self._started, self._black = True, black
        if not blank:
            self._reference = current
        return cut

    def state(self) -> State:
        """All that later frames are judged by, for `restore`."""
        seen = self._reference
        return {
            "mismatch": self.mismatch,
            "started": self._started,
            "black": self._black,
            "reference": seen
            and {
                "shape": list(seen.shape),
                "grey": pack(seen.grey),
                "brightness": pack(seen.brightness),
                "colour": pack(seen.colour),
            },
        }

    def restore(self, state: State) -> None:
        """Go on from a `state`."""
        self.mismatch = float(state["mismatch"])
        self._started, self._black = bool(state["started"]), bool(state["black"])
        seen = state["reference"]
        self._reference = seen and _Signature(
            tuple(seen["shape"]), *(unpack(seen[name]) for name in ("grey", "brightness", "colour"))
        )

    def _differs(self, current: _Signature) -> bool:
        """Whether the frame shows another scene than the last one that showed something."""
        if self._reference is None:
            return False
        if self._reference.shape != current.shape:
            return True
        self.mismatch = _mismatch(self._reference, current)
        return self.mismatch > LEAST_MISMATCH and (
            _histogram_difference(self._reference, current) * self.mismatch > THRESHOLD
        )


def _signature(image: NDArray[np.uint8]) -> _Signature:
    height, width = image.shape[:2]
    scale = LONGER_SIDE / max(height, width)
    size = max(round(width * scale), 8), max(round(height * scale), 8)
    small = cv2.cvtColor(cv2.resize(image, size, interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2YCrCb)
    brightness = cv2.calcHist([small], [0], None, [16], [0, 256]).reshape(1, 16)
    colour = cv2.calcHist([small], [1, 2], None, [16, 16], [64, 192, 64, 192])
    return _Signature(
        shape=image.shape,
        grey=np.asarray(cv2.GaussianBlur(small[..., 0].astype(np.float32), (0, 0), 1.0), np.float32),
        brightness=_distribution(cv2.GaussianBlur(brightness, (3, 1), 0)),
        colour=_distribution(cv2.GaussianBlur(colour, (3, 3), 0)),
    )


def _distribution(histogram: Any) -> NDArray[np.float32]:
    return np.asarray(histogram / max(float(histogram.sum()), 1e-6), np.float32)


def _histogram_difference(previous: _Signature, current: _Signature) -> float:
    """Difference of the histograms of brightness and colour, 0..2."""
    return _hellinger(previous.brightness, current.brightness) + _hellinger(previous.colour, current.colour)


def _mismatch(previous: _Signature, current: _Signature) -> float:
    """What motion cannot explain, 0..2."""
    return 1.0 - max(_best_match(previous.grey, current.grey), _best_match(current.grey, previous.grey))


def _hellinger(first: NDArray[np.float32], second: NDArray[np.float32]) -> float:
    """Hellinger distance of two distributions, 0..1."""
    return float(np.sqrt(max(1.0 - float(np.sqrt(first * second).sum()), 0.0)))


def _best_match(image: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    """Best normalised cross-correlation, -1..1, of the middle of ``other`` with any place of ``image``."""
    height, width = other.shape
    top, left = round(height * BORDER), round(width * BORDER)
    middle = other[top : height - top, left : width - left]
    return float(cv2.matchTemplate(image, middle, cv2.TM_CCOEFF_NORMED).max())
