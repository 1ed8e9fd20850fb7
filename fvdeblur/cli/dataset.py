"""``fvdeblur dataset``: look at datasets of face clips, verify them, make them from folders with tables."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from fvdeblur.cli.messages import one_line, say, shown
from fvdeblur.cli.options import debug_option
from fvdeblur.errors import EXIT_FAILURE

if TYPE_CHECKING:
    from rich.table import Table

    from fvdeblur.datasets.summary import DatasetSummary, Totals

threads_option = click.option(
    "--threads", type=click.IntRange(0), default=0, show_default=True, help="Files at once; 0: one a core."
)
dataset_argument = click.argument("dataset", type=click.Path(path_type=Path))


@click.group()
def dataset() -> None:
    """Look at datasets of face clips, verify them, make them from folders with tables."""


@dataset.command()
@dataset_argument
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of a table.")
@debug_option
def info(dataset: Path, as_json: bool, debug: bool) -> None:
    """Print what DATASET holds: clips, people, frames, hours, splits, sizes."""
    from fvdeblur.datasets.summary import summarise

    summary = summarise(dataset)
    if as_json:
        click.echo(json.dumps(asdict(summary), ensure_ascii=False))
    else:
        from rich.console import Console

        for table in _tables(summary):
            Console().print(table)
    for person in summary.shared_identities:
        say(f"{shown(dataset)}: {shown(person)} stands in both splits; correct the index")


@dataset.command()
@dataset_argument
@threads_option
@debug_option
def check(dataset: Path, threads: int, debug: bool) -> int:
    """Verify every file of DATASET: there, unchanged, decodes, as long and as large as its index says."""
    from fvdeblur.cli.counter import Counter
    from fvdeblur.datasets.checking import check_dataset

    with Counter("checking", "files") as counter:
        result = check_dataset(dataset, threads=threads, progress=counter.update)
    for problem in result.problems:
        click.echo(shown(one_line(problem)))
    if result.problems:
        say(f"{shown(dataset)}: {len(result.problems)} problems with {result.files} files")
        return EXIT_FAILURE
    click.echo(f"{shown(dataset)}: {result.files} files are in order")
    return 0


@dataset.command()
@dataset_argument
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), help="PNG file to write.  [default: DATASET/sheet.png]"
)
@click.option("--frames", type=int, default=8, show_default=True, help="Frames in a row.")
@click.option("--side", type=int, default=128, show_default=True, metavar="PIXELS", help="Height of a row.")
@click.option("--clips", type=int, default=100, show_default=True, help="Most rows, evenly spread.")
@threads_option
@debug_option
def sheet(
    dataset: Path, output: Path | None, frames: int, side: int, clips: int, threads: int, debug: bool
) -> None:
    """Write a contact sheet of DATASET: one row a clip, with its name and figures."""
    from fvdeblur.cli.counter import Counter
    from fvdeblur.datasets.sheet import write_sheet

    target = output or dataset / "sheet.png"
    with Counter("drawing", "clips") as counter:
        rows = write_sheet(
            dataset, target, frames=frames, side=side, clips=clips, threads=threads, progress=counter.update
        )
    click.echo(f"{shown(target)}: {rows} clips")


@dataset.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), required=True, help="Folder of the dataset to make."
)
@threads_option
@debug_option
def convert(folder: Path, output: Path, threads: int, debug: bool) -> None:
    """Make a dataset of FOLDER, which holds clips.tsv or portraits.tsv; files are linked or copied."""
    from fvdeblur.cli.counter import Counter
    from fvdeblur.datasets.conversion import convert as make_dataset

    with Counter("converting", "files") as counter:
        records = make_dataset(folder, output, threads=threads, progress=counter.update)
    stills = sum(record.is_still for record in records)
    click.echo(f"{shown(output)}: {len(records) - stills} clips, {stills} stills")


def _tables(summary: DatasetSummary) -> list[Table]:
    from rich.table import Table

    totals = Table()
    for column in ("", *summary.splits, "total"):
        totals.add_column(column, justify="left" if column == "" else "right")
    parts = [*summary.splits.values(), summary.total]
    for name in ("clips", "stills", "identities", "sources", "frames", "hours", "size"):
        totals.add_row(name, *(_total(part, name) for part in parts))
    figures = Table()
    for column in ("of a clip", "least", "median", "largest"):
        figures.add_column(column, justify="left" if column == "of a clip" else "right")
    units = {"side": " px", "face": " px", "motion": " px"}
    for name, values in summary.figures.items():
        cells = (
            f"{value:.4g}{units.get(name, '')}" for value in (values.least, values.median, values.largest)
        )
        figures.add_row(name, *cells)
    return [totals, figures] if summary.figures else [totals]


def _total(part: Totals, name: str) -> str:
    if name == "size":
        return f"{part.bytes / 1e6:,.1f} MB"
    if name == "hours":
        return f"{part.hours:.3f}"
    return f"{getattr(part, name):,}"
