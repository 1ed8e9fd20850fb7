"""Run one stage of a pipeline in a thread of its own, with a bounded queue behind it."""

from __future__ import annotations

import queue
import threading
from collections.abc import Generator, Iterable
from contextlib import suppress
from typing import Any, TypeVar

Item = TypeVar("Item")

_POLL = 0.1


def in_background(items: Iterable[Item], size: int) -> Generator[Item, None, None]:
    """Iterate over ``items`` in a thread and yield them here, at most ``size`` waiting.

    An error in the thread is raised here, after the items before it. Closing the generator (or leaving it by an
    error) stops the thread and waits for it, so that nothing runs on behind the caller's back.
    """
    held: queue.Queue[tuple[str, Any]] = queue.Queue(maxsize=size)
    stopped, ended = threading.Event(), threading.Event()

    def put(kind: str, value: Any) -> bool:
        while not stopped.is_set():
            try:
                held.put((kind, value), timeout=_POLL)
            except queue.Full:
                continue
            return True
        return False

    def work() -> None:
        try:
            for item in items:
                if not put("item", item):
                    break
        except BaseException as error:  # handed over, whatever it is
            put("error", error)
        else:
            put("end", None)
        finally:
            try:
                close = getattr(items, "close", None)
                if close is not None:
                    close()
            finally:
                ended.set()

    thread = threading.Thread(target=work, name="fvdeblur-stage", daemon=True)
    try:
        thread.start()
        while True:
            kind, value = held.get()
            if kind == "end":
                return
            if kind == "error":
                raise value
            yield value
    finally:
        stopped.set()
        # Files are closed after this, which the thread must not live to see: a second Ctrl-C has to wait. Python 3.11
        # takes a thread for dead once waiting for it was interrupted, so the thread itself says when it has ended.
        while thread.is_alive() and not ended.is_set():
            with suppress(KeyboardInterrupt):
                ended.wait()
        thread.join()
