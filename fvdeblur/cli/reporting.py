"""What a run says: a summary for people or as JSON, progress, and a log."""

from __future__ import annotations

import json
import sys
import time
import traceback
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TextIO

from fvdeblur import __version__
from fvdeblur.cli.batch import closing_lines
from fvdeblur.cli.messages import counted, one_line, say, shown
from fvdeblur.cli.progress import ProgressDisplay, frame_bars
from fvdeblur.errors import EXIT_FAILURE, OutputError

if TYPE_CHECKING:
    from fvdeblur.restoration import Item, Progress, Result, Summary
    from fvdeblur.restoration.estimate import Estimate, ItemEstimate

SCHEMA = "fvdeblur.summary/1"
"""Name and version of the JSON summary; fields may be added within a version, never changed."""


class Reporter:
    """Says how a batch goes and how it ended.

    Parameters
    ----------
    items
        What is worked on.
    mode
        How progress is shown: one of `fvdeblur.cli.options.PROGRESS_MODES`.
    as_json
        Whether the summary is JSON.
    log
        File to which a line is added for everything that happens.
    quiet
        Whether only errors are told.
    verbose
        Whether the summary says more.
    debug
        Whether errors show where they came from.
    stream
        Where the summary goes.
    several
        Whether failures are counted rather than raised.
    piped
        Temporary files that stand for standard input and output; they are shown as ``-``.

    Raises
    ------
    OutputError
        The log cannot be written.
    """

    def __init__(
        self,
        items: Sequence[Item],
        *,
        mode: str,
        as_json: bool,
        log: Path | None,
        quiet: bool,
        verbose: bool,
        debug: bool,
        stream: TextIO,
        several: bool,
        piped: Sequence[Path] = (),
    ) -> None:
        self.left = len(items)
        self._mode, self._bars = mode, frame_bars(mode)
        self._as_json, self._quiet, self._verbose, self._debug = as_json, quiet, verbose, debug
        self._stream, self._several, self._piped = stream, several, set(piped)
        self._results: list[dict[str, Any]] = []
        self._began = time.monotonic()
        self._displays = ExitStack()
        self._shown: dict[Item, ProgressDisplay] = {}
        self._log: TextIO | None = None
        self._log_path = log
        if log is not None:
            try:
                self._log = log.open("a", encoding="utf-8", errors="backslashreplace")
            except OSError as error:
                raise OutputError(f"{shown(log)}: cannot be written ({error.strerror})") from error
            self._note(f"fvdeblur {__version__}: {counted(len(items), 'input')}")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._displays.close()
        if error is not None:
            self._note(f"stopped: {one_line(str(error)) or type(error).__name__}")
            if self._several or self._as_json:
                self._finish(completed=False)
        elif self._as_json:
            self._finish(completed=True)
        if self._log is not None:
            self._log.close()

    @property
    def shows_progress(self) -> bool:
        """Whether anybody wants to know of every frame."""
        return self._mode != "none"

    def progress(self, item: Item, progress: Progress) -> None:
        """Show how far an input is."""
        if item not in self._shown:
            source = self._named(item.source)
            display = ProgressDisplay(Path(source).name, self._mode, source, self._bars)
            self._shown[item] = self._displays.enter_context(display)
        self._shown[item].update(progress)

    def ended(self, result: Result) -> None:
        """Say how an input ended; where it is the only one, its error is raised."""
        self.left -= 1
        display = self._shown.pop(result.item, None)
        result = self._renamed(result)
        if display is not None:
            display.close()
        fields = _result_fields(result)
        self._results.append(fields)
        if self._mode == "jsonl":
            print(json.dumps({"event": "ended", **fields}), file=sys.stderr, flush=True)
        source = shown(result.item.source)
        if result.error is not None:
            self._note(str(result.error))
            if not self._several:
                raise result.error
            if self._debug:
                traceback.print_exception(result.error)
            with self._bars.hidden():
                say(str(result.error))
        elif result.summary is None:
            self._note(f"{source}: skipped, {shown(result.item.target)} is there")
            self._print([f"{shown(result.item.target)}", "  skipped: it is there already"])
        else:
            self._note(f"{source}: done, {shown(result.item.target)}")
            if self._quiet:
                for line in result.summary.damage:
                    say(f"{source}: damaged input: {line}")
            self._print(summary_lines(result.summary, self._verbose))

    def estimated(self, estimate: Estimate) -> None:
        """Say what would be done."""
        if self._as_json:
            self._results = [_estimate_fields(item) for item in estimate.items]
            return
        lines = [line for item in estimate.items for line in _estimate_lines(item)]
        todo = [item for item in estimate.items if not item.skipped and item.problem is None]
        lines.append(
            f"{counted(len(todo), 'input')} of {len(estimate.items)} would be done in about "
            f"{_duration(estimate.seconds)} and take about {_bytes(estimate.size)}"
        )
        if estimate.free is not None:
            lines[-1] += f"; {_bytes(estimate.free)} are free there"
        self._print(lines)

    def _named(self, path: Path) -> str:
        return "-" if path in self._piped else shown(path)

    def _renamed(self, result: Result) -> Result:
        """The result with what is piped named so."""
        item, summary = result.item, result.summary
        item = replace(item, source=Path(self._named(item.source)), target=Path(self._named(item.target)))
        if summary is not None:
            summary = replace(summary, input=item.source, output=item.target)
        return replace(result, item=item, summary=summary)

    def _print(self, lines: list[str]) -> None:
        if not self._quiet and not self._as_json:
            with self._bars.hidden():
                print("\n".join(lines), file=self._stream, flush=True)

    def _note(self, text: str) -> None:
        if self._log is None:
            return
        try:
            now = datetime.now(UTC).isoformat(timespec="seconds")
            print(f"{now} {one_line(text)}", file=self._log, flush=True)
        except OSError as error:
            self._log = None
            say(
                f"{shown(self._log_path or '')}: cannot be written ({error.strerror}); going on without the log"
            )

    def _finish(self, completed: bool) -> None:
        if not self._as_json:
            return
        counts = {
            status: sum(r["status"] == status for r in self._results)
            for status in ("done", "skipped", "failed")
        }
        failed = counts["failed"] > 0 or not completed
        summary = {
            "schema": SCHEMA,
            "version": __version__,
            "completed": completed,
            **counts,
            "exit_code": EXIT_FAILURE if failed else 0,
            "seconds": round(time.monotonic() - self._began, 3),
            "inputs": self._results,
        }
        print(json.dumps(summary), file=self._stream, flush=True)


def summary_lines(summary: Summary, verbose: bool) -> list[str]:
    """The closing summary, one line a subject."""
    from fvdeblur.media.acceleration import SOFTWARE

    lines = [shown(summary.output)]
    if summary.people == 0:
        lines.append(f"  no faces found in {counted(summary.frames, 'frame')}")
    else:
        lines.append(
            f"  {counted(summary.frames, 'frame')}, {counted(summary.people, 'face track')}, "
            f"{counted(summary.restored, 'face')} deblurred"
        )
    if summary.left_alone:
        reasons = ", ".join(f"{count} {reason}" for reason, count in sorted(summary.left_alone.items()))
        lines.append(f"  left alone: {reasons}")
    if summary.copied:
        lines.append("  nothing was changed, so the streams were copied as they are")
    if summary.reused:
        lines.append(
            f"  taken up: {summary.reused} of {counted(summary.segments, 'segment')} were done already"
        )
    lines += closing_lines(summary, summary.precision)
    if verbose:
        lines.append(f"  model {summary.model}, faces found by {summary.detector}")
    if summary.decoder and (verbose or summary.decoder != SOFTWARE):
        encoded = f", encoded by {summary.encoder}" if summary.encoder else ""
        lines.append(f"  decoded by {summary.decoder}{encoded}")
    return lines


def _result_fields(result: Result) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "input": shown(result.item.source),
        "output": shown(result.item.target),
        "kind": result.item.kind,
        "status": result.status,
        "error": None if result.error is None else one_line(str(result.error)),
    }
    if result.summary is not None:
        more = {key: value for key, value in vars(result.summary).items() if key not in fields}
        fields |= {**more, "seconds": round(result.summary.seconds, 3)}
    return fields


def _estimate_fields(item: ItemEstimate) -> dict[str, Any]:
    status = "skipped" if item.skipped else "failed" if item.problem else "done"
    return {
        "input": shown(item.item.source),
        "output": shown(item.item.target),
        "kind": item.item.kind,
        "status": status,
        "error": item.problem,
        "frames": item.frames,
        "estimated_seconds": None if item.seconds is None else round(item.seconds, 1),
        "estimated_bytes": item.size,
    }


def _estimate_lines(item: ItemEstimate) -> list[str]:
    lines = [f"{shown(item.item.source)} -> {shown(item.item.target)}"]
    if item.skipped:
        lines.append("  would be skipped: its output is there already")
    elif item.problem is not None:
        lines.append(f"  would fail: {item.problem}")
    else:
        parts = [counted(item.frames, "frame") if item.frames is not None else "unknown length"]
        parts += [f"about {_duration(item.seconds)}"] if item.seconds is not None else []
        parts += [f"about {_bytes(item.size)}"] if item.size is not None else []
        lines.append(f"  {', '.join(parts)}")
    return lines


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {rest:02d} s" if minutes else f"{max(1, rest)} s"


def _bytes(size: float) -> str:
    for unit in ("bytes", "kB", "MB", "GB"):
        if size < 1000 or unit == "GB":
            return f"{size:.0f} {unit}" if unit == "bytes" or size >= 100 else f"{size:.1f} {unit}"
        size /= 1000
    raise AssertionError
