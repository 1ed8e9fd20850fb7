"""The training loop: optimiser, schedule, moving average of the weights, resumable to the exact step.

What is trained on what is the task's business; the loop knows steps, checkpoints, logs and processes.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from itertools import chain
from pathlib import Path
from typing import NamedTuple, Protocol, TypeVar

import cv2
import torch
from torch import Tensor, nn

from fvdeblur.errors import OutputError, UsageError
from fvdeblur.training import checkpoints
from fvdeblur.training.adam import Adam
from fvdeblur.training.config import LoopConfig
from fvdeblur.training.muon import KernelOptimizer
from fvdeblur.training.parallel import Processes, join
from fvdeblur.training.plot import plot_log
from fvdeblur.training.sgd import SGD

SAMPLE = "sample.png"

Figures = dict[str, dict[str, float]]

Network = TypeVar("Network", bound=nn.Module)


class Measure(NamedTuple):
    """The figure of log and validation by which a task is judged.

    Attributes
    ----------
    key
        Its name in log and validation.
    label
        What it is, for a picture's axis.
    unit
        Its unit.
    """

    key: str
    label: str
    unit: str


class Task(Protocol):
    """What a loop trains."""

    measure: Measure

    def loss(self, step: int) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss of a step on this process's share of the batch, and figures whose means are logged (scalars)."""
        ...

    def validate(self, average: dict[str, Tensor]) -> Figures:
        """Figures by protocol with these weights; empty where there is nothing to validate on."""
        ...

    def draw_sample(self, path: Path, average: dict[str, Tensor]) -> None:
        """Write a picture that shows what these weights do."""
        ...


OPTIMISERS: dict[str, type[KernelOptimizer]] = {"muon": KernelOptimizer, "adam": Adam, "sgd": SGD}


def learning_rate(config: LoopConfig, step: int) -> float:
    """Learning rate of a step: linear warm-up, then half a cosine down to the final rate, or down in steps."""
    if step < config.warmup:
        return config.learning_rate * (step + 1) / config.warmup
    if config.schedule == "steps":
        return config.learning_rate * config.decay ** (step // config.decay_steps)
    progress = (step - config.warmup) / max(1, config.steps - config.warmup)
    span = config.learning_rate - config.final_learning_rate
    return config.final_learning_rate + span * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))


def conduct(
    config: LoopConfig,
    output: str | Path,
    device: str,
    initial: str | Path | None,
    max_minutes: float | None,
    report: Callable[[str], None],
    make_network: Callable[[], Network],
    make_task: Callable[..., Task],
    make_discriminator: Callable[[Network], nn.Module | None] | None = None,
    discriminator_learning_rate: float = 0.0,
) -> dict[str, float | None]:
    """Train from where ``output`` was left: the part that every trainer shares.

    Parameters
    ----------
    config, output, device, initial, max_minutes, report
        As `fvdeblur.training.train`.
    make_network
        Gives the untrained network, the same for the same seed.
    make_task
        Gives the task from the network on its device, the steps done, the processes and where to report; with
        `make_discriminator`, from the discriminator (or None) too, as a fifth argument.
    make_discriminator
        Gives a discriminator that is trained against the network, or None.
    discriminator_learning_rate
        Highest rate of its Adam; it goes as that of the network does.

    Returns
    -------
    Figures of the last line that was logged.
    """
    began = time.monotonic()
    cv2.setNumThreads(1)  # OpenCV's own threads do not survive the forking of worker processes
    processes = join(device)
    try:
        report = report if processes.leads else _silent
        torch.manual_seed(config.seed)
        network = make_network()
        network = network.to(device=processes.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        opponents = [] if make_discriminator is None else [make_discriminator(network)]
        discriminator = opponents[0] if opponents else None
        if discriminator is not None:
            discriminator.to(device=processes.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        share = discriminator_learning_rate / config.learning_rate if discriminator is not None else 0.0
        loop = Loop(config, Path(output), processes, network, initial, report, discriminator, share)
        task = make_task(network, loop.step, processes, report, *opponents)
        return loop.go(task, None if max_minutes is None else began + 60 * max_minutes)
    finally:
        processes.leave()


def _silent(_: str) -> None:
    pass


class Loop:
    """A run: the network in training, its average, its optimiser and where it is.

    Parameters
    ----------
    config
        The recipe.
    output
        Folder of the run; made where it is missing.
    processes
        The processes that share the batch.
    network
        On its device.
    initial
        Weights file to begin with when there is no checkpoint.
    report
        Receives one line now and then.
    discriminator
        What is trained against the network, by the gradients that the task's loss has in it; not averaged.
    discriminator_share
        Its learning rate in units of the network's.

    Attributes
    ----------
    step
        Steps done.

    Raises
    ------
    UsageError
        The batch cannot be shared, the initial weights do not fit, or the checkpoint belongs to another network.
    InputError
        The checkpoint cannot be read.
    OutputError
        The folder cannot be made.
    """

    def __init__(
        self,
        config: LoopConfig,
        output: Path,
        processes: Processes,
        network: nn.Module,
        initial: str | Path | None,
        report: Callable[[str], None],
        discriminator: nn.Module | None = None,
        discriminator_share: float = 0.0,
    ) -> None:
        self._config, self._output, self._processes, self._report = config, output, processes, report
        if config.batch % processes.world:
            raise UsageError(f"batch ({config.batch}) must be a multiple of the {processes.world} processes")
        try:
            output.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(f"{output}: the folder cannot be made ({error.strerror})") from error
        self._network = network
        self._average = {name: value.detach().clone() for name, value in network.state_dict().items()}
        self._optimiser = OPTIMISERS[config.optimiser](network, config.learning_rate, config.weight_decay)
        self._discriminator = discriminator
        self._opposing = [] if discriminator is None else [*discriminator.parameters()]
        if discriminator is not None:
            self._optimiser.add(discriminator, discriminator_share)
        self.step = checkpoints.restore(
            config, output, network, self._average, self._optimiser, initial, discriminator
        )
        if processes.leads:
            checkpoints.trim_logs(output, self.step)

    def go(self, task: Task, until: float | None) -> dict[str, float | None]:
        """Train to the last step, or until this instant of the monotonic clock; return the last line of the log."""
        config = self._config
        line: dict[str, float | None] = {}
        sums: dict[str, Tensor] = {}
        since, skipped, mark = 0, 0, time.monotonic()
        while self.step < config.steps:
            late = float(until is not None and time.monotonic() > until)
            taken, stop, measured = self._one_step(task, late)
            since += 1
            skipped += not taken
            for name, value in measured.items():
                sums[name] = sums.get(name, 0) + (
                    value.double() if taken else 0 * value.nan_to_num(0).double()
                )
            last = self.step == config.steps or stop
            if self.step % config.log_every == 0 or last:
                line = {
                    "step": self.step,
                    **_means(sums, since - skipped),
                    "learning_rate": learning_rate(config, self.step),
                    "skipped": skipped,
                    "seconds_a_step": round((time.monotonic() - mark) / since, 4),
                }
                if self._processes.leads:
                    checkpoints.append(self._output / checkpoints.LOG, line)
                self._report(json.dumps(line))
                sums.clear()
                since, skipped, mark = 0, 0, time.monotonic()
            validates = config.validate_every > 0 and (self.step % config.validate_every == 0 or last)
            if self._processes.leads and validates:
                self._validate(task)
            if self._processes.leads and (self.step % config.save_every == 0 or last):
                self._save(task)
            mark = time.monotonic() if since == 0 else mark
            if stop:
                break
        self._processes.wait()
        return line

    def _one_step(self, task: Task, late: float) -> tuple[bool, bool, dict[str, Tensor]]:
        """Make one step; return whether the weights changed, whether the time is over, and the loss and figures."""
        config = self._config
        self._optimiser.set_learning_rate(learning_rate(config, self.step))
        total, measured = task.loss(self.step)
        self._optimiser.zero_grad()
        total.backward()
        loss, stop = total.detach(), torch.tensor(late, device=total.device)
        trained = chain(self._network.parameters(), self._opposing)
        loss, stop = self._processes.average(trained, loss, stop)
        self._processes.agree(self._network.buffers())
        norm = nn.utils.clip_grad_norm_(self._network.parameters(), config.gradient_clip)
        norm = norm + nn.utils.get_total_norm(
            [parameter.grad for parameter in self._opposing if parameter.grad is not None]
        )
        self.step += 1
        taken = bool(torch.isfinite(loss + norm))
        if taken:
            self._optimiser.step()
            decay = min(config.ema, (1 + self.step) / (10 + self.step))
            _update_average(self._average, self._network, decay)
        return taken, bool(stop > 0), {"loss": loss, **measured}

    def _validate(self, task: Task) -> None:
        figures = task.validate(self._average)
        if figures:
            checkpoints.append(self._output / checkpoints.VALIDATION, {"step": self.step, **figures})
            key, _, unit = task.measure
            parts = ", ".join(f"{name} {figure[key]:+.2f} {unit}" for name, figure in figures.items())
            self._report(f"validation at step {self.step}: {parts}")

    def _save(self, task: Task) -> None:
        checkpoints.save(
            self._config,
            self._output,
            self._network,
            self._average,
            self._optimiser,
            self.step,
            self._discriminator,
        )
        task.draw_sample(self._output / SAMPLE, self._average)
        plot_log(self._output, task.measure.key, f"{task.measure.label} ({task.measure.unit})")


def _means(sums: dict[str, Tensor], count: int) -> dict[str, float | None]:
    """The figures of the log line from their sums over ``count`` steps."""
    if count == 0:
        return dict.fromkeys(sums)
    return {name: round(float(total / count), 6 if name == "loss" else 3) for name, total in sums.items()}


@torch.no_grad()
def _update_average(average: dict[str, Tensor], network: nn.Module, decay: float) -> None:
    current = network.state_dict()
    torch._foreach_lerp_(list(average.values()), [current[name] for name in average], 1 - decay)
