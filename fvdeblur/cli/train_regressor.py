"""``fvdeblur train-regressor``: train the network that reads the 3D face off a blurred one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from fvdeblur.cli.options import training_options


@click.command("train-regressor")
@training_options
@click.option("--meshes", help="Folder of the labels; replaces the recipe's.")
def train_regressor(
    config: Path, data: str | None, meshes: str | None, steps: int | None, debug: bool, **run: Any
) -> None:
    """Train a regressor by the recipe CONFIG (TOML); the same command resumes at the last checkpoint."""
    from fvdeblur.training.config import read_recipe
    from fvdeblur.training.regression import RegressionConfig
    from fvdeblur.training.regression import train_regressor as run_training

    recipe = read_recipe(config, RegressionConfig, data=data, meshes=meshes, steps=steps)
    run_training(recipe, report=click.echo, **run)
