"""``fvdeblur train``: train a network by a recipe."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from fvdeblur.cli.options import training_options


@click.command()
@training_options
def train(config: Path, data: str | None, steps: int | None, debug: bool, **run: Any) -> None:
    """Train a network by the recipe CONFIG (TOML); the same command resumes at the last checkpoint.

    On several GPUs: torchrun --nproc-per-node N -m fvdeblur train CONFIG -o FOLDER --device cuda
    """
    from fvdeblur.training import load_config
    from fvdeblur.training import train as run_training

    run_training(load_config(config, data=data, steps=steps), report=click.echo, **run)
