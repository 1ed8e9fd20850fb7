"""Analysing a video: shots, tracks, people, poses and blur, written as a file that a person can read and edit."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import fvdeblur
from fvdeblur.faces import Detector
from fvdeblur.faces.identity import Embedder, FloatArray
from fvdeblur.media import VideoInfo
from fvdeblur.morphable.reader import FaceReader
from fvdeblur.restoration.choice import Chooser, choose, portraits
from fvdeblur.restoration.observing import LEFT_ALONE, FaceObserver, ObservedPicture, observed_row
from fvdeblur.restoration.opening import open_detector, open_portrayer, open_settings
from fvdeblur.restoration.people import People, Portrayer
from fvdeblur.restoration.restorer import device_name, select_device
from fvdeblur.restoration.settings import Settings
from fvdeblur.restoration.stages import in_stages, open_video
from fvdeblur.restoration.stream import NOT_CHOSEN, TrackedPicture
from fvdeblur.restoration.summary import Progress, WorkSummary, expected_frames
from fvdeblur.restoration.totals import Totals
from fvdeblur.restoration.track_file import TracksWriter

ANALYSIS_END = ".tracks.json"
"""End of the names of what is written beside the inputs."""


@dataclass(frozen=True, kw_only=True)
class AnalysisSummary(WorkSummary):
    """What was found, beside `WorkSummary`.

    Attributes
    ----------
    shots, tracks, people, faces
        How many; faces are counted in every frame.
    remarks
        Faces, counted in every frame, by what stands against working on them.
    identity
        What told people apart.
    """

    shots: int
    tracks: int
    people: int
    faces: int
    remarks: dict[str, int]
    identity: str


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
        the smallest face, which faces are chosen, the threads and whether to overwrite matter here.
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
        return analyze_video(
            Path(path),
            analysis_output(path) if output is None else Path(output),
            self.settings,
            self._reader,
            self._detector,
            self._portrayer,
            portraits=portraits(self.settings.wishes.photos, self._detector, self._portrayer),
            coefficients=coefficients,
            overwrite=self.settings.overwrite,
            progress=progress,
        )


def analyze_video(
    source: Path,
    target: Path,
    settings: Settings,
    face_reader: FaceReader,
    detector: Detector,
    portrayer: Portrayer,
    *,
    portraits: Mapping[Path, FloatArray],
    coefficients: bool = False,
    left: Container[str | None] = LEFT_ALONE,
    overwrite: bool = False,
    progress: Callable[[Progress], None] | None = None,
) -> AnalysisSummary:
    """Analyse one video; see `FaceAnalyzer.run`.

    Parameters
    ----------
    source, target, coefficients, overwrite, progress
        As there.
    settings
        How to work, and which faces are chosen.
    face_reader, detector, portrayer
        What reads the 3D faces, finds faces and tells people apart.
    portraits
        What the persons of the photographs look like that the settings name.
    left
        Remarks for which a face is written as to be left alone.
    """
    began = time.monotonic()
    wishes = settings.wishes
    people = People(portrayer)
    with open_video(source, settings) as reader, TracksWriter(target, source, overwrite) as writer:
        info = reader.info
        wishes.boxes(info.display_width, info.display_height)
        totals = Totals(info.display_width, info.display_height)
        observer = FaceObserver(face_reader, people, info.rotation, settings.min_face)
        placed = Chooser(replace(wishes, selections=()))
        total = expected_frames(info, settings.start, settings.end)

        def stage(pictures: Iterable[TrackedPicture]) -> Iterator[ObservedPicture]:
            return observer(placed.over(pictures, info.rotation))

        with closing(in_stages(reader, detector, stage)) as stream:
            for seen in stream:
                decoded = seen.picture.decoded
                rows = [observed_row(face, coefficients, left) for face in seen.faces]
                writer.add(decoded.index, decoded.time, rows)
                totals.add(seen)
                if progress is not None:
                    progress(Progress(totals.frames, total, totals.faces))
        persons = people.persons()
        head = {
            "source": source_row(info, totals.frames, settings),
            "analysis": {
                "fvdeblur": fvdeblur.__version__,
                "detector": detector.name,
                "identity": portrayer.name,
                "identity_threshold": portrayer.threshold,
                "min_face": settings.min_face,
            },
        }
        chosen = choose(wishes, persons, totals.tracks, people, portraits)
        writer.finish(head, totals.lists(persons, chosen, NOT_CHOSEN))
    return AnalysisSummary(
        input=source,
        output=target,
        frames=totals.frames,
        shots=len(totals.shots),
        tracks=len(totals.tracks),
        people=len(set(persons.values())),
        faces=totals.faces,
        remarks=dict(totals.remarks),
        device=device_name(face_reader.device),
        detector=detector.name,
        identity=portrayer.name,
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
