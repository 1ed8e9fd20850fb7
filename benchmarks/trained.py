"""Networks that benchmarks trained or were given: whether a run is finished, and its weights in its network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import nn

from fvdeblur import networks
from fvdeblur.training.checkpoints import LOG, read_lines


def is_finished(folder: Path, steps: int) -> bool:
    """Whether the run in this folder has come to so many steps."""
    done = read_lines(folder / LOG)
    return bool(done) and done[-1]["step"] >= steps


def with_weights(network: str, options: dict[str, Any], weights: Path) -> nn.Module:
    """A network in single precision with the weights of a file, ready to restore."""
    from safetensors.torch import load_file

    made = networks.create(network, **options)
    made.load_state_dict({key: value.float() for key, value in load_file(weights).items()})
    return made.eval().requires_grad_(False)
