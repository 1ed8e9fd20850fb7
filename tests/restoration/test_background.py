"""A stage of the pipeline in a thread of its own."""

import os
import signal
import threading
import time
from collections.abc import Iterator

import pytest

from fvdeblur.restoration.background import in_background


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    """Every test must leave as many threads as it found."""
    before = threading.active_count()
    yield
    assert threading.active_count() == before


def test_items_come_in_order() -> None:
    assert list(in_background(range(100), 3)) == list(range(100))
    assert list(in_background([], 3)) == []


def test_the_work_is_done_elsewhere() -> None:
    def names() -> Iterator[str]:
        yield threading.current_thread().name

    assert list(in_background(names(), 1)) == ["fvdeblur-stage"]


def test_an_error_arrives_after_the_items_before_it() -> None:
    def failing() -> Iterator[int]:
        yield 1
        yield 2
        raise ValueError("the third")

    items = in_background(failing(), 4)
    assert [next(items), next(items)] == [1, 2]
    with pytest.raises(ValueError, match="the third") as caught:
        next(items)
    assert any(entry.name == "failing" for entry in caught.traceback)  # where it came from is still known


def test_the_lead_is_bounded() -> None:
    made = 0

    def counting() -> Iterator[int]:
        nonlocal made
        for k in range(50):
            made += 1
            yield k

    stream = in_background(counting(), 3)
    assert next(stream) == 0
    time.sleep(0.3)
    assert made == 5  # one taken, three waiting, one in the hand of the thread that waits for a place
    leads = [made - item for item in stream]
    assert max(leads) <= 6
    assert made == 50


def test_closing_early_stops_the_thread_and_closes_its_source() -> None:
    closed = threading.Event()
    made = 0

    def endless() -> Iterator[int]:
        nonlocal made
        try:
            while True:
                made += 1
                yield made
        finally:
            closed.set()

    stream = in_background(endless(), 2)
    assert [next(stream), next(stream)] == [1, 2]
    stream.close()
    assert closed.is_set()
    stopped_at = made
    time.sleep(0.05)
    assert made == stopped_at


def test_closing_waits_for_a_thread_that_is_busy() -> None:
    """What the thread reads from may be closed as soon as ``close`` returns."""
    busy = threading.Event()
    done = threading.Event()

    def slow() -> Iterator[int]:
        yield 0
        busy.set()
        time.sleep(0.4)
        done.set()
        yield 1

    stream = in_background(slow(), 1)
    next(stream)
    busy.wait(5)
    stream.close()
    assert done.is_set()


def test_an_interrupt_while_closing_waits_for_a_busy_thread_all_the_same() -> None:
    busy = threading.Event()
    done = threading.Event()

    def slow() -> Iterator[int]:
        yield 0
        busy.set()
        time.sleep(0.8)
        done.set()
        yield 1

    stream = in_background(slow(), 1)
    next(stream)
    busy.wait(5)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    impatient = threading.Timer(0.2, lambda: os.kill(os.getpid(), signal.SIGINT))
    try:
        impatient.start()
        stream.close()
    finally:
        impatient.join()
        signal.signal(signal.SIGINT, before)
    assert done.is_set()


def test_closing_a_chain_of_stages() -> None:
    closed = []

    def source() -> Iterator[int]:
        try:
            yield from range(10**9)
        finally:
            closed.append("source")

    first = in_background(source(), 2)
    second = in_background((2 * item for item in first), 2)
    assert [next(second), next(second)] == [0, 2]
    second.close()
    first.close()
    assert closed == ["source"]


def test_nothing_starts_before_the_first_item_is_asked_for() -> None:
    stream = in_background(iter(lambda: pytest.fail("was asked"), None), 1)
    stream.close()


def test_an_error_of_the_later_stage_stops_the_earlier() -> None:
    def failing(items: Iterator[int]) -> Iterator[int]:
        for item in items:
            if item == 3:
                raise RuntimeError("the later stage")
            yield item

    first = in_background(iter(range(10**9)), 2)
    second = in_background(failing(first), 2)
    with pytest.raises(RuntimeError, match="the later stage"):
        list(second)
    second.close()
    first.close()
