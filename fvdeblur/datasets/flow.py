"""Optical flow between neighbouring frames: computed once a clip, and kept in a file beside it if wanted."""

from __future__ import annotations

import os
import zipfile
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fvdeblur.errors import OutputError
from fvdeblur.flow import dis_flow

Frames = NDArray[np.uint8]
FlowSource = Callable[[int, int], NDArray[np.float16]]
"""Flow from one frame of a clip to another, by their indices; ``Clip.flow`` is one."""


@dataclass(frozen=True)
class NeighbourFlow:
    """Flow from every frame of a clip to the next and to the one before; called like ``Clip.flow``.

    Attributes
    ----------
    forward, backward
        float16 [T-1, 2, H/4, W/4] (rounded up), in pixels of the frames: from frame i to i + 1, and back.
    """

    forward: NDArray[np.float16]
    backward: NDArray[np.float16]

    def __call__(self, source: int, target: int) -> NDArray[np.float16]:
        if target == source + 1:
            return np.asarray(self.forward[source])
        if target == source - 1:
            return np.asarray(self.backward[target])
        raise ValueError(f"frames {source} and {target} are no neighbours")


def neighbour_flow(frames: Frames, threads: int = 1) -> NeighbourFlow:
    """Compute the flow between neighbouring frames of uint8 [T, H, W, 3], both ways."""
    height, width = frames.shape[1:3]
    empty = np.zeros((0, 2, -(-height // 4), -(-width // 4)), np.float16)
    first = range(len(frames) - 1)
    if not first:
        return NeighbourFlow(empty, empty)
    with ThreadPoolExecutor(threads) as pool:
        forward = list(pool.map(lambda i: dis_flow(frames[i], frames[i + 1]), first))
        backward = list(pool.map(lambda i: dis_flow(frames[i + 1], frames[i]), first))
    return NeighbourFlow(np.stack(forward), np.stack(backward))


def flow_path(clip: str | os.PathLike[str]) -> Path:
    """Where the flow of a clip is kept: ``<stem>.flow.npz`` beside it."""
    return Path(clip).with_suffix(".flow.npz")


def cached_flow(path: str | os.PathLike[str], frames: Frames, threads: int = 1) -> NeighbourFlow:
    """Read the flow of these frames from a file; compute and write it where that is missing, damaged or of others.

    Parameters
    ----------
    path
        The file, as `flow_path` names it.
    frames
        uint8 [T, H, W, 3], R'G'B'.
    threads
        Threads to compute with.

    Raises
    ------
    OutputError
        The file cannot be written.
    """
    path = Path(path)
    checksum = np.array([*frames.shape, zlib.crc32(np.ascontiguousarray(frames).data)], np.int64)
    with (
        suppress(OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error),
        np.load(path) as kept,
    ):
        if np.array_equal(kept["checksum"], checksum):
            return NeighbourFlow(kept["forward"], kept["backward"])
    flow = neighbour_flow(frames, threads)
    partial = path.with_name(path.name + ".partial")
    try:
        with partial.open("wb") as file:
            np.savez_compressed(file, forward=flow.forward, backward=flow.backward, checksum=checksum)
        partial.replace(path)
    except OSError as error:
        raise OutputError(
            f"{path}: the flow cannot be written ({error.strerror}); check the folder"
        ) from error
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
    return flow
