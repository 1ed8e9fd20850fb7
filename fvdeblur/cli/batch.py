"""Several videos one after the other, of which some may fail."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeVar

import click

from fvdeblur.cli.messages import say, shown
from fvdeblur.errors import EXIT_FAILURE, FvdeblurError

if TYPE_CHECKING:
    from fvdeblur.restoration import Progress

Item = TypeVar("Item")


class Told(Protocol):
    """What every summary of a video tells."""

    @property
    def frames(self) -> int: ...

    @property
    def seconds(self) -> float: ...

    @property
    def device(self) -> str: ...

    @property
    def damage(self) -> list[str]: ...

    @property
    def notes(self) -> list[str]: ...


Summary = TypeVar("Summary", bound=Told)


def run_one(
    video: Path,
    work: Callable[[Callable[[Progress], None] | None], Summary],
    lines: Callable[[Summary], list[str]],
    quiet: bool,
) -> None:
    """Do the work for one video under a bar and print its summary; quietly, say what of it is damaged alone."""
    from fvdeblur.cli.progress import ProgressDisplay

    if quiet:
        for line in work(None).damage:
            say(f"{shown(video)}: damaged input: {line}")
        return
    with ProgressDisplay(video.name) as display:
        summary = work(display.update)
    for line in lines(summary):
        click.echo(line)


def closing_lines(summary: Told, precision: str | None = None) -> list[str]:
    """What every summary ends with: damage, notes, time and device."""
    rate = summary.frames / summary.seconds if summary.seconds > 0 else 0.0
    lines = [f"  damaged input: {line}" for line in summary.damage]
    lines += [f"  note: {line}" for line in summary.notes]
    place = summary.device if precision is None else f"{summary.device}, {precision}"
    return [*lines, f"  {summary.seconds:.1f} s ({rate:.1f} frames/s) on {place}"]


def run_each(videos: Sequence[Item], work: Callable[[Item], None], debug: bool) -> int:
    """Do the work for every video, report those that fail, and return the exit code."""
    failed = 0
    for video in videos:
        try:
            work(video)
        except FvdeblurError as error:
            if debug:
                traceback.print_exc()
            say(str(error))
            failed += 1
    if failed:
        say(f"{failed} of {len(videos)} videos failed")
    return EXIT_FAILURE if failed else 0
