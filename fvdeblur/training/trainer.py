"""The training loop: AdamW, cosine schedule, moving average of the weights, resumable to the exact step."""

from __future__ import annotations

import dataclasses
import json
import math
import os
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
from fvdeblur.errors import UsageError
from fvdeblur.networks import window_indices
from fvdeblur.training import losses
from fvdeblur.training.config import TrainConfig
from fvdeblur.training.pool import Pool, Segments

CHECKPOINT = "checkpoint.pt"
WEIGHTS = "weights.safetensors"


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
) -> dict[str, float]:
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
    Figures of the last log line: step, loss, gain in dB, seconds a step.

    Raises
    ------
    UsageError
        The material or the initial weights do not fit, or the checkpoint belongs to another network.
    """
    began = time.monotonic()
    cv2.setNumThreads(1)  # OpenCV's own threads do not survive the forking of worker processes
    output = Path(output)
    output.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(config.seed)
    network = networks.create(config.network, **config.network_options)
    network = network.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    average = {name: value.detach().clone() for name, value in network.state_dict().items()}
    optimiser = torch.optim.AdamW(
        network.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay, fused=True
    )
    step = _restore(config, output, network, average, optimiser, initial)

    clips = load_clips(config.data, "train") if config.stills_share < 1 else []
    stills = load_stills(config.data, "train") if config.stills_share > 0 else []
    if not clips and not stills:
        raise UsageError(f"{config.data}: no training material")
    report(f"{len(clips)} clips, {len(stills)} stills, from step {step} to {config.steps}")
    if config.workers == 0:
        for clip in clips:
            clip.compute_flow(sorted(set(config.blur.strides)), os.cpu_count() or 1)
    frames = getattr(network, "frames", 5)
    pool = Pool(
        Segments(config, clips, stills, device if config.workers == 0 else "cpu"), config, frames, step
    )
    sample = _sample_windows(config, frames, clips, stills)

    figures: dict[str, float] = {}
    sums = torch.zeros(3, dtype=torch.float64)
    since, mark = 0, time.monotonic()
    while step < config.steps:
        windows, sharp = pool.batch(step)
        windows = windows.to(device, memory_format=torch.channels_last, non_blocking=True)
        sharp = sharp.to(device, non_blocking=True)
        for group in optimiser.param_groups:
            group["lr"] = learning_rate(config, step)
        central = windows[:, 3 * (frames // 2) : 3 * (frames // 2) + 3]
        with torch.autocast(torch.device(device).type, torch.bfloat16):
            change = network(windows)
        restored = central + change.float()
        total = (
            losses.charbonnier(restored, sharp)
            + config.frequency_weight * losses.frequency(restored, sharp)
            + config.log_error_weight * losses.log_error(restored, sharp)
        )
        optimiser.zero_grad(set_to_none=True)
        total.backward()
        nn.utils.clip_grad_norm_(network.parameters(), config.gradient_clip)
        optimiser.step()
        step += 1
        _update_average(average, network, min(config.ema, (1 + step) / (10 + step)))
        with torch.no_grad():
            sums += (
                torch.stack([total.detach(), *_decibels(central, restored.detach(), sharp)]).double().cpu()
            )
        since += 1
        out_of_time = stop_after is not None and time.monotonic() - began > stop_after
        if step % config.log_every == 0 or step == config.steps or out_of_time:
            mean = (sums / since).tolist()
            seconds = (time.monotonic() - mark) / since
            figures = {
                "step": step,
                "loss": round(mean[0], 6),
                "blurred_db": round(mean[1], 3),
                "restored_db": round(mean[2], 3),
                "gain_db": round(mean[2] - mean[1], 3),
                "learning_rate": learning_rate(config, step),
                "seconds_a_step": round(seconds, 4),
            }
            with (output / "log.jsonl").open("a", encoding="utf-8") as file:
                file.write(json.dumps(figures) + "\n")
            report(json.dumps(figures))
            sums.zero_()
            since, mark = 0, time.monotonic()
        if step % config.save_every == 0 or step == config.steps or out_of_time:
            _save(config, output, network, average, optimiser, step)
            _write_sample(output / "sample.png", network, average, *sample)
            mark = time.monotonic() if since == 0 else mark
        if out_of_time:
            break
    return figures


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
    optimiser: torch.optim.Optimizer,
    initial: str | Path | None,
) -> int:
    """Fill network, average and optimiser from the checkpoint or the initial weights; return the step."""
    device = next(network.parameters()).device
    path = output / CHECKPOINT
    if path.exists():
        state = torch.load(path, map_location=device, weights_only=True)
        if state["network_name"] != config.network or state["network_options"] != config.network_options:
            raise UsageError(f"{path}: belongs to another network; choose another output folder")
        network.load_state_dict(state["network"])
        optimiser.load_state_dict(state["optimiser"])
        for name, value in state["average"].items():
            average[name].copy_(value)
        return int(state["step"])
    if initial is not None:
        from safetensors.torch import load_file

        try:
            weights = load_file(initial)
            network.load_state_dict({name: value.float() for name, value in weights.items()})
        except (OSError, RuntimeError) as error:
            first = str(error).splitlines()[0]
            raise UsageError(f"{initial}: these weights do not fit the network ({first})") from error
        for name, value in network.state_dict().items():
            average[name].copy_(value)
    return 0


def _replace(path: Path, write: Callable[[Path], Any]) -> None:
    """Write beside the file and rename, so that a whole file stands under the name at any moment."""
    partial = path.with_name(path.name + ".partial")
    write(partial)
    os.replace(partial, path)


def _save(
    config: TrainConfig,
    output: Path,
    network: nn.Module,
    average: dict[str, Tensor],
    optimiser: torch.optim.Optimizer,
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
    config: TrainConfig, frames: int, clips: list[Clip], stills: list[Clip]
) -> tuple[Tensor, Tensor]:
    """Four windows with their truth for the sample picture."""
    rng = np.random.default_rng((config.seed, 2))
    blur = dataclasses.replace(config.blur, speed=(2.5, 5.0), exposure=(2.0, 4.0), sharp_share=0.0)
    windows, truths = [], []
    for i in range(4):
        pool = clips if (clips and i < 3) or not stills else stills
        segment = synthesise(pool[int(rng.integers(len(pool)))], blur, rng)
        k = len(segment.sharp) // 2
        side = segment.sharp.shape[-1] // 16 * 16
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
