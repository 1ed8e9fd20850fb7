"""Several videos one after the other, of which some may fail."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Sequence
from typing import TypeVar

from fvdeblur.cli.messages import say
from fvdeblur.errors import EXIT_FAILURE, FvdeblurError

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
