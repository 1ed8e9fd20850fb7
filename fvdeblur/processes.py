"""Jobs for several processes, each of which may die without taking the others with it."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import Any, Generic, TypeVar

from fvdeblur.errors import EXIT_TERMINATED, FvdeblurError

Job = TypeVar("Job")
Report = Callable[[Any], None]
Work = Callable[[Any, Report], Any]

STOP_SECONDS = 15.0
"""Time that processes are given to put away what they are at before they are killed."""

_STOPS = (signal.SIGINT, signal.SIGTERM)


def usable_cores() -> int:
    """How many of the processor's cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@dataclass(frozen=True)
class Outcome(Generic[Job]):
    """How a job ended.

    Attributes
    ----------
    job
        The job.
    result
        What the work returned; None where it failed.
    error
        Why it failed.
    """

    job: Job
    result: Any = None
    error: FvdeblurError | None = None


def run_jobs(
    prepare: Callable[[], Work], jobs: Sequence[Job], processes: int, progress: Report
) -> Generator[Outcome[Job], None, None]:
    """Do jobs in processes of their own and yield each as it ends, in no particular order.

    Closing the generator, an error or an interrupt stops the processes: the work is left as an exception leaves it, so
    that it can put away what is half done; a second interrupt, or `STOP_SECONDS`, kills it.

    Parameters
    ----------
    prepare
        Called once in every process; returns what does a job. It is called with the job and a function that takes
        any report of progress. It, the jobs and the reports must be picklable.
    jobs
        What to do, begun in this order.
    processes
        How many work at once.
    progress
        Called with what is reported, as it comes.

    Raises
    ------
    FvdeblurError
        ``prepare`` failed.
    """
    waiting = deque(jobs)
    workers: dict[Connection, _Worker[Job]] = {}
    try:
        while waiting or workers:
            while waiting and len(workers) < processes:
                with _signals_wait():
                    worker: _Worker[Job] = _Worker(prepare, waiting.popleft())
                    workers[worker.connection] = worker
            for connection in wait(list(workers)):
                assert isinstance(connection, Connection)
                worker = workers[connection]
                outcome = worker.receive(progress)
                if outcome is None:
                    continue
                yield outcome
                if waiting and worker.alive:
                    worker.give(waiting.popleft())
                else:
                    worker.end(time.monotonic() + STOP_SECONDS)
                    del workers[connection]
    finally:
        until = time.monotonic() + STOP_SECONDS
        try:
            for worker in workers.values():
                worker.interrupt()
            for worker in workers.values():
                worker.end(until)
        finally:
            for worker in workers.values():
                worker.kill()


class _Worker(Generic[Job]):
    """A process that does one job after the other, and the end of the pipe to it."""

    def __init__(self, prepare: Callable[[], Work], job: Job) -> None:
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, prepare), daemon=True)
        self._process.start()
        theirs.close()
        self.alive = True
        self.give(job)

    def give(self, job: Job) -> None:
        self._job = job
        with suppress(OSError):  # where it died, `receive` will notice
            self.connection.send(job)

    def receive(self, progress: Report) -> Outcome[Job] | None:
        """Take one message; None where the job goes on."""
        try:
            kind, value = self.connection.recv()
        except (EOFError, OSError):
            self.alive = False
            self._process.join(STOP_SECONDS)
            how = _end_of(self._process.exitcode)
            return Outcome(self._job, error=FvdeblurError(f"its process {how}; is there enough memory?"))
        if kind == "progress":
            progress(value)
            return None
        if kind == "unprepared":
            raise value
        return Outcome(self._job, **{kind: value})

    def interrupt(self) -> None:
        """Ask the process to leave its work."""
        self._process.terminate()

    def end(self, until: float) -> None:
        """Let the process end up to a time: it does when the pipe is closed."""
        self.connection.close()
        self._process.join(max(0.0, until - time.monotonic()))
        self.kill()

    def kill(self) -> None:
        """End the process, whatever it does."""
        if self._process.is_alive():
            self._process.kill()
            self._process.join()


@contextmanager
def _signals_wait() -> Iterator[None]:
    """Let Ctrl-C and a request to stop wait, here until the end of the block, and in processes that it starts.

    Else a process that is just starting would die of them with a traceback, or be unknown to who must stop it.
    """
    if not hasattr(signal, "pthread_sigmask") or threading.current_thread() is not threading.main_thread():
        yield
        return
    from multiprocessing import resource_tracker

    resource_tracker.ensure_running()  # it unblocks these signals when it starts
    came: list[int] = []
    before = {number: signal.getsignal(number) for number in _STOPS}
    for number in _STOPS:
        signal.signal(number, lambda number, _: came.append(number))  # of threads that do not block them
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, _STOPS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        for number in _STOPS:
            signal.signal(number, before[number] or signal.SIG_DFL)
        for late in came:
            signal.raise_signal(late)


class _Interrupted(BaseException):
    """The process is asked to leave its work; it unwinds as Ctrl-C does."""


def _interrupt(*_: Any) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise _Interrupted


def _end_of(code: int | None) -> str:
    return (
        f"was killed by signal {-code}" if code is not None and code < 0 else f"ended with exit code {code}"
    )


def _serve(connection: Connection, prepare: Callable[[], Work]) -> None:
    """What a process does: jobs, until the pipe is closed."""
    # Ctrl-C reaches all processes; the first one stops the others.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        signal.signal(signal.SIGTERM, _interrupt)
        if hasattr(signal, "pthread_sigmask"):
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _STOPS)
        try:
            work = prepare()
        except Exception as error:
            connection.send(("unprepared", plain_error(error)))
            return
        while True:
            job = connection.recv()
            try:
                message = ("result", work(job, lambda report: connection.send(("progress", report))))
            except ConnectionError:
                raise
            except Exception as error:
                message = ("error", plain_error(error))
            connection.send(message)
    except (EOFError, OSError):  # nobody listens any more
        os._exit(0)
    except _Interrupted:
        os._exit(EXIT_TERMINATED)


def plain_error(error: Exception) -> FvdeblurError:
    """An error that can be sent, or reported among others; where it came from goes along as a note."""
    plain = error
    if not isinstance(error, FvdeblurError):
        reason = (str(error).strip() or "no reason given").splitlines()[0]
        plain = FvdeblurError(f"unexpected {type(error).__name__}: {reason}")
    plain.__cause__ = None
    plain.__notes__ = ["".join(traceback.format_exception(error))]
    return plain  # type: ignore[return-value]
