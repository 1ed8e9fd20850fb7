"""``fvdeblur evaluate``: measure restoration, on a dataset blurred by named protocols or on finished videos."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fvdeblur.cli.messages import counted, shown
from fvdeblur.cli.options import debug_option, device_option
from fvdeblur.errors import UsageError
from fvdeblur.restoration.settings import Settings

if TYPE_CHECKING:
    from fvdeblur.evaluation.results import Results

FORMATS = ("rich", "markdown", "latex", "csv", "json")


@click.command()
@click.argument("inputs", metavar="DATASET|RESTORED REFERENCE", nargs=-1, required=True)
@click.option(
    "--blurred", type=click.Path(path_type=Path), help="What RESTORED was made from, to be measured as well."
)
@click.option(
    "--protocol", "protocols", multiple=True, help="Blur DATASET by this; may be repeated.  [default: all]"
)
@click.option(
    "--model",
    "models",
    multiple=True,
    default=(Settings.model,),
    show_default=True,
    help="Released model, or a baseline: unsharp, wiener, richardson-lucy; may be repeated.",
)
@click.option("--split", default="validation", show_default=True, help="train, validation or all.")
@click.option("--clips", type=click.IntRange(1), help="Take so many clips (or pairs) only.")
@click.option("--seed", type=click.IntRange(0), default=7, show_default=True, help="Of everything random.")
@device_option
@click.option("--precision", default=Settings.precision, show_default=True, help="auto, fp32, bf16 or fp16.")
@click.option(
    "--embedder", default="auto", show_default=True, help="auto, dlib, insightface or none (identity)."
)
@click.option(
    "--networks",
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="Measure LPIPS and d_VGG with the networks that lie here (docs/evaluation.md).",
)
@click.option("--no-detection", is_flag=True, help="Do not detect faces in what is measured; much faster.")
@click.option("--measure", "measures", multiple=True, help="Show this measure only; may be repeated.")
@click.option(
    "--format",
    "kind",
    type=click.Choice(FORMATS),
    default="rich",
    show_default=True,
    help="Of what is printed.",
)
@click.option("--people", is_flag=True, help="Print a line for every person as well.")
@click.option(
    "--json", "json_path", type=click.Path(path_type=Path), metavar="FILE", help="Write everything here."
)
@click.option(
    "--csv", "csv_path", type=click.Path(path_type=Path), metavar="FILE", help="Write every row here."
)
@click.option("--overwrite", is_flag=True, help="Replace files that are there already.")
@click.option("-q", "--quiet", is_flag=True, help="Show no progress.")
@debug_option
def evaluate(
    inputs: tuple[str, ...],
    blurred: Path | None,
    protocols: tuple[str, ...],
    embedder: str,
    networks: Path | None,
    no_detection: bool,
    measures: tuple[str, ...],
    kind: str,
    people: bool,
    json_path: Path | None,
    csv_path: Path | None,
    overwrite: bool,
    quiet: bool,
    debug: bool,
    **values: Any,
) -> int:
    """Measure restoration in the face box.

    With a DATASET its clips are blurred by protocols, restored by models, and compared with the sharp frames. With two
    videos, RESTORED is compared with REFERENCE, frame by frame. Means are over people, with 95 % intervals of the
    change and the least of a person: PSNR, SSIM, sharpness, temporal and warping error, detection, landmarks, identity
    (docs/evaluation.md). A folder with pairs.txt holds aligned pairs: whether people are told apart is measured.
    """
    from fvdeblur.whole_file import whole_file

    for path in (json_path, csv_path):
        if path is not None and os.path.lexists(path) and not overwrite:
            raise UsageError(f"{shown(path)} exists; use --overwrite or another name")
    common = {
        "detection": not no_detection,
        "embedder": None if embedder == "none" else embedder,
        "networks": networks,
    }
    if len(inputs) == 1:
        if not os.path.isdir(inputs[0]):
            raise UsageError(f"{shown(inputs[0])}: is no dataset's folder; to compare videos, name two")
        if blurred is not None:
            raise UsageError("--blurred goes with two videos; a dataset is blurred by --protocol")
        if os.path.exists(os.path.join(inputs[0], "pairs.txt")):
            if networks is not None:
                raise UsageError("--networks goes with a dataset's clips or with videos, not with pairs")
            return _on_pairs(inputs[0], embedder, quiet, kind, json_path, **values)
        results = _on_dataset(inputs[0], protocols, quiet, **common, **values)
    elif len(inputs) == 2:
        if protocols:
            raise UsageError("--protocol goes with a dataset; videos are measured as they are")
        results = _on_videos(inputs[0], inputs[1], blurred, quiet, **common)
    else:
        raise UsageError("name a dataset, or the restored video and its reference")
    unknown = set(measures) - set(results.measures())
    if unknown:
        raise UsageError(
            f"--measure {sorted(unknown)[0]} was not taken; there are {', '.join(results.measures())}"
        )
    _print(results, kind, measures or None, people)
    for path, text in (
        (json_path, json.dumps(results.as_json(), indent=1) + "\n"),
        (csv_path, results.as_csv()),
    ):
        if path is not None:
            with whole_file(path) as partial:
                partial.write_text(text, encoding="utf-8")
    return 0


def _on_dataset(data: str, protocols: tuple[str, ...], quiet: bool, **values: Any) -> Results:
    from fvdeblur.cli.counter import Counter
    from fvdeblur.datasets.protocols import PROTOCOLS
    from fvdeblur.evaluation.datasets import evaluate_dataset

    chosen = protocols or tuple(PROTOCOLS)
    if quiet:
        return evaluate_dataset(data, chosen, **values)
    with Counter("measuring", "clips and protocols") as counter:
        return evaluate_dataset(data, chosen, **values, progress=counter.update)


def _on_pairs(
    folder: str, embedder: str, quiet: bool, kind: str, json_path: Path | None, **values: Any
) -> int:
    from fvdeblur.cli.counter import Counter
    from fvdeblur.evaluation.verification import evaluate_pairs
    from fvdeblur.whole_file import whole_file

    del values["split"]
    values["pairs"] = values.pop("clips")
    if quiet:
        result = evaluate_pairs(folder, **values, embedder=embedder)
    else:
        with Counter("telling people apart", "pictures") as counter:
            result = evaluate_pairs(folder, **values, embedder=embedder, progress=counter.update)
    click.echo(json.dumps(result.as_json()) if kind == "json" else result.as_markdown().rstrip("\n"))
    if json_path is not None:
        with whole_file(json_path) as partial:
            partial.write_text(json.dumps(result.as_json(), indent=1) + "\n", encoding="utf-8")
    return 0


def _on_videos(restored: str, reference: str, blurred: Path | None, quiet: bool, **values: Any) -> Results:
    from fvdeblur.cli.counter import Counter
    from fvdeblur.evaluation.videos import evaluate_videos

    if quiet:
        return evaluate_videos(restored, reference, blurred, **values)
    with Counter("measuring", "frames") as counter:
        return evaluate_videos(restored, reference, blurred, **values, progress=counter.update)


def _print(results: Results, kind: str, measures: tuple[str, ...] | None, people: bool) -> None:
    if kind == "json":
        click.echo(json.dumps(results.as_json()))
    elif kind == "csv":
        click.echo(results.as_csv(), nl=False)
    elif kind == "markdown":
        click.echo(results.as_markdown(measures), nl=False)
    elif kind == "latex":
        click.echo(results.as_latex(measures), nl=False)
    else:
        _print_table(results, measures)
    if people and kind == "rich":
        _print_people(results, measures)
    if results.left_out and kind == "rich":
        reasons = ", ".join(sorted({entry["reason"] for entry in results.left_out}))
        click.echo(f"{counted(len(results.left_out), 'measurement')} left out ({reasons})")


def _print_table(results: Results, measures: tuple[str, ...] | None) -> None:
    """One small table a measure: a wide one does not fit a terminal."""
    from rich.console import Console
    from rich.table import Table

    from fvdeblur.evaluation.results import DIGITS, UNITS

    summary = results.summary()
    for name in measures or results.measures():
        digits = DIGITS.get(name, 2)
        table = Table(title=f"{name} ({UNITS[name]})" if name in UNITS else name, title_justify="left")
        table.add_column("protocol")
        table.add_column("model")
        for column in ("people", "blurred", "restored", "change", "95 %", "least"):
            table.add_column(column, justify="right")
        for entry in summary:
            if name not in entry:
                continue
            before, after, change = (entry[name][key] for key in ("before", "after", "change"))
            table.add_row(
                entry["protocol"],
                entry["model"],
                str(entry["people"]),
                f"{before['mean']:.{digits}f}",
                f"{after['mean']:.{digits}f}",
                f"{change['mean']:+.{digits}f}",
                f"{change['low']:+.{digits}f} {change['high']:+.{digits}f}",
                f"{entry[name]['worst']['change']:+.{digits}f}",
            )
        Console().print(table)


def _print_people(results: Results, measures: tuple[str, ...] | None) -> None:
    from rich.console import Console
    from rich.table import Table

    for name in measures or results.measures():
        table = Table(title=f"{name}, by person", title_justify="left")
        for column in ("protocol", "model", "person", "before", "after", "change"):
            table.add_column(column)
        for entry in results.summary():
            for person, (before, after) in results.people(entry["protocol"], entry["model"], name).items():
                figures = (f"{before:.4g}", f"{after:.4g}", f"{after - before:+.4g}")
                table.add_row(entry["protocol"], entry["model"], person, *figures)
        Console().print(table)
