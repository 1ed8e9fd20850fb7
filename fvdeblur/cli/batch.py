"""Several videos one after the other, of which some may fail."""

from __future__ import annotations

import re
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import click

from fvdeblur.cli.messages import counted, say, shown
from fvdeblur.errors import EXIT_FAILURE, FvdeblurError, UsageError

if TYPE_CHECKING:
    from fvdeblur.restoration import Item as RunItem
    from fvdeblur.restoration import Progress
    from fvdeblur.restoration.summary import WorkSummary

Item = TypeVar("Item")


Summary = TypeVar("Summary", bound="WorkSummary")

_ADDRESS = re.compile(r"auto|[^/\s]+:\d+")


def cluster_address(_: click.Context, __: click.Parameter, value: str | None) -> str | None:
    """Callback of the option that takes the address of a Ray cluster."""
    if value is not None and not _ADDRESS.fullmatch(value):
        raise UsageError(
            f"--ray {shown(value)}: is no address; give HOST:PORT, and put --ray without an address behind the inputs"
        )
    return value


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


def closing_lines(summary: WorkSummary, precision: str | None = None) -> list[str]:
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


def note_what_is_kept(
    stop: BaseException, items: Sequence[RunItem], left: Sequence[RunItem], going_on: str
) -> None:
    """Let an interrupt tell in one note what of a batch is done, what is kept, and how to go on.

    Parameters
    ----------
    stop
        The interrupt; its other notes are about single inputs and go.
    items, left
        All inputs, and those that had not ended.
    going_on
        What does the rest.
    """
    partial = sum(item.target.with_name(f"{item.target.name}.partial").is_dir() for item in left)
    ended = f"{len(items) - len(left)} of {counted(len(items), 'input')} had ended"
    kept = (
        f"the work so far on {partial} of the others is kept" if partial else "nothing was left half-written"
    )
    stop.__notes__ = [f"{ended}, {kept}; {going_on}"]
