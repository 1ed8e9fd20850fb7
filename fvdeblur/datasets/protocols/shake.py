"""Blur by a camera that shakes: a smooth random path of three rotations and three translations."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fvdeblur.datasets.protocols.exposure import Exposed
from fvdeblur.datasets.protocols.protocol import (
    Piece,
    Range,
    Window,
    check_range,
    decode_light,
    encode_light,
    generator,
)
from fvdeblur.datasets.protocols.shutter import SubFrames, instants
from fvdeblur.datasets.sway import Sway
from fvdeblur.errors import UsageError

DEGREES = ("pitch", "yaw", "roll", "x", "y", "z")
"""Rotation about the x, y and z axis in radians; translation along them in units of the scene's distance."""


def homographies(poses: NDArray[np.float64], height: int, width: int, focal: float) -> NDArray[np.float64]:
    """What a pinhole camera sees of a plane at distance 1 that it faces at rest.

    Parameters
    ----------
    poses
        float [M, 6], in the order of `DEGREES`; x points right, y down, z into the scene.
    height, width
        Of the picture, whose middle is the principal point.
    focal
        Focal length in units of the picture's longer side.

    Returns
    -------
    float64 [M, 3, 3]: from pixels (x, y, 1) of the moved camera's picture to pixels of the picture at rest.
    """
    f = focal * max(height, width)
    camera = np.array([[f, 0, (width - 1) / 2], [0, f, (height - 1) / 2], [0, 0, 1.0]])
    cosine, sine = np.cos(poses[:, :3]), np.sin(poses[:, :3])
    rotation = np.broadcast_to(np.eye(3), (len(poses), 3, 3))
    for axis in range(3):
        i, j = ((1, 2), (2, 0), (0, 1))[axis]
        turn = np.broadcast_to(np.eye(3), (len(poses), 3, 3)).copy()
        turn[:, i, i] = turn[:, j, j] = cosine[:, axis]
        turn[:, i, j], turn[:, j, i] = -sine[:, axis], sine[:, axis]
        rotation = turn @ rotation
    # A ray r of the moved camera meets the plane at t + s R r with depth 1: s = (1 - t_z) / (R r)_z.
    plane = rotation * (1 - poses[:, 5])[:, None, None] + poses[:, 3:, None] * rotation[:, None, 2]
    return np.asarray(camera @ plane @ np.linalg.inv(camera))


class PosePath:
    """A smooth random path of a camera; its speed rises and falls.

    Parameters
    ----------
    rng
        Source of every random number.
    speed
        Root-mean-square speed that it moves the picture at, in pixels a frame interval.
    height, width, focal
        As `homographies` takes them.
    degrees
        Degrees of freedom that move; the speed is shared among them at random.
    """

    def __init__(
        self,
        rng: np.random.Generator,
        speed: float,
        height: int,
        width: int,
        focal: float,
        degrees: tuple[str, ...] = DEGREES,
    ) -> None:
        self._frame = (height, width, focal)
        self._sway = Sway(rng, 6)
        share = rng.uniform(0.1, 1.0, 6) * [name in degrees for name in DEGREES]
        share /= max(1e-9, float(np.sqrt((share**2).sum())))
        self._sway.begin(rng, speed * share / self._gain())

    def at(self, times: NDArray[np.float64]) -> NDArray[np.float64]:
        """Pose at each time in frame intervals: float64 [M, 6], in the order of `DEGREES`."""
        return self._sway.at(times)

    def homographies(self, times: NDArray[np.float64]) -> NDArray[np.float64]:
        """The path as `homographies` at each time."""
        return homographies(self.at(times), *self._frame)

    def _gain(self) -> NDArray[np.float64]:
        """Root-mean-square movement over the picture in pixels for a unit of each degree of freedom."""
        height, width, _ = self._frame
        x, y = np.meshgrid(np.linspace(0, width - 1, 9), np.linspace(0, height - 1, 9))
        points = np.stack([x.ravel(), y.ravel(), np.ones(x.size)])
        small = 1e-5
        moved = homographies(small * np.eye(6), *self._frame) @ points
        offset = moved[:, :2] / moved[:, 2:] - points[None, :2]
        gain = np.sqrt((offset**2).sum(axis=1).mean(axis=1)) / small
        return np.asarray(np.maximum(gain, 1e-6))


@dataclass(frozen=True)
class Shake(Exposed):
    """A camera that shakes before a scene; the sharp frames are what it sees in the middle of each exposure.

    Attributes
    ----------
    speed
        Slowest and fastest root-mean-square speed of the picture in pixels a frame interval; drawn log-uniformly.
    focal
        Focal length in units of the picture's longer side.
    degrees
        Which of pitch, yaw, roll, x, y and z move.
    moving_scene
        Whether the scene moves too while the shutter is open, by the optical flow.
    """

    name: ClassVar[str] = "shake"
    summary: ClassVar[str] = "a smooth camera path of 6 degrees of freedom, averaged over a random exposure"
    moves_picture: ClassVar[bool] = True

    speed: Range = (0.5, 5.0)
    focal: float = 1.2
    degrees: tuple[str, ...] = DEGREES
    moving_scene: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range("speed", self.speed, 1e-3)
        if self.focal <= 0:
            raise UsageError(f"focal must be above 0, not {self.focal}")
        if unknown := [name for name in self.degrees if name not in DEGREES]:
            raise UsageError(f"unknown degree of freedom {unknown[0]!r}; degrees are {', '.join(DEGREES)}")

    def reach(self, seed: int) -> int:
        return math.ceil(self.exposure[1] / 2) if self.moving_scene else 0

    def drawn(self, seed: int) -> dict[str, Any]:
        return {**super().drawn(seed), "speed": round(self._speed(seed), 4)}

    def blur(self, window: Window) -> Piece:
        height, width = window.frames.shape[-2:]
        speed, device = self._speed(window.seed), window.frames.device
        path = PosePath(generator(window.seed, self.name), speed, height, width, self.focal, self.degrees)

        def camera(times: NDArray[np.float64]) -> Tensor:
            return torch.from_numpy(path.homographies(times).astype(np.float32)).to(device)

        encoded = window.frames.float() / 255
        seen = SubFrames(window, encoded, moving=False, camera=camera)
        sub_frames = SubFrames(
            window, decode_light(encoded, self.light), moving=self.moving_scene, camera=camera
        )
        shutter = self.shutter(window.seed)
        sharp, blurred, records = [], [], []
        for index in window.indices:
            exposure = shutter.exposure(index)
            # at times it moves at twice its mean speed, and a moving scene at its own
            times = instants(index, exposure, exposure * (2 * speed + 4 * self.moving_scene))
            sharp.append(seen.still(index, index).clamp(0, 1))
            still = len(times) == 1
            blurred.append(sharp[-1] if still else encode_light(sub_frames.average(index, times), self.light))
            records.append({"frame": index, "exposure": round(exposure, 4)})
        return Piece(torch.stack(blurred), _bytes(torch.stack(sharp)), records)

    def _speed(self, seed: int) -> float:
        return float(np.exp(generator(seed, self.name, "speed").uniform(*np.log(self.speed))))


def _bytes(frames: Tensor) -> Tensor:
    return (frames * 255).round().to(torch.uint8)
