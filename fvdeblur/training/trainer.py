"""The training loop: Muon, cosine schedule, moving average of the weights, resumable to the exact step."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor, nn

from fvdeblur import networks
from fvdeblur.datasets import Clip, load_clips, load_stills, synthesise
from fvdeblur.datasets.blur import hold
from fvdeblur.errors import OutputError, UsageError
from fvdeblur.networks import central_frame, window_indices, window_table
from fvdeblur.training import checkpoints, losses
from fvdeblur.training.config import TrainConfig
from fvdeblur.training.muon import KernelOptimizer
from fvdeblur.training.parallel import Processes, join
from fvdeblur.training.plot import plot_log
from fvdeblur.training.pool import Batch, Pool, Segments, windows_flow
from fvdeblur.training.validation import Validation, decibels

SAMPLE = "sample.png"

VALIDATION_FRAMES = 120
"""Frames of a validation clip that are read."""


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
    max_minutes: float | None = None,
    report: Callable[[str], None] = print,
) -> dict[str, float | None]:
    """Train a network, resuming where ``output`` was left.

    Started by ``torchrun``, every process takes its share of the batch on its own device; the first one writes.

    Parameters
    ----------
    config
        The recipe.
    output
        Folder for ``checkpoint.pt``, ``weights.safetensors`` (moving average), ``log.jsonl``, ``validation.jsonl``
        and pictures of both and of samples.
    device
        ``cpu``, ``cuda`` or ``cuda:N``.
    initial
        Weights file to begin with when there is no checkpoint.
    max_minutes
        Stop with a checkpoint after this time.
    report
        Receives one line now and then.

    Returns
    -------
    Figures of the last line that was logged (none where no step was left to do): step, loss, PSNR of the blurred and
    of the restored patches and the gain in dB, learning rate, skipped steps, seconds a step.

    Raises
    ------
    UsageError
        The device, the patch size, the batch, the material or the initial weights do not fit, or the checkpoint
        belongs to another network.
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
    cv2.setNumThreads(1)  # OpenCV's own threads do not survive the forking of worker processes
    processes = join(device)
    try:
        run = _Run(config, Path(output), processes, initial, report if processes.leads else _silent)
        return run.go(None if max_minutes is None else began + 60 * max_minutes)
    finally:
        processes.leave()


def _silent(_: str) -> None:
    pass


class _Run:
    """Everything that a run holds."""

    def __init__(
        self,
        config: TrainConfig,
        output: Path,
        processes: Processes,
        initial: str | Path | None,
        report: Callable[[str], None],
    ) -> None:
        self._processes, self._report, self._output = processes, report, output
        self._device = device = processes.device
        if config.batch % processes.world:
            raise UsageError(f"batch ({config.batch}) must be a multiple of the {processes.world} processes")
        try:
            output.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(f"{output}: the folder cannot be made ({error.strerror})") from error
        torch.manual_seed(config.seed)
        network = networks.create(config.network, **config.network_options)
        frames, multiple = getattr(network, "frames", 5), getattr(network, "multiple", 1)
        takes_flow = getattr(network, "takes_flow", False)
        if config.patch % multiple:
            raise UsageError(f"patch ({config.patch}) must be a multiple of {multiple} for this network")
        network = network.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._config, self._network = config, network
        self._average = {name: value.detach().clone() for name, value in network.state_dict().items()}
        self._optimiser = KernelOptimizer(network, config.learning_rate, config.weight_decay)
        self._step = checkpoints.restore(config, output, network, self._average, self._optimiser, initial)

        clips = load_clips(config.data, "train") if config.stills_share < 1 else []
        stills = load_stills(config.data, "train") if config.stills_share > 0 else []
        if not clips and not stills:
            raise UsageError(f"{config.data}: no training material")
        report(f"{len(clips)} clips, {len(stills)} stills, from step {self._step} to {config.steps}")
        if config.workers == 0:
            for clip in clips:
                clip.compute_flow((1,), os.cpu_count() or 1)
            if not hold(clips + stills, device):
                report(f"the material does not fit on {device}; frames are copied as they are needed")
        share = dataclasses.replace(config, batch=config.batch // processes.world)
        windows = window_table(config.blur.length, frames)
        segments = Segments(
            config,
            clips,
            stills,
            device if config.workers == 0 else "cpu",
            windows if takes_flow else None,
        )
        self._pool = Pool(segments, share, windows, self._step, processes.rank, processes.world)
        self._sample: Batch | None = None
        self._validation: Validation | None = None
        if processes.leads:
            checkpoints.trim_logs(output, self._step)
            self._sample = _sample_windows(config, frames, multiple, takes_flow, clips, stills)
            if config.validate_every and clips:
                self._validation = _validation(config, frames, multiple, takes_flow, report)

    def go(self, until: float | None) -> dict[str, float | None]:
        """Train to the last step, or until this instant of the monotonic clock."""
        config = self._config
        figures: dict[str, float | None] = {}
        sums = torch.zeros(3, dtype=torch.float64, device=self._device)
        since, skipped, mark = 0, 0, time.monotonic()
        while self._step < config.steps:
            late = float(until is not None and time.monotonic() > until)
            taken, stop, measured = self._one_step(late)
            since += 1
            skipped += not taken
            if taken:
                sums += measured
            last = self._step == config.steps or stop
            if self._step % config.log_every == 0 or last:
                figures = {
                    "step": self._step,
                    **_means(sums, since - skipped),
                    "learning_rate": learning_rate(config, self._step),
                    "skipped": skipped,
                    "seconds_a_step": round((time.monotonic() - mark) / since, 4),
                }
                if self._processes.leads:
                    checkpoints.append(self._output / checkpoints.LOG, figures)
                self._report(json.dumps(figures))
                sums.zero_()
                since, skipped, mark = 0, 0, time.monotonic()
            validates = config.validate_every > 0 and self._step % config.validate_every == 0
            if self._processes.leads and (validates or last):
                self._validate()
            if self._processes.leads and (self._step % config.save_every == 0 or last):
                self._save()
            mark = time.monotonic() if since == 0 else mark
            if stop:
                break
        self._processes.wait()
        return figures

    def _one_step(self, late: float) -> tuple[bool, bool, Tensor]:
        """Make one step; return whether the weights changed, whether the time is over, loss and mean PSNRs."""
        config, device = self._config, self._device
        windows, sharp, flow = self._pool.batch(self._step)
        windows = windows.to(device, memory_format=torch.channels_last, non_blocking=True)
        sharp = sharp.to(device, non_blocking=True)
        guides = {} if flow is None else {"flow": flow.to(device, non_blocking=True)}
        self._optimiser.set_learning_rate(learning_rate(config, self._step))
        central = central_frame(windows)
        with torch.autocast(torch.device(device).type, torch.bfloat16):
            change = self._network(windows, **guides)
        restored = central + change.float()
        total = (
            losses.charbonnier(restored, sharp)
            + config.frequency_weight * losses.frequency(restored, sharp)
            + config.log_error_weight * losses.log_error(restored, sharp)
        )
        self._optimiser.zero_grad()
        total.backward()
        loss, stop = total.detach(), torch.tensor(late, device=device)
        loss, stop = self._processes.average(self._network.parameters(), loss, stop)
        norm = nn.utils.clip_grad_norm_(self._network.parameters(), config.gradient_clip)
        self._step += 1
        taken = bool(torch.isfinite(loss + norm))
        if taken:
            self._optimiser.step()
            decay = min(config.ema, (1 + self._step) / (10 + self._step))
            _update_average(self._average, self._network, decay)
        before, after = (decibels(image, sharp).mean() for image in (central, restored.detach()))
        return taken, bool(stop > 0), torch.stack([loss, before, after])

    def _validate(self) -> None:
        if self._validation is not None:
            figures = self._validation.measure(self._network, self._average)
            checkpoints.append(self._output / checkpoints.VALIDATION, {"step": self._step, **figures})
            gains = ", ".join(f"{name} {figure['gain_db']:+.2f} dB" for name, figure in figures.items())
            self._report(f"validation at step {self._step}: {gains}")

    def _save(self) -> None:
        checkpoints.save(
            self._config, self._output, self._network, self._average, self._optimiser, self._step
        )
        if self._sample is not None:
            _write_sample(self._output / SAMPLE, self._network, self._average, self._sample)
        plot_log(self._output)


def _validation(
    config: TrainConfig, frames: int, multiple: int, takes_flow: bool, report: Callable[[str], None]
) -> Validation | None:
    held_out = load_clips(config.data, "validation", limit=VALIDATION_FRAMES)
    least = (config.blur.length + 8) * max(config.blur.strides)
    held_out = [clip for clip in held_out if len(clip.frames) > least]
    if not held_out:
        report(f"{config.data}: no validation clip of more than {least} frames; training goes on without")
        return None
    return Validation.make(held_out, config.blur, frames, multiple, takes_flow)


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
def _update_average(average: dict[str, Tensor], network: nn.Module, decay: float) -> None:
    current = network.state_dict()
    torch._foreach_lerp_(list(average.values()), [current[name] for name in average], 1 - decay)


def _sample_windows(
    config: TrainConfig,
    frames: int,
    multiple: int,
    takes_flow: bool,
    clips: list[Clip],
    stills: list[Clip],
) -> Batch:
    """Four windows with their truth for the sample picture."""
    rng = np.random.default_rng((config.seed, 2))
    blur = dataclasses.replace(config.blur, speed=(2.5, 5.0), exposure=(2.0, 4.0), sharp_share=0.0)
    windows, truths, flows = [], [], []
    for i in range(4):
        pool = clips if (clips and i < 3) or not stills else stills
        segment = synthesise(pool[int(rng.integers(len(pool)))], blur, rng)
        k = len(segment.sharp) // 2
        side = segment.sharp.shape[-1] // multiple * multiple
        blurred = segment.blurred[..., :side, :side]
        numbers = window_indices(k, len(segment.sharp), frames)
        windows.append(blurred[numbers].flatten(0, 1))
        truths.append(segment.sharp[k][..., :side, :side])
        if takes_flow:
            flows.append(windows_flow(blurred, np.array([numbers])).flatten(1, 2))
    flow = torch.cat(flows).float() if takes_flow else None
    return Batch(torch.stack(windows).float() / 255, torch.stack(truths).float() / 255, flow)


@torch.no_grad()
def _write_sample(path: Path, network: nn.Module, average: dict[str, Tensor], sample: Batch) -> None:
    """Write blurred, restored (by the averaged weights) and sharp patches side by side."""
    device = next(network.parameters()).device
    windows, sharp, flow = sample
    guides = {} if flow is None else {"flow": flow.to(device)}
    change = torch.func.functional_call(network, average, (windows.to(device),), guides).cpu()
    central = central_frame(windows)
    rows = torch.cat([central, (central + change).clamp(0, 1), sharp], dim=3)
    picture = torch.cat(list(rows), dim=1).permute(1, 2, 0).numpy()
    bgr = cv2.cvtColor(np.round(picture * 255).astype(np.uint8), cv2.COLOR_RGB2BGR)
    checkpoints.replace(path, lambda partial: partial.write_bytes(cv2.imencode(".png", bgr)[1].tobytes()))
