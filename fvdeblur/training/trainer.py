"""The training loop: Muon, cosine schedule, moving average of the weights, resumable to the exact step."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import pickle
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor, nn

from fvdeblur import networks
from fvdeblur.datasets import Clip, load_clips, load_stills, synthesise
from fvdeblur.errors import InputError, OutputError, UsageError
from fvdeblur.networks import window_indices
from fvdeblur.training import losses
from fvdeblur.training.config import TrainConfig
from fvdeblur.training.muon import KernelOptimizer
from fvdeblur.training.pool import Pool, Segments

CHECKPOINT = "checkpoint.pt"
WEIGHTS = "weights.safetensors"
LOG = "log.jsonl"


def learning_rate(config: TrainConfig, step: int) -> float:
    """Learning rate of a step: linear warm-up, then half a cosine down to the final rate."""
    if step < config.warmup:
        return config.learning_rate * (step + 1) / config.warmup
    progress = (step - config.warmup) / max(1, config.steps - config.warmup)
    span = config.learning_rate - config.final_learning_rate
    return config.final_learning_rate + span * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))


def train(
    config: TrainConfig,
    output: str | Path,
    *,
    device: str = "cpu",
    initial: str | Path | None = None,
    stop_after: float | None = None,
    report: Callable[[str], None] = print,
) -> dict[str, float | None]:
    """Train a network, resuming where ``output`` was left.

    Parameters
    ----------
    config
        The recipe.
    output
        Folder for ``checkpoint.pt``, ``weights.safetensors`` (moving average), ``log.jsonl`` and sample pictures.
    device
        ``cpu`` or ``cuda[:N]``.
    initial
        Weights file to begin with when there is no checkpoint.
    stop_after
        Stop with a checkpoint after this many seconds.
    report
        Receives one line now and then.

    Returns
    -------
    Figures of the last line that was logged (none where no step was left to do): step, loss, PSNR of the blurred and
    of the restored patches and the gain in dB, learning rate, skipped steps, seconds a step.

    Raises
    ------
    UsageError
        The device, the patch size, the material or the initial weights do not fit, or the checkpoint belongs to
        another network.
    InputError
        The checkpoint or a part of the material cannot be read.
    OutputError
        The output folder cannot be made.

    Notes
    -----
    A step whose loss or gradient is not finite changes nothing but the step number; the log counts these steps, and
    its means leave them out (null where no step of the interval is left).
    """
    began = time.monotonic()
    _check_device(device)
    cv2.setNumThreads(1)  # OpenCV's own threads do not survive the forking of worker processes
    output = Path(output)
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{output}: the folder cannot be made ({error.strerror})") from error
    torch.manual_seed(config.seed)
    network = networks.create(config.network, **config.network_options)
    frames, multiple = getattr(network, "frames", 5), getattr(network, "multiple", 1)
    if config.patch % multiple:
        raise UsageError(f"patch ({config.patch}) must be a multiple of {multiple} for this network")
    network = network.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    average = {name: value.detach().clone() for name, value in network.state_dict().items()}
    optimiser = KernelOptimizer(network, config.learning_rate, config.weight_decay)
    step = _restore(config, output, network, average, optimiser, initial)
    _trim_log(output / LOG, step)

    clips = load_clips(config.data, "train") if config.stills_share < 1 else []
    stills = load_stills(config.data, "train") if config.stills_share > 0 else []
    if not clips and not stills:
        raise UsageError(f"{config.data}: no training material")
    report(f"{len(clips)} clips, {len(stills)} stills, from step {step} to {config.steps}")
    if config.workers == 0:
        for clip in clips:
            clip.compute_flow(sorted(set(config.blur.strides)), os.cpu_count() or 1)
    pool = Pool(
        Segments(config, clips, stills, device if config.workers == 0 else "cpu"), config, frames, step
    )
    sample = _sample_windows(config, frames, multiple, clips, stills)

    figures: dict[str, float | None] = {}
    sums = torch.zeros(3, dtype=torch.float64, device=device)
    since, skipped, mark = 0, 0, time.monotonic()
    while step < config.steps:
        windows, sharp = pool.batch(step)
        windows = windows.to(device, memory_format=torch.channels_last, non_blocking=True)
        sharp = sharp.to(device, non_blocking=True)
        optimiser.set_learning_rate(learning_rate(config, step))
        central = windows[:, 3 * (frames // 2) : 3 * (frames // 2) + 3]
        with torch.autocast(torch.device(device).type, torch.bfloat16):
            change = network(windows)
        restored = central + change.float()
        total = (
            losses.charbonnier(restored, sharp)
            + config.frequency_weight * losses.frequency(restored, sharp)
            + config.log_error_weight * losses.log_error(restored, sharp)
        )
        optimiser.zero_grad()
        total.backward()
        norm = nn.utils.clip_grad_norm_(network.parameters(), config.gradient_clip)
        step += 1
        since += 1
        if torch.isfinite(total.detach() + norm):
            optimiser.step()
            _update_average(average, network, min(config.ema, (1 + step) / (10 + step)))
            sums += torch.stack([total.detach(), *_decibels(central, restored.detach(), sharp)])
        else:
            skipped += 1
        out_of_time = stop_after is not None and time.monotonic() - began > stop_after
        if step % config.log_every == 0 or step == config.steps or out_of_time:
            figures = {
                "step": step,
                **_means(sums, since - skipped),
                "learning_rate": learning_rate(config, step),
                "skipped": skipped,
                "seconds_a_step": round((time.monotonic() - mark) / since, 4),
            }
            with (output / LOG).open("a", encoding="utf-8") as file:
                file.write(json.dumps(figures) + "\n")
            report(json.dumps(figures))
            sums.zero_()
            since, skipped, mark = 0, 0, time.monotonic()
        if step % config.save_every == 0 or step == config.steps or out_of_time:
            _save(config, output, network, average, optimiser, step)
            _write_sample(output / "sample.png", network, average, *sample)
            mark = time.monotonic() if since == 0 else mark
        if out_of_time:
            break
    return figures


def _check_device(name: str) -> None:
    try:
        kind = torch.device(name).type
    except RuntimeError:
        kind = ""
    if kind not in ("cpu", "cuda"):
        raise UsageError(f"unknown device {name!r}; use cpu or cuda[:N]")
    if kind == "cuda" and (torch.device(name).index or 0) >= torch.cuda.device_count():
        raise UsageError(f"device {name!r} was asked for, but this machine does not have it; use cpu")


def _means(sums: Tensor, count: int) -> dict[str, float | None]:
    """Loss and decibels of the log line from their sums over ``count`` steps."""
    if count == 0:
        return dict.fromkeys(("loss", "blurred_db", "restored_db", "gain_db"))
    loss, blurred, restored = (sums / count).tolist()
    return {
        "loss": round(loss, 6),
        "blurred_db": round(blurred, 3),
        "restored_db": round(restored, 3),
        "gain_db": round(restored - blurred, 3),
    }


@torch.no_grad()
def _decibels(central: Tensor, restored: Tensor, sharp: Tensor) -> tuple[Tensor, Tensor]:
    """Mean PSNR of the blurred and of the restored patches in dB."""
    both = []
    for image in (central, restored.clamp(0, 1)):
        error = (image - sharp).square().mean(dim=(1, 2, 3))
        both.append((-10 * torch.log10(error + 1e-6)).mean())
    return both[0], both[1]


@torch.no_grad()
def _update_average(average: dict[str, Tensor], network: nn.Module, decay: float) -> None:
    current = network.state_dict()
    torch._foreach_lerp_(list(average.values()), [current[name] for name in average], 1 - decay)


def _restore(
    config: TrainConfig,
    output: Path,
    network: nn.Module,
    average: dict[str, Tensor],
    optimiser: KernelOptimizer,
    initial: str | Path | None,
) -> int:
    """Fill network, average and optimiser from the checkpoint or the initial weights; return the step."""
    device = next(network.parameters()).device
    path = output / CHECKPOINT
    if path.exists():
        try:
            state = torch.load(path, map_location=device, weights_only=True)
        except (OSError, EOFError, RuntimeError, pickle.UnpicklingError) as error:
            reason = textwrap.shorten(str(error), 120) or type(error).__name__
            raise InputError(
                f"{path}: is no readable checkpoint ({reason}); remove it to begin anew"
            ) from error
        if state["network_name"] != config.network or state["network_options"] != config.network_options:
            raise UsageError(f"{path}: belongs to another network; choose another output folder")
        network.load_state_dict(state["network"])
        optimiser.load_state_dict(state["optimiser"])
        for name, value in state["average"].items():
            average[name].copy_(value)
        return int(state["step"])
    if initial is not None:
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            weights = load_file(initial)
            network.load_state_dict({name: value.float() for name, value in weights.items()})
        except (OSError, SafetensorError, RuntimeError) as error:
            reason = textwrap.shorten(str(error), 200)
            raise UsageError(f"{initial}: these weights do not fit the network ({reason})") from error
        for name, value in network.state_dict().items():
            average[name].copy_(value)
    return 0


def _replace(path: Path, write: Callable[[Path], Any]) -> None:
    """Write beside the file and rename, so that a whole file stands under the name at any moment."""
    partial = path.with_name(path.name + ".partial")
    write(partial)
    os.replace(partial, path)


def _trim_log(path: Path, step: int) -> None:
    """Drop the lines that an interrupted run wrote after the checkpoint that is now gone on from."""
    if not path.exists():
        return
    kept = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            figures = json.loads(line)
        except json.JSONDecodeError:  # the line that was being written
            continue
        if figures["step"] <= step:
            kept.append(line + "\n")
    _replace(path, lambda partial: partial.write_text("".join(kept), encoding="utf-8"))


def _save(
    config: TrainConfig,
    output: Path,
    network: nn.Module,
    average: dict[str, Tensor],
    optimiser: KernelOptimizer,
    step: int,
) -> None:
    from safetensors.torch import save_file

    state = {
        "step": step,
        "network_name": config.network,
        "network_options": config.network_options,
        "config": json.dumps(dataclasses.asdict(config)),
        "network": network.state_dict(),
        "average": average,
        "optimiser": optimiser.state_dict(),
    }
    _replace(output / CHECKPOINT, lambda path: torch.save(state, path))
    weights = {name: value.half().contiguous().cpu() for name, value in average.items()}
    _replace(output / WEIGHTS, lambda path: save_file(weights, path))


def _sample_windows(
    config: TrainConfig, frames: int, multiple: int, clips: list[Clip], stills: list[Clip]
) -> tuple[Tensor, Tensor]:
    """Four windows with their truth for the sample picture."""
    rng = np.random.default_rng((config.seed, 2))
    blur = dataclasses.replace(config.blur, speed=(2.5, 5.0), exposure=(2.0, 4.0), sharp_share=0.0)
    windows, truths = [], []
    for i in range(4):
        pool = clips if (clips and i < 3) or not stills else stills
        segment = synthesise(pool[int(rng.integers(len(pool)))], blur, rng)
        k = len(segment.sharp) // 2
        side = segment.sharp.shape[-1] // multiple * multiple
        windows.append(
            segment.blurred[window_indices(k, len(segment.sharp), frames)][..., :side, :side].flatten(0, 1)
        )
        truths.append(segment.sharp[k][..., :side, :side])
    return torch.stack(windows).float() / 255, torch.stack(truths).float() / 255


@torch.no_grad()
def _write_sample(
    path: Path, network: nn.Module, average: dict[str, Tensor], windows: Tensor, sharp: Tensor
) -> None:
    """Write blurred, restored (by the averaged weights) and sharp patches side by side."""
    device = next(network.parameters()).device
    change = torch.func.functional_call(network, average, (windows.to(device),)).cpu()
    middle = windows.shape[1] // 2 - 1
    central = windows[:, middle : middle + 3]
    rows = torch.cat([central, (central + change).clamp(0, 1), sharp], dim=3)
    picture = torch.cat(list(rows), dim=1).permute(1, 2, 0).numpy()
    bgr = cv2.cvtColor(np.round(picture * 255).astype(np.uint8), cv2.COLOR_RGB2BGR)
    _replace(path, lambda partial: partial.write_bytes(cv2.imencode(".png", bgr)[1].tobytes()))
