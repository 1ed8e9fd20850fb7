"""Analysing a video: shots, tracks, people, poses and blur, written as a file that a person can read and edit."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import fvdeblur
from fvdeblur.faces import face_size
from fvdeblur.faces.identity import Embedder
from fvdeblur.media import VideoInfo
from fvdeblur.morphable.reader import FaceReader
from fvdeblur.restoration.deblurrer import Progress, expected_frames
from fvdeblur.restoration.observing import FaceObserver, ObservedFace, ObservedPicture, observed_row
from fvdeblur.restoration.opening import open_detector, open_portrayer, open_settings
from fvdeblur.restoration.people import People
from fvdeblur.restoration.restorer import device_name, select_device
from fvdeblur.restoration.settings import Settings
from fvdeblur.restoration.stages import in_stages, open_video
from fvdeblur.restoration.track_file import TracksWriter

ANALYSIS_END = ".tracks.json"
"""End of the names of what is written beside the inputs."""


@dataclass(frozen=True)
class AnalysisSummary:
    """What was found.

    Attributes
    ----------
    input, output
        The files.
    frames, shots, tracks, people, faces
        How many; faces are counted in every frame.
    remarks
        Faces, counted in every frame, by what stands against working on them.
    device, detector, identity
        What really ran.
    damage
        What of the input could not be decoded.
    notes
        What else the user should know.
    seconds
        Wall-clock time.
    """

    input: Path
    output: Path
    frames: int
    shots: int
    tracks: int
    people: int
    faces: int
    remarks: dict[str, int]
    device: str
    detector: str
    identity: str
    seconds: float
    damage: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def analysis_output(path: str | Path) -> Path:
    """``<stem>.tracks.json`` beside the input."""
    path = Path(path)
    return path.with_name(f"{path.stem}{ANALYSIS_END}")


class FaceAnalyzer:
    """Analyses videos; the networks are loaded once and serve any number of files.

    Parameters
    ----------
    settings
        How to work; single values can be given as keyword arguments instead. Only the part, the device, the detector,
        the smallest face, the threads and whether to overwrite matter here.
    reader
        What reads the 3D faces; None: the released regressor, on the device of the settings.
    embedder
        What tells people apart; ``auto``: the best that is installed; None: the 3D face and colours.

    Raises
    ------
    UsageError
        A setting is unknown or cannot be had on this machine.
    InputError
        The released files are damaged.
    """

    def __init__(
        self,
        settings: Settings | None = None,
        *,
        reader: FaceReader | None = None,
        embedder: Embedder | str | None = "auto",
        **values: object,
    ) -> None:
        self.settings = open_settings(settings, values)
        self._reader = reader or FaceReader(device=select_device(self.settings.device))
        self._detector = open_detector(self.settings, self._reader.device)
        self._portrayer = open_portrayer(embedder, self.settings, self._reader.device)

    def run(
        self,
        path: str | Path,
        output: str | Path | None = None,
        *,
        coefficients: bool = False,
        progress: Callable[[Progress], None] | None = None,
    ) -> AnalysisSummary:
        """Analyse one video; memory does not grow with its length, except for a few hundred bytes a track.

        Parameters
        ----------
        path
            The video.
        output
            Where to write (``docs/tracks.md`` describes it); None: ``<stem>.tracks.json`` beside the input.
        coefficients
            Whether every face's 239 coefficients are written, too.
        progress
            Called after every frame.

        Raises
        ------
        UsageError
            The input is missing, the output is there already or is the input itself.
        InputError
            The input cannot be read as a video.
        OutputError
            The output cannot be written. Nothing stands under its name then.
        """
        began = time.monotonic()
        settings = self.settings
        source = Path(path)
        target = analysis_output(source) if output is None else Path(output)
        people = People(self._portrayer)
        totals = _Totals()
        with (
            open_video(source, settings) as reader,
            TracksWriter(target, source, settings.overwrite) as writer,
        ):
            observer = FaceObserver(self._reader, people, reader.info.rotation, settings.min_face)
            total = expected_frames(reader.info, settings.start, settings.end)
            with closing(in_stages(reader, self._detector, observer)) as stream:
                for seen in stream:
                    decoded = seen.picture.decoded
                    writer.add(
                        decoded.index, decoded.time, [observed_row(face, coefficients) for face in seen.faces]
                    )
                    totals.add(seen)
                    if progress is not None:
                        progress(Progress(totals.frames, total, totals.faces))
            persons = people.persons()
            head = {
                "source": source_row(reader.info, totals.frames, settings),
                "analysis": {
                    "fvdeblur": fvdeblur.__version__,
                    "detector": self._detector.name,
                    "identity": self._portrayer.name,
                    "identity_threshold": self._portrayer.threshold,
                    "min_face": settings.min_face,
                },
            }
            writer.finish(head, totals.lists(persons))
        return AnalysisSummary(
            input=source,
            output=target,
            frames=totals.frames,
            shots=len(totals.shots),
            tracks=len(totals.tracks),
            people=len(set(persons.values())),
            faces=totals.faces,
            remarks=dict(totals.remarks),
            device=device_name(self._reader.device),
            detector=self._detector.name,
            identity=self._portrayer.name,
            seconds=time.monotonic() - began,
            damage=list(reader.damage),
            notes=list(reader.notes),
        )


def source_row(info: VideoInfo, frames: int, settings: Settings) -> dict[str, Any]:
    """What a tracks file says of its video."""
    return {
        "file": os.path.basename(info.path),
        "bytes": os.path.getsize(info.path),
        "width": info.display_width,
        "height": info.display_height,
        "rotation": info.rotation,
        "fps": None if info.average_rate is None else round(float(info.average_rate), 4),
        "time_base": str(info.time_base),
        "frames": frames,
        "start": settings.start,
        "end": settings.end,
    }


@dataclass
class _Mean:
    """Running figures of one track."""

    shot: int
    first: int
    last: int
    faces: int = 0
    size: float = 0.0
    measured: int = 0
    sharpness: float = 0.0
    level: float = 0.0

    def add(self, frame: int, seen: ObservedFace) -> None:
        self.last, self.faces = frame, self.faces + 1
        self.size += face_size(seen.face.box)
        if seen.blur is not None:
            self.measured += 1
            self.sharpness += seen.blur.sharpness
            self.level += seen.blur.level


class _Totals:
    """What is counted over a whole video."""

    def __init__(self) -> None:
        self.frames = self.faces = 0
        self.shots: list[dict[str, Any]] = []
        self.tracks: dict[int, _Mean] = {}
        self.remarks: Counter[str] = Counter()

    def add(self, seen: ObservedPicture) -> None:
        decoded, tracked = seen.picture.decoded, seen.picture.tracked
        if tracked.starts_shot:
            start = {"id": tracked.shot, "time": round(decoded.time, 6), "frame": decoded.index, "frames": 0}
            self.shots.append(start)
        self.shots[-1]["frames"] += 1
        self.frames += 1
        self.faces += len(seen.faces)
        for face in seen.faces:
            number = face.face.track
            if number not in self.tracks:
                self.tracks[number] = _Mean(tracked.shot, decoded.index, decoded.index)
            self.tracks[number].add(decoded.index, face)
            if face.remark is not None:
                self.remarks[face.remark] += 1

    def lists(self, persons: dict[int, int]) -> dict[str, list[dict[str, Any]]]:
        """The short lists of a tracks file."""
        tracks: list[dict[str, Any]] = [
            {
                "id": number,
                "person": persons[number],
                "leave": False,
                "shot": mean.shot,
                "first": mean.first,
                "last": mean.last,
                "faces": mean.faces,
                "size": round(mean.size / mean.faces, 1),
                "sharpness": round(mean.sharpness / mean.measured, 3) if mean.measured else None,
                "level": round(mean.level / mean.measured, 2) if mean.measured else None,
            }
            for number, mean in sorted(self.tracks.items())
        ]
        own: dict[int, list[dict[str, Any]]] = {}
        for row in tracks:
            own.setdefault(row["person"], []).append(row)
        people = [
            {
                "id": who,
                "leave": False,
                "tracks": [row["id"] for row in rows],
                "faces": sum(row["faces"] for row in rows),
            }
            for who, rows in sorted(own.items())
        ]
        return {"persons": people, "tracks": tracks, "shots": self.shots}
