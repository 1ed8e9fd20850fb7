"""Encoding a video beside copies of everything else that its source holds."""

import os
from contextlib import suppress
from fractions import Fraction
from types import TracebackType
from typing import Any

import av

from fvdeblur.errors import FvdeblurError, OutputError
from fvdeblur.media.copying import CopiedStreams
from fvdeblur.media.encoders import MOV_FAMILY, choose_encoder
from fvdeblur.media.failures import one_line, shown, writing
from fvdeblur.media.pixel_formats import RANGE_FULL, SPACE_RGB, colour_space, convert, is_rgb
from fvdeblur.media.probe import VideoInfo
from fvdeblur.media.reader import VideoReader
from fvdeblur.media.streams import note_lost_aspect, open_output, set_display_matrix, settle_timecode
from fvdeblur.media.target import OutputTarget


class VideoWriter:
    """Writer of a changed video: encodes the frames it is given and copies all other streams of the source.

    Frames keep their timestamps to the tick. Data go to ``<path>.partial``, which gets its name only in
    `finish`; leaving the ``with`` block before that, by an error or an interrupt, removes it.

    Parameters
    ----------
    path : str or os.PathLike
        Where the video will stand; its suffix decides the container.
    source : VideoReader or VideoInfo
        The video that the frames come from. A reader's `start` and `end` hold where none are given here.
    codec : str, optional
        Codec family or encoder name; by default the source's family where the container holds it.
    crf : float, optional
        Constant rate factor of the encoder.
    preset : str, optional
        Preset of the encoder.
    start, end : float, optional
        The kept part in seconds, as given to the reader. With either of them the output begins at time 0 and
        holds only those packets of other streams that overlap the frames written.
    threads : int
        Encoder threads; 0 lets the encoder choose.
    overwrite : bool
        Whether a file that stands at `path` already may be replaced.

    Attributes
    ----------
    notes : list of str
        What differs from the source or was left out, one line each.

    Raises
    ------
    UsageError
        The output is the input, exists already, or has an unknown suffix; or `codec`, `crf` or `preset` do
        not fit.
    OutputError
        The file cannot be created.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        source: VideoReader | VideoInfo,
        *,
        codec: str | None = None,
        crf: float | None = None,
        preset: str | None = None,
        start: float | None = None,
        end: float | None = None,
        threads: int = 0,
        overwrite: bool = False,
    ) -> None:
        if isinstance(source, VideoReader):
            start = source.start if start is None else start
            end = source.end if end is None else end
            source = source.info
        self.info = source
        self._trimmed = start is not None or end is not None
        self._end = None if end is None else Fraction(end) + source.origin
        self._threads = threads
        self._frames = 0
        self._first_pts = self._last_pts = 0
        self._last_length = 1
        self._last_slot = -1
        self._pending: dict[int, tuple[int, int]] = {}  # encoder's tick -> source's timestamp and length
        self._finished = False
        self._target = OutputTarget(path, source.path, overwrite)
        self._others: CopiedStreams | None = None
        self._output: Any = None
        try:
            self._choice = choose_encoder(
                source, self._target.container, codec=codec, crf=crf, preset=preset, threads=threads
            )
            self.notes = list(self._choice.notes)
            self._others = CopiedStreams(source, self._target.container, trimmed=self._trimmed)
            self._output = open_output(self._target, source, self._others.metadata)
            with writing(self._target.path):
                self._stream = self._others.add_to(self._output, self._add_video)
                self._open_encoder()
            set_display_matrix(self._stream, source, self.notes)
            if self._target.container in MOV_FAMILY:
                settle_timecode(self._output, self._stream, self._stream.average_rate, self.notes)
            note_lost_aspect(source, self._target.container, self._choice.encoder.family, self.notes)
        except BaseException:
            self.abandon()
            raise

    def __enter__(self) -> "VideoWriter":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if not self._finished:
            self.abandon()

    def write(self, frame: av.VideoFrame) -> None:
        """Encode one frame of the source, in the order of display.

        Parameters
        ----------
        frame : av.VideoFrame
            In coded orientation, with the source's ``pts``; its pixels must not be changed afterwards.

        Raises
        ------
        OutputError
            The file cannot be written.
        """
        if (frame.width, frame.height) != (self.info.width, self.info.height):
            raise ValueError(
                f"frame is {frame.width}x{frame.height}, not {self.info.width}x{self.info.height}"
            )
        if frame.pts is None:
            raise ValueError("frame has no timestamp")
        pts = int(frame.pts)
        if self._frames and pts <= self._last_pts:
            raise ValueError(f"timestamp {pts} does not follow {self._last_pts}")
        with writing(self._target.path):
            if not self._frames:
                self._begin(pts)
            self._last_length = getattr(frame, "duration", 0) or self._nominal_length()
            self._last_pts = pts
            ready = convert(frame, self._choice.pix_fmt)
            kept = (ready.pts, ready.time_base, ready.pict_type)
            # The source's choice of I, P and B pictures is not the encoder's.
            ready.pict_type = 0
            ready.pts, ready.time_base = self._tick(pts), self._stream.codec_context.time_base
            try:
                packets = self._stream.encode(ready)
            finally:
                ready.pts, ready.time_base, ready.pict_type = kept
            self._frames += 1
            self._mux(packets)

    def finish(self) -> None:
        """Write what is left and give the file its name.

        Raises
        ------
        OutputError
            The file cannot be written, or no frame was.
        """
        assert self._others is not None
        if not self._frames:
            raise OutputError(f"{shown(self._target.path)}: no frames were written; nothing is kept")
        with writing(self._target.path):
            self._mux(self._stream.encode(None))
            last = (self._last_pts + self._last_length) * self.info.time_base
            for packet in self._others.until(last if self._trimmed else None):
                self._output.mux(packet)
            self._output.close()
        self._others.close()
        self.notes += self._others.notes
        self._target.commit()
        self._finished = True

    def abandon(self) -> None:
        """Close and remove what was written so far."""
        # The muxer still writes its trailer here, and whatever stopped the work may stop that too.
        with suppress(av.FFmpegError, OSError, ValueError, FvdeblurError):
            if self._output is not None:
                self._output.close()
        if self._others is not None:
            self._others.close()
        self._target.discard()

    def _add_video(self, source: Any) -> Any:
        """Create the video stream with the source's size, clock, aspect and colour tags."""
        info, choice = self.info, self._choice
        rate = choice.encoder.nominal_rate(info.average_rate or Fraction(25))
        stream = self._output.add_stream(choice.encoder.name, rate=rate)
        context = stream.codec_context
        context.width, context.height, context.pix_fmt = info.width, info.height, choice.pix_fmt
        if info.sample_aspect_ratio != 1:
            context.sample_aspect_ratio = info.sample_aspect_ratio
        self._frame_clock = choice.encoder.frame_clock or self._target.container == "avi"
        stream.time_base = 1 / rate if self._target.container == "avi" else info.time_base
        context.time_base = 1 / rate if self._frame_clock else info.time_base
        context.color_primaries, context.color_trc = info.color_primaries, info.color_trc
        space, full = info.color_space, info.color_range
        if is_rgb(info.pix_fmt) and not is_rgb(choice.pix_fmt):
            space, full = colour_space(SPACE_RGB, info.height), 1
        elif choice.pix_fmt.startswith("yuvj") or info.pix_fmt.startswith("yuvj"):
            full = RANGE_FULL
        context.colorspace, context.color_range = space, full
        context.thread_count = self._threads
        if choice.encoder.family == "hevc" and self._target.container in MOV_FAMILY:
            context.codec_tag = "hev1" if info.codec_tag == "hev1" else "hvc1"
        stream.options = choice.options
        return stream

    def _open_encoder(self) -> None:
        try:
            self._stream.codec_context.open()
        except (av.FFmpegError, OSError, ValueError) as error:
            raise OutputError(
                f"{shown(self._target.path)}: {self._choice.encoder.name} refuses {self.info.width}x"
                f"{self.info.height} {self._choice.pix_fmt} ({one_line(error)}); choose another --codec"
            ) from error

    def _begin(self, pts: int) -> None:
        """Write the header, now that the first kept frame is known."""
        assert self._others is not None
        self._first_pts = pts if self._trimmed else 0
        self._others.start(self._output, pts * self.info.time_base, self._end)
        self._output.start_encoding()
        for packet in self._others.pictures():
            self._output.mux(packet)

    def _nominal_length(self) -> int:
        return max(1, round(1 / ((self.info.average_rate or Fraction(25)) * self.info.time_base)))

    def _tick(self, pts: int) -> int:
        """The timestamp of a frame on the encoder's clock; `_mux` turns it back."""
        tick = shifted = pts - self._first_pts
        if self._target.container == "avi":  # numbers of frame slots are all that AVI knows
            slot = round(shifted * self.info.time_base / self._stream.codec_context.time_base)
            tick = self._last_slot = max(slot, self._last_slot + 1)
        elif self._frame_clock:
            tick = self._frames
        self._pending[tick] = (shifted, self._last_length)
        return tick

    def _mux(self, packets: list[Any]) -> None:
        """Write encoded packets, and before each the packets of other streams that belong there."""
        assert self._others is not None
        for packet in packets:
            shifted, length = self._pending.pop(packet.pts, (0, 0))
            if self._target.container != "avi":
                if self._frame_clock:
                    packet.pts = packet.dts = shifted
                    packet.time_base = self.info.time_base
                packet.duration = length
            time = (packet.dts if packet.dts is not None else packet.pts) * packet.time_base
            for other in self._others.until(time + self._first_pts * self.info.time_base):
                self._output.mux(other)
            self._output.mux(packet)
