"""Many inputs, one after the other, in several processes or on several machines, of which some may fail."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

from fvdeblur.cluster import ClusterWork, run_on_cluster
from fvdeblur.errors import BusyError, FvdeblurError, UsageError
from fvdeblur.folders import make_folders
from fvdeblur.media.failures import shown
from fvdeblur.processes import Outcome, Report, Work, plain_error, run_jobs, usable_cores
from fvdeblur.restoration.comparison import check_comparison, compare
from fvdeblur.restoration.deblurrer import Deblurrer
from fvdeblur.restoration.inputs import Item
from fvdeblur.restoration.report import check_report
from fvdeblur.restoration.settings import Settings
from fvdeblur.restoration.summary import Progress, Summary

Status = Literal["done", "skipped", "failed"]
Tell = Callable[[Item, Progress], None] | None

RELEASE_SECONDS = 120.0
"""How long unfinished work may still be held by a process of a node that was lost."""

APPEAR_SECONDS = 10.0
"""How long what another machine wrote may take to be seen here."""


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
    cluster: str | None = None,
    skip_existing: bool = False,
    fail_fast: bool = False,
    progress: Tell = None,
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
        Processes; each holds the model. Where ``settings.threads`` is 0, it takes its share of the processor's cores,
        and a single one half of them for each stage, since several stages are at work at a time.
    cluster
        Address of a Ray cluster, ``HOST:PORT`` or ``auto`` (the one that runs on this machine), that does the work
        instead: each input is a task, done again where it fails or its node is lost. It takes ``settings.threads``
        processors of its node (0: one) and, by ``settings.device``, a GPU. All nodes must see inputs and outputs under
        the same paths; what a lost node had done is taken up then.
    skip_existing
        Whether inputs whose output is there already are passed over.
    fail_fast
        Whether the first failure ends the work.
    progress
        Called as frames are written.

    Raises
    ------
    UsageError
        A setting cannot be had on this machine, or the cluster cannot be reached.
    InputError
        The model's files are damaged.
    OutputError
        A folder for the outputs cannot be made.
    """
    if cluster is not None and workers > 1:
        raise UsageError(
            "--ray and --workers exclude each other; a cluster has as many as its processors allow"
        )
    todo = []
    for item in items:
        if skip_existing and os.path.lexists(item.target):
            yield Result(item, "skipped")
        else:
            todo.append(item)
    wanted = {item.target.parent for item in todo if item.in_folder}
    if len(items) > 1:
        wanted |= {item.report.parent for item in todo if item.report is not None}
        wanted |= {item.comparison.parent for item in todo if item.comparison is not None}
    make_folders(sorted(wanted))
    workers = min(workers, len(todo))
    if cluster is not None:
        running = _on_cluster(todo, settings, cluster, progress)
    elif workers > 1:
        running = _in_processes(todo, settings, workers, progress)
    else:
        running = _here(todo, settings, progress)
    with closing(running) as results:
        for result in results:
            yield result
            if fail_fast and result.status == "failed":
                return


def deblur_item(
    deblurrer: Deblurrer, item: Item, progress: Callable[[Progress], None] | None = None
) -> Summary:
    """Deblur one input, whatever its kind."""
    if item.kind == "photograph":
        return deblurrer.image(item.source, item.target)
    if item.kind == "sequence":
        return deblurrer.sequence(item.pictures, item.target, source=item.source, progress=progress)
    settings = deblurrer.settings
    if item.report is not None:
        check_report(item.report, item.source, item.target, settings.overwrite)
    if item.comparison is not None:
        check_comparison(item.comparison, item.source, item.target, settings.overwrite)
    summary = deblurrer.video(item.source, item.target, progress=progress)
    if item.comparison is not None:
        compared = compare(
            item.source,
            item.target,
            item.comparison,
            mode=item.comparison_mode,
            start=settings.start,
            end=settings.end,
            trimmed=True,
            threads=settings.threads,
            overwrite=settings.overwrite,
        )
        where = shown(item.comparison)
        more = [f"compared with the input in {where}", *(f"{where}: {note}" for note in compared.notes)]
        summary = replace(summary, notes=[*summary.notes, *more])
    if item.report is not None:
        deblurrer.report(summary, item.report)
    return summary


def _here(items: Sequence[Item], settings: Settings, progress: Tell) -> Generator[Result, None, None]:
    if not items:
        return
    deblurrer = Deblurrer(_shared(settings, 2))
    for item in items:
        try:
            told = None if progress is None else partial(progress, item)
            yield Result(item, "done", deblur_item(deblurrer, item, told))
        except Exception as error:  # one that nobody thought of must not take the others with it
            yield Result(item, "failed", error=plain_error(error))


def _in_processes(
    items: Sequence[Item], settings: Settings, workers: int, progress: Tell
) -> Generator[Result, None, None]:
    prepare = partial(_prepare, _shared(settings, workers))
    yield from _results(run_jobs(prepare, items, workers, partial(_tell, progress)))


def _shared(settings: Settings, parts: int) -> Settings:
    """The settings with as many threads as one of so many parts of the processor has cores, where none are given."""
    if settings.threads:
        return settings
    return replace(settings, threads=max(1, usable_cores() // parts))


def _on_cluster(
    items: Sequence[Item], settings: Settings, address: str, progress: Tell
) -> Generator[Result, None, None]:
    if settings.device.startswith("cuda:"):
        raise UsageError(f"--device {settings.device}: Ray chooses among a node's GPUs; give --device cuda")
    if not items:
        return
    settings = replace(settings, threads=settings.threads or 1)
    outcomes = run_on_cluster(
        partial(_prepare_on_node, settings, os.getcwd()),
        items,
        address,
        partial(_tell, progress),
        processors=settings.threads,
        gpus={"auto": "any", "cpu": None}.get(settings.device, "all"),
    )
    with closing(_results(outcomes)) as results:
        for result in results:
            if result.status == "done" and not _appears(result.item.target):
                text = (
                    f"{shown(result.item.source)}: its output was written, but not to this machine; {_SHARED}"
                )
                yield Result(result.item, "failed", error=FvdeblurError(text))
            else:
                yield result


_SHARED = "a Ray cluster needs storage that all nodes see under the same paths"


def _tell(progress: Tell, told: tuple[Item, Progress]) -> None:
    if progress is not None:
        progress(*told)


def _results(outcomes: Generator[Outcome[Item], None, None]) -> Generator[Result, None, None]:
    """How inputs ended that other processes worked on."""
    with closing(outcomes):
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


def _prepare_on_node(settings: Settings, folder: str) -> ClusterWork:
    """What a process of a cluster's node does with an item; relative paths start in a folder."""
    with suppress(OSError):  # where it is not there, absolute paths may be
        os.chdir(folder)
    deblurrer = Deblurrer(settings)
    # An earlier attempt may have written the output and been lost before it could say so.
    again = deblurrer.with_settings(replace(settings, overwrite=True))

    def work(item: Any, report: Report, attempt: int) -> Summary:
        if not all(path.exists() for path in item.pictures or [item.source]):
            raise UsageError(f"{shown(item.source)}: is not there on the node {platform.node()}; {_SHARED}")
        worker = deblurrer if attempt == 1 else again
        until = time.monotonic() + RELEASE_SECONDS
        while True:
            try:
                return deblur_item(worker, item, lambda progress: report((item, progress)))
            except BusyError:
                if attempt == 1 or time.monotonic() > until:
                    raise
                time.sleep(1)

    return work


def _appears(path: Path) -> bool:
    """Whether a file that another machine wrote can be seen here, be it after a while."""
    until = time.monotonic() + APPEAR_SECONDS
    while not os.path.lexists(path):
        if time.monotonic() > until:
            return False
        with suppress(OSError):
            os.listdir(path.parent)  # lets network file systems look again
        time.sleep(0.2)
    return True
