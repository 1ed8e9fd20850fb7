"""Progress on a terminal as a bar, elsewhere as a plain line now and then, or as lines of JSON for programs."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    ProgressColumn,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as Bar

from fvdeblur.cli.messages import shown

if TYPE_CHECKING:
    from fvdeblur.restoration import Progress

PLAIN_INTERVAL = 10.0
"""Seconds between plain lines."""

JSON_INTERVAL = 0.5
"""Seconds between lines of JSON."""


class Bars:
    """Bars on a terminal, one below the other; none are drawn where a mode or the terminal does not allow it.

    Parameters
    ----------
    mode
        One of `fvdeblur.cli.options.PROGRESS_MODES`.
    columns
        What the bars show behind the numbers done and to do.
    """

    def __init__(self, mode: str, *columns: ProgressColumn) -> None:
        self.console = Console(stderr=True, force_terminal=True if mode == "rich" else None)
        self._progress: Bar | None = None
        if mode == "rich" or (mode == "auto" and self.console.is_terminal):
            all_columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), *columns)
            self._progress = Bar(*all_columns, console=self.console, transient=True)

    @property
    def drawn(self) -> bool:
        """Whether there are bars at all."""
        return self._progress is not None

    def add(self, name: str, **fields: Any) -> TaskID:
        """Begin a bar."""
        assert self._progress is not None
        self._progress.start()
        return self._progress.add_task(escape(name), total=None, **fields)

    def update(self, task: TaskID, done: int, total: int | None, **fields: Any) -> None:
        """Bring a bar up to date."""
        assert self._progress is not None
        self._progress.update(task, completed=done, total=total, **fields)

    def remove(self, task: TaskID) -> None:
        """Take a bar away."""
        assert self._progress is not None
        self._progress.remove_task(task)
        if not self._progress.task_ids:
            self._progress.stop()

    @contextmanager
    def hidden(self) -> Iterator[None]:
        """Take all bars away while something else is printed."""
        running = self._progress is not None and bool(self._progress.task_ids)
        if self._progress is not None and running:
            self._progress.stop()
        yield
        if self._progress is not None and running:
            self._progress.start()


class Display:
    """A bar on a terminal, a plain line every `PLAIN_INTERVAL` elsewhere; written to standard error.

    Parameters
    ----------
    name
        What the bar is called.
    bars
        Where it stands.
    interval
        Seconds between lines, where there are no bars.
    fields
        First values of what the columns of the bars show.
    """

    def __init__(self, name: str, bars: Bars, interval: float, **fields: Any) -> None:
        self._bars, self._interval = bars, interval
        self._began = self._last = time.monotonic()
        self._task = bars.add(name, **fields) if bars.drawn else None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Take the bar away."""
        if self._task is not None:
            self._bars.remove(self._task)
            self._task = None

    def _show(self, done: int, total: int | None, line: str, **fields: Any) -> None:
        """Bring the bar up to date; without one, print the line if it is time."""
        now = time.monotonic()
        if self._task is not None:
            self._bars.update(self._task, done, total, **fields)
        elif now - self._last >= self._interval:
            self._last = now
            print(line, file=self._bars.console.file, flush=True)


class ProgressDisplay(Display):
    """Shows frames, frames a second, faces and the time left.

    Parameters
    ----------
    name
        What the bar is called.
    mode
        One of `fvdeblur.cli.options.PROGRESS_MODES`, not ``none``.
    source
        What lines of JSON name as the input; the name, where it is not given.
    bars
        Where the bar stands beside others; None: alone.
    """

    def __init__(
        self, name: str, mode: str = "auto", source: str | None = None, bars: Bars | None = None
    ) -> None:
        self._name, self._mode, self._source = shown(name), mode, source or name
        self._pace: tuple[bool, float, int] | None = None
        interval = JSON_INTERVAL if mode == "jsonl" else PLAIN_INTERVAL
        super().__init__(self._name, bars or frame_bars(mode), interval, rate=0.0, faces=0)

    def update(self, progress: Progress) -> None:
        """Show how far the run is."""
        done, total, faces = progress.frames, progress.total, progress.faces
        now = time.monotonic()
        seconds = now - self._began
        # The pace is that since the first frame told: before it models are loaded, and the first pass goes faster.
        if self._pace is None or self._pace[0] != progress.first_pass:
            self._pace = progress.first_pass, now, done
        _, since, already = self._pace
        rate = (done - already) / max(now - since, 1e-6)
        if self._mode == "jsonl":
            event = {
                "event": "progress",
                "input": self._source,
                "frames": done,
                "total": total,
                "faces": faces,
            }
            stage = {"first_pass": True} if progress.first_pass else {}
            line = json.dumps({**event, **stage, "seconds": round(seconds, 3)})
        else:
            share = f" of {total}" if total else ""
            left = f", {max(0, total - done) / rate:.0f} s left" if total and rate else ""
            verb = "looked at " if progress.first_pass else ""
            pace = f", {rate:.1f} fps" if rate else ""
            line = f"{self._name}: {verb}{done}{share} frames{pace}, {faces} faces{left}"
        self._show(done, total, line, rate=rate, faces=faces)


def frame_bars(mode: str) -> Bars:
    """Bars that count frames."""
    return Bars(
        mode, TextColumn("{task.fields[rate]:.1f} fps, {task.fields[faces]} faces"), TimeRemainingColumn()
    )
