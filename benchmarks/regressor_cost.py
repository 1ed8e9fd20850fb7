"""What reading and rendering faces costs, beside the network ``fvd`` on one window in the same run."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from fvdeblur import networks, released
from fvdeblur.morphable import Coefficients, render
from fvdeblur.morphable.coefficients import TOTAL
from fvdeblur.morphable.reader import FaceReader
from fvdeblur.morphable.regressor import USUAL_SCALE, Regressor
from fvdeblur.networks.fvd import FVD, multiply_accumulates

ROUNDS, SECONDS = 5, 1.0
"""At least so many runs of everything, and for at least so long."""

WINDOW = 256
SIZES = (128, 256)


def measure_cost(regressor: Regressor) -> dict[str, Any]:
    """Multiply-accumulates, and milliseconds a face on one core and on the GPU where there is one."""
    plain = torch.zeros(1, 3, regressor.size, regressor.size)
    fvd, inputs = _fvd()
    macs = multiply_accumulates(regressor, plain)
    cost: dict[str, Any] = {
        "regressor_gmac": round(macs / 1e9, 3),
        "reading_gmac": round(2 * macs / 1e9, 3),  # with its mirror image
        "regressor_parameters": sum(parameter.numel() for parameter in regressor.parameters()),
        f"fvd_{WINDOW}_gmac": round(multiply_accumulates(fvd, *inputs) / 1e9, 3),
    }
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        cost["cpu, one core"] = _milliseconds(regressor, "cpu")
    finally:
        torch.set_num_threads(threads)
    if torch.cuda.is_available():
        cost["gpu"] = _milliseconds(regressor, "cuda")
        regressor.cpu()
    return cost


def _fvd() -> tuple[FVD, tuple[Any, ...]]:
    """The released default network's layers (its speed does not depend on the weights) and a window for it."""
    network = networks.create("fvd", **released.read_config("fvd")["options"])
    assert isinstance(network, FVD)
    flow = torch.zeros(1, 2 * (network.frames - 1), WINDOW // 4, WINDOW // 4) if network.takes_flow else None
    frames = torch.zeros(1, 3 * network.frames, WINDOW, WINDOW)
    return network.eval().requires_grad_(False), (frames, None, None, flow)


@torch.inference_mode()
def _milliseconds(regressor: Regressor, device: str) -> dict[str, Any]:
    reader = FaceReader(regressor, device=device)
    fvd, inputs = _fvd()
    fvd = fvd.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    frames, *_, flow = inputs
    frames = frames.to(device).contiguous(memory_format=torch.channels_last)
    flow = None if flow is None else flow.to(device)
    crop = torch.full((1, 3, WINDOW, WINDOW), 0.5, device=device)
    vector = torch.zeros(1, TOTAL, device=device)
    vector[:, -1] = math.log(USUAL_SCALE)
    face = Coefficients.split(vector)
    albedo = reader.model.albedo(face.texture)
    works: dict[str, Callable[[], object]] = {
        "fvd": lambda: fvd(frames, None, None, flow),
        "read": lambda: reader.read(crop),
    }
    for size in SIZES:
        works[f"render_{size}"] = lambda size=size: render(reader.model, face, size)  # type: ignore[misc]
        works[f"render_{size}_given_albedo"] = lambda size=size: render(  # type: ignore[misc]
            reader.model, face, size, albedo=albedo
        )
    times = _interleaved(works, device)
    return {
        name: {"milliseconds": round(1000 * value, 2), "of_fvd": round(value / times["fvd"], 3)}
        for name, value in times.items()
    }


def _interleaved(works: dict[str, Callable[[], object]], device: str) -> dict[str, float]:
    """Median seconds of each, all run in turn, so that whatever else the machine does falls on all alike."""
    times: dict[str, list[float]] = {name: [] for name in works}
    began = time.perf_counter()
    for number in range(10**9):
        for name, work in works.items():
            start = time.perf_counter()
            work()
            if device != "cpu":
                torch.cuda.synchronize()
            if number:  # the first round only warms up
                times[name].append(time.perf_counter() - start)
        if number >= ROUNDS and time.perf_counter() - began > SECONDS * len(works):
            break
    return {name: float(np.median(values)) for name, values in times.items()}
