"""Several videos one after the other, of which some may fail."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TypeVar

from fvdeblur.cli.messages import say, shown
from fvdeblur.errors import EXIT_FAILURE, FvdeblurError, OutputError, UsageError

Item = TypeVar("Item")


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


def check_folders(folders: Iterable[Path]) -> None:
    """Raise UsageError where one of these is there and no folder."""
    for folder in folders:
        if folder.exists() and not folder.is_dir():
            raise UsageError(f"{shown(folder)}: is not a folder; for a folder of videos, give a folder")


def make_folders(folders: Iterable[Path]) -> None:
    """Make these folders where they are not there; OutputError where one cannot be made."""
    for folder in folders:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(f"{shown(folder)}: cannot make this folder ({error.strerror})") from error
