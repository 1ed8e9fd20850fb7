"""The one door of the product: a video file in, the same video with sharper faces out."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fvdeblur.media import VideoInfo, can_copy
from fvdeblur.media.segments import SegmentWriter
from fvdeblur.restoration.inputs import default_output
from fvdeblur.restoration.opening import open_detector, open_settings
from fvdeblur.restoration.photographs import PhotographRestorer
from fvdeblur.restoration.report import Report, write_report
from fvdeblur.restoration.restorer import Restorer
from fvdeblur.restoration.resuming import Tally
from fvdeblur.restoration.segmented import SegmentedWork
from fvdeblur.restoration.settings import Settings
from fvdeblur.restoration.stages import open_video


@dataclass(frozen=True)
class Progress:
    """How far a run is.

    Attributes
    ----------
    frames
        Frames written.
    total
        Frames expected; None where the file does not say.
    faces
        Faces restored so far, counted in every frame.
    reused
        How many of the frames an earlier run had written.
    """

    frames: int
    total: int | None
    faces: int
    reused: int = 0


@dataclass(frozen=True)
class Summary:
    """What a run did.

    Attributes
    ----------
    input, output
        The files.
    frames
        Frames written.
    people
        Number of face tracks.
    restored
        Faces restored, counted in every frame.
    left_alone
        Faces left alone, counted in every frame, by reason.
    copied
        The streams were copied as they are, because no face was changed.
    model, device, precision, detector
        What really ran.
    damage
        What of the input could not be decoded.
    notes
        What else the user should know.
    seconds
        Wall-clock time.
    segments
        How many segments the video was written in; 0 for pictures.
    reused
        How many of them an earlier run had finished that was stopped.
    """

    input: Path
    output: Path
    frames: int
    people: int
    restored: int
    left_alone: dict[str, int]
    copied: bool
    model: str
    device: str
    precision: str
    detector: str
    seconds: float
    damage: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    segments: int = 0
    reused: int = 0


class Deblurrer:
    """Deblurs the faces of videos; the model is loaded once and serves any number of files.

    Parameters
    ----------
    settings
        How to work; single values can be given as keyword arguments instead.

    Raises
    ------
    UsageError
        A setting is unknown or cannot be had on this machine.
    InputError
        The model's files are damaged.

    Examples
    --------
    >>> from fvdeblur import Deblurrer
    >>> summary = Deblurrer(strength=0.8).run("clip.mp4")  # doctest: +SKIP
    """

    def __init__(self, settings: Settings | None = None, **values: object) -> None:
        self.settings = open_settings(settings, values)
        self._restorer = Restorer(self.settings.model, self.settings.device, self.settings.precision)
        self._detector = open_detector(self.settings, self._restorer.device)

    def with_settings(self, settings: Settings) -> Deblurrer:
        """One that shares this one's model and detector, with other settings of the same model, device and detector."""
        other = copy(self)
        other.settings = settings
        return other

    def run(
        self,
        path: str | Path,
        output: str | Path | None = None,
        *,
        progress: Callable[[Progress], None] | None = None,
    ) -> Summary:
        """Deblur one video.

        Parameters
        ----------
        path
            The video.
        output
            Where to write; None: ``<stem>.deblurred<suffix>`` beside the input.
        progress
            Called after every frame written.

        Raises
        ------
        UsageError
            The input is missing, the output is there already or is the input itself, or an option does not fit.
        InputError
            The input cannot be read as a video.
        OutputError
            The output cannot be written. Nothing stands under its name then.

        Whatever stops the work, finished segments of it are kept in ``<output>.partial``, of which the error's text
        (or, where it is none of this package, a note of it) tells; the same call takes them up.
        """
        began = time.monotonic()
        settings = self.settings
        source = Path(path)
        target = default_output(source) if output is None else Path(output)
        with (
            open_video(source, settings) as reader,
            SegmentWriter(
                target,
                reader,
                codec=settings.codec,
                crf=settings.crf,
                preset=settings.preset,
                threads=settings.threads,
                overwrite=settings.overwrite,
            ) as writer,
        ):
            work = SegmentedWork(source, reader, writer, self._restorer, self._detector, settings)
            total = expected_frames(reader.info, settings.start, settings.end)

            def told() -> None:
                if progress is not None:
                    progress(Progress(work.written, total, work.tally.restored, work.begun_with))

            if work.reused:
                told()
            work.run(told)
            tally = work.tally
            unchanged = tally.restored == 0 and not settings.encoding_asked_for and not work.damage
            unchanged = unchanged and can_copy(source, target)
            if unchanged:
                writer.copy()
            else:
                writer.finish()
        return self._summary(
            source,
            target,
            work.written,
            tally,
            began,
            copied=unchanged,
            damage=work.damage,
            notes=[*reader.notes, *work.notes, *writer.notes],
            segments=writer.segments,
            reused=work.reused,
        )

    def photograph(self, path: str | Path, output: str | Path | None = None) -> Summary:
        """Deblur one photograph; its other data (EXIF, ICC profile, transparency) are kept.

        Parameters
        ----------
        path
            A picture in a format of `fvdeblur.media.photograph.Photograph`.
        output
            Where to write; None: ``<stem>.deblurred<suffix>`` beside the input. The suffix decides the format.

        Raises
        ------
        UsageError, InputError, OutputError
            As `run`.
        """
        began = time.monotonic()
        target = default_output(path) if output is None else Path(output)
        restorer = PhotographRestorer(self._restorer, self._detector, self.settings)
        tally, notes, copied = restorer.photograph(Path(path), target)
        return self._summary(Path(path), target, 1, tally, began, copied=copied, notes=notes)

    def sequence(
        self,
        paths: Sequence[str | Path],
        output: str | Path,
        *,
        source: str | Path | None = None,
        progress: Callable[[Progress], None] | None = None,
    ) -> Summary:
        """Deblur pictures as the frames of one video, written with their names to a folder.

        Parameters
        ----------
        paths
            The pictures in order, alike in size, depth and orientation.
        output
            The folder.
        source
            What to name as the input in the summary; None: the first picture's folder.
        progress
            Called after every picture written.

        Raises
        ------
        UsageError, InputError, OutputError
            As `run`.
        """
        began = time.monotonic()
        restorer = PhotographRestorer(self._restorer, self._detector, self.settings)
        pictures = [Path(path) for path in paths]

        def done(count: int, tally: Tally) -> None:
            if progress is not None:
                progress(Progress(count, len(pictures), tally.restored))

        tally, notes = restorer.sequence(pictures, Path(output), done)
        named = Path(source) if source is not None else pictures[0].parent
        return self._summary(named, Path(output), len(pictures), tally, began, notes=notes)

    def report(self, summary: Summary, path: str | Path) -> Report:
        """Write a page about a run of `run`: faces before and after, sharpness over time, hashes, settings, versions.

        See `fvdeblur.restoration.report.write_report`.
        """
        return write_report(path, summary, self.settings, self._detector)

    def _summary(
        self,
        source: Path,
        target: Path,
        frames: int,
        tally: Tally,
        began: float,
        **more: Any,
    ) -> Summary:
        """What a run did; ``more`` are further fields of `Summary`."""
        return Summary(
            input=source,
            output=target,
            frames=frames,
            people=len(tally.tracks),
            restored=tally.restored,
            left_alone=dict(tally.left_alone),
            model=self.settings.model,
            device=self._restorer.device_name,
            precision=self._restorer.precision,
            detector=self._detector.name,
            seconds=time.monotonic() - began,
            **{"copied": False, **more},
        )


def expected_frames(info: VideoInfo, start: float | None, end: float | None) -> int | None:
    """How many frames the part from ``start`` to ``end`` seconds should have, as far as the file says."""
    if info.frames is None or info.duration is None:
        return info.frames if start is None and end is None else None
    kept = min(info.duration, end if end is not None else math.inf) - (start or 0)
    return max(0, round(info.frames * kept / info.duration)) if info.duration > 0 else info.frames
