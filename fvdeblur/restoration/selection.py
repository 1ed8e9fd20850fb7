"""Which faces are worked on, and how strongly, as a user says it: by who they are, where they are, or their track."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from fvdeblur.errors import UsageError

CHOICES = ("all", "largest", "center", "track:ID", "like:PHOTO", "unlike:PHOTO")

_NEXT = re.compile(r",(?=(?:all|largest|center)(?:,|$)|(?:track|like|unlike):)")
_NUMBER = re.compile(r"\d+(\.\d*)?|\.\d+")


@dataclass(frozen=True)
class Selection:
    """One thing that a user has asked for.

    Attributes
    ----------
    kind
        ``all``, ``largest``, ``center``, ``track``, ``like`` or ``unlike``.
    track
        Number of the track, for ``track``.
    photo
        A photograph of a person, for ``like`` and ``unlike``.
    """

    kind: str = "all"
    track: int | None = None
    photo: Path | None = None

    @classmethod
    def parse(cls, text: str) -> Selection:
        """Read one of `CHOICES`.

        Raises
        ------
        UsageError
            It is none of them.
        """
        kind, colon, value = text.partition(":")
        if not colon and kind in {"all", "largest", "center"}:
            return cls(kind)
        if kind == "track" and value.isdecimal():
            return cls(kind, track=int(value))
        if kind in {"like", "unlike"} and value:
            return cls(kind, photo=Path(value))
        raise UsageError(f"no faces are called {text!r}; choose one of {', '.join(CHOICES)}")

    @property
    def absolute(self) -> str:
        """The same as `parse` reads it, in whatever folder that is done."""
        value = self.track if self.photo is None else self.photo.absolute()
        return self.kind if value is None else f"{self.kind}:{value}"

    @classmethod
    def parse_all(cls, texts: Iterable[str]) -> tuple[Selection, ...]:
        """Read what stands behind every ``--faces``; in each, several may stand with commas between them."""
        return tuple(cls.parse(part) for text in texts for part in _NEXT.split(text))


@dataclass(frozen=True)
class Region:
    """A box in the upright picture.

    Attributes
    ----------
    text
        As it was given.
    values
        Left, top, width and height.
    percent
        Which of them are percent of the picture's width or height, not pixels.
    """

    text: str
    values: tuple[float, ...]
    percent: tuple[bool, ...]

    @classmethod
    def parse(cls, text: str, option: str) -> Region:
        """Read ``X,Y,W,H``, each in pixels or with ``%``.

        Raises
        ------
        UsageError
            It is something else, or the box is empty.
        """
        parts = [part.strip() for part in text.split(",")]
        numbers = [part.removesuffix("%").rstrip() for part in parts]
        if len(parts) != 4 or not all(_NUMBER.fullmatch(number) for number in numbers):
            raise UsageError(
                f"{option} {text!r}: is no box; give left, top, width and height as X,Y,W,H, in pixels or with %"
            )
        values = tuple(float(number) for number in numbers)
        if not (values[2] > 0 and values[3] > 0):
            raise UsageError(f"{option} {text!r}: is empty; width and height must be larger than 0")
        return cls(text, values, tuple(part.endswith("%") for part in parts))

    def box(self, width: int, height: int, option: str = "--region") -> tuple[float, float, float, float]:
        """Left, top, right and bottom in pixels of an upright picture of so many pixels.

        Raises
        ------
        UsageError
            It reaches outside of the picture.
        """
        sides = (width, height, width, height)
        x, y, w, h = (
            value * side / 100 if percent else value
            for value, side, percent in zip(self.values, sides, self.percent, strict=True)
        )
        if x + w > width + 1e-6 * width or y + h > height + 1e-6 * height:
            raise UsageError(
                f"{option} {self.text!r}: reaches outside of the picture, which has {width}x{height} pixels"
            )
        return x, y, x + w, y + h


def parse_strength(text: str) -> tuple[int, float]:
    """Read ``track:ID=STRENGTH``: the number of the track, and 0 to 1.

    Raises
    ------
    UsageError
        It is something else.
    """
    match = re.fullmatch(r"track:(\d+)=(.+)", text)
    try:
        strength = float(match[2]) if match is not None else math.nan
    except ValueError:
        strength = math.nan
    if match is None or not 0 <= strength <= 1:
        raise UsageError(f"--face-strength {text!r}: must be track:ID=STRENGTH with a strength from 0 to 1")
    return int(match[1]), strength


@dataclass(frozen=True)
class Wishes:
    """All that a user has said about which faces are worked on.

    Attributes
    ----------
    selections
        Who. A face is chosen that one of them names, or all where none does but ``unlike``; and that no ``unlike`` does
        away with.
    regions, excluded
        Where: a face is left alone whose centre lies in none of the regions (where there are any), or in one excluded.
    strengths
        Factor of the change, 0..1, of single tracks.
    """

    selections: tuple[Selection, ...] = (Selection(),)
    regions: tuple[Region, ...] = ()
    excluded: tuple[Region, ...] = ()
    strengths: dict[int, float] = field(default_factory=dict)

    @classmethod
    def parse(
        cls, faces: Iterable[str], region: Iterable[str], exclude: Iterable[str], face_strength: Iterable[str]
    ) -> Wishes:
        """Read what stands behind the options of these names.

        Raises
        ------
        UsageError
            One of them cannot be read.
        """
        return cls(
            Selection.parse_all(faces),
            tuple(Region.parse(text, "--region") for text in region),
            tuple(Region.parse(text, "--exclude") for text in exclude),
            dict(parse_strength(text) for text in face_strength),
        )

    @property
    def photos(self) -> tuple[Path, ...]:
        """Photographs of people who are wanted or not."""
        return tuple(dict.fromkeys(each.photo for each in self.selections if each.photo is not None))

    @property
    def of_everyone(self) -> bool:
        """Whether no face is passed over for who it is or what track it has."""
        return not self.photos and (
            not self.selections or any(each.kind == "all" for each in self.selections)
        )

    @property
    def first_pass(self) -> bool:
        """Whether the whole video must be seen before it is known which faces are chosen."""
        return not self.of_everyone and any(each.kind != "track" for each in self.selections)

    def boxes(
        self, width: int, height: int
    ) -> tuple[list[tuple[float, float, float, float]], list[tuple[float, float, float, float]]]:
        """The regions and what is excluded, in pixels of an upright picture of so many pixels.

        Raises
        ------
        UsageError
            One of them reaches outside of the picture.
        """
        return (
            [each.box(width, height) for each in self.regions],
            [each.box(width, height, "--exclude") for each in self.excluded],
        )
