"""Progress through a number of things, on a terminal as a bar, elsewhere as a plain line now and then."""

from __future__ import annotations

from rich.markup import escape
from rich.progress import TextColumn

from fvdeblur.cli.progress import PLAIN_INTERVAL, Bars, Display


class Counter(Display):
    """Shows how many of so many are done.

    Parameters
    ----------
    task
        What is done (``checking``).
    unit
        What is counted (``files``).
    """

    def __init__(self, task: str, unit: str) -> None:
        self._name, self._unit = task, unit
        more = TextColumn("{task.fields[unit]}{task.fields[text]}")
        super().__init__(task, Bars("auto", more), PLAIN_INTERVAL, unit=escape(unit), text="")

    def update(self, done: int, total: int | None, text: str = "") -> None:
        """Show how far it is; ``total`` is None where it is not known, ``text`` is added."""
        more = f", {text}" if text else ""
        share = f"{done} of {total}" if total else str(done)
        line = f"{self._name}: {share} {self._unit}{more}"
        self._show(done, total, line, text=escape(more))
