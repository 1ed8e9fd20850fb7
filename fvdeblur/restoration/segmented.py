"""The work on one video, segment by segment, from where an earlier run was stopped."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import closing
from functools import partial
from pathlib import Path

from fvdeblur.faces import Detector
from fvdeblur.media import DecodedFrame, VideoReader
from fvdeblur.media.segments import SegmentWriter
from fvdeblur.restoration.choice import Chooser
from fvdeblur.restoration.first_pass import FirstPass
from fvdeblur.restoration.manifest import describe_work
from fvdeblur.restoration.restorer import Restorer
from fvdeblur.restoration.resuming import DAMAGED, Start, State, Tally, place_of
from fvdeblur.restoration.settings import Settings
from fvdeblur.restoration.stages import in_stages
from fvdeblur.restoration.stream import FaceRestorer
from fvdeblur.restoration.summary import Progress
from fvdeblur.restoration.track_file import check_source, follow_tracks, read_tracks


class SegmentedWork:
    """What is done of a video and what is still to be done.

    Parameters
    ----------
    source
        The video.
    reader
        Reads it.
    writer
        Holds the segments that are done and takes more.
    restorer, detector
        What works on the faces.
    settings
        How.
    first_pass
        Chooses the faces before the work begins; None: there is no need to.
    looking
        Called after every frame of the first pass.

    Attributes
    ----------
    reused
        Segments that an earlier run had done.
    begun_with
        Frames in them.
    written, restored
        Frames in all segments so far, and faces restored in them.
    damage
        What of the input could not be decoded; complete after `run`.
    notes
        What of an earlier run could not be taken up and why.
    """

    def __init__(
        self,
        source: Path,
        reader: VideoReader,
        writer: SegmentWriter,
        restorer: Restorer,
        detector: Detector,
        settings: Settings,
        first_pass: FirstPass | None = None,
        looking: Callable[[Progress], None] | None = None,
    ) -> None:
        self._reader, self._writer = reader, writer
        self._restorer, self._detector, self._settings = restorer, detector, settings
        settings.wishes.boxes(reader.info.display_width, reader.info.display_height)
        self._chooser = Chooser(settings.wishes)
        self._tracks = None
        if settings.tracks is not None:
            self._tracks = read_tracks(settings.tracks)
            check_source(self._tracks, reader.info)
        choice = None if first_pass is None else first_pass.describe()
        identity = describe_work(source, settings, restorer, detector, writer.encoding, choice)
        done, self.notes = writer.take_up(identity, resume=settings.resume)
        if first_pass is not None:
            self._tracks = first_pass.tracks(source, writer.beside, looking)
            self.notes += first_pass.notes(self._tracks)
        self._start: Start | None = None
        self._frames: Iterable[DecodedFrame] = reader
        self._ended = False
        self.damage: list[str] = []
        while True:
            try:
                self._faces = self._take_up(done)
                break
            except DAMAGED:
                # Whole by its SHA-256, and yet not what this program writes.
                done.pop()
                writer.drop(len(done))
                self.notes.append(
                    f"segment {len(done) + 1} of the unfinished run was damaged; it was done anew"
                )
        self.reused, self.begun_with = len(done), writer.frames
        self.written, self.restored = self.begun_with, self.tally.restored

    @property
    def tally(self) -> Tally:
        """What was done to the faces of all segments so far."""
        return self._faces.tally

    def run(self, told: Callable[[], None]) -> None:
        """Do what is still to be done; ``told`` is called after every frame written."""
        if self._ended:
            return
        faces = self._faces
        stream = in_stages(
            self._reader,
            self._detector,
            faces,
            frames=self._frames,
            segments=True,
            start=self._start,
            tracking=None
            if self._tracks is None
            else partial(follow_tracks, tracks=self._tracks, segments=True, start=self._start),
        )
        with closing(stream):
            for decoded in stream:
                boundary = faces.boundaries.pop(decoded.index, None)
                if boundary is not None:
                    self._end_segment(boundary.tally, boundary.state)
                self._writer.write(decoded.frame)
                self.written, self.restored = self.written + 1, faces.restored_by.pop(decoded.index)
                told()
        self.damage = list(self._reader.damage)
        self._end_segment(faces.counted(), None)
        self._writer.settle()

    def _end_segment(self, tally: State, following: State | None) -> None:
        damage = list(self._reader.damage)
        self._writer.end_segment({"tally": tally, "damage": damage, "next": following})

    def _take_up(self, done: list[State]) -> FaceRestorer:
        """Find the state to go on from behind the segments that are done; one of `DAMAGED` where it is damaged."""
        tally = Tally()
        for segment in done:
            tally.add(segment["tally"])
        self._start, self._frames, self._ended = None, self._reader, False
        following = done[-1]["next"] if done else None
        if following is not None:
            # What was damaged before is found again only by decoding it again.
            place = place_of(following)
            found = self._reader.frames_from(place, seek=not done[-1]["damage"])
            if found is None:
                raise ValueError("the place is not found")
            held, self._frames = found
            index = self._writer.frames
            rotation = self._reader.info.rotation
            detector = self._detector if self._tracks is None else None
            self._start = Start(index, following, held, rotation, detector, tally)
        elif done:
            self._ended = True
            self.damage = [str(line) for line in done[-1]["damage"]]
        settings = self._settings
        faces = FaceRestorer(
            self._restorer,
            self._reader.info.rotation,
            settings.strength,
            settings.min_face,
            start=self._start,
            chooser=self._chooser,
        )
        if self._ended:
            faces.tally = tally
        return faces
