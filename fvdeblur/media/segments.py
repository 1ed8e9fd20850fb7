"""Writing a video in closed segments that outlive whatever stops the work."""

import hashlib
import os
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import asdict
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

import av

from fvdeblur.errors import OutputError
from fvdeblur.media.containers import COUNTING
from fvdeblur.media.encoders import choose_encoder
from fvdeblur.media.encoding import Clock, FrameEncoder, create_encoder, open_encoder
from fvdeblur.media.failures import shown, writing
from fvdeblur.media.journal import BESIDE, Journal
from fvdeblur.media.muxer import Muxer
from fvdeblur.media.packet_file import PacketWriter, decoding_times, read_packets, read_times
from fvdeblur.media.reader import VideoReader
from fvdeblur.media.remux import copy_into
from fvdeblur.media.target import OutputTarget
from fvdeblur.media.writer import check_frame, nothing_written


class SegmentWriter:
    """Writer of a changed video whose work is kept, segment by segment, in the folder ``<path>.partial``.

    Like `VideoWriter`, but for this: each segment is encoded by an encoder of its own, so that it begins with a key
    frame and refers to nothing outside; its packets go to a file, and only `finish` puts all of them into the output.
    Where the ``with`` block is left before that, finished segments stay, and the next writer of the same output finds
    them by `take_up`; the error says so, in its text or, where it has none, in a note. Without any, nothing stays.

    Parameters
    ----------
    path : str or os.PathLike
        Where the video will stand; its suffix decides the container.
    reader : VideoReader
        The source.
    codec, crf, preset, pix_fmt, encoder_options, threads, overwrite
        As of `VideoWriter`.

    Attributes
    ----------
    notes : list of str
        What differs from the source or was left out, one line each; complete after `finish` or `copy`.
    encoding : dict
        All that the packets depend on beside the frames, ready for JSON.

    Raises
    ------
    UsageError
        As `VideoWriter`; or ``<path>.partial`` is not a folder of ours, or another run works in it.
    OutputError
        The folder or the file cannot be created, or the encoder refuses the picture.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        reader: VideoReader,
        *,
        codec: str | None = None,
        crf: float | None = None,
        preset: str | None = None,
        pix_fmt: str | None = None,
        encoder_options: Mapping[str, str] | None = None,
        threads: int = 0,
        overwrite: bool = False,
    ) -> None:
        self.info = reader.info
        self.notes: list[str] = []
        self._trimmed = reader.start is not None or reader.end is not None
        self._end = None if reader.end is None else Fraction(reader.end) + self.info.origin
        self._threads = threads
        self._clock, self._number = Clock(), 0
        self._finished = self._taken_up = False
        self._segment: tuple[FrameEncoder, PacketWriter] | None = None
        self._closing: Future[None] | None = None
        self._closer = ThreadPoolExecutor(1, thread_name_prefix="fvdeblur-segment")
        self._target = OutputTarget(path, self.info.path, overwrite, in_folder=True)
        self._journal = Journal(self._target.workplace)
        try:
            self._choice = choose_encoder(
                self.info,
                self._target.container,
                codec=codec,
                crf=crf,
                preset=preset,
                pix_fmt=pix_fmt,
                encoder_options=encoder_options,
                threads=threads,
            )
            # What the container or the encoder refuses is to be known now, not when all the work is done.
            trial = self._open_output()
            try:
                self._template = Template.of(trial.stream.codec_context)
            finally:
                trial.close()
                self._target.discard()
        except BaseException:
            self._leave()
            raise
        self.encoding = {
            "container": self._target.container,
            "encoder": self._choice.encoder.name,
            "pix_fmt": self._choice.pix_fmt,
            "options": self._choice.options,
            "headers": self._template.headers,
            "threads": threads,
        }

    @property
    def encoder(self) -> str:
        """The encoder and the pixel format that it is given, as ``libx264 (yuv420p)``."""
        return f"{self._choice.encoder.name} ({self._choice.pix_fmt})"

    @property
    def beside(self) -> Path:
        """A file that may be kept beside the segments, for as long as the ``identity`` of `take_up` is the same."""
        return self._journal.folder / BESIDE

    @property
    def segments(self) -> int:
        """How many segments are done."""
        return len(self._journal.records)

    @property
    def frames(self) -> int:
        """How many frames the segments hold that are done."""
        return int(self._journal.records[-1]["facts"]["clock"]["frames"]) if self._journal.records else 0

    def __enter__(self) -> "SegmentWriter":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._leave()
        if error is not None and self._taken_up and self.segments and not self._finished:
            kept = (
                f"the work so far ({self.frames} frames) is kept in {shown(self._target.workplace)}; "
                "the same command goes on with it"
            )
            if isinstance(error, Exception) and len(error.args) == 1 and isinstance(error.args[0], str):
                error.args = (f"{error.args[0]}; {kept}",)  # the one line that a user sees
            else:
                error.add_note(kept)

    def take_up(self, identity: dict[str, Any], *, resume: bool) -> tuple[list[dict[str, Any]], list[str]]:
        """Find the segments that are done already for this input and these settings, and remove all else.

        Parameters
        ----------
        identity : dict
            All that the packets depend on, ready for JSON.
        resume : bool
            False: nothing is taken up.

        Returns
        -------
        The facts given to `end_segment` for each, and why others could not be taken up, one line each.
        """
        notes = self._journal.take_up(identity, resume=resume)
        self._taken_up = True
        for number, record in enumerate(self._journal.records):
            try:
                Clock(**record["facts"]["clock"])
                if not isinstance(record["facts"]["more"], dict):
                    raise TypeError("no facts")
            except (KeyError, TypeError):
                self._journal.drop(number)
                notes.append(f"segment {number + 1} of the unfinished run was damaged; it was done anew")
                break
        self._set_clock()
        return [record["facts"]["more"] for record in self._journal.records], notes

    def drop(self, number: int) -> None:
        """Forget the segments from a number on that were taken up."""
        self._journal.drop(number)
        self._set_clock()

    def write(self, frame: av.VideoFrame) -> None:
        """Encode one frame of the source, in the order of display.

        Parameters
        ----------
        frame : av.VideoFrame
            In coded orientation, with the source's ``pts``; its pixels must not be changed afterwards.

        Raises
        ------
        OutputError
            The segment cannot be written.
        """
        assert self._taken_up
        check_frame(frame, self.info, self._clock)
        with writing(self._target.path):
            if not self._clock.frames:
                self._clock.begin(int(frame.pts or 0), trimmed=self._trimmed)
            if self._segment is None:
                self._segment = self._begin_segment()
            encoder, file = self._segment
            file.write(encoder.encode(frame))

    def end_segment(self, facts: dict[str, Any]) -> None:
        """End the segment behind the last frame written.

        The encoder writes what it has left while the next segment begins; `kept` counts the segment from then on.

        Parameters
        ----------
        facts : dict
            What is to be known of it, ready for JSON.

        Raises
        ------
        OutputError
            This segment or the one before cannot be written.
        """
        self.settle()
        if self._segment is None:
            raise ValueError("the segment is empty")
        encoder, file = self._segment
        clock = asdict(self._clock)
        self._segment = None
        self._number += 1

        def close() -> None:
            with writing(self._target.path):
                try:
                    file.write(encoder.flush())
                    self._journal.add(file.finish(), {"clock": clock, "more": facts})
                    # It is on the disk; here it would grow with the video's length.
                    del self._journal.records[-1]["facts"]["more"]
                finally:
                    file.close()

        self._closing = self._closer.submit(close)

    def settle(self) -> None:
        """Wait until the segments that were ended are on the disk; their errors are raised here."""
        closing, self._closing = self._closing, None
        if closing is not None:
            closing.result()

    def finish(self) -> None:
        """Put all segments, beside the other streams, into the output, and remove the folder.

        Raises
        ------
        OutputError
            The output cannot be written, or there is no frame.
        """
        self.settle()
        if not self._journal.records:
            raise nothing_written(self._target)
        muxer = self._open_output()
        try:
            with writing(self._target.path):
                muxer.begin(self._clock.first)
                for packet in self._packets():
                    muxer.write(packet)
                muxer.finish(self._clock.end * self.info.time_base, self._clock.off)
            self.notes = muxer.notes
            self._target.commit()
        finally:
            muxer.close()
            self._target.discard()
        self._finished = True

    def copy(self) -> None:
        """Copy all streams of the source as they are into the output instead, and remove the folder.

        Raises
        ------
        OutputError
            The output cannot be written.
        """
        self.settle()
        self._target.create()
        self.notes = copy_into(self._target, self.info)
        self._finished = True

    def _open_output(self) -> Muxer:
        self._target.create()
        return Muxer(
            self._target,
            self.info,
            self._choice,
            trimmed=self._trimmed,
            end=self._end,
            threads=self._threads,
        )

    def _begin_segment(self) -> tuple[FrameEncoder, PacketWriter]:
        container = self._target.container
        context = create_encoder(self.info, self._choice, container, self._threads, self._template)
        open_encoder(context, self.info, self._choice, self._target)
        if _digest(context.extradata) != self._template.headers:
            raise OutputError(
                f"{shown(self._target.path)}: {self._choice.encoder.name} describes its segments each in another "
                "way, so that they cannot be joined; choose another --codec"
            )
        path = self._journal.packets(self._number)
        path.unlink(missing_ok=True)
        encoder = FrameEncoder(context, self.info, self._choice, container, self._clock)
        return encoder, PacketWriter(path)

    def _packets(self) -> Iterator[Any]:
        """All packets in the order of decoding, with decoding times that rise over the ends of segments."""
        records = self._journal.records
        paths = [self._journal.packets(number) for number in range(len(records))]
        delay = max(record["content"]["delay"] for record in records)
        shown_at = (time for path in paths for time in read_times(path))
        packets = (packet for path in paths for packet in read_packets(path))
        # As `FrameEncoder` gives them: some containers count frames, all else has the source's clock.
        unit = self._template.time_base if self._target.container in COUNTING else self.info.time_base
        for packet, dts in zip(packets, decoding_times(shown_at, delay), strict=False):
            packet.dts, packet.time_base = dts, unit
            yield packet

    def _set_clock(self) -> None:
        records = self._journal.records
        self._number = len(records)  # of the segment that is being written
        self._clock = Clock(**records[-1]["facts"]["clock"]) if records else Clock()

    def _leave(self) -> None:
        """Let all files go; what is done stays, unless it stands in the output now."""
        if self._closing is not None:
            # The segment that is being closed is work, too; a second Ctrl-C has to wait for it.
            while not self._closing.done():
                with suppress(KeyboardInterrupt):
                    wait([self._closing])
            self._closing = None
        self._closer.shutdown()
        if self._segment is not None:
            _, file = self._segment
            self._segment = None
            file.close()
        if self._taken_up:
            # One that was begun, be it that an interrupt came before it was known here.
            for number in range(len(self._journal.records), self._number + 2):
                with suppress(OSError):
                    self._journal.packets(number).unlink()
        # Before `take_up`, what lies there is not known yet, and must not be lost.
        nothing = not self._journal.records and (self._taken_up or self._journal.is_new)
        if self._finished or nothing:
            self._journal.remove()
        self._journal.close()


class Template(NamedTuple):
    """What the encoders of all segments have in common with the output's."""

    flags: int
    bit_rate: int
    bit_rate_tolerance: int
    time_base: Fraction
    headers: str

    @classmethod
    def of(cls, context: Any) -> "Template":
        """Of an opened encoder."""
        return cls(
            context.flags,
            context.bit_rate or 0,
            context.bit_rate_tolerance or 0,
            context.time_base,
            _digest(context.extradata),
        )


def _digest(data: bytes | None) -> str:
    return hashlib.sha256(data or b"").hexdigest()
