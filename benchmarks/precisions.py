"""What each precision and each runtime costs and gains: no speed may be bought with the picture.

    python -m benchmarks.precisions --data FOLDER [--model NAME ...] [--clips N] [--threads N]

The released networks in every precision that the device computes, by PyTorch as the product runs them, and on a
processor by ONNX Runtime and, where it is installed, OpenVINO. For each: the mean PSNR in the face box over the
segments of the protocol ``motion`` of `benchmarks.quality` (the first N clips of the validation identities), how much
less than in PyTorch's single precision that is, the largest difference from its output (of 255), and the milliseconds
that the network alone takes for a crop (median; flow, movement and 3D face are given to it). JSON on standard output.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable
from typing import Any

import click
import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.machine import describe_machine
from benchmarks.quality import SIZE, Measuring, make_segment
from fvdeblur.datasets import Clip, load_clips
from fvdeblur.evaluation.datasets import with_noise
from fvdeblur.networks import WindowShape
from fvdeblur.released import names_of_networks
from fvdeblur.restoration import Restorer
from fvdeblur.restoration.export import convert, sample_inputs
from fvdeblur.restoration.weights import load_model

FloatArray = NDArray[np.float32]
Inputs = dict[str, torch.Tensor]
Compute = Callable[[Inputs], FloatArray]

TIMED_SIDES = (256, 384)
"""Sides of the crops that are timed: a face of 140 pixels, and the largest that is not reduced."""

MOST_LOST = 0.05
"""Decibels that a precision may lose."""


class OtherRuntime(Restorer):
    """A network whose changes something else than PyTorch computes.

    Parameters
    ----------
    model
        Name of a released model.
    compute
        Gives changes, float32 [B, 3, H, W], of inputs in single precision.
    """

    def __init__(self, model: str, compute: Compute) -> None:
        super().__init__(model, "cpu", "fp32")
        self._compute = compute

    def compute(self, inputs: Inputs) -> list[FloatArray | None]:
        """Change of the central frame of each window, float32 [H, W, 3] each."""
        given = {name: value.float() for name, value in inputs.items()}
        for name in {"frames", "aligned"} & set(given):
            given[name] = given[name] / 255
        return list(np.ascontiguousarray(self._compute(given).transpose(0, 2, 3, 1)))


def runtimes(model: str, threads: int) -> dict[str, Compute]:
    """What else computes a network on a processor, by name."""
    network, card = load_model(model)
    shape = WindowShape.of(network)
    side = max(8 * shape.multiple, card.smallest_side)
    given = sample_inputs(shape, 2, side, side + 4 * shape.multiple)
    if shape.takes_flow:
        given["aligned"] = given["frames"][:, 3:].clone()
    data = convert(network, given).SerializeToString()
    return {"onnxruntime fp32": _onnxruntime(data, threads), **_openvino(data, threads)}


def _onnxruntime(data: bytes, threads: int) -> Compute:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    wanted = {each.name for each in session.get_inputs()}

    def compute(inputs: Inputs) -> FloatArray:
        arrays = {name: value.contiguous().numpy() for name, value in inputs.items() if name in wanted}
        return np.asarray(session.run(None, arrays)[0], np.float32)

    return compute


def _openvino(data: bytes, threads: int) -> dict[str, Compute]:
    try:
        import openvino
    except ImportError:
        return {}
    core = openvino.Core()

    def at(precision: str) -> Compute:
        hints = {
            "INFERENCE_PRECISION_HINT": precision,
            "INFERENCE_NUM_THREADS": threads,
            "NUM_STREAMS": 1,
        }
        request = core.compile_model(core.read_model(data), "CPU", hints).create_infer_request()
        wanted = {name for each in request.model_inputs for name in each.names}

        def compute(inputs: Inputs) -> FloatArray:
            arrays = {name: value.contiguous().numpy() for name, value in inputs.items() if name in wanted}
            return np.array(next(iter(request.infer(arrays).values())), np.float32)

        return compute

    return {f"openvino {name}": at(hint) for name, hint in (("fp32", "f32"), ("bf16", "bf16"))}


def ways(model: str, device: str, threads: int) -> dict[str, Restorer]:
    """Every way of computing a network, single precision by PyTorch first."""
    found = {"torch fp32": Restorer(model, device, "fp32")}
    for precision in ("bf16", "fp16") if found["torch fp32"].device.type == "cuda" else ("bf16",):
        found[f"torch {precision}"] = Restorer(model, device, precision)
    if found["torch fp32"].device.type == "cpu":
        for name, compute in runtimes(model, threads).items():
            found[name] = OtherRuntime(model, compute)
    return found


def milliseconds(restorers: dict[str, Restorer], side: int, runs: int = 9) -> dict[str, float]:
    """Median milliseconds of a crop of this side, by turns, so that all see the same machine."""
    rng = np.random.default_rng(0)
    frame = rng.integers(0, 256, (side, side, 3), dtype=np.uint8)
    first = next(iter(restorers.values()))
    window = np.stack([np.roll(frame, k, axis=1) for k in range(first.frames)])
    inputs = first.prepare([window])
    shape = WindowShape(
        first.frames, first.multiple, first.takes_flow, first.prior_channels, first.identity_size
    )
    inputs |= {k: v for k, v in sample_inputs(shape, 1, side, side).items() if k in ("prior", "identity")}
    times: dict[str, list[float]] = {name: [] for name in restorers}
    for turn in range(runs + 2):
        for name, restorer in restorers.items():
            begin = time.perf_counter()
            restorer.compute(dict(inputs))
            if turn >= 2:
                times[name].append(1000 * (time.perf_counter() - begin))
    return {name: round(statistics.median(each), 1) for name, each in times.items()}


def quality(restorers: dict[str, Restorer], clips: list[Clip], seed: int) -> dict[str, dict[str, float]]:
    """Mean PSNR of each way, and the largest difference from the first one's pictures."""
    measured = {name: Measuring(restorer, "none") for name, restorer in restorers.items()}
    first, *_ = measured.values()
    most = dict.fromkeys(restorers, 0)
    for clip in clips:
        for shaken in (False, True):
            segment = make_segment(clip, shaken, 0, seed)
            sharp = segment.sharp.permute(0, 2, 3, 1).contiguous().numpy()
            blurred = with_noise(segment.blurred.permute(0, 2, 3, 1).numpy(), seed)
            truth = first.truth(sharp)
            if truth is None:
                continue
            outputs = {
                name: each.add("motion", clip, blurred, truth).astype(int) for name, each in measured.items()
            }
            exact = next(iter(outputs.values()))
            for name, output in outputs.items():
                most[name] = max(most[name], int(np.abs(output - exact).max()))
    means = {
        name: float(np.mean([row.after["psnr"] for row in each.results.rows]))
        for name, each in measured.items()
    }
    exact_db = next(iter(means.values()))
    return {
        name: {
            "restored_db": round(mean, 4),
            "lost_db": round(exact_db - mean, 4),
            "most_difference": most[name],
        }
        for name, mean in means.items()
    }


@click.command()
@click.option("--data", required=True, help="Folder with clips.tsv and clips/.")
@click.option("--model", "models", multiple=True, help="A released network; may be repeated. [default: all]")
@click.option("--device", default="cpu", show_default=True)
@click.option("--clips", "count", type=click.IntRange(1), default=4, show_default=True)
@click.option("--threads", type=click.IntRange(1), default=1, show_default=True)
@click.option("--seed", type=int, default=7, show_default=True)
def main(data: str, models: tuple[str, ...], device: str, count: int, threads: int, seed: int) -> None:
    """Measure; exit code 1 where the precision that the product chooses loses too much."""
    torch.set_num_threads(threads)
    clips = load_clips(data, "validation", limit=120)[:count]
    told: dict[str, Any] = {}
    lost = []
    with torch.inference_mode():
        for model in models or names_of_networks():
            restorers = ways(model, device, threads)
            rows = quality(restorers, clips, seed)
            for side in TIMED_SIDES:
                for name, each in milliseconds(restorers, side).items():
                    rows[name][f"ms_{side}"] = each
            told[model] = rows
            chosen = f"torch {Restorer(model, device).precision}"
            if rows[chosen]["lost_db"] >= MOST_LOST:
                lost.append(f"{model} in {chosen}")
    head = {"clips": len(clips), "size": SIZE, "threads": threads, "machine": describe_machine()}
    click.echo(json.dumps({**head, "models": told}, indent=1))
    if lost:
        raise click.ClickException(f"too much is lost: {', '.join(lost)}")


if __name__ == "__main__":
    main()
