"""``fvdeblur train-fitting``: train the classifier that rejects wrong fittings while mining."""

from __future__ import annotations

from pathlib import Path

import click

from fvdeblur.cli.options import debug_option


@click.command("train-fitting")
@click.argument("data", type=click.Path(path_type=Path))
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="Folder to write to.")
@click.option(
    "--points",
    type=int,
    default=68,
    show_default=True,
    help="Landmarks of a fitting: 5 (the detector's) or 68.",
)
@click.option("--seed", type=click.IntRange(min=0), default=1, show_default=True, help="Of what is drawn.")
@debug_option
def train_fitting(data: Path, output: Path, points: int, seed: int, debug: bool) -> None:
    """Train the classifier of fittings on the sharp faces of DATA, a folder with clips.tsv and portraits.tsv."""
    from fvdeblur.cli.messages import shown
    from fvdeblur.datasets.mining.fitting_training import train_from_material

    written = train_from_material(data, output, points, seed=seed, report=click.echo)
    click.echo(shown(written))
