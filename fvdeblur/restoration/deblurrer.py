"""The one door of the product: videos, frames and photographs in, the same with sharper faces out."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterable, Sequence
from copy import copy
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack, overload

import numpy as np
from numpy.typing import NDArray

from fvdeblur.errors import UsageError
from fvdeblur.media import can_copy
from fvdeblur.media.failures import shown
from fvdeblur.media.segments import SegmentWriter
from fvdeblur.restoration.arrays import restored_arrays
from fvdeblur.restoration.first_pass import FirstPass
from fvdeblur.restoration.inputs import default_output
from fvdeblur.restoration.opening import open_detector, open_settings
from fvdeblur.restoration.photographs import PhotographRestorer
from fvdeblur.restoration.report import Report, write_report
from fvdeblur.restoration.restorer import Restorer
from fvdeblur.restoration.resuming import Tally
from fvdeblur.restoration.segmented import SegmentedWork
from fvdeblur.restoration.settings import Settings, SettingValues
from fvdeblur.restoration.stages import open_video
from fvdeblur.restoration.summary import Cancelling, Progress, Summary, check_cancelled, expected_frames

if TYPE_CHECKING:
    from fvdeblur.restoration.alignment import Aligner
    from fvdeblur.restoration.extraction import CropSummary

LONG_WORK = 300.0
"""Seconds of work on a processor after which the summary names the faster model."""


class Deblurrer:
    """Deblurs the faces of videos, frames and photographs; the model is loaded once and serves any number of them.

    All methods may be called from several threads at once, and give what they would give one after the other: what
    they share (the network, the detector, the settings) is not changed by them.

    Parameters
    ----------
    settings
        How to work; single values of `Settings` can be given as keyword arguments instead. Of them, ``threads`` alone
        reaches farther than this object: it is PyTorch's number for the whole process.

    Raises
    ------
    UsageError
        A setting is unknown or cannot be had on this machine.
    InputError
        The model's files are damaged.

    Examples
    --------
    >>> from fvdeblur import Deblurrer
    >>> deblurrer = Deblurrer(model="fvd", device="cpu", strength=0.8)  # doctest: +SKIP
    >>> summary = deblurrer.video("clip.mp4", "sharp.mp4")  # doctest: +SKIP
    """

    def __init__(self, settings: Settings | None = None, **values: Unpack[SettingValues]) -> None:
        self.settings = open_settings(settings, values)
        self._restorer = Restorer(self.settings.model, self.settings.device, self.settings.precision)
        self._detector = open_detector(self.settings, self._restorer.device)

    def with_settings(self, settings: Settings) -> Deblurrer:
        """One that shares this one's model and detector, with other settings of the same model, device and detector."""
        other = copy(self)
        other.settings = settings
        return other

    def video(
        self,
        path: str | Path,
        output: str | Path | None = None,
        *,
        progress: Callable[[Progress], None] | None = None,
        cancelled: Cancelling | None = None,
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
        cancelled
            Asked after every frame written; where it says yes, the work stops.

        Raises
        ------
        UsageError
            The input is missing, the output is there already or is the input itself, or an option does not fit.
        InputError
            The input cannot be read as a video.
        OutputError
            The output cannot be written. Nothing stands under its name then.
        CancelledError
            ``cancelled`` said yes. Nothing stands under the output's name.

        Whatever stops the work, finished segments of it are kept in ``<output>.partial``, of which the error's text
        (or, where it is none of this package, a note of it) tells; the same call takes them up.
        """
        began = time.monotonic()
        settings = self.settings
        source = Path(path)
        target = default_output(source) if output is None else Path(output)
        with (
            open_video(source, settings) as reader,
            SegmentWriter(target, reader, **settings.encoding) as writer,
        ):
            total = expected_frames(reader.info, settings.start, settings.end)

            def looking(seen: Progress) -> None:
                if progress is not None:
                    progress(replace(seen, total=total, first_pass=True))
                check_cancelled(cancelled, shown(source), 0)

            choosing = self._first_pass()
            work = SegmentedWork(
                source, reader, writer, self._restorer, self._detector, settings, choosing, looking
            )

            def told() -> None:
                if progress is not None:
                    progress(Progress(work.written, total, work.restored, work.begun_with))
                check_cancelled(cancelled, shown(source), work.written)

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
            decoder=reader.decoder,
            encoder="" if unchanged else writer.encoder,
        )

    def frames(
        self,
        frames: Iterable[NDArray[np.uint8]],
        *,
        progress: Callable[[Progress], None] | None = None,
    ) -> Generator[NDArray[np.uint8], None, None]:
        """Deblur frames that come from anywhere, and yield them in order as they are done.

        They are taken from the iterable in the thread that takes the results, at most 20 ahead of the one that is
        yielded, and cuts are found in them as in a video. To stop, leave the loop or close the generator.

        Parameters
        ----------
        frames
            The frames of one video in order: uint8 [H, W, 3] each, R'G'B', upright, all of one size. They are not
            changed. The rate does not matter.
        progress
            Called before every frame yielded.

        Yields
        ------
        As many frames as came in, uint8 [H, W, 3], new arrays; without a face that is restored, equal to what came in.

        Raises
        ------
        UsageError
            A setting was given that holds for files alone (an encoding, a part, tracks), or a frame is no such array.
        InputError
            A frame differs in size from the first.
        """
        return restored_arrays(frames, self._restorer, self._detector, self.settings, progress)

    @overload
    def image(self, picture: NDArray[np.uint8]) -> NDArray[np.uint8]: ...

    @overload
    def image(self, picture: str | Path, output: str | Path | None = None) -> Summary: ...

    def image(
        self, picture: NDArray[np.uint8] | str | Path, output: str | Path | None = None
    ) -> NDArray[np.uint8] | Summary:
        """Deblur one picture.

        A single picture shows no motion, so that less can be done for it than for the frames of a video, and a model
        whose card names another one for photographs leaves it to that one; the summary says which.

        Parameters
        ----------
        picture
            An array uint8 [H, W, 3], R'G'B', upright; or a file in a format of
            `fvdeblur.media.photograph.Photograph`, whose other data (EXIF, ICC profile, transparency) are kept.
        output
            Where to write what a file gives; None: ``<stem>.deblurred<suffix>`` beside it. The suffix decides the
            format.

        Returns
        -------
        For an array, a new one; for a file, what was done.

        Raises
        ------
        UsageError, InputError, OutputError
            As `video` and `frames`.
        """
        if isinstance(picture, np.ndarray):
            if output is not None:
                raise UsageError("an array is given back, not written; leave out the output")
            (restored,) = restored_arrays([picture], self._for_photographs, self._detector, self.settings)
            return restored
        began = time.monotonic()
        target = default_output(picture) if output is None else Path(output)
        restorer = PhotographRestorer(self._for_photographs, self._detector, self.settings)
        tally, notes, copied = restorer.photograph(Path(picture), target)
        model = self._for_photographs.card.name
        return self._summary(Path(picture), target, 1, tally, began, copied=copied, notes=notes, model=model)

    def crops(
        self,
        path: str | Path,
        folder: str | Path | None = None,
        *,
        aligner: Aligner | None = None,
        kind: str = "png",
        template: str | None = None,
        faces: str | Sequence[str] | None = None,
        progress: Callable[[Progress], None] | None = None,
        cancelled: Cancelling | None = None,
    ) -> CropSummary:
        """Write the deblurred faces of one video as pictures, a folder a person.

        Parameters
        ----------
        path, folder, aligner, kind, template, faces, progress, cancelled
            As of `fvdeblur.restoration.CropExtractor.run`.

        Raises
        ------
        UsageError, InputError, OutputError, CancelledError
            As `fvdeblur.restoration.CropExtractor.run`.
        """
        from fvdeblur.restoration.extraction import CropExtractor

        embedder = None if self.settings.identity == "shape" else self.settings.identity
        opened = self._restorer, self._detector
        extractor = CropExtractor(self.settings, embedder=embedder, opened=opened)
        chosen: dict[str, Any] = {"aligner": aligner, "kind": kind, "template": template, "faces": faces}
        return extractor.run(path, folder, **chosen, progress=progress, cancelled=cancelled)

    def sequence(
        self,
        paths: Sequence[str | Path],
        output: str | Path,
        *,
        source: str | Path | None = None,
        progress: Callable[[Progress], None] | None = None,
        cancelled: Cancelling | None = None,
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
        cancelled
            Asked after every picture written; where it says yes, the work stops and nothing is left of it.

        Raises
        ------
        UsageError, InputError, OutputError, CancelledError
            As `video`.
        """
        began = time.monotonic()
        restorer = PhotographRestorer(self._restorer, self._detector, self.settings)
        pictures = [Path(path) for path in paths]

        def done(count: int, tally: Tally) -> None:
            if progress is not None:
                progress(Progress(count, len(pictures), tally.restored))
            check_cancelled(cancelled, shown(output), count)

        tally, notes = restorer.sequence(pictures, Path(output), done)
        named = Path(source) if source is not None else pictures[0].parent
        return self._summary(named, Path(output), len(pictures), tally, began, notes=notes)

    def report(self, summary: Summary, path: str | Path) -> Report:
        """Write a page about a run of `video`: faces before and after, sharpness over time, hashes, settings, versions.

        See `fvdeblur.restoration.report.write_report`.
        """
        return write_report(path, summary, self.settings, self._detector)

    @cached_property
    def _for_photographs(self) -> Restorer:
        """What restores single pictures: the model that its card names for them, loaded with the first one."""
        name = self._restorer.card.photographs
        if not name:
            return self._restorer
        return Restorer(name, str(self._restorer.device), self._restorer.precision)

    def _first_pass(self) -> FirstPass | None:
        """What chooses the faces of a video before the work, where that must be."""
        if not self.settings.wishes.first_pass:
            return None
        restorer = self._restorer
        return FirstPass(self.settings, self._detector, restorer.device, restorer.reader)

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
        seconds = time.monotonic() - began
        faster = self._restorer.card.faster
        if faster and seconds > LONG_WORK and tally.restored and self._restorer.device.type == "cpu":
            text = f"it took {seconds / 60:.0f} minutes; --model {faster} takes less, but sharpens less"
            more["notes"] = [*more.get("notes", []), text]
        return Summary(
            input=source,
            output=target,
            frames=frames,
            people=len(tally.tracks),
            restored=tally.restored,
            left_alone=dict(tally.left_alone),
            device=self._restorer.device_name,
            precision=self._restorer.precision,
            detector=self._detector.name,
            seconds=seconds,
            **{"copied": False, "model": self.settings.model, **more},
        )
