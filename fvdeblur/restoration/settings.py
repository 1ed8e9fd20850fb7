"""What a user can choose; the one place where the defaults stand."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from fvdeblur.errors import UsageError


@dataclass(frozen=True)
class Settings:
    """How a video is deblurred and written; the command line has the same options and defaults.

    Attributes
    ----------
    model
        Name of a released model.
    device
        ``auto``, ``cpu`` or ``cuda[:N]``.
    precision
        ``auto``, ``fp32``, ``bf16`` or ``fp16``.
    strength
        Factor of the change, 0 (nothing) to 1 (all of it).
    start, end
        Part to keep, in seconds from the start of the file; None: from the beginning, to the end.
    min_face
        Faces smaller than this many pixels (square root of the box's area) are left alone.
    detector
        ``auto``, ``centerface`` or ``scrfd``.
    codec, crf, preset
        Video encoder, its quality and its speed; None: the source's codec family with defaults that lose nothing
        visible.
    threads
        Threads of each stage; 0: chosen by the libraries.
    overwrite
        Whether an output that is there already may be replaced.
    resume
        Whether the work of an earlier run that was stopped is taken up; else it is discarded.
    max_pixels
        Videos whose pictures have more pixels are refused.
    max_duration
        Videos that last longer, in seconds, are refused; None: none are.
    tracks
        File of `fvdeblur.restoration.FaceAnalyzer` that says where the faces are and which to leave alone; None: they
        are found and followed. Work with it is not taken up.
    """

    model: str = "fvd"
    device: str = "auto"
    precision: str = "auto"
    strength: float = 1.0
    start: float | None = None
    end: float | None = None
    min_face: float = 24.0
    detector: str = "auto"
    codec: str | None = None
    crf: float | None = None
    preset: str | None = None
    threads: int = 0
    overwrite: bool = False
    resume: bool = True
    max_pixels: int = 1 << 26
    max_duration: float | None = None
    tracks: Path | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.strength <= 1:
            raise UsageError(f"strength must be between 0 and 1, not {self.strength:g}")
        if not self.min_face >= 0:
            raise UsageError(f"the smallest face must not be negative, not {self.min_face:g}")
        if self.max_pixels < 1:
            raise UsageError(f"the largest number of pixels must be positive, not {self.max_pixels}")
        if self.max_duration is not None and not self.max_duration > 0:
            raise UsageError(f"the longest duration must be positive, not {self.max_duration:g}")
        if self.threads < 0:
            raise UsageError(f"the number of threads must not be negative, not {self.threads}")

    def changed(self, values: Mapping[str, object]) -> Settings:
        """These settings with some values replaced.

        Raises
        ------
        UsageError
            A setting is unknown or out of its range.
        """
        try:
            return replace(self, **values)  # type: ignore[arg-type]
        except TypeError as error:
            raise UsageError(f"unknown setting ({error})") from error

    @property
    def encoding_asked_for(self) -> bool:
        """Whether the user asked for an encoding or a trim, so that streams must not simply be copied."""
        return any(value is not None for value in (self.codec, self.crf, self.preset, self.start, self.end))
