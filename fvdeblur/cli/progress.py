"""Progress on a terminal as a bar, elsewhere as a plain line now and then."""

from __future__ import annotations

import time
from types import TracebackType
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from fvdeblur.cli.messages import shown

if TYPE_CHECKING:
    from fvdeblur.restoration import Progress

PLAIN_INTERVAL = 10.0
"""Seconds between plain lines."""


class ProgressDisplay:
    """Shows frames, frames a second, faces and the time left; written to standard error."""

    def __init__(self, name: str) -> None:
        self._name = shown(name)
        self._console = Console(stderr=True)
        self._began = self._last = time.monotonic()
        self._bar: Bar | None = None
        if self._console.is_terminal:
            self._bar = Bar(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[rate]:.1f} fps, {task.fields[faces]} faces"),
                TimeRemainingColumn(),
                console=self._console,
                transient=True,
            )
            self._task = self._bar.add_task(escape(self._name), total=None, rate=0.0, faces=0)

    def __enter__(self) -> ProgressDisplay:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def update(self, progress: Progress) -> None:
        """Show how far the run is."""
        now = time.monotonic()
        rate = progress.frames / max(now - self._began, 1e-6)
        if self._bar is not None:
            self._bar.update(
                self._task, completed=progress.frames, total=progress.total, rate=rate, faces=progress.faces
            )
        elif now - self._last >= PLAIN_INTERVAL:
            self._last = now
            total = f" of {progress.total}" if progress.total else ""
            remaining = max(0, (progress.total or 0) - progress.frames)
            left = f", {remaining / rate:.0f} s left" if progress.total else ""
            print(
                f"{self._name}: {progress.frames}{total} frames, {rate:.1f} fps, {progress.faces} faces{left}",
                file=self._console.file,
                flush=True,
            )
