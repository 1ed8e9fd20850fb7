"""Timecodes as people type them."""

import re

from fvdeblur.errors import UsageError

_TIMECODE = re.compile(r"(?:(?:(\d+):)?([0-5]?\d):)?(\d+(?:\.\d*)?|\.\d+)", re.ASCII)


def parse_timecode(text: str) -> float:
    """Return the seconds that a text such as ``12.5``, ``1:02`` or ``00:01:02.500`` stands for.

    Raises
    ------
    UsageError
        The text is none of these forms, is negative, or has 60 or more in a field after a colon.
    """
    match = _TIMECODE.fullmatch(text.strip())
    if match:
        hours, minutes, seconds = match.groups()
        if minutes is None or float(seconds) < 60:
            return int(hours or 0) * 3600 + int(minutes or 0) * 60 + float(seconds)
    raise UsageError(f"{text!r} is not a time; write seconds (12.5), minutes (1:02) or hours (00:01:02.500)")
