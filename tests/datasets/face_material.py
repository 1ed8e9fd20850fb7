"""A face clip from a photograph that moves, and training material made of it with a real encoder."""

import zlib
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import skimage.data

from fvdeblur.datasets import Clip

FACE = (225, 118)
"""Centre x, y of the astronaut's face in the photograph, 512x512."""


def photograph() -> np.ndarray:
    return skimage.data.astronaut()


def moving_frames(count: int, step: tuple[int, int] = (3, 1), size: int = 96) -> np.ndarray:
    """The face, moving by whole pixels to and fro: uint8 [count, size, size, 3], R'G'B'."""
    frames = []
    for i in range(count):
        way = abs((i + 8) % 32 - 16) - 8  # a triangle between -8 and 8
        x, y = FACE[0] - size // 2 + step[0] * way, FACE[1] - size // 2 + step[1] * way
        frames.append(photograph()[y : y + size, x : x + size])
    return np.stack(frames)


def panned_clip(count: int, step: int, size: int = 160) -> Clip:
    """A clip whose picture moves left by ``step`` pixels a frame."""
    frames = [photograph()[40 : 40 + size, 100 + step * i : 100 + step * i + size] for i in range(count)]
    return Clip("panned.mp4", "astronaut", np.stack(frames), 25.0)


def still() -> Clip:
    return Clip("astronaut.png", "astronaut.png", photograph()[None], 0.0)


def write_clip(path: Path, frames: np.ndarray) -> None:
    """Write H.264 in MP4, 25 frames a second, nearly without loss."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(
            "libx264", rate=Fraction(25), options={"crf": "8", "preset": "ultrafast"}
        )
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv420p"
        for frame in frames:
            container.mux(
                stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24"))
            )
        container.mux(stream.encode(None))


def names_of_split(prefix: str, validation: bool, count: int) -> list[str]:
    """Names that the rule, CRC-32 modulo 8, puts into this split."""
    names = (f"{prefix}{i}" for i in range(1000))
    return [name for name in names if (zlib.crc32(name.encode()) % 8 == 0) == validation][:count]


def write_material(folder: Path, frames: int = 24) -> Path:
    """``clips.tsv`` with two identities to train on and one to validate on; ``portraits.tsv`` likewise."""
    (folder / "clips").mkdir(parents=True)
    (folder / "portraits").mkdir()
    identities = names_of_split("person", False, 2) + names_of_split("person", True, 1)
    rows = ["file\tidentity\tfps"]
    for i, identity in enumerate(identities):
        write_clip(folder / "clips" / f"clip{i}.mp4", moving_frames(frames, step=(i - 1, 1 + i % 2)))
        rows.append(f"clip{i}.mp4\t{identity}\t25")
    (folder / "clips.tsv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    portraits = names_of_split("portrait", False, 2) + names_of_split("portrait", True, 1)
    for i, name in enumerate(portraits):
        picture = photograph()[20 : 216 - 8 * i, 130 : 326 - 4 * i]
        (folder / "portraits" / name).write_bytes(
            cv2.imencode(".png", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))[1].tobytes()
        )
    (folder / "portraits.tsv").write_text("\n".join(["file", *portraits]) + "\n", encoding="utf-8")
    return folder
