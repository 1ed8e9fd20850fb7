"""``fvdeblur train``: train a network by a recipe."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.argument("config", type=click.Path(path_type=Path))
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="Folder of the run.")
@click.option("--data", help="Folder of the material; replaces the recipe's.")
@click.option("--steps", type=int, help="Number of steps; replaces the recipe's.")
@click.option("--device", default="cpu", show_default=True, help="cpu, cuda or cuda:N.")
@click.option("--initial", type=click.Path(path_type=Path), help="Weights to begin with.")
@click.option("--max-minutes", type=float, help="Stop with a checkpoint after this time.")
@click.option("--debug", is_flag=True, help="Show where an error came from.")
def train(
    config: Path,
    output: Path,
    data: str | None,
    steps: int | None,
    device: str,
    initial: Path | None,
    max_minutes: float | None,
    debug: bool,
) -> None:
    """Train a network by the recipe CONFIG (TOML); the same command resumes at the last checkpoint.

    On several GPUs: torchrun --nproc-per-node N -m fvdeblur train CONFIG -o FOLDER --device cuda
    """
    from fvdeblur.training import load_config
    from fvdeblur.training import train as run_training

    recipe = load_config(config, data=data, steps=steps)
    run_training(recipe, output, device=device, initial=initial, max_minutes=max_minutes, report=click.echo)
