"""The first pass over a video, where it must be seen as a whole before it is known which faces are chosen."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from fvdeblur.errors import InputError
from fvdeblur.faces import Detector
from fvdeblur.media.failures import reading
from fvdeblur.media.packet_file import file_digest
from fvdeblur.morphable.reader import FaceReader
from fvdeblur.restoration.analysis import analyze_video
from fvdeblur.restoration.choice import portraits
from fvdeblur.restoration.opening import open_portrayer
from fvdeblur.restoration.settings import Settings
from fvdeblur.restoration.stream import NOT_CHOSEN, OUTSIDE
from fvdeblur.restoration.summary import Progress
from fvdeblur.restoration.track_file import TracksFile, read_tracks


class FirstPass:
    """Does what ``fvdeblur analyze --faces`` does, so that the work can follow its tracks file.

    Parameters
    ----------
    settings
        How to work.
    detector, device
        What finds the faces, and where.
    reader
        Reads the 3D faces; None: the released regressor.

    Raises
    ------
    UsageError, InputError
        What tells people apart cannot be had; a photograph cannot be read or shows no face.
    """

    def __init__(
        self, settings: Settings, detector: Detector, device: torch.device, reader: FaceReader | None = None
    ) -> None:
        self._settings, self._detector = settings, detector
        self._reader = reader or FaceReader(device=device)
        self._portrayer = open_portrayer(settings.identity, settings, device, self._reader)
        self._portraits = portraits(settings.wishes.photos, detector, self._portrayer)

    def describe(self) -> dict[str, Any]:
        """All that the choice depends on beside the settings and the detector, ready for JSON."""
        digests = []
        for photo in self._settings.wishes.photos:
            with reading(photo):
                digests.append(file_digest(photo))
        portrayer = self._portrayer
        return {
            "identity": portrayer.name,
            "thresholds": [portrayer.threshold, portrayer.photo_threshold],
            "photos": digests,
        }

    def tracks(self, source: Path, path: Path, told: Callable[[Progress], None] | None = None) -> TracksFile:
        """What is chosen of a video: read from a tracks file that an earlier run has left, or else written there.

        Parameters
        ----------
        source
            The video.
        path
            The tracks file.
        told
            Called after every frame of the first pass.

        Raises
        ------
        InputError
            The video cannot be read.
        OutputError
            The file cannot be written.
        """
        try:
            return read_tracks(path)
        except InputError:  # it is not there, or damaged
            path.unlink(missing_ok=True)
        analyze_video(
            source,
            path,
            self._settings,
            self._reader,
            self._detector,
            self._portrayer,
            portraits=self._portraits,
            left=frozenset({OUTSIDE}),
            overwrite=True,
            progress=told,
        )
        return read_tracks(path)

    def notes(self, tracks: TracksFile) -> list[str]:
        """What the user should know of the choice, one line each."""
        lines = [f"a first pass over the video chose the faces; people told apart by {self._portrayer.name}"]
        if self._settings.wishes.photos:
            lines[0] += f", like a photograph from a cosine of {self._portrayer.photo_threshold:g} on"
        if tracks.tracks and all(row.remark == NOT_CHOSEN for row in tracks.tracks.values()):
            lines.append(f"no face of it is one of {','.join(self._settings.faces)}")
        return lines
