"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

Command = Callable[..., Any]

debug_option = click.option("--debug", is_flag=True, help="Show where an error came from.")


def timecode(_: click.Context, __: click.Parameter, value: str | None) -> float | None:
    """Callback of options that take a time."""
    if value is None:
        return None
    from fvdeblur.media import parse_timecode

    return parse_timecode(value)


_TRAINING = (
    click.argument("config", type=click.Path(path_type=Path)),
    click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="Folder of the run."),
    click.option("--data", help="Folder of the material; replaces the recipe's."),
    click.option("--steps", type=int, help="Number of steps; replaces the recipe's."),
    click.option("--device", default="cpu", show_default=True, help="cpu, cuda or cuda:N."),
    click.option("--initial", type=click.Path(path_type=Path), help="Weights to begin with."),
    click.option("--max-minutes", type=float, help="Stop with a checkpoint after this time."),
    debug_option,
)


def training_options(command: Command) -> Command:
    """Add what every training command takes; their names are those of `fvdeblur.training.train`."""
    for option in reversed(_TRAINING):
        command = option(command)
    return command
