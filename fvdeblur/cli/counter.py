"""Progress through a number of things, on a terminal as a bar, elsewhere as a plain line now and then."""

from __future__ import annotations

import time
from types import TracebackType

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
from rich.progress import Progress as Bar

from fvdeblur.cli import progress as settings


class Counter:
    """Shows how many of so many are done; written to standard error.

    Parameters
    ----------
    task
        What is done (``checking``).
    unit
        What is counted (``files``).
    """

    def __init__(self, task: str, unit: str) -> None:
        self._task, self._unit = task, unit
        self._console = Console(stderr=True)
        self._last = time.monotonic()
        self._bar: Bar | None = None
        if self._console.is_terminal:
            columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
            more = TextColumn("{task.fields[unit]}{task.fields[text]}")
            self._bar = Bar(*columns, more, console=self._console, transient=True)
            self._id = self._bar.add_task(escape(task), total=None, unit=escape(unit), text="")

    def __enter__(self) -> Counter:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def update(self, done: int, total: int | None, text: str = "") -> None:
        """Show how far it is; ``total`` is None where it is not known, ``text`` is added."""
        more = f", {text}" if text else ""
        now = time.monotonic()
        if self._bar is not None:
            self._bar.update(self._id, completed=done, total=total, text=escape(more))
        elif now - self._last >= settings.PLAIN_INTERVAL:
            self._last = now
            share = f"{done} of {total}" if total else str(done)
            line = f"{self._task}: {share} {self._unit}{more}"
            print(line, file=self._console.file, flush=True)
