"""The file of tracks: what ``fvdeblur analyze`` writes, a person edits, and ``run`` follows (``docs/tracks.md``)."""

from __future__ import annotations

import itertools
import json
import os
import tempfile
from collections import Counter, deque
from collections.abc import Generator, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, TextIO

from fvdeblur.errors import InputError, UsageError
from fvdeblur.faces import TrackedFrame
from fvdeblur.media import DecodedFrame, VideoInfo
from fvdeblur.media.failures import shown, writing
from fvdeblur.media.reader import Place
from fvdeblur.restoration.json_stream import pieces
from fvdeblur.restoration.resuming import HELD, Boundary, Segmenting, Start
from fvdeblur.restoration.stream import NOT_CHOSEN, OUTSIDE, TrackedPicture
from fvdeblur.restoration.track_rows import (
    FORMAT,
    VERSION,
    Check,
    FaceRow,
    Frame,
    PersonRow,
    Shot,
    Source,
    TrackRow,
)

LEFT_BY_HAND = "left alone in the tracks file"
"""Reason given for faces that the file says to leave alone."""

TIME_TOLERANCE = 2e-4
"""A frame that misses its time in the file by less, in seconds, is meant: times are written with six digits."""


class TracksWriter:
    """Writes a tracks file: the frames as they come, the rest at the end; nothing stands under its name before.

    Parameters
    ----------
    path
        Where it will stand.
    video
        The video, which must not be touched.
    overwrite
        Whether a file that stands there already may be replaced.

    Raises
    ------
    UsageError
        The path is the video or a folder, or a file stands there and ``overwrite`` is False.
    OutputError
        The file cannot be created, here or, by the methods, written.
    """

    def __init__(self, path: str | os.PathLike[str], video: str | os.PathLike[str], overwrite: bool) -> None:
        self.path = Path(path)
        self._partial = self.path.with_name(self.path.name + ".partial")
        if os.path.realpath(video) in {os.path.realpath(self.path), os.path.realpath(self._partial)}:
            raise UsageError(f"{shown(self.path)}: the output would replace the input; choose another name")
        if self.path.is_dir():
            raise UsageError(f"{shown(self.path)}: is a folder; name a file in it")
        if os.path.lexists(self.path) and not overwrite:
            raise UsageError(f"{shown(self.path)} exists; use --overwrite or another -o")
        self._empty = True
        with writing(self.path):
            # It has no name, so that whatever happens nothing of it is left.
            self._rows: TextIO = tempfile.TemporaryFile(  # noqa: SIM115 (closed on leaving)
                "w+", encoding="utf-8", newline="\n", dir=self._partial.parent
            )

    def __enter__(self) -> TracksWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with suppress(OSError):
            self._rows.close()
        with suppress(OSError):
            self._partial.unlink(missing_ok=True)

    def add(self, frame: int, seconds: float, faces: list[dict[str, Any]]) -> None:
        """Write a frame: its number, its time, and the rows of its faces."""
        lines = ",\n".join(f"  {json.dumps(face)}" for face in faces)
        text = f'{{"frame": {frame}, "time": {round(seconds, 6)}, "faces": [{lines and chr(10)}{lines}]}}'
        with writing(self.path):
            self._rows.write(("" if self._empty else ",\n") + text)
        self._empty = False

    def finish(self, head: dict[str, Any], lists: dict[str, list[dict[str, Any]]]) -> None:
        """Write everything to its place: single values, the short lists (an entry a line), and the frames."""
        with writing(self.path):
            with self._partial.open("w", encoding="utf-8", newline="\n") as file:
                file.write(f'{{\n"format": {json.dumps(FORMAT)},\n"version": {VERSION},\n')
                file.writelines(f"{json.dumps(key)}: {json.dumps(value)},\n" for key, value in head.items())
                for key, entries in lists.items():
                    rows = ",\n".join(json.dumps(entry) for entry in entries)
                    file.write(f"{json.dumps(key)}: [\n{rows}\n],\n")
                file.write('"frames": [\n')
                self._rows.flush()
                self._rows.seek(0)
                while part := self._rows.read(1 << 20):
                    file.write(part)
                file.write("\n]\n}\n")
                file.flush()
                os.fsync(file.fileno())
            self._partial.replace(self.path)


@dataclass(frozen=True)
class TracksFile:
    """A tracks file that was found to be valid; its frames are read anew as they are wanted.

    Attributes
    ----------
    path
        The file.
    source
        The video that it is of.
    shots, tracks
        As the file has them, tracks by number; those of persons who are not listed are left out.
    persons
        Those who are listed, by number.
    dropped
        Faces, counted in every frame, whose track is not listed: they were deleted by hand.
    """

    path: Path
    source: Source
    shots: tuple[Shot, ...]
    tracks: dict[int, TrackRow]
    persons: dict[int, PersonRow]
    dropped: int

    @property
    def strengths(self) -> dict[int, float]:
        """Factor of the change of the tracks for which the file has one, their own or their person's."""
        found = {}
        for number, row in self.tracks.items():
            strength = self.persons[row.person].strength if row.strength is None else row.strength
            if strength is not None:
                found[number] = strength
        return found

    def why_left(self, row: FaceRow) -> str | None:
        """Why a face is to be left alone; None: it is not."""
        track = self.tracks[row.face.track]
        if row.leave:
            return OUTSIDE if row.remark == OUTSIDE else LEFT_BY_HAND
        if track.leave:
            return NOT_CHOSEN if track.remark == NOT_CHOSEN else LEFT_BY_HAND
        return LEFT_BY_HAND if self.persons[track.person].leave else None

    def frames(self) -> Generator[Frame, None, None]:
        """The frames in order, with the faces of listed tracks.

        Raises
        ------
        InputError
            The file has changed since and is not valid any more.
        """
        check = Check(self.path)
        for piece in pieces(self.path, "frames"):
            if piece.key == "frames" and piece.number is not None:
                frame = check.frame(piece.number, piece.value)
                yield frame.only(self.tracks)


def read_tracks(path: str | os.PathLike[str]) -> TracksFile:
    """Read and check a file that ``fvdeblur analyze`` wrote, edited or not; memory does not grow with its frames.

    Raises
    ------
    InputError
        It cannot be read, or something in it does not fit; the place is named.
    """
    check = Check(Path(path))
    values: dict[str, Any] = {}
    used: Counter[int] = Counter()
    for piece in pieces(path, "frames"):
        if piece.number is None:
            values[piece.key] = piece.value
            continue
        used.update(face.face.track for face in check.frame(piece.number, piece.value).faces)
    source, shots, tracks, persons = check.head(values)
    dropped = sum(count for track, count in used.items() if track not in tracks)
    return TracksFile(Path(path), source, shots, tracks, persons, dropped)


def check_source(tracks: TracksFile, info: VideoInfo) -> None:
    """Make sure that a tracks file is of this video.

    Raises
    ------
    InputError
        The picture's size or the file's size is another one.
    """
    size = (info.display_width, info.display_height)
    if (tracks.source.width, tracks.source.height) != size:
        raise InputError(
            f"{shown(tracks.path)}: source: is of a video of {tracks.source.width}x{tracks.source.height}, but "
            f"{shown(info.path)} has {size[0]}x{size[1]}; analyze that video"
        )
    held = os.path.getsize(info.path)
    if tracks.source.bytes is not None and tracks.source.bytes != held:
        raise InputError(
            f"{shown(tracks.path)}: source.bytes: is of a file of {tracks.source.bytes} bytes, but "
            f"{shown(info.path)} has {held}; analyze that video, or write null there if it is the same film"
        )


def follow_tracks(
    frames: Iterable[DecodedFrame],
    tracks: TracksFile,
    *,
    segments: bool = False,
    start: Start | None = None,
) -> Generator[TrackedPicture, None, None]:
    """Give frames the faces that a tracks file has for them, in the place of `fvdeblur.restoration.stream.track`.

    Frames and entries find each other by time, so that a part of the video can be followed as well. A frame of which
    the file has no entry has no faces. Faces that the file says to leave alone are handed on, and it is said of them.

    Parameters
    ----------
    frames
        Decoded frames of the video in order; with `start` those from its index on.
    tracks
        What `read_tracks` gave.
    segments, start
        As of `fvdeblur.restoration.stream.track`.
    """
    strengths = tracks.strengths
    entries = tracks.frames()
    entry = next(entries, None)
    number, before = 0, -1
    segmenting = Segmenting(start.index if start is not None else 0)
    # Held back as `track` does it: where a segment begins, the frames before it are needed as they were decoded.
    waiting: deque[TrackedPicture] = deque()
    try:
        for decoded in itertools.chain(start.held if start is not None else (), frames):
            latest = decoded.time + TIME_TOLERANCE
            while entry is not None and entry.time < decoded.time - TIME_TOLERANCE:
                entry = next(entries, None)
            rows = () if entry is None or entry.time > latest else entry.faces
            while number + 1 < len(tracks.shots) and tracks.shots[number + 1].time <= latest:
                number += 1
            cut, before = number != before, number
            faces = tuple(sorted((row.face for row in rows), key=lambda face: face.track))
            left = {row.face.track: why for row in rows if (why := tracks.why_left(row)) is not None}
            boundary = None
            if segments and segmenting.begins(decoded.index, cut):
                boundary = Boundary({"place": Place.of([held.decoded for held in waiting])._asdict()})
            if cut:
                yield from waiting
                waiting.clear()
            tracked = TrackedFrame(decoded.index, number, cut, faces)
            waiting.append(TrackedPicture(decoded, tracked, boundary, left, strengths))
            if len(waiting) > HELD:
                yield waiting.popleft()
        yield from waiting
    finally:
        entries.close()
