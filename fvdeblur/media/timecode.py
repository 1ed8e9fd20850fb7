"""Timecodes as people type them."""

import re

from fvdeblur.errors import UsageError

_TIMECODE = re.compile(r"(?:(?:(\d+):)?([0-5]?\d):)?(\d+(?:\.\d*)?|\.\d+)", re.ASCII)
LONGEST = 1e9
"""Seconds; no video comes near it, and clocks of 64 bits do not count much farther."""


def parse_timecode(text: str) -> float:
    """Return the seconds that a text such as ``12.5``, ``1:02`` or ``00:01:02.500`` stands for.

    Raises
    ------
    UsageError
        The text is none of these forms, is negative, has 60 or more in a field after a colon, or means more than
        30 years.
    """
    match = _TIMECODE.fullmatch(text.strip())
    if match:
        hours, minutes, seconds = match.groups()
        total = float(hours or 0) * 3600 + int(minutes or 0) * 60 + float(seconds)
        if (minutes is None or float(seconds) < 60) and total < LONGEST:
            return total
    raise UsageError(f"{text!r} is not a time; write seconds (12.5), minutes (1:02) or hours (00:01:02.500)")
