"""Encoding frames into packets that carry the source's timestamps."""

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import av
from av.container import OutputContainer

from fvdeblur.errors import OutputError, UsageError
from fvdeblur.media.containers import COUNTING, MOV_FAMILY, WITH_GAPS, rate_in
from fvdeblur.media.encoder_options import complaint, listening
from fvdeblur.media.encoders import EncoderChoice
from fvdeblur.media.failures import one_line, shown
from fvdeblur.media.pixel_formats import RANGE_FULL, SPACE_RGB, colour_space, convert, is_rgb
from fvdeblur.media.probe import VideoInfo
from fvdeblur.media.target import OutputTarget


@dataclass
class Clock:
    """How far the writing of a video is, in ticks of the source.

    Attributes
    ----------
    first : int
        Timestamp of the first frame.
    origin : int
        Timestamp that becomes 0.
    frames : int
        Frames encoded.
    last : int
        Timestamp of the last of them.
    length : int
        Ticks that it lasts.
    slot : int
        Its slot in a container that only counts frames (AVI); -1 before the first.
    off : float
        Seconds by which any frame's slot misses its time at most.
    """

    first: int = 0
    origin: int = 0
    frames: int = 0
    last: int = 0
    length: int = 1
    slot: int = -1
    off: float = 0.0

    @property
    def end(self) -> int:
        """Where the last frame ends."""
        return self.last + self.length

    def begin(self, pts: int, *, trimmed: bool) -> None:
        """Take the first frame's timestamp, from which a part that was cut out counts."""
        self.first, self.origin = pts, pts if trimmed else 0


def add_video_stream(
    output: OutputContainer, info: VideoInfo, choice: EncoderChoice, container: str, threads: int
) -> Any:
    """Create a video stream with the source's size, clock, aspect and colour tags; its encoder is not opened yet."""
    rate = _rate(info, choice, container)
    stream: Any = output.add_stream(choice.encoder.name, rate=rate)
    stream.time_base = 1 / rate if container in COUNTING else info.time_base
    _configure(stream.codec_context, info, choice, container, threads)
    return stream


def create_encoder(info: VideoInfo, choice: EncoderChoice, container: str, threads: int, like: Any) -> Any:
    """Create an encoder without a stream, like the one of a stream that `add_video_stream` made."""
    context: Any = av.CodecContext.create(choice.encoder.name, "w")
    context.framerate = _rate(info, choice, container)
    context.bit_rate, context.bit_rate_tolerance = like.bit_rate, like.bit_rate_tolerance
    context.flags = like.flags
    _configure(context, info, choice, container, threads)
    return context


def open_encoder(context: Any, info: VideoInfo, choice: EncoderChoice, target: OutputTarget) -> None:
    """Open an encoder.

    Raises
    ------
    UsageError
        It does not know or cannot use one of the options that the user gave, or its hardware is not there.
    OutputError
        It does not take this picture.
    """
    name = choice.encoder.name
    fixed = _fixed(context)
    heard: list[str] = []
    try:
        with listening(heard, name):
            context.open()
    except (av.FFmpegError, OSError, ValueError) as error:
        # The encoder's own words are the clearest; FFmpeg's number of the error often says nothing.
        if choice.encoder.hardware:
            reason = heard[0] if heard else one_line(error)
            raise UsageError(
                f"--codec {name}: cannot be used on this machine ({reason}); choose another --codec"
            ) from error
        if choice.asked:
            given = " ".join(f"{key}={value}" for key, value in choice.asked.items())
            reason = heard[-1] if heard else one_line(error)
            raise UsageError(f"--encoder-option {given}: refused by {name} ({reason})") from error
        raise OutputError(
            f"{shown(target.path)}: {name} refuses {info.width}x{info.height} "
            f"{choice.pix_fmt} ({one_line(error)}); choose another --codec"
        ) from error
    if not choice.asked:
        return
    # What an encoder does not know stays behind; what a library behind it does not know is only logged.
    unknown = [key for key in choice.asked if key in context.options]
    if unknown:
        raise UsageError(f"--encoder-option {unknown[0]}: {name} has no such option")
    if (said := complaint(heard)) is not None:
        raise UsageError(f"--encoder-option: {name} says: {said}")
    if _fixed(context) != fixed:
        raise UsageError(
            "--encoder-option: size, pixel format and time base must stay; leave such options out"
        )


def _fixed(context: Any) -> tuple[Any, ...]:
    """What no option may change: the frames and the container would no longer fit."""
    header = context.flags & av.codec.context.Flags.global_header
    return context.width, context.height, context.pix_fmt, context.time_base, header


class FrameEncoder:
    """An opened encoder: frames of the source in, packets with the source's timestamps out.

    Parameters
    ----------
    context : av.VideoCodecContext
        Of `add_video_stream` or `create_encoder`, opened.
    info : VideoInfo
        The source.
    choice : EncoderChoice
        The encoder.
    container : str
        FFmpeg's name of the output container.
    clock : Clock
        How far the video is; it is moved on with every frame.
    """

    def __init__(
        self, context: Any, info: VideoInfo, choice: EncoderChoice, container: str, clock: Clock
    ) -> None:
        self._context, self._info, self._choice, self._clock = context, info, choice, clock
        self._slots, self._gaps = container in COUNTING, container in WITH_GAPS
        self._frame_clock = _counts_frames(choice, container)
        self._pending: dict[int, tuple[int, int]] = {}  # encoder's tick -> output's timestamp and length

    def encode(self, frame: av.VideoFrame) -> list[Any]:
        """Encode a frame; its timestamp has been checked. The packets are those that are ready by now."""
        clock, pts = self._clock, int(frame.pts or 0)
        clock.length = getattr(frame, "duration", 0) or self._nominal_length()
        clock.last = pts
        ready = convert(frame, self._choice.pix_fmt)
        kept = (ready.pts, ready.time_base, ready.pict_type)
        # The source's choice of I, P and B pictures is not the encoder's.
        ready.pict_type = 0
        ready.pts, ready.time_base = self._tick(pts), self._context.time_base
        try:
            packets = self._context.encode(ready)
        finally:
            ready.pts, ready.time_base, ready.pict_type = kept
        clock.frames += 1
        return [self._timed(packet) for packet in packets]

    def flush(self) -> list[Any]:
        """End the encoding; the packets are all that are left."""
        return [self._timed(packet) for packet in self._context.encode(None)]

    def _nominal_length(self) -> int:
        return max(1, round(1 / ((self._info.average_rate or Fraction(25)) * self._info.time_base)))

    def _tick(self, pts: int) -> int:
        """The timestamp of a frame on the encoder's clock; `_timed` turns it back."""
        clock = self._clock
        tick = shifted = pts - clock.origin
        if self._slots:  # numbers of frame slots are all that the container knows
            unit = self._context.time_base
            slot = round(shifted * self._info.time_base / unit) if self._gaps else 0
            tick = clock.slot = max(slot, clock.slot + 1)
            clock.off = max(clock.off, abs(float(tick * unit - shifted * self._info.time_base)))
        elif self._frame_clock:
            tick = clock.frames
        self._pending[tick] = (shifted, clock.length)
        return tick

    def _timed(self, packet: Any) -> Any:
        shifted, length = self._pending.pop(packet.pts, (0, 0))
        if not self._slots:
            if self._frame_clock:
                packet.pts = packet.dts = shifted
                packet.time_base = self._info.time_base
            packet.duration = length
        return packet


def _rate(info: VideoInfo, choice: EncoderChoice, container: str) -> Fraction:
    rate = choice.encoder.nominal_rate(info.average_rate or Fraction(25))
    return rate_in(container, rate) or rate


def _configure(context: Any, info: VideoInfo, choice: EncoderChoice, container: str, threads: int) -> None:
    context.width, context.height, context.pix_fmt = info.width, info.height, choice.pix_fmt
    if info.sample_aspect_ratio != 1:
        context.sample_aspect_ratio = info.sample_aspect_ratio
    context.time_base = (
        1 / _rate(info, choice, container) if _counts_frames(choice, container) else info.time_base
    )
    context.color_primaries, context.color_trc = info.color_primaries, info.color_trc
    space, full = info.color_space, info.color_range
    if is_rgb(info.pix_fmt) and not is_rgb(choice.pix_fmt):
        space, full = colour_space(SPACE_RGB, info.height), 1
    elif choice.pix_fmt.startswith("yuvj") or info.pix_fmt.startswith("yuvj"):
        full = RANGE_FULL
    context.colorspace, context.color_range = space, full
    # Half as many again, as x264 takes by itself: its threads wait for each other.
    context.thread_count = math.ceil(1.5 * threads)
    if choice.encoder.family == "hevc" and container in MOV_FAMILY:
        context.codec_tag = "hev1" if info.codec_tag == "hev1" else "hvc1"
    context.options = dict(choice.options)


def _counts_frames(choice: EncoderChoice, container: str) -> bool:
    return choice.encoder.frame_clock or container in COUNTING
