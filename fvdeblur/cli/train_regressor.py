"""``fvdeblur train-regressor``: train the network that reads the 3D face off a blurred one."""

from __future__ import annotations

from pathlib import Path

import click


@click.command("train-regressor")
@click.argument("config", type=click.Path(path_type=Path))
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="Folder of the run.")
@click.option("--data", help="Folder of the material; replaces the recipe's.")
@click.option("--meshes", help="Folder of the labels; replaces the recipe's.")
@click.option("--steps", type=int, help="Number of steps; replaces the recipe's.")
@click.option("--device", default="cpu", show_default=True, help="cpu, cuda or cuda:N.")
@click.option("--initial", type=click.Path(path_type=Path), help="Weights to begin with.")
@click.option("--max-minutes", type=float, help="Stop with a checkpoint after this time.")
@click.option("--debug", is_flag=True, help="Show where an error came from.")
def train_regressor(
    config: Path,
    output: Path,
    data: str | None,
    meshes: str | None,
    steps: int | None,
    device: str,
    initial: Path | None,
    max_minutes: float | None,
    debug: bool,
) -> None:
    """Train a regressor by the recipe CONFIG (TOML); the same command resumes at the last checkpoint."""
    from fvdeblur.training.config import read_recipe
    from fvdeblur.training.regression import RegressionConfig
    from fvdeblur.training.regression import train_regressor as run_training

    recipe = read_recipe(config, RegressionConfig, data=data, meshes=meshes, steps=steps)
    run_training(recipe, output, device=device, initial=initial, max_minutes=max_minutes, report=click.echo)
