"""Clips for the demonstration and the benchmarks: a face photograph that an installed package carries, moved.

The photograph is moved along a smooth head-like path, seen through a shutter that stays open for part of the path
(averaged in linear light), and encoded with sound. The sharp frames stay known, so that gains can be measured.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from fvdeblur.datasets.blur import CameraPath

Frame = NDArray[np.uint8]

SAMPLE_RATE = 48000
GAMMA = 2.2


def face_photograph() -> Frame:
    """The portrait of Eileen Collins (NASA, public domain) in scikit-image: uint8 [512, 512, 3], R'G'B'."""
    from skimage import data

    return np.asarray(data.astronaut())


def cup_photograph() -> Frame:
    """A cup of coffee (Rachel Michetti, CC0) in scikit-image: uint8 [400, 600, 3], R'G'B'."""
    from skimage import data

    return np.asarray(data.coffee())


@dataclass(frozen=True)
class MovingPhotograph:
    """A photograph moved over time.

    Attributes
    ----------
    width, height, rate, seconds
        Format of the clip.
    faces
        Photographs side by side; 0: one without a face.
    exposure
        Time that the shutter is open, in frame intervals.
    speed
        Root-mean-square speed of the path, in pixels a frame at a height of 720.
    seed
        Seed of the path.
    """

    width: int = 1280
    height: int = 720
    rate: int = 25
    seconds: float = 3.0
    faces: int = 1
    exposure: float = 2.5
    speed: float = 4.0
    seed: int = 5

    @property
    def frames(self) -> int:
        """Number of frames."""
        return round(self.rate * self.seconds)

    def render(self) -> Iterator[tuple[Frame, Frame]]:
        """Yield (blurred, sharp) frames, uint8 [height, width, 3], R'G'B'."""
        canvas = self._canvas()
        linear = ((canvas.astype(np.float32) / 255) ** GAMMA).astype(np.float32)
        path = CameraPath(np.random.default_rng(self.seed), self.speed * self.height / 720, self.height)
        for k in range(self.frames):
            count = max(1, round(self.exposure * self.speed * 2.5))
            times = k + self.exposure * ((np.arange(count) + 0.5) / count - 0.5)
            total = np.zeros((self.height, self.width, 3), np.float32)
            for pose in path.at(times):
                total += self._seen(linear, pose)
            blurred = (total / count).clip(0, 1) ** (1 / GAMMA)
            sharp = self._seen(linear, path.at(np.array([float(k)]))[0]).clip(0, 1) ** (1 / GAMMA)
            yield _bytes(blurred), _bytes(sharp)

    def _canvas(self) -> Frame:
        photograph = face_photograph() if self.faces else cup_photograph()
        picture = np.hstack([photograph[:, :: (-1) ** i] for i in range(max(1, self.faces))])
        factor = min(self.height / picture.shape[0], self.width / picture.shape[1])
        size = (round(picture.shape[1] * factor), round(picture.shape[0] * factor))
        picture = np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_CUBIC), np.uint8)
        left, top = (self.width - size[0]) // 2, (self.height - size[1]) // 2
        margins = (top, self.height - size[1] - top, left, self.width - size[0] - left)
        return np.asarray(cv2.copyMakeBorder(picture, *margins, cv2.BORDER_REPLICATE), np.uint8)

    def _seen(self, linear: NDArray[np.float32], pose: NDArray[Any]) -> NDArray[np.float32]:
        x, y, angle, zoom = (float(value) for value in pose)
        scale = 1 + zoom
        cosine, sine = np.cos(angle) * scale, np.sin(angle) * scale
        centre = np.array([(self.width - 1) / 2, (self.height - 1) / 2])
        matrix = np.array([[cosine, -sine, 0.0], [sine, cosine, 0.0]])
        matrix[:, 2] = centre - matrix[:, :2] @ centre + (x, y)
        flags = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
        return np.asarray(
            cv2.warpAffine(
                linear, matrix, (self.width, self.height), flags=flags, borderMode=cv2.BORDER_REPLICATE
            )
        )


def _bytes(picture: NDArray[np.floating[Any]]) -> Frame:
    return np.round(picture * 255).astype(np.uint8)


def write_clip(path: Path, clip: MovingPhotograph, crf: int = 18, repeat: int = 1) -> list[Frame]:
    """Write the blurred clip as H.264 with an AAC tone; return its sharp frames (of one repetition).

    Parameters
    ----------
    path
        Where to write; the suffix decides the container.
    clip
        What to render.
    crf
        Quality of the encoder.
    repeat
        How many times the clip is written, one after the other.
    """
    pairs = list(clip.render())
    with av.open(str(path), "w") as output:
        video = output.add_stream("libx264", rate=clip.rate)
        video.width, video.height, video.pix_fmt = clip.width, clip.height, "yuv420p"
        video.options = {"crf": str(crf), "preset": "veryfast"}
        sound = output.add_stream("aac", rate=SAMPLE_RATE)
        sound.layout = "stereo"
        for frame, _ in pairs * repeat:
            output.mux(video.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        output.mux(video.encode())
        samples = round(SAMPLE_RATE * clip.frames * repeat / clip.rate)
        for start in range(0, samples, 1024):
            output.mux(sound.encode(tone(start, min(1024, samples - start))))
        output.mux(sound.encode())
    return [sharp for _, sharp in pairs]


def tone(start: int, count: int) -> av.AudioFrame:
    """Samples of a swelling tone from sample ``start`` on: planar float stereo at `SAMPLE_RATE`."""
    time = (start + np.arange(count)) / SAMPLE_RATE
    wave = 0.2 * np.sin(2 * np.pi * 330 * time) * (0.6 + 0.4 * np.sin(2 * np.pi * 0.5 * time))
    frame = av.AudioFrame.from_ndarray(
        np.stack([wave, wave]).astype(np.float32), format="fltp", layout="stereo"
    )
    frame.sample_rate, frame.pts, frame.time_base = SAMPLE_RATE, start, Fraction(1, SAMPLE_RATE)
    return frame


def decode(path: Path) -> Iterator[Frame]:
    """The frames of a video one after the other, uint8 [H, W, 3], R'G'B'."""
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            yield np.asarray(frame.to_ndarray(format="rgb24"), np.uint8)
