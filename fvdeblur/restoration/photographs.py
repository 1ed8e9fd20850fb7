"""Photographs and image sequences: one picture, or many as the frames of a video."""

from __future__ import annotations

import os
import shutil
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, suppress
from pathlib import Path

from fvdeblur.errors import InputError, UsageError
from fvdeblur.faces import Detector
from fvdeblur.media import DecodedFrame
from fvdeblur.media.failures import shown, writing
from fvdeblur.media.photograph import PHOTOGRAPH_SUFFIXES, Photograph, photograph_format
from fvdeblur.media.target import check_free
from fvdeblur.restoration.choice import Chooser
from fvdeblur.restoration.restorer import Restorer
from fvdeblur.restoration.settings import Settings
from fvdeblur.restoration.stream import FaceRestorer, Tally, track
from fvdeblur.whole_file import whole_file

Done = Callable[[int, Tally], None]
"""Called after every picture with the number done and what was done to the faces so far."""


def refuse_video_settings(settings: Settings, what: str) -> None:
    """Raise UsageError where a setting was given that holds for video files alone, not for ``what``."""
    values = {name: getattr(settings, name) for name in ("codec", "crf", "preset", "start", "end", "tracks")}
    values |= {"pix-fmt": settings.pix_fmt, "encoder-option": settings.encoder_option or None}
    for name, value in values.items():
        if value is not None:
            raise UsageError(f"--{name} is for videos and does not apply to {what}; leave it out")
    if settings.wishes.first_pass:
        chosen = ",".join(settings.faces)
        raise UsageError(f"--faces {chosen} is for videos and does not apply to {what}; give a --region")


class PhotographRestorer:
    """Restores the faces of photographs and of the pictures of an image sequence.

    Parameters
    ----------
    restorer
        The network.
    detector
        What finds the faces.
    settings
        How to work.

    Raises
    ------
    UsageError
        A setting was given that holds for videos alone: an encoding or a part.
    """

    def __init__(self, restorer: Restorer, detector: Detector, settings: Settings) -> None:
        refuse_video_settings(settings, "photographs")
        self._restorer, self._detector, self._settings = restorer, detector, settings

    def photograph(self, source: Path, target: Path) -> tuple[Tally, list[str], bool]:
        """Restore one photograph.

        A single picture holds no motion: the network sees it in the place of all its frames.

        Returns
        -------
        tally
            What was done to the faces.
        notes
            What the user should know.
        copied
            Whether the file was copied as it is, because no face was changed.

        Raises
        ------
        UsageError
            The input is missing; the output is there already, is the input, or has the suffix of no photograph.
        InputError
            The input is no photograph that can be worked on.
        OutputError
            The output cannot be written. Nothing stands under its name then.
        """
        self._check(source, target)
        photograph = Photograph(source)
        faces = self._faces(photograph.rotation)
        for _ in faces(track([DecodedFrame(0, 0.0, photograph.frame)], photograph.rotation, self._detector)):
            pass
        copied = faces.tally.restored == 0 and photograph_format(target) == photograph.format
        with whole_file(target) as partial:
            partial.write_bytes(source.read_bytes() if copied else photograph.encoded(target.suffix))
        return faces.tally, photograph.notes, copied

    def sequence(
        self, sources: Sequence[Path], target: Path, done: Done | None = None
    ) -> tuple[Tally, list[str]]:
        """Restore pictures as the frames of one video; they are written with their names to a folder.

        Only as many pictures as the network needs at once are in memory. The folder has its name only when all of
        them are written.

        Raises
        ------
        UsageError
            The folder is there already, or a picture is missing.
        InputError
            A picture cannot be worked on, or differs from the first in size or orientation.
        OutputError
            The folder or a picture cannot be written.
        """
        if target.exists() and not self._settings.overwrite:
            raise UsageError(f"{shown(target)} exists; use --overwrite or -o")
        if target.exists() and not target.is_dir():
            raise UsageError(f"{shown(target)}: is a file; for an image sequence, name a folder with -o")
        if any(os.path.realpath(source.parent) == os.path.realpath(target) for source in sources):
            raise UsageError(f"{shown(target)}: the output would replace the input; choose another with -o")
        for source in sources:
            if photograph_format(source) is None:
                raise UsageError(f"{shown(source)}: pictures of this format cannot be written")
        partial = target.with_name(f"{target.name}.partial")
        waiting: deque[Photograph] = deque()
        notes: list[str] = []
        first = Photograph(sources[0])
        faces = self._faces(first.rotation)

        def frames() -> Iterator[DecodedFrame]:
            for index, source in enumerate(sources):
                photograph = Photograph(source)
                one, other = (
                    (p.rotation, p.frame.width, p.frame.height, p.frame.format.name)
                    for p in (photograph, first)
                )
                if one != other:
                    raise InputError(
                        f"{shown(source)}: differs from the first picture in size, depth or orientation; "
                        "a sequence must be alike throughout"
                    )
                waiting.append(photograph)
                yield DecodedFrame(index, float(index), photograph.frame)

        with writing(target):
            if partial.is_symlink():
                raise UsageError(f"{shown(partial)}: is a link; remove it")
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir(parents=True)
        try:
            with closing(faces(track(frames(), first.rotation, self._detector))) as restored:
                for count, _ in enumerate(restored, 1):
                    photograph = waiting.popleft()
                    data = photograph.encoded(photograph.path.suffix)
                    with writing(target):
                        (partial / photograph.path.name).write_bytes(data)
                    notes += [note for note in photograph.notes if note not in notes]
                    if done is not None:
                        done(count, faces.tally)
            with writing(target):
                if target.exists():
                    shutil.rmtree(target)
                partial.replace(target)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
        return faces.tally, notes

    def _faces(self, rotation: int) -> FaceRestorer:
        return FaceRestorer(
            self._restorer,
            rotation,
            self._settings.strength,
            self._settings.min_face,
            chooser=Chooser(self._settings.wishes),
        )

    def _check(self, source: Path, target: Path) -> None:
        with suppress(OSError):
            if os.path.samefile(source, target):
                raise UsageError(
                    f"{shown(target)}: the output would replace the input; choose another name with -o"
                )
        if photograph_format(target) is None:
            raise UsageError(
                f"{shown(target)}: the suffix names no format of photographs; use one of "
                f"{', '.join(PHOTOGRAPH_SUFFIXES)}"
            )
        check_free(target, self._settings.overwrite)
