"""Carrying streams, chapters and metadata from one file to another without decoding them."""

from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import Any

import av
from av.container import OutputContainer

from fvdeblur.media.containers import MATROSKA_FAMILY, MOV_FAMILY
from fvdeblur.media.failures import one_line
from fvdeblur.media.probe import VideoInfo, is_attached_picture, open_input
from fvdeblur.media.streams import (
    add_like,
    chapters_of,
    copy_stream_tags,
    describe_stream,
    is_written_anew,
    picture_data,
    why_not,
)

_SEEK_MARGIN = 10  # seconds: longer than a packet of anything but a long subtitle


class CopiedStreams:
    """All streams of a file but its main video, read in step with the video that is being written.

    Parameters
    ----------
    info : VideoInfo
        The source.
    container : str
        FFmpeg's name of the output container.
    trimmed : bool
        True where only a part is kept: what then holds for the whole file alone is left out.
    """

    def __init__(self, info: VideoInfo, container: str, *, trimmed: bool) -> None:
        self.notes: list[str] = []
        self.places: dict[int, int] = {}  # index in the source -> index in the output
        self.chapters = 0  # how many the output was given
        self._info = info
        self._container = container
        self._trimmed = trimmed
        self._source = open_input(info.path)
        self._outputs: dict[int, Any] = {}
        self._pictures: list[tuple[Any, bytes]] = []
        self._packets: Iterator[Any] | None = None
        self._waiting: Any = None
        self._from = Fraction(0)
        self._untimed = 0
        # Sound that begins before 0 is right where an edit list or a codec delay says so, and harmless where
        # all times are moved anyway; elsewhere it would move the video with it, and is put at 0.
        same_matroska = container in MATROSKA_FAMILY and "matroska" in info.container
        self._clamp = not (same_matroska or container in MOV_FAMILY or container in {"mpegts", "vob"})

    @property
    def metadata(self) -> dict[str, str]:
        """Global tags of the source."""
        return dict(self._source.metadata)

    def close(self) -> None:
        """Close the source."""
        self._source.close()

    def add_to(self, output: OutputContainer, add_video: Callable[[Any], Any]) -> Any:
        """Create every stream in the output, in the source's order, with their tags.

        Parameters
        ----------
        output : OutputContainer
            An output to which nothing has been written yet.
        add_video : callable
            Takes the source's video stream and creates the output's.

        Returns
        -------
        The output's main video stream.
        """
        video: Any = None
        streams = list(self._source.streams)
        if self._container == "mxf":  # the picture comes first there
            streams.sort(key=lambda stream: stream.index != self._info.stream_index)
        for stream in streams:
            if stream.index == self._info.stream_index:
                video = add_video(stream)
                self.places[stream.index] = video.index
                copy_stream_tags(stream, video, trimmed=self._trimmed)
            elif self._container == "matroska" and is_attached_picture(stream):
                self._attach_picture(output, stream)
            else:
                self._add(output, stream)
        return video

    def start(self, output: OutputContainer, begin: Fraction, end: Fraction | None) -> None:
        """Set chapters and begin to read at a time; call before the header is written.

        Parameters
        ----------
        output : OutputContainer
            The output with all its streams.
        begin, end : fractions.Fraction
            Kept part in seconds on the source's clock; `begin` becomes time 0 where the copy is trimmed.
        """
        self._from = begin
        shift = begin if self._trimmed else Fraction(0)
        chapters = chapters_of(self._source, shift, end, trimmed=self._trimmed)
        self.chapters = len(chapters)
        if chapters:
            output.set_chapters(chapters)
        wanted = [s for s in self._source.streams if s.index in self._outputs]
        for stream in self._source.streams:
            if stream.index not in self._outputs and hasattr(type(stream), "discard"):
                stream.discard = av.stream.Discard.all
        if self._trimmed and wanted and begin - self._info.origin > _SEEK_MARGIN:
            try:
                self._source.seek(int((begin - _SEEK_MARGIN) * 1_000_000))
            except (av.FFmpegError, OSError):
                self.close()
                self._source = open_input(self._info.path)
                wanted = [s for s in self._source.streams if s.index in self._outputs]
        self._packets = self._source.demux(*wanted) if wanted else iter(())

    def include(self, index: int, copied: Any) -> None:
        """Copy one more stream of the source, the video itself, into a stream of the output."""
        self._outputs[index] = copied

    def pictures(self) -> Iterator[av.Packet]:
        """The packets of cover art, to be written once, before the rest."""
        for stream, data in self._pictures:
            packet = av.Packet(data)
            packet.stream = stream
            packet.time_base = Fraction(1, 1000)
            packet.pts = packet.dts = 0
            packet.is_keyframe = True
            yield packet

    def until(self, time: Fraction | None) -> Iterator[av.Packet]:
        """Packets up to a time in seconds on the source's clock (None: all that are left), to be written."""
        while (packet := self._next()) is not None:
            begin, length = _span(packet)
            if time is not None and begin >= time:
                self._waiting = packet
                return
            if self._trimmed and begin < self._from and begin + length <= self._from:
                continue
            yield self._prepared(packet)

    def _next(self) -> Any:
        if self._waiting is not None:
            packet, self._waiting = self._waiting, None
            return packet
        while self._packets is not None:
            try:
                packet = next(self._packets, None)
            except (av.FFmpegError, OSError) as error:
                self.notes.append(f"copying of sound and other streams stopped early: {one_line(error)}")
                packet = None
            if packet is None:
                self._packets = None
                if self._untimed:
                    self.notes.append(f"{self._untimed} packets without a timestamp were left out")
                return None
            if packet.size == 0:
                continue
            if packet.pts is None and packet.dts is None:
                self._untimed += 1
                continue
            return packet
        return None

    def _prepared(self, packet: Any) -> av.Packet:
        if packet.pts is None:
            packet.pts = packet.dts
        if self._trimmed:
            shift = round(self._from / packet.time_base)
            packet.pts = packet.pts - shift if packet.pts is not None else None
            packet.dts = packet.dts - shift if packet.dts is not None else None
        if self._clamp and packet.stream.type != "video":
            packet.pts = max(0, packet.pts) if packet.pts is not None else None
            packet.dts = max(0, packet.dts) if packet.dts is not None else None
        packet.stream = self._outputs[packet.stream.index]
        return packet

    def _add(self, output: OutputContainer, stream: Any) -> None:
        """Create a stream like one of the source's, where the container can hold it."""
        if is_written_anew(stream):
            return
        reason = why_not(self._container, stream)
        if reason:
            self.notes.append(f"{describe_stream(stream)} is left out: {reason}")
            return
        copied = add_like(output, stream, self._container)
        self.places[stream.index] = copied.index
        copy_stream_tags(stream, copied, trimmed=self._trimmed)
        if is_attached_picture(stream):
            if data := picture_data(self._info.path, stream.index):
                self._pictures.append((copied, data))
        elif stream.type != "attachment":
            self._outputs[stream.index] = copied

    def _attach_picture(self, output: OutputContainer, stream: Any) -> None:
        """Matroska holds cover art as an attachment, not as a stream."""
        data = picture_data(self._info.path, stream.index)
        kind = {"mjpeg": "jpeg"}.get(stream.codec_context.name, stream.codec_context.name)
        name = stream.metadata.get("filename", f"cover.{'jpg' if kind == 'jpeg' else kind}")
        if data and hasattr(output, "add_attachment"):
            output.add_attachment(name, stream.metadata.get("mimetype", f"image/{kind}"), data)
        else:
            self.notes.append(f"{describe_stream(stream)} is left out: it cannot be attached")


def _span(packet: Any) -> tuple[Fraction, Fraction]:
    """Beginning and length of a packet in seconds on the source's clock."""
    begin = packet.pts if packet.pts is not None else packet.dts
    return begin * packet.time_base, (packet.duration or 0) * packet.time_base
