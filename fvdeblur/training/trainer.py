"""Training of the networks that restore the central frame of a window."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor, nn

from fvdeblur import networks
from fvdeblur.datasets import Clip, load_clips, load_stills, synthesise
from fvdeblur.datasets.blur import hold
from fvdeblur.errors import UsageError
from fvdeblur.networks import (
    DFPGnet,
    FeatureDiscriminator,
    WindowShape,
    central_frame,
    window_indices,
    window_table,
)
from fvdeblur.networks.recognition import open_recogniser
from fvdeblur.training import checkpoints, losses
from fvdeblur.training.adversarial import FeaturePrior, make_discriminator
from fvdeblur.training.config import TrainConfig
from fvdeblur.training.guides import Guide, as_inputs
from fvdeblur.training.loop import Figures, Measure, conduct
from fvdeblur.training.parallel import Processes
from fvdeblur.training.pool import Batch, Pool, Segments
from fvdeblur.training.validation import Validation, decibels

VALIDATION_FRAMES = 120
"""Frames of a validation clip that are read."""


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
        The device, the patch size, the batch, the material, the guides that the network wants, the deep features that
        it estimates or the initial weights do not fit, or the checkpoint belongs to another network.
    InputError
        The checkpoint, the regressor, the recognition network or a part of the material cannot be read.
    OutputError
        The output folder cannot be made.

    Notes
    -----
    A step whose loss or gradient is not finite changes nothing but the step number; the log counts these steps, and
    its means leave them out (null where no step of the interval is left).
    """

    def make_network() -> nn.Module:
        network = networks.create(config.network, **config.network_options)
        multiple = WindowShape.of(network).multiple
        if config.patch % multiple:
            raise UsageError(f"patch ({config.patch}) must be a multiple of {multiple} for this network")
        return network

    def make_task(
        network: nn.Module,
        step: int,
        processes: Processes,
        tell: Callable[[str], None],
        discriminator: FeatureDiscriminator | None,
    ) -> _Deblurring:
        return _Deblurring(config, network, step, processes, tell, discriminator)

    return conduct(
        config,
        output,
        device,
        initial,
        max_minutes,
        report,
        make_network,
        make_task,
        lambda network: make_discriminator(config, network),
        config.discriminator_learning_rate,
    )


class _Deblurring:
    """The task: change the central frame of a window into its sharp truth."""

    measure = Measure("gain_db", "PSNR gain", "dB")

    def __init__(
        self,
        config: TrainConfig,
        network: nn.Module,
        first_step: int,
        processes: Processes,
        report: Callable[[str], None],
        discriminator: FeatureDiscriminator | None,
    ) -> None:
        self._config, self._network, self._device = config, network, processes.device
        self._prior: tuple[DFPGnet, FeaturePrior] | None = None
        if isinstance(network, DFPGnet) and (config.prior_weight or config.adversarial_weight):
            self._prior = network, FeaturePrior(config, network, discriminator, processes.device)
        self._recogniser: nn.Module | None = None
        if config.perceptual_weight:
            recogniser = open_recogniser(Path(config.data) / config.recogniser)
            self._recogniser = recogniser.to(processes.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        clips = load_clips(config.data, "train") if config.stills_share < 1 else []
        stills = load_stills(config.data, "train") if config.stills_share > 0 else []
        if not clips and not stills:
            raise UsageError(f"{config.data}: no training material")
        report(f"{len(clips)} clips, {len(stills)} stills, from step {first_step} to {config.steps}")
        device = processes.device
        if config.workers == 0:
            for clip in clips:
                clip.compute_flow((1,), os.cpu_count() or 1)
            if not hold(clips + stills, device):
                report(f"the material does not fit on {device}; frames are copied as they are needed")
        shape = WindowShape.of(network)
        windows = window_table(config.blur.length, shape.frames)
        maker = device if config.workers == 0 else "cpu"
        guide = Guide(shape, config.regressor, maker)
        segments = Segments(config, clips, stills, maker, guide)
        share = dataclasses.replace(config, batch=config.batch // processes.world)
        self._pool = Pool(segments, share, windows, first_step, processes.rank, processes.world)
        self._sample: Batch | None = None
        self._validation: Validation | None = None
        if processes.leads:
            self._sample = _sample_windows(config, guide, clips, stills)
            if config.validate_every and clips:
                self._validation = _validation(config, guide, report)

    def loss(self, step: int) -> tuple[Tensor, dict[str, Tensor]]:
        config, device = self._config, self._device
        windows, sharp, guides = self._pool.batch(step)
        windows = windows.to(device, memory_format=torch.channels_last, non_blocking=True)
        sharp = sharp.to(device, non_blocking=True)
        guides = {name: value.to(device, non_blocking=True) for name, value in guides.items()}
        central = central_frame(windows)
        added, figures = torch.zeros((), device=device), dict[str, Tensor]()
        with torch.autocast(torch.device(device).type, torch.bfloat16):
            if self._prior is None:
                change = self._network(windows, **guides)
            else:
                network, prior = self._prior
                change, estimated = network.estimate(windows)
                added, figures = prior.loss(estimated, sharp)
        restored = central + change.float()
        if self._recogniser is not None:
            with torch.no_grad():
                true = self._recogniser(sharp)
            figures["perceptual_loss"] = losses.perceptual(self._recogniser(restored), true)
            added = added + config.perceptual_weight * figures["perceptual_loss"]
        total = (
            losses.MAIN[config.loss](restored, sharp)
            + config.frequency_weight * losses.frequency(restored, sharp)
            + config.log_error_weight * losses.log_error(restored, sharp)
            + added
        )
        before, after = (decibels(image, sharp).mean() for image in (central, restored.detach()))
        figures = {name: value.detach() for name, value in figures.items()}
        return total, {"blurred_db": before, "restored_db": after, "gain_db": after - before, **figures}

    def validate(self, average: dict[str, Tensor]) -> Figures:
        if self._validation is None:
            return {}
        self._network.eval()
        figures = self._validation.measure(self._network, average)
        self._network.train()
        return figures

    def draw_sample(self, path: Path, average: dict[str, Tensor]) -> None:
        if self._sample is not None:
            self._network.eval()
            _write_sample(path, self._network, average, self._sample)
            self._network.train()


def _validation(config: TrainConfig, guide: Guide, report: Callable[[str], None]) -> Validation | None:
    held_out = load_clips(config.data, "validation", limit=VALIDATION_FRAMES)
    least = (config.blur.length + 8) * max(config.blur.strides)
    held_out = [clip for clip in held_out if len(clip.frames) > least]
    if not held_out:
        report(f"{config.data}: no validation clip of more than {least} frames; training goes on without")
        return None
    return Validation.make(held_out, config.blur, guide)


def _sample_windows(config: TrainConfig, guide: Guide, clips: list[Clip], stills: list[Clip]) -> Batch:
    """Four windows with their truth for the sample picture."""
    rng = np.random.default_rng((config.seed, 2))
    blur = dataclasses.replace(config.blur, speed=(2.5, 5.0), exposure=(2.0, 4.0), sharp_share=0.0)
    shape = guide.shape
    windows, truths, told = [], [], []
    for i in range(4):
        pool = clips if (clips and i < 3) or not stills else stills
        segment = synthesise(pool[int(rng.integers(len(pool)))], blur, rng)
        k = len(segment.sharp) // 2
        side = segment.sharp.shape[-1] // shape.multiple * shape.multiple
        blurred = segment.blurred[..., :side, :side]
        numbers = window_indices(k, len(segment.sharp), shape.frames)
        windows.append(blurred[numbers].flatten(0, 1))
        truths.append(segment.sharp[k][..., :side, :side])
        told.append(as_inputs(guide.of(blurred, np.array([numbers]))))
    guides = {name: torch.cat([each[name] for each in told]) for name in told[0]}
    return Batch(torch.stack(windows).float() / 255, torch.stack(truths).float() / 255, guides)


@torch.no_grad()
def _write_sample(path: Path, network: nn.Module, average: dict[str, Tensor], sample: Batch) -> None:
    """Write blurred, restored (by the averaged weights) and sharp patches side by side."""
    device = next(network.parameters()).device
    windows, sharp, guides = sample
    guides = {name: value.to(device) for name, value in guides.items()}
    change = torch.func.functional_call(network, average, (windows.to(device),), guides).cpu()
    central = central_frame(windows)
    rows = torch.cat([central, (central + change).clamp(0, 1), sharp], dim=3)
    picture = torch.cat(list(rows), dim=1).permute(1, 2, 0).numpy()
    bgr = cv2.cvtColor(np.round(picture * 255).astype(np.uint8), cv2.COLOR_RGB2BGR)
    checkpoints.replace(path, lambda partial: partial.write_bytes(cv2.imencode(".png", bgr)[1].tobytes()))
