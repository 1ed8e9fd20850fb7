"""Face crops out of a video: deblurred as `run` does it, aligned, and sorted by person."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Unpack

from fvdeblur.errors import InputError
from fvdeblur.faces import Detector
from fvdeblur.faces.identity import Embedder
from fvdeblur.media import FramePlanes
from fvdeblur.media.failures import shown
from fvdeblur.morphable.reader import FaceReader
from fvdeblur.restoration.alignment import Aligner
from fvdeblur.restoration.blur_measure import face_blur
from fvdeblur.restoration.choice import Chooser, choose, portraits
from fvdeblur.restoration.crop_folder import CropFolder, check_template
from fvdeblur.restoration.observing import FaceObserver, ObservedFace, ObservedPicture, angle_row, place_row
from fvdeblur.restoration.opening import open_detector, open_portrayer, open_settings
from fvdeblur.restoration.people import People, quality_of
from fvdeblur.restoration.restorer import Restorer
from fvdeblur.restoration.settings import Settings, SettingValues
from fvdeblur.restoration.stages import in_stages, open_video
from fvdeblur.restoration.stream import FaceRestorer, TrackedPicture
from fvdeblur.restoration.summary import Cancelling, Progress, WorkSummary, check_cancelled, expected_frames
from fvdeblur.restoration.totals import Totals

CROPS_END = ".crops"


@dataclass(frozen=True, kw_only=True)
class CropSummary(WorkSummary):
    """What was written, beside `WorkSummary`.

    Attributes
    ----------
    people
        Number of crops of each person.
    tracks
        Number of face tracks of these people.
    restored
        Faces deblurred, counted in every frame.
    left_alone
        Faces not deblurred, counted in every frame, by reason; there are crops of them, too.
    sharpness
        Mean over the crops before and after, 0..1; None without any.
    model, precision, identity
        What really ran.
    fused
        The people whose best shot could be made better from several frames.
    """

    people: dict[int, int]
    tracks: int
    restored: int
    left_alone: dict[str, int]
    sharpness: tuple[float, float] | None
    model: str
    precision: str
    identity: str
    fused: list[int] = field(default_factory=list)


def crops_output(path: str | Path) -> Path:
    """``<stem>.crops`` beside the input."""
    path = Path(path)
    return path.with_name(f"{path.stem}{CROPS_END}")


class CropExtractor:
    """Writes the faces of videos as crops; the networks are loaded once and serve any number of files.

    Parameters
    ----------
    settings
        How to work; single values can be given as keyword arguments instead. The encoder's do not matter here.
    reader
        What reads the 3D faces; None: the released regressor.
    embedder
        What tells people apart; ``auto``: the best that is installed; None: the 3D face and colours.
    opened
        The network and the detector, where they are there already; None: those of the settings.

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
        opened: tuple[Restorer, Detector] | None = None,
        **values: Unpack[SettingValues],
    ) -> None:
        self.settings = open_settings(settings, values)
        if opened is None:
            restorer = Restorer(self.settings.model, self.settings.device, self.settings.precision)
            opened = restorer, open_detector(self.settings, restorer.device)
        self._restorer, self._detector = opened
        device = self._restorer.device
        self._reader = reader or self._restorer.reader or FaceReader(device=device)
        self._portrayer = open_portrayer(embedder, self.settings, device, self._reader)

    def run(
        self,
        path: str | Path,
        output: str | Path | None = None,
        *,
        aligner: Aligner | None = None,
        kind: str = "png",
        template: str | None = None,
        faces: str | Sequence[str] | None = None,
        progress: Callable[[Progress], None] | None = None,
        cancelled: Cancelling | None = None,
    ) -> CropSummary:
        """Write the faces of one video; memory does not grow with its length, except for a little a track.

        The folder holds ``person-01`` and so on with a crop a frame, ``best`` with the best shot of each person (by
        sharpness before and after, pose and size; ``-fused``: made better by others of its track, where it measures
        better), ``contact-sheet.png``, and ``index.csv`` and ``index.jsonl`` with a line a crop.

        Parameters
        ----------
        path
            The video.
        output
            The folder; None: ``<stem>.crops`` beside the input.
        aligner
            How faces are cut out; None: aligned, 256 pixels.
        kind
            ``png``, ``jpg``, ``webp``, or ``video``: a video a track.
        template
            Name of the files without their suffix, with the fields person, track, frame, time and shot; None:
            ``{frame:06d}``, for videos ``track-{track:03d}``.
        faces
            Which faces are wanted, in place of those of the settings.
        progress
            Called after every frame.
        cancelled
            Asked after every frame; where it says yes, the work stops and nothing is left of it.

        Raises
        ------
        UsageError
            The input is missing, the folder is there already, or an option does not fit.
        InputError
            The input cannot be read as a video, the photograph not as one of a person, or no face is like it.
        OutputError
            The folder cannot be written. Nothing stands under its name then.
        CancelledError
            ``cancelled`` said yes.
        """
        began = time.monotonic()
        settings = self.settings
        aligner = aligner or Aligner()
        template = check_template(template, kind)
        aligner.check_format(kind)
        if faces is not None:
            settings = settings.changed({"faces": faces})
        wishes = settings.wishes
        source = Path(path)
        target = crops_output(source) if output is None else Path(output)
        wanted = portraits(wishes.photos, self._detector, self._portrayer)
        people = People(self._portrayer)
        sums = [0.0, 0.0, 0.0]
        with open_video(source, settings) as reader:
            info = reader.info
            wishes.boxes(info.display_width, info.display_height)
            totals = Totals(info.display_width, info.display_height)
            observer = FaceObserver(self._reader, people, info.rotation, settings.min_face)
            restorer = FaceRestorer(self._restorer, info.rotation, settings.strength, settings.min_face)
            chooser = Chooser(wishes)

            def stage(pictures: Iterable[TrackedPicture]) -> Iterator[ObservedPicture]:
                return restored(observer(chooser.over(pictures, info.rotation, keep=False)), restorer)

            with CropFolder(target, kind, template, info.time_base, settings.overwrite) as folder:
                total = expected_frames(info, settings.start, settings.end)
                written = 0
                with closing(in_stages(reader, self._detector, stage)) as stream:
                    for seen in stream:
                        for row, crop, worth in _crops(seen, aligner, info.rotation):
                            folder.add(row, crop, int(seen.picture.decoded.frame.pts or 0), worth)
                            before, after = row["sharpness_before"], row["sharpness_after"]
                            if before is not None and after is not None:
                                sums = [sums[0] + before, sums[1] + after, sums[2] + 1]
                        totals.add(seen)
                        folder.end_tracks(seen.picture.decoded.index, seen.picture.tracked.shot)
                        written, so_far = written + 1, restorer.restored_by.pop(seen.picture.decoded.index)
                        if progress is not None:
                            progress(Progress(written, total, so_far))
                        check_cancelled(cancelled, shown(source), written)
                persons = people.persons()
                chosen = choose(wishes, persons, totals.tracks, people, wanted)
                persons = {number: who for number, who in persons.items() if number in chosen}
                if wanted and not persons:
                    raise InputError(
                        f"{shown(source)}: nobody in it is {','.join(settings.faces)} ({self._portrayer.name}); "
                        "choose another photograph"
                    )
                counts = folder.finish(persons)
        return CropSummary(
            input=source,
            output=target,
            frames=written,
            people=dict(sorted(counts.items())),
            tracks=len(persons),
            restored=restorer.tally.restored,
            left_alone=dict(restorer.tally.left_alone),
            sharpness=(sums[0] / sums[2], sums[1] / sums[2]) if sums[2] else None,
            model=settings.model,
            device=self._restorer.device_name,
            precision=self._restorer.precision,
            detector=self._detector.name,
            identity=self._portrayer.name,
            seconds=time.monotonic() - began,
            fused=list(folder.fused),
            damage=list(reader.damage),
            notes=list(reader.notes),
        )


def restored(
    pictures: Iterable[ObservedPicture], restorer: FaceRestorer
) -> Generator[ObservedPicture, None, None]:
    """The observed frames with their faces restored in place."""
    waiting: deque[ObservedPicture] = deque()

    def given() -> Iterator[TrackedPicture]:
        for seen in pictures:
            waiting.append(seen)
            yield seen.picture

    for _ in restorer(given()):
        yield waiting.popleft()


def _crops(
    seen: ObservedPicture, aligner: Aligner, rotation: int
) -> Iterator[tuple[dict[str, Any], Any, float]]:
    """The index row, the crop and the worth of each face of a restored frame."""
    decoded, tracked = seen.picture.decoded, seen.picture.tracked
    planes = FramePlanes(decoded.frame, rotation)
    for face in seen.faces:
        after = face_blur(planes, face.face.box)
        row = _row(face, None if after is None else after.sharpness)
        row |= {"frame": decoded.index, "time": round(decoded.time, 6), "shot": tracked.shot}
        # Restoring brings many frames to about the same sharpness; what was sharp before is nearer to the truth.
        sharp = [0.0 if blur is None else blur.sharpness for blur in (face.blur, after)]
        worth = quality_of(face.face, sum(sharp) / 2, face.reading)
        yield row, aligner.crop(planes, face.face), worth


def _row(seen: ObservedFace, after: float | None) -> dict[str, Any]:
    return {
        "track": seen.face.track,
        **place_row(seen.face),
        **angle_row(seen),
        "sharpness_before": None if seen.blur is None else round(seen.blur.sharpness, 3),
        "sharpness_after": None if after is None else round(after, 3),
        "blur": None if seen.blur is None else round(seen.blur.level, 2),
        "remark": seen.remark,
    }
