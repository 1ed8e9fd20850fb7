"""Putting encoded video into a file beside copies of everything else that its source holds."""

from contextlib import suppress
from fractions import Fraction
from typing import Any

import av

from fvdeblur.errors import FvdeblurError
from fvdeblur.media.containers import COUNTING, MOV_FAMILY, called
from fvdeblur.media.copying import CopiedStreams
from fvdeblur.media.encoders import EncoderChoice
from fvdeblur.media.encoding import add_video_stream, open_encoder
from fvdeblur.media.failures import writing
from fvdeblur.media.losses import find_losses
from fvdeblur.media.probe import VideoInfo
from fvdeblur.media.streams import note_lost_aspect, open_output, set_display_matrix, settle_timecode
from fvdeblur.media.target import OutputTarget

_NOTED = 0.001  # seconds: less than that is the rounding of a source that counts milliseconds


class Muxer:
    """The unfinished output file with all its streams; nothing is written to it before `begin`.

    Parameters
    ----------
    target : OutputTarget
        Where it is written.
    info : VideoInfo
        The source.
    choice : EncoderChoice
        The encoder of the video.
    trimmed : bool
        Whether only a part is kept, which then begins at time 0.
    end : fractions.Fraction or None
        End of the kept part in seconds on the source's clock.
    threads : int
        Encoder threads.

    Attributes
    ----------
    stream : av.VideoStream
        The video, whose encoder is open.
    notes : list of str
        What differs from the source or was left out, one line each; complete after `finish`.

    Raises
    ------
    OutputError
        The file cannot be created, or the encoder does not take the picture.
    """

    def __init__(
        self,
        target: OutputTarget,
        info: VideoInfo,
        choice: EncoderChoice,
        *,
        trimmed: bool,
        end: Fraction | None,
        threads: int,
    ) -> None:
        self._target, self._info = target, info
        self._trimmed, self._end = trimmed, end
        self._origin = Fraction(0)  # seconds on the source's clock that become 0
        self._output: Any = None
        self._off = Fraction(0)  # seconds by which a timestamp is rounded at most
        self.notes = list(choice.notes)
        self._others = CopiedStreams(info, target.container, trimmed=trimmed)
        try:
            self._output = open_output(target, info, self._others.metadata)
            with writing(target.path):
                self.stream: Any = self._others.add_to(
                    self._output,
                    lambda _: add_video_stream(self._output, info, choice, target.container, threads),
                )
                open_encoder(self.stream.codec_context, info, choice, target)
            set_display_matrix(self.stream, info, self.notes)
            if target.container in MOV_FAMILY:
                settle_timecode(self._output, self.stream, self.stream.average_rate, self.notes)
            note_lost_aspect(info, target.container, choice.encoder.family, self.notes)
        except BaseException:
            self.close()
            raise

    def begin(self, pts: int) -> None:
        """Write the header, now that the timestamp of the first frame is known."""
        first = pts * self._info.time_base
        self._origin = first if self._trimmed else Fraction(0)
        self._others.start(self._output, first, self._end)
        self._output.start_encoding()
        for packet in self._others.pictures():
            self._output.mux(packet)

    def write(self, packet: Any) -> None:
        """Write a packet of the video, and before it the packets of other streams that belong there."""
        time = (packet.dts if packet.dts is not None else packet.pts) * packet.time_base
        for other in self._others.until(time + self._origin):
            self._output.mux(other)
        if self._target.container not in COUNTING and packet.pts is not None:
            ticks = packet.pts * packet.time_base / self.stream.time_base
            self._off = max(self._off, abs(ticks - round(ticks)) * self.stream.time_base)
        packet.stream = self.stream
        self._output.mux(packet)

    def finish(self, end: Fraction, off: float) -> None:
        """Write what is left of the other streams.

        Parameters
        ----------
        end : fractions.Fraction
            Of a part, where it ends, in seconds on the source's clock.
        off : float
            Seconds by which a frame misses its time at most, where the container only counts frames.
        """
        for packet in self._others.until(end if self._trimmed else None):
            self._output.mux(packet)
        self._output.close()
        self._others.close()
        self.notes += self._others.notes
        self.notes += find_losses(
            self._info,
            self._target.partial,
            self._target.container,
            self._others.places,
            self._others.chapters,
        )
        most = max(off, float(self._off)) * 1000
        if off > _NOTED or self._off:
            name = called(self._target.container)
            unit = "frames" if off else f"ticks of {self.stream.time_base} s"
            self.notes.append(
                f"timestamps differ by up to {most:.2g} ms from the source's: a {name} file counts {unit}"
            )

    def close(self) -> None:
        """Close all files, whatever state they are in."""
        # The muxer still writes its trailer here, and whatever stopped the work may stop that too.
        with suppress(av.FFmpegError, OSError, ValueError, FvdeblurError):
            if self._output is not None:
                self._output.close()
        self._others.close()
