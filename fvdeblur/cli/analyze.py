"""``fvdeblur analyze``: write what is known of the faces of a video as a file to read and edit."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fvdeblur.cli.batch import closing_lines, run_one
from fvdeblur.cli.messages import counted, shown
from fvdeblur.cli.options import (
    choosing_options,
    debug_option,
    device_option,
    identity_option,
    reading_options,
)
from fvdeblur.errors import UsageError
from fvdeblur.restoration.settings import Settings

if TYPE_CHECKING:
    from fvdeblur.restoration.analysis import AnalysisSummary


@click.command()
@click.argument("input", type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    help="Where to write.  [default: <stem>.tracks.json beside it]",
)
@click.option("--coefficients", is_flag=True, help="Write every face's 239 coefficients, too.")
@device_option
@choosing_options
@identity_option
@reading_options
@debug_option
def analyze(
    input: Path,
    output: Path | None,
    coefficients: bool,
    identity: str,
    quiet: bool,
    debug: bool,
    **values: Any,
) -> None:
    """Write the shots, people, tracks, poses and blur of INPUT, a video, as JSON.

    The file can be read and edited; what it says is described in docs/tracks.md.
    """
    if not os.path.exists(input):
        raise UsageError(f"{shown(input)}: there is no such file")
    from fvdeblur.restoration.analysis import FaceAnalyzer

    embedder = None if identity == "shape" else identity
    analyzer = FaceAnalyzer(Settings(**values), embedder=embedder)
    run_one(
        input,
        lambda progress: analyzer.run(input, output, coefficients=coefficients, progress=progress),
        analysis_lines,
        quiet,
    )


def analysis_lines(summary: AnalysisSummary) -> list[str]:
    """The closing summary, one line a subject."""
    lines = [shown(summary.output)]
    frames, shots = counted(summary.frames, "frame"), counted(summary.shots, "shot")
    if summary.tracks == 0:
        lines.append(f"  {frames}, {shots}, no faces found")
    else:
        people = "1 person" if summary.people == 1 else f"{summary.people} people"
        lines.append(f"  {frames}, {shots}, {counted(summary.tracks, 'face track')} of {people}")
        remarks = "".join(f", {count} {remark}" for remark, count in sorted(summary.remarks.items()))
        lines.append(f"  {counted(summary.faces, 'face')}{remarks}")
        lines.append(f"  people told apart by {summary.identity}")
    return lines + closing_lines(summary)
