"""Many inputs, one after the other or in several processes, of which some may fail."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal

from fvdeblur.errors import FvdeblurError
from fvdeblur.folders import make_folders
from fvdeblur.media.failures import shown
from fvdeblur.processes import Report, Work, plain_error, run_jobs
from fvdeblur.restoration.deblurrer import Deblurrer, Progress, Summary
from fvdeblur.restoration.inputs import Item
from fvdeblur.restoration.report import check_report
from fvdeblur.restoration.settings import Settings

Status = Literal["done", "skipped", "failed"]


@dataclass(frozen=True)
class Result:
    """How the work on one input ended.

    Attributes
    ----------
    item
        The input.
    status
        ``done``, ``skipped`` (its output was there already) or ``failed``.
    summary
        What was done.
    error
        Why it failed.
    """

    item: Item
    status: Status
    summary: Summary | None = None
    error: FvdeblurError | None = None


def run_batch(
    items: Sequence[Item],
    settings: Settings,
    *,
    workers: int = 1,
    skip_existing: bool = False,
    fail_fast: bool = False,
    progress: Callable[[Item, Progress], None] | None = None,
) -> Generator[Result, None, None]:
    """Deblur inputs and yield how each ended, as they end.

    A failure concerns its input alone. Closing the generator, or an interrupt, stops the work.

    Parameters
    ----------
    items
        What to work on.
    settings
        How.
    workers
        Processes; each holds the model and takes its share of the processor's cores where ``settings.threads`` is 0.
    skip_existing
        Whether inputs whose output is there already are passed over.
    fail_fast
        Whether the first failure ends the work.
    progress
        Called as frames are written.

    Raises
    ------
    UsageError
        A setting cannot be had on this machine.
    InputError
        The model's files are damaged.
    OutputError
        A folder for the outputs cannot be made.
    """
    todo = []
    for item in items:
        if skip_existing and os.path.lexists(item.target):
            yield Result(item, "skipped")
        else:
            todo.append(item)
    wanted = {item.target.parent for item in todo if item.in_folder}
    wanted |= {item.report.parent for item in todo if item.report is not None and len(items) > 1}
    make_folders(sorted(wanted))
    workers = min(workers, len(todo))
    work = _in_processes if workers > 1 else _here
    with closing(work(todo, settings, workers, progress)) as results:
        for result in results:
            yield result
            if fail_fast and result.status == "failed":
                return


def deblur_item(
    deblurrer: Deblurrer, item: Item, progress: Callable[[Progress], None] | None = None
) -> Summary:
    """Deblur one input, whatever its kind."""
    if item.kind == "photograph":
        return deblurrer.photograph(item.source, item.target)
    if item.kind == "sequence":
        return deblurrer.sequence(item.pictures, item.target, source=item.source, progress=progress)
    if item.report is not None:
        check_report(item.report, item.source, item.target, deblurrer.settings.overwrite)
    summary = deblurrer.run(item.source, item.target, progress=progress)
    if item.report is not None:
        deblurrer.report(summary, item.report)
    return summary


def _here(
    items: Sequence[Item], settings: Settings, _: int, progress: Callable[[Item, Progress], None] | None
) -> Generator[Result, None, None]:
    if not items:
        return
    deblurrer = Deblurrer(settings)
    for item in items:
        try:
            told = None if progress is None else partial(progress, item)
            yield Result(item, "done", deblur_item(deblurrer, item, told))
        except Exception as error:  # one that nobody thought of must not take the others with it
            yield Result(item, "failed", error=plain_error(error))


def _in_processes(
    items: Sequence[Item], settings: Settings, workers: int, progress: Callable[[Item, Progress], None] | None
) -> Generator[Result, None, None]:
    if not settings.threads:
        settings = replace(settings, threads=max(1, (os.cpu_count() or 1) // workers))

    def report(told: tuple[Item, Progress]) -> None:
        if progress is not None:
            progress(*told)

    with closing(run_jobs(partial(_prepare, settings), items, workers, report)) as outcomes:
        for outcome in outcomes:
            if outcome.error is not None:
                where = shown(outcome.job.source)
                text = str(outcome.error)
                error = outcome.error if text.startswith(where) else FvdeblurError(f"{where}: {text}")
                yield Result(outcome.job, "failed", error=error)
            else:
                yield Result(outcome.job, "done", outcome.result)


def _prepare(settings: Settings) -> Work:
    """What a process of several does with an item."""
    deblurrer = Deblurrer(settings)

    def work(item: Any, report: Report) -> Summary:
        return deblur_item(deblurrer, item, lambda progress: report((item, progress)))

    return work
