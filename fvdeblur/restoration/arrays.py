"""Frames in memory: arrays in, arrays out, with as few of them held as the work needs."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing

import av
import numpy as np
from numpy.typing import NDArray

from fvdeblur.errors import InputError, UsageError
from fvdeblur.faces import Detector
from fvdeblur.media import DecodedFrame
from fvdeblur.restoration.choice import Chooser
from fvdeblur.restoration.photographs import refuse_video_settings
from fvdeblur.restoration.restorer import Restorer
from fvdeblur.restoration.settings import Settings
from fvdeblur.restoration.stream import FaceRestorer, track
from fvdeblur.restoration.summary import Progress

Picture = NDArray[np.uint8]


def restored_arrays(
    frames: Iterable[Picture],
    restorer: Restorer,
    detector: Detector,
    settings: Settings,
    progress: Callable[[Progress], None] | None = None,
) -> Generator[Picture, None, None]:
    """The frames of one video with their faces restored; see `fvdeblur.Deblurrer.frames`.

    Raises
    ------
    UsageError
        A setting was given that holds for files alone (at once), or a frame is no uint8 [H, W, 3] (when it comes).
    InputError
        A frame differs in size from the first.
    """
    refuse_video_settings(settings, "frames in memory")
    faces = FaceRestorer(restorer, 0, settings.strength, settings.min_face, chooser=Chooser(settings.wishes))

    def work() -> Generator[Picture, None, None]:
        with closing(faces(track(_decoded(frames), 0, detector))) as restored:
            for count, decoded in enumerate(restored, 1):
                restored_so_far = faces.restored_by.pop(decoded.index)
                if progress is not None:
                    progress(Progress(count, None, restored_so_far))
                yield np.array(decoded.frame.to_ndarray(), np.uint8)

    return work()


def _decoded(frames: Iterable[Picture]) -> Iterator[DecodedFrame]:
    size: tuple[int, ...] | None = None
    for index, frame in enumerate(frames):
        if (
            not isinstance(frame, np.ndarray)
            or frame.dtype != np.uint8
            or frame.ndim != 3
            or 0 in frame.shape
        ):
            raise UsageError(f"frame {index}: must be an array uint8 [H, W, 3], not {_kind(frame)}")
        if frame.shape[2] != 3:
            raise UsageError(f"frame {index}: must have 3 channels (R, G, B), not {frame.shape[2]}")
        size = size or frame.shape
        if frame.shape != size:
            raise InputError(
                f"frame {index}: is {frame.shape[1]}x{frame.shape[0]}, but the first is {size[1]}x{size[0]}; "
                "give frames of one size, or begin anew where it changes"
            )
        yield DecodedFrame(
            index, float(index), av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")
        )


def _kind(frame: object) -> str:
    if isinstance(frame, np.ndarray):
        return f"{frame.dtype} {list(frame.shape)}"
    return type(frame).__name__
