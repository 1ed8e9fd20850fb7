"""What a user can choose; the one place where the defaults stand."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypedDict

from fvdeblur.errors import UsageError
from fvdeblur.restoration.selection import Wishes

IDENTITIES = ("auto", "insightface", "dlib", "shape")
"""What can tell people apart; ``shape``: the 3D face and colours."""


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
    pix_fmt
        Pixel format that is encoded, by FFmpeg's name; None: the source's or the nearest that the encoder takes.
    encoder_option
        Further options of the encoder, by FFmpeg's names: ``KEY=VALUE`` each, or a mapping, which becomes these.
    hwaccel
        Hardware that decodes: ``none``, ``auto`` (what can be had, else none) or FFmpeg's name of it (``cuda``).
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
        are found and followed.
    faces
        Which faces are worked on, each as `fvdeblur.restoration.selection.Selection.parse` reads it.
    region, exclude
        Boxes ``X,Y,W,H`` in the upright picture, in pixels or with ``%``: a face is left alone whose centre lies in no
        region (where there are any), or in a box that is excluded.
    face_strength
        ``track:ID=STRENGTH``: factor of the change of single tracks in place of `strength`.
    identity
        What tells people apart where `faces` needs it: ``auto``, ``insightface``, ``dlib`` or ``shape``.
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
    pix_fmt: str | None = None
    encoder_option: tuple[str, ...] = ()
    hwaccel: str = "none"
    threads: int = 0
    overwrite: bool = False
    resume: bool = True
    max_pixels: int = 1 << 26
    max_duration: float | None = None
    tracks: Path | None = None
    faces: tuple[str, ...] = ("all",)
    region: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    face_strength: tuple[str, ...] = ()
    identity: str = "auto"

    def __post_init__(self) -> None:
        if isinstance(self.encoder_option, Mapping):
            pairs = tuple(f"{key}={value}" for key, value in self.encoder_option.items())
            object.__setattr__(self, "encoder_option", pairs)
        for name in ("encoder_option", "faces", "region", "exclude", "face_strength"):
            value = getattr(self, name)
            object.__setattr__(self, name, (value,) if isinstance(value, str) else tuple(value))
        if self.wishes.first_pass and self.tracks is not None:
            raise UsageError(
                "--faces does not go with --tracks, which says what is done with every face; edit that file, or let "
                "analyze write it with --faces"
            )
        if self.identity not in IDENTITIES:
            raise UsageError(f"unknown identity {self.identity!r}; choose one of {', '.join(IDENTITIES)}")
        for option in self.encoder_option:
            if not all(option.partition("=")[:2]):
                raise UsageError(
                    f"--encoder-option {option}: is not of the form KEY=VALUE, such as tune=film"
                )
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
    def wishes(self) -> Wishes:
        """What is said about which faces are worked on."""
        return Wishes.parse(self.faces, self.region, self.exclude, self.face_strength)

    @property
    def encoding_asked_for(self) -> bool:
        """Whether the user asked for an encoding or a trim, so that streams must not simply be copied."""
        given = (self.codec, self.crf, self.preset, self.pix_fmt, self.start, self.end)
        return bool(self.encoder_option) or any(value is not None for value in given)

    @property
    def encoding(self) -> dict[str, Any]:
        """What the writers of videos take, by the names of their arguments."""
        names = ("codec", "crf", "preset", "pix_fmt", "threads", "overwrite")
        options = dict(option.split("=", 1) for option in self.encoder_option)
        return {**{name: getattr(self, name) for name in names}, "encoder_options": options}


class SettingValues(TypedDict, total=False):
    """Single values of `Settings`, by name: what may be given as keyword arguments instead of a whole."""

    model: str
    device: str
    precision: str
    strength: float
    start: float | None
    end: float | None
    min_face: float
    detector: str
    codec: str | None
    crf: float | None
    preset: str | None
    pix_fmt: str | None
    encoder_option: str | tuple[str, ...] | Mapping[str, str]
    hwaccel: str
    threads: int
    overwrite: bool
    resume: bool
    max_pixels: int
    max_duration: float | None
    tracks: Path | None
    faces: str | tuple[str, ...]
    region: str | tuple[str, ...]
    exclude: str | tuple[str, ...]
    face_strength: str | tuple[str, ...]
    identity: str
