"""Text for a terminal: one line a message, whatever file names hold."""

from __future__ import annotations

import sys
from os import PathLike, fspath


def shown(path: str | PathLike[str]) -> str:
    """A path with its control characters and broken bytes escaped."""
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape", "backslashreplace").decode()
        for c in fspath(path)
    )


def one_line(text: str) -> str:
    """A text with its lines joined."""
    return " ".join(line.strip() for line in text.splitlines())


def counted(number: int, noun: str) -> str:
    """A number with its noun."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def say(text: str) -> None:
    """Print a line on standard error."""
    print(f"fvdeblur: {one_line(text)}", file=sys.stderr)
