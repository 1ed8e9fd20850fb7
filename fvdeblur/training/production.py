"""Material made in worker processes and delivered in order."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeVar

import cv2
import torch
from torch.utils.data import DataLoader, Dataset

Made = TypeVar("Made")


def produce(maker: Dataset[Made], numbers: range, workers: int, ahead: int) -> Iterator[Made]:
    """Deliver the pieces of these numbers, in their order, whoever makes them.

    Parameters
    ----------
    maker
        Makes piece i from i alone.
    numbers
        Numbers of the pieces.
    workers
        Processes that make them, forked from this one; 0 makes them here.
    ahead
        Pieces that each process keeps ready.
    """
    if workers == 0:
        for number in numbers:
            yield maker[number]
        return
    options: dict[str, Any] = {
        "batch_size": None,
        "sampler": numbers,
        "num_workers": workers,
        "prefetch_factor": ahead,
        "worker_init_fn": _start_worker,
        "multiprocessing_context": "fork",
    }
    yield from DataLoader(maker, **options)


def _start_worker(_: int) -> None:
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
