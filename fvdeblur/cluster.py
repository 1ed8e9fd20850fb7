"""Jobs for the machines of a Ray cluster, any of which may be lost without taking the jobs with it."""

from __future__ import annotations

import logging
import os
import pickle
import platform
import signal
import socket
import threading
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import lru_cache
from typing import Any, TypeVar

from fvdeblur import __version__
from fvdeblur.errors import FvdeblurError, InputError, UsageError
from fvdeblur.processes import STOP_SECONDS, Outcome, Report, plain_error

Job = TypeVar("Job")
ClusterWork = Callable[[Any, Report, int], Any]

RETRIES = 3
"""How often a job is begun again that was lost with its node or process, or that failed for what may pass."""

PAUSE = 1.0
"""Seconds before a job that failed is begun again."""

INTERVAL = 0.25
"""Seconds between reports of a job, and between looks at them."""

CONNECT_SECONDS = 10.0


def run_on_cluster(
    prepare: Callable[[], ClusterWork],
    jobs: Sequence[Job],
    address: str,
    progress: Report,
    *,
    processors: int = 1,
    gpus: str | None = None,
) -> Generator[Outcome[Job], None, None]:
    """Do each job as one task of a Ray cluster and yield each as it ends, in no particular order.

    A job that was lost with its node or process, or that failed for another reason than its input or a wrong request,
    is begun again up to `RETRIES` times, on any node. Closing the generator, an error or an interrupt cancels the
    tasks as Ctrl-C would; what has not ended after `fvdeblur.processes.STOP_SECONDS` is killed.

    Parameters
    ----------
    prepare
        Called once in every process of a node; returns what does a job. That is called with the job, a function that
        takes reports of progress, and the number of the attempt, from 1 on. All must be picklable.
    jobs
        What to do.
    address
        Of the cluster, ``HOST:PORT``; ``auto``: the one that runs on this machine. Where the caller has called
        ``ray.init`` already, that connection is used.
    progress
        Called with the latest report of each job now and then.
    processors
        How many of its node's processors a job takes.
    gpus
        ``all``: each job takes a GPU; ``any``: where the cluster has one; None: none does.

    Raises
    ------
    UsageError
        Ray is not installed, no cluster answers, no node has so many processors, or ``prepare`` says that what it was
        asked for cannot be had. Where it fails for another reason, that concerns the job alone.
    """
    with _connected(address) as ray:
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        largest = max((node.get("CPU", 0) for node in nodes), default=0)
        if 0 < largest < processors:
            raise UsageError(
                f"--threads {processors}: no node of the Ray cluster has so many processors, the largest {largest:g}"
            )
        gpu = gpus == "all" or (gpus == "any" and any(node.get("GPU", 0) for node in nodes))
        affinity = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy
        here = affinity(ray.get_runtime_context().get_node_id(), soft=False)
        board = ray.remote(_Board).options(num_cpus=0, max_restarts=-1, scheduling_strategy=here).remote()
        task = ray.remote(_do).options(
            num_cpus=processors,
            num_gpus=int(gpu),
            max_retries=RETRIES,
            retry_exceptions=[_TryAgain],
            scheduling_strategy="SPREAD",
        )
        pickled = pickle.dumps(prepare)
        waiting: dict[Any, int] = {}
        try:
            for number, job in enumerate(jobs):
                waiting[task.remote(pickled, __version__, job, number, board)] = number
            while waiting:
                ended, _ = ray.wait(list(waiting), timeout=INTERVAL)
                for number, report in _reports(ray, board).items():
                    if number in waiting.values():
                        progress(report)
                for reference in ended:
                    yield _outcome(ray, jobs[waiting.pop(reference)], reference)
        finally:
            _cancel(ray, list(waiting))


class _Board:
    """Where the jobs report, beside the one who looks at it."""

    def __init__(self) -> None:
        self._latest: dict[int, Any] = {}
        self._attempts: dict[int, int] = {}

    def begin(self, number: int) -> int:
        """Count an attempt at a job."""
        self._attempts[number] = self._attempts.get(number, 0) + 1
        return self._attempts[number]

    def put(self, number: int, report: Any) -> None:
        self._latest[number] = report

    def take(self) -> dict[int, Any]:
        """The latest report of each job that has come since the call before."""
        latest, self._latest = self._latest, {}
        return latest


class _TryAgain(Exception):  # noqa: N818 - it is a request
    """A job failed for what may pass, or what another node may not have; holds the plain error."""


def _reports(ray: Any, board: Any) -> dict[int, Any]:
    """What has come to the board; nothing while it is not to be had, without which the work goes on."""
    try:
        reports: dict[int, Any] = ray.get(board.take.remote())
    except ray.exceptions.RayError:
        return {}
    return reports


def _do(pickled: bytes, version: str, job: Any, number: int, board: Any) -> tuple[str, Any]:
    """One job, in a process of a node: what became of it, and its result or error."""
    import ray

    try:
        if version != __version__:
            raise FvdeblurError(f"its fvdeblur is {__version__}, not {version}; install the same everywhere")
        work = _prepared(pickled)
    except Exception as error:
        plain = plain_error(error)
        plain.args = (f"node {platform.node()}: {plain}",)
        if isinstance(plain, UsageError):
            return "unprepared", plain
        time.sleep(PAUSE)
        raise _TryAgain(plain) from None
    attempt = ray.get(board.begin.remote(number))
    told = 0.0

    def report(value: Any) -> None:
        nonlocal told
        if time.monotonic() - told >= INTERVAL:
            told = time.monotonic()
            board.put.remote(number, value)

    try:
        return "result", work(job, report, attempt)
    except (InputError, UsageError) as error:
        return "error", plain_error(error)
    except Exception as error:
        time.sleep(PAUSE)
        raise _TryAgain(plain_error(error)) from None


@lru_cache(maxsize=1)
def _prepared(pickled: bytes) -> ClusterWork:
    """What does the jobs; made once in a process."""
    work: ClusterWork = pickle.loads(pickled)()
    return work


def _outcome(ray: Any, job: Job, reference: Any) -> Outcome[Job]:
    try:
        kind, value = ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        cause = error.cause
        if isinstance(cause, _TryAgain):
            return Outcome(job, error=cause.args[0])
        return Outcome(job, error=plain_error(cause if isinstance(cause, Exception) else error))
    except ray.exceptions.RayError as error:
        return Outcome(
            job,
            error=FvdeblurError(
                f"its process or node was lost {RETRIES + 1} times ({type(error).__name__}); is there enough memory?"
            ),
        )
    if kind == "unprepared":
        raise value
    return Outcome(job, **{kind: value})


def _cancel(ray: Any, references: list[Any]) -> None:
    """Let the tasks leave their work; kill those that do not."""
    try:
        for reference in references:
            ray.cancel(reference)
        if references:
            _, references = ray.wait(references, num_returns=len(references), timeout=STOP_SECONDS)
    finally:
        for reference in references:
            with suppress(Exception):
                ray.cancel(reference, force=True)


@contextmanager
def _connected(address: str) -> Iterator[Any]:
    """Ray with a connection to a cluster, which is closed at the end if it was made here."""
    # What Ray's own processes report would stand on standard output, between the lines of the summary.
    os.environ.setdefault("RAY_DEDUP_LOGS_SKIP_REGEX", ".")
    try:
        import ray
        import ray.util.scheduling_strategies
    except ImportError:
        raise UsageError('work on a Ray cluster needs the package ray: pip install "fvdeblur[ray]"') from None
    if ray.is_initialized():
        yield ray
        return
    main = threading.current_thread() is threading.main_thread()
    handler = signal.getsignal(signal.SIGTERM)
    try:
        if address != "auto":  # Ray itself would try for minutes
            host, _, port = address.rpartition(":")
            socket.create_connection((host, int(port)), CONNECT_SECONDS).close()
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    except (OSError, RuntimeError, ValueError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
        place = "on this machine" if address == "auto" else f"at {address}"
        raise UsageError(
            f"no Ray cluster can be reached {place} ({reason}); start one with `ray start --head`, or use --workers"
        ) from error
    finally:
        if main:
            signal.signal(signal.SIGTERM, handler or signal.SIG_DFL)  # Ray puts its own there
    try:
        yield ray
    finally:
        ray.shutdown()
