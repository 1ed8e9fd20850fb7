"""Files of a training run: checkpoint, averaged weights and log, each of them whole at any moment."""

from __future__ import annotations

import dataclasses
import json
import os
import pickle
import textwrap
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fvdeblur.errors import InputError, UsageError
from fvdeblur.training.config import LoopConfig
from fvdeblur.training.muon import KernelOptimizer

CHECKPOINT = "checkpoint.pt"
WEIGHTS = "weights.safetensors"
LOG = "log.jsonl"
VALIDATION = "validation.jsonl"


def restore(
    config: LoopConfig,
    output: Path,
    network: nn.Module,
    average: dict[str, Tensor],
    optimiser: KernelOptimizer,
    initial: str | Path | None,
    discriminator: nn.Module | None = None,
) -> int:
    """Fill networks, average and optimiser from the checkpoint or the initial weights; return the step.

    Initial weights may lack layers that a fresh network begins at zero, as those for a guide that it did not have.
    """
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
        if json.loads(state["config"])["optimiser"] != config.optimiser:
            raise UsageError(f"{path}: belongs to another optimiser; choose another output folder")
        try:
            if discriminator is not None:
                discriminator.load_state_dict(state["discriminator"])
            elif "discriminator" in state:
                raise KeyError("discriminator")
        except (KeyError, RuntimeError) as error:
            raise UsageError(
                f"{path}: belongs to another discriminator or to none; choose another output folder"
            ) from error
        network.load_state_dict(state["network"])
        optimiser.load_state_dict(state["optimiser"])
        for name, value in state["average"].items():
            average[name].copy_(value)
        return int(state["step"])
    if initial is not None:
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            weights = {name: value.float() for name, value in load_file(initial).items()}
            fresh = {name: value for name, value in network.state_dict().items() if name not in weights}
            if any(value.any() for value in fresh.values()):
                raise RuntimeError(f"without {', '.join(fresh)}")
            network.load_state_dict(fresh | weights)
        except (OSError, SafetensorError, RuntimeError) as error:
            reason = textwrap.shorten(str(error), 200)
            raise UsageError(f"{initial}: these weights do not fit the network ({reason})") from error
        for name, value in network.state_dict().items():
            average[name].copy_(value)
    return 0


def save(
    config: LoopConfig,
    output: Path,
    network: nn.Module,
    average: dict[str, Tensor],
    optimiser: KernelOptimizer,
    step: int,
    discriminator: nn.Module | None = None,
) -> None:
    """Write the checkpoint and, in half precision, the averaged weights."""
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
    if discriminator is not None:
        state["discriminator"] = discriminator.state_dict()
    replace(output / CHECKPOINT, lambda path: torch.save(state, path))
    weights = {name: value.half().contiguous().cpu() for name, value in average.items()}
    replace(output / WEIGHTS, lambda path: save_file(weights, path))


def replace(path: Path, write: Callable[[Path], Any]) -> None:
    """Write beside the file and rename, so that a whole file stands under the name at any moment."""
    beside = path.with_name(path.name + ".partial")
    write(beside)
    os.replace(beside, path)


def append(path: Path, figures: dict[str, Any]) -> None:
    """Add a line of JSON."""
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(figures) + "\n")


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Lines of JSON; a line that was cut off while it was written is passed over."""
    lines = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else []:
        try:
            lines.append(json.loads(line))
        except json.JSONDecodeError:
            continue
    return lines


def trim_logs(output: Path, step: int) -> None:
    """Drop the lines that an interrupted run wrote after the checkpoint that is now gone on from."""
    for path in (output / LOG, output / VALIDATION):
        if path.exists():
            kept = "".join(json.dumps(line) + "\n" for line in read_lines(path) if line["step"] <= step)
            replace(path, partial(Path.write_text, data=kept, encoding="utf-8"))
