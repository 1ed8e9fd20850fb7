"""Decoding a video frame by frame."""

import hashlib
import os
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, NamedTuple

import av
import numpy as np
from av.container import InputContainer
from av.video.stream import VideoStream

from fvdeblur.errors import InputError, UsageError
from fvdeblur.media.acceleration import SOFTWARE, find_accelerator
from fvdeblur.media.failures import one_line, reading, shown
from fvdeblur.media.pixel_formats import convert, nearest_supported, pixel_format
from fvdeblur.media.planes import channel_views
from fvdeblur.media.probe import MAX_PIXELS, VideoInfo, limit_pixels, open_input, probe, stream_duration

# Times are given in floating-point seconds: a frame that misses a bound by less than this is on it.
TIME_TOLERANCE = 1e-6
_SEEK_MARGINS = (0.0, 2.0, 10.0)


@dataclass(frozen=True)
class DecodedFrame:
    """One frame of a video.

    Attributes
    ----------
    index : int
        Position among the frames that the reader delivers, from 0.
    time : float
        Seconds from the start of the file (not of the trimmed part).
    frame : av.VideoFrame
        The picture as it was decoded: coded orientation, source timestamps.
    """

    index: int
    time: float
    frame: av.VideoFrame


class Place(NamedTuple):
    """A place in a video from which reading can go on, known by some frames in a row.

    Attributes
    ----------
    first
        Index of the first of them.
    times
        Their timestamps.
    digests
        What their pixels give (`frame_digest`).
    """

    first: int
    times: tuple[int, ...]
    digests: tuple[str, ...]

    @classmethod
    def of(cls, frames: Sequence[DecodedFrame]) -> "Place":
        """The place of these frames, whose pixels are as they were decoded."""
        return cls(
            frames[0].index,
            tuple(int(one.frame.pts or 0) for one in frames),
            tuple(frame_digest(one.frame) for one in frames),
        )


def frame_digest(frame: av.VideoFrame) -> str:
    """A digest of a frame's pixels."""
    digest = hashlib.blake2b(digest_size=12)
    layout = pixel_format(frame.format.name)
    for samples in () if layout is None else channel_views(frame, layout):
        digest.update(np.ascontiguousarray(samples).data)
    return digest.hexdigest()


class VideoReader:
    """Streaming decoder of a file's main video stream.

    Iterating delivers the frames in the order of display, one at a time; a second iteration begins anew.
    Damaged places are passed over; what was lost stands in `damage` once the iteration has ended.

    Parameters
    ----------
    path : str or os.PathLike
        The video file.
    start, end : float, optional
        Seconds from the start of the file; frames with ``start <= time < end`` are delivered.
    threads : int
        Decoder threads; 0 lets FFmpeg choose.
    max_pixels : int
        Pixels that a picture may have; larger ones are refused before memory is taken for them.
    hwaccel : str
        ``none``, ``auto`` or the hardware that decodes (`fvdeblur.media.acceleration.find_accelerator`).

    Attributes
    ----------
    decoder : str
        What decodes, known with the first frame: ``software`` or the kind of hardware.

    Raises
    ------
    UsageError
        There is no such file, or `start` and `end` are negative or in the wrong order; or the hardware is not there.
    InputError
        The file is not a video, or nothing in it (or between `start` and `end`) decodes.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        start: float | None = None,
        end: float | None = None,
        threads: int = 0,
        max_pixels: int = MAX_PIXELS,
        hwaccel: str = "none",
    ) -> None:
        self._accelerator = find_accelerator(hwaccel)
        if (start is not None and start < 0) or (end is not None and end <= (start or 0)):
            raise UsageError(
                f"the part from {start or 0:g} s to {end:g} s is empty"
                if end is not None
                else f"the start {start:g} s is before the beginning; give a time from 0 on"
            )
        self.path = path
        self.start = start
        self.end = end
        self.info: VideoInfo = probe(path, max_pixels)
        self.notes: list[str] = []
        self.decoder = SOFTWARE
        self._threads, self._max_pixels = threads, max_pixels
        self._container: InputContainer | None = None
        self._on_hardware = False
        self._in_order = (
            self.info.container == "avi"
        )  # frames come as they are shown, with times of decoding alone
        self._clear()
        self._pix_fmt = nearest_supported(self.info.pix_fmt)
        if self._pix_fmt != self.info.pix_fmt:
            self.notes.append(f"pixel format {self.info.pix_fmt} is worked on as {self._pix_fmt}")

    def __enter__(self) -> "VideoReader":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        if self._container is not None:
            self._container.close()
            self._container = None

    @property
    def damage(self) -> list[str]:
        """What could not be decoded, one line each; complete when the iteration has ended."""
        lines = []
        for count, first, what in (
            (self._lost_packets, self._lost_at, "packets could not be decoded"),
            (self._flawed_frames, self._flawed_at, "frames were decoded with errors"),
            (self._moved_frames, self._moved_at, "timestamps were out of order and were moved"),
        ):
            if count:
                lines.append(f"{count} {what} (first at {first:.2f} s)")
        return lines + ([self._early_end] if self._early_end else [])

    def __iter__(self) -> Generator[DecodedFrame, None, None]:
        self._clear()
        yield from self._delivered(self._monotonic_frames(self.start), 0)

    def frames_from(
        self, place: Place, *, seek: bool = True
    ) -> tuple[list[DecodedFrame], Generator[DecodedFrame, None, None]] | None:
        """Go on at a place where this file was read before; all frames are as in an iteration from the beginning.

        It is sought by the container's index. Where what comes there differs in a timestamp or a pixel, or is damaged,
        everything before it is decoded again.

        Parameters
        ----------
        place : Place
            Of this file, read with the same `start`.
        seek : bool
            False: everything before it is decoded again in any case, so that `damage` tells of it, too.

        Returns
        -------
        The frames of the place and an iterator over those behind it; None where the place is not found.
        """
        time = float(place.times[0] * self.info.time_base - self.info.origin)
        for start in (max(time, 0.0), self.start) if seek else (self.start,):
            self._clear()
            frames = self._monotonic_frames(start)
            found = self._find(frames, place)
            if found is not None and (start == self.start or not self.damage):
                return found, self._delivered(frames, place.first + len(found))
        return None

    def _find(self, frames: Iterator[av.VideoFrame], place: Place) -> list[DecodedFrame] | None:
        found: list[DecodedFrame] = []
        for frame in frames:
            if not found and (frame.pts or 0) < place.times[0]:
                continue
            time, number = self._time(frame), len(found)
            ready = self._checked(frame, time)
            if frame.pts != place.times[number] or frame_digest(ready) != place.digests[number]:
                return None
            found.append(DecodedFrame(place.first + number, time, ready))
            if len(found) == len(place.times):
                return found
        return None

    def _delivered(self, frames: Iterator[av.VideoFrame], index: int) -> Generator[DecodedFrame, None, None]:
        """The frames of the kept part, counted from an index on."""
        for frame in frames:
            time = self._time(frame)
            if self.start is not None and time < self.start - TIME_TOLERANCE:
                continue
            if self.end is not None and time >= self.end - TIME_TOLERANCE:
                break
            yield DecodedFrame(index, time, self._checked(frame, time))
            index += 1
        if not index:
            if self.start is not None or self.end is not None:
                raise InputError(f"{shown(self.path)}: {self._empty_part()}")
            raise InputError(f"{shown(self.path)}: none of its frames can be decoded; the file is damaged")

    def _clear(self) -> None:
        self._lost_packets = self._flawed_frames = self._moved_frames = 0
        self._lost_at = self._flawed_at = self._moved_at = 0.0
        self._last_time = 0.0
        self._early_end = ""

    def _time(self, frame: Any) -> float:
        return float(frame.pts * self.info.time_base - self.info.origin)

    def _empty_part(self) -> str:
        length = f" (it lasts {self.info.duration:.2f} s)" if self.info.duration else ""
        until = f" and {self.end:g} s" if self.end is not None else " and the end"
        return f"no frame lies between {self.start or 0:g} s{until}{length}; choose another part"

    def _checked(self, frame: av.VideoFrame, time: float) -> av.VideoFrame:
        """Refuse a change of picture format inside the file; bring rare pixel formats to a workable one."""
        info = self.info
        if (frame.width, frame.height) != (info.width, info.height):
            raise InputError(
                f"{shown(self.path)}: the picture size changes from {info.width}x{info.height} to "
                f"{frame.width}x{frame.height} at {time:.2f} s; cut it there or convert it to one size first"
            )
        if frame.format.name != info.pix_fmt and self._on_hardware:
            # It has layouts of its own (NV12 for yuv420p), with the same samples.
            self.decoder = str(self._accelerator)
            frame = convert(frame, info.pix_fmt)
        if frame.format.name != info.pix_fmt:
            raise InputError(
                f"{shown(self.path)}: the pixel format changes from {info.pix_fmt} to {frame.format.name} at "
                f"{time:.2f} s; cut the file there or convert it to one format first"
            )
        return convert(frame, self._pix_fmt)

    def _monotonic_frames(self, start: float | None) -> Iterator[av.VideoFrame]:
        """Frames whose timestamps exist and rise, as every container demands of what is written."""
        step = max(1, round(1 / ((self.info.average_rate or 25) * self.info.time_base)))
        last: int | None = None
        for frame in self._frames(start):
            frame.time_base = self.info.time_base
            if frame.pts is None:  # usual in program streams and raw ones
                frame.pts = 0 if last is None else last + step
            elif last is not None and frame.pts <= last:
                frame.pts = last + 1
                self._moved_at = self._moved_at if self._moved_frames else self._time(frame)
                self._moved_frames += 1
            last = frame.pts
            self._last_time = self._time(frame)
            if getattr(frame, "is_corrupt", False):
                self._flawed_at = self._flawed_at if self._flawed_frames else self._last_time
                self._flawed_frames += 1
            yield frame
        self._note_early_end(step)

    def _frames(self, start: float | None) -> Iterator[av.VideoFrame]:
        """All frames from the key frame before a time on."""
        margins = [m for m in _SEEK_MARGINS if start and m < start]
        for margin in margins:
            container, stream = self._open()
            target = (start or 0.0) - margin + float(self.info.origin)
            try:
                container.seek(int(target / self.info.time_base), stream=stream)
            except (av.FFmpegError, OSError, ValueError):
                break
            frames = self._decode(container, stream)
            # What a decoder gives before its first key frame refers to pictures that were never read.
            first = next((f for f in frames if f.key_frame and f.pts is not None), None)
            if first is not None and self._time(first) <= (start or 0.0) + TIME_TOLERANCE:
                yield first
                yield from frames
                return
            self._clear()
        yield from self._decode(*self._open())

    def _open(self) -> tuple[InputContainer, VideoStream]:
        self.close()
        container = open_input(self.path, self._accelerator)
        self._container = container
        stream: Any = container.streams[self.info.stream_index]
        limit_pixels(self.path, stream, self._max_pixels)
        stream.thread_type = "AUTO"
        stream.codec_context.thread_count = self._threads
        self._on_hardware = stream.codec_context.is_hwaccel
        return container, stream

    def _decode(self, container: InputContainer, stream: VideoStream) -> Iterator[av.VideoFrame]:
        packets = container.demux(stream)
        while True:
            try:
                packet = next(packets, None)
            except (av.FFmpegError, OSError) as error:
                self._early_end = f"reading stopped at {self._last_time:.2f} s: {one_line(error)}"
                packet = None
            if packet is None:
                break
            try:
                frames = packet.decode()
            except av.error.EOFError:
                break
            except (av.FFmpegError, OSError, ValueError):
                self._lost_at = self._lost_at if self._lost_packets else self._last_time
                self._lost_packets += 1
                continue
            for frame in frames:
                if frame.pts is None and self._in_order:
                    frame.pts = frame.dts
                yield frame
        # Where reading broke off, the decoder still holds the frames before the break.
        if self._early_end:
            with reading(self.path):
                yield from stream.decode(None)

    def _note_early_end(self, step: int) -> None:
        """Compare the time of the last frame with the header's duration."""
        assert self._container is not None
        stream: Any = self._container.streams[self.info.stream_index]
        expected = stream_duration(stream)
        if expected is None or self._early_end:
            return
        start = float((stream.start_time or 0) * self.info.time_base - self.info.origin)
        frame = float(step * self.info.time_base)
        reached = self._last_time + frame
        if start + expected - reached > max(2.5 * frame, 0.1):
            self._early_end = (
                f"the video ends at {reached:.2f} s of {start + expected:.2f} s; the file is cut off"
            )
