"""Progress on a terminal as a bar, elsewhere as a plain line now and then."""

from __future__ import annotations

import time
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, ProgressColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from fvdeblur.cli.messages import shown

if TYPE_CHECKING:
    from fvdeblur.restoration import Progress

PLAIN_INTERVAL = 10.0
"""Seconds between plain lines."""


class Display:
    """A bar on a terminal, a plain line every `PLAIN_INTERVAL` elsewhere; written to standard error.

    Parameters
    ----------
    name
        What the bar is called.
    columns
        What it shows behind the numbers done and to do.
    fields
        First values of what these columns show.
    """

    def __init__(self, name: str, *columns: ProgressColumn, **fields: Any) -> None:
        self._console = Console(stderr=True)
        self._began = self._last = time.monotonic()
        self._bar: Bar | None = None
        if self._console.is_terminal:
            all_columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), *columns)
            self._bar = Bar(*all_columns, console=self._console, transient=True)
            self._task = self._bar.add_task(escape(name), total=None, **fields)

    def __enter__(self) -> Self:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def _show(self, done: int, total: int | None, line: str, **fields: Any) -> None:
        """Bring the bar up to date; without one, print the line if it is time."""
        now = time.monotonic()
        if self._bar is not None:
            self._bar.update(self._task, completed=done, total=total, **fields)
        elif now - self._last >= PLAIN_INTERVAL:
            self._last = now
            print(line, file=self._console.file, flush=True)


class ProgressDisplay(Display):
    """Shows frames, frames a second, faces and the time left."""

    def __init__(self, name: str) -> None:
        self._name = shown(name)
        rate = TextColumn("{task.fields[rate]:.1f} fps, {task.fields[faces]} faces")
        super().__init__(self._name, rate, TimeRemainingColumn(), rate=0.0, faces=0)

    def update(self, progress: Progress) -> None:
        """Show how far the run is."""
        done, total, faces = progress.frames, progress.total, progress.faces
        rate = done / max(time.monotonic() - self._began, 1e-6)
        share = f" of {total}" if total else ""
        left = f", {max(0, total - done) / rate:.0f} s left" if total and rate else ""
        line = f"{self._name}: {done}{share} frames, {rate:.1f} fps, {faces} faces{left}"
        self._show(done, total, line, rate=rate, faces=faces)
