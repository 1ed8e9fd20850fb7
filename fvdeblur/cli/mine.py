"""``fvdeblur mine``: make a dataset of face clips from videos."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fvdeblur.cli.messages import one_line, say, shown
from fvdeblur.cli.options import debug_option
from fvdeblur.datasets.mining.settings import IDENTITY_SOURCES, MiningSettings
from fvdeblur.errors import EXIT_FAILURE

if TYPE_CHECKING:
    from fvdeblur.datasets.mining.run import MiningProgress, MiningSummary


@click.command()
@click.argument("inputs", metavar="VIDEO|DIR...", type=click.Path(path_type=Path), nargs=-1, required=True)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    required=True,
    help="Folder of the dataset, new or not.",
)
@click.option(
    "--processes", type=int, default=0, show_default=True, help="Videos at once; 0: one a processor core."
)
@click.option(
    "--detector", default=MiningSettings.detector, show_default=True, help="auto, centerface or scrfd."
)
@click.option(
    "--landmarks", default=MiningSettings.landmarks, show_default=True, help="auto, dlib68 or five."
)
@click.option(
    "--identity-from",
    type=click.Choice(IDENTITY_SOURCES),
    help="What names the person, where each video shows one.  [default: nothing; the split goes by video]",
)
@click.option(
    "--least-frames",
    type=int,
    default=MiningSettings.least_frames,
    show_default=True,
    help="Drop shorter runs of good frames.",
)
@click.option(
    "--most-frames",
    type=int,
    default=MiningSettings.most_frames,
    show_default=True,
    help="Cut longer shots into clips of this length.",
)
@click.option(
    "--least-face",
    type=float,
    default=MiningSettings.least_face,
    show_default=True,
    metavar="PIXELS",
    help="Pass over smaller faces (longer side of the box).",
)
@click.option(
    "--most-faces",
    type=int,
    default=MiningSettings.most_faces,
    show_default=True,
    help="Faces followed at once.",
)
@click.option("--licence", metavar="TEXT", help="Terms of use of the videos, to be noted in the index.")
@click.option("-q", "--quiet", is_flag=True, help="Print errors only.")
@debug_option
def mine(
    inputs: tuple[Path, ...], output: Path, processes: int, quiet: bool, debug: bool, **values: Any
) -> int:
    """Mine videos for clips of sharp, moving faces into a dataset.

    The same command goes on where it was stopped, and takes up what is new. DATASET/mining.jsonl says of every
    candidate why it was accepted or rejected.
    """
    from fvdeblur.cli.counter import Counter
    from fvdeblur.datasets.mining.run import mine as mine_videos

    settings = MiningSettings(**values)
    if quiet:
        summary = mine_videos(inputs, output, settings, processes=processes)
    else:
        with Counter("mining", "videos") as counter:

            def show(progress: MiningProgress) -> None:
                text = f"{progress.frames} frames, {progress.clips} clips"
                counter.update(progress.videos, progress.total, text)

            summary = mine_videos(inputs, output, settings, processes=processes, progress=show)
        _print(summary)
    for line in summary.damage:
        say(f"{shown(line)} (damaged input)")
    for name, error in summary.failed:
        text = str(error)
        say(text if name in text else f"{shown(name)}: {one_line(text)}")
        if debug:
            click.echo("".join(getattr(error, "__notes__", [])), err=True)
    if summary.failed:
        say(f"{len(summary.failed)} of {summary.videos} videos could not be mined; the others were")
    return EXIT_FAILURE if summary.failed else 0


def _print(summary: MiningSummary) -> None:
    """A table of the reasons, and a line about the run."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table()
    for column in ("reason", "candidates", "frames"):
        table.add_column(column, justify="left" if column == "reason" else "right")
    for reason, tally in summary.reasons.items():
        table.add_row(escape(reason), f"{tally.candidates:,}", f"{tally.frames:,}")
    Console().print(table)
    rate = summary.frames / summary.seconds if summary.seconds > 0 else 0.0
    before = f", {summary.done_before} of them done before" if summary.done_before else ""
    click.echo(
        f"{shown(summary.dataset)}: {summary.videos} videos{before}; "
        f"{summary.frames} frames in {summary.seconds:.1f} s ({rate:.1f} frames/s)"
    )
