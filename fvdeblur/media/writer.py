"""Encoding a video beside copies of everything else that its source holds."""

import os
from collections.abc import Mapping
from fractions import Fraction
from types import TracebackType

import av

from fvdeblur.errors import OutputError
from fvdeblur.media.encoders import choose_encoder
from fvdeblur.media.encoding import Clock, FrameEncoder
from fvdeblur.media.failures import shown, writing
from fvdeblur.media.muxer import Muxer
from fvdeblur.media.probe import VideoInfo
from fvdeblur.media.reader import VideoReader
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
    pix_fmt : str, optional
        Pixel format that is encoded, by FFmpeg's name; by default the source's or the nearest that the encoder takes.
    encoder_options : mapping of str to str, optional
        Further options of the encoder, by FFmpeg's names.
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
        The output is the input, exists already, or has an unknown suffix; or `codec`, `crf`, `preset`, `pix_fmt`
        or one of `encoder_options` does not fit.
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
        pix_fmt: str | None = None,
        encoder_options: Mapping[str, str] | None = None,
        start: float | None = None,
        end: float | None = None,
        threads: int = 0,
        overwrite: bool = False,
    ) -> None:
        self.info, start, end = source_of(source, start, end)
        self._trimmed = start is not None or end is not None
        self._finished = False
        self._muxer: Muxer | None = None
        self._clock = Clock()
        self._target = OutputTarget(path, self.info.path, overwrite)
        try:
            container = self._target.container
            choice = choose_encoder(
                self.info,
                container,
                codec=codec,
                crf=crf,
                preset=preset,
                pix_fmt=pix_fmt,
                encoder_options=encoder_options,
                threads=threads,
            )
            self._muxer = Muxer(
                self._target,
                self.info,
                choice,
                trimmed=self._trimmed,
                end=None if end is None else Fraction(end) + self.info.origin,
                threads=threads,
            )
            self._encoder = FrameEncoder(
                self._muxer.stream.codec_context, self.info, choice, container, self._clock
            )
        except BaseException:
            self.abandon()
            raise

    @property
    def notes(self) -> list[str]:
        """What differs from the source or was left out, one line each."""
        return [] if self._muxer is None else self._muxer.notes

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
        assert self._muxer is not None
        check_frame(frame, self.info, self._clock)
        with writing(self._target.path):
            if not self._clock.frames:
                self._clock.begin(int(frame.pts or 0), trimmed=self._trimmed)
                self._muxer.begin(self._clock.first)
            for packet in self._encoder.encode(frame):
                self._muxer.write(packet)

    def finish(self) -> None:
        """Write what is left and give the file its name.

        Raises
        ------
        OutputError
            The file cannot be written, or no frame was.
        """
        assert self._muxer is not None
        if not self._clock.frames:
            raise nothing_written(self._target)
        with writing(self._target.path):
            for packet in self._encoder.flush():
                self._muxer.write(packet)
            self._muxer.finish(self._clock.end * self.info.time_base, self._clock.off)
        self._target.commit()
        self._finished = True

    def abandon(self) -> None:
        """Close and remove what was written so far."""
        if self._muxer is not None:
            self._muxer.close()
        self._target.discard()


def source_of(
    source: VideoReader | VideoInfo, start: float | None, end: float | None
) -> tuple[VideoInfo, float | None, float | None]:
    """What is read, and the part of it that is kept: a reader's own where none is given."""
    if not isinstance(source, VideoReader):
        return source, start, end
    return source.info, source.start if start is None else start, source.end if end is None else end


def check_frame(frame: av.VideoFrame, info: VideoInfo, clock: Clock) -> None:
    """Raise ValueError where a frame cannot be the next one of a video."""
    if (frame.width, frame.height) != (info.width, info.height):
        raise ValueError(f"frame is {frame.width}x{frame.height}, not {info.width}x{info.height}")
    if frame.pts is None:
        raise ValueError("frame has no timestamp")
    if clock.frames and frame.pts <= clock.last:
        raise ValueError(f"timestamp {frame.pts} does not follow {clock.last}")


def nothing_written(target: OutputTarget) -> OutputError:
    """The error of a video without frames."""
    return OutputError(f"{shown(target.path)}: no frames were written; nothing is kept")
