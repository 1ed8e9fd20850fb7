"""``fvdeblur run``: deblur the faces of a video, or of every video in a folder."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fvdeblur.cli.batch import check_folders, make_folders, run_each
from fvdeblur.cli.messages import counted, say, shown
from fvdeblur.cli.options import debug_option, video_options
from fvdeblur.errors import UsageError
from fvdeblur.restoration.settings import Settings

if TYPE_CHECKING:
    from fvdeblur.restoration import Deblurrer, Summary


@click.command()
@click.argument("input", type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    help="Where to write (for a folder: the folder to write to).  [default: <stem>.deblurred<suffix> beside it]",
)
@click.option("--model", default=Settings.model, show_default=True, help="Released model to use.")
@click.option("--device", default=Settings.device, show_default=True, help="auto, cpu or cuda[:N].")
@click.option("--precision", default=Settings.precision, show_default=True, help="auto, fp32, bf16 or fp16.")
@click.option(
    "--strength", type=float, default=Settings.strength, show_default=True, help="0 nothing, 1 all."
)
@video_options
@click.option("-v", "--verbose", is_flag=True, help="Print more in the summary.")
@debug_option
def run(input: Path, output: Path | None, quiet: bool, verbose: bool, debug: bool, **values: Any) -> int:
    """Deblur the faces of INPUT, a video or a folder of videos."""
    if not os.path.exists(input):
        raise UsageError(f"{shown(input)}: there is no such file or folder")
    from fvdeblur.restoration import Deblurrer, find_videos

    if not input.is_dir():
        _run_one(Deblurrer(Settings(**values)), input, output, quiet, verbose)
        return 0
    videos = find_videos(input)
    folders = [] if output is None else [output]
    check_folders(folders)
    deblurrer = Deblurrer(Settings(**values))
    make_folders(folders)

    def work(video: Path) -> None:
        _run_one(deblurrer, video, None if output is None else output / video.name, quiet, verbose)

    return run_each(videos, work, debug)


def _run_one(deblurrer: Deblurrer, video: Path, output: Path | None, quiet: bool, verbose: bool) -> None:
    from fvdeblur.cli.progress import ProgressDisplay

    if quiet:
        for line in deblurrer.run(video, output).damage:
            say(f"{shown(video)}: damaged input: {line}")
        return
    with ProgressDisplay(video.name) as display:
        summary = deblurrer.run(video, output, progress=display.update)
    for line in summary_lines(summary, verbose):
        click.echo(line)


def summary_lines(summary: Summary, verbose: bool) -> list[str]:
    """The closing summary, one line a subject."""
    rate = summary.frames / summary.seconds if summary.seconds > 0 else 0.0
    lines = [shown(summary.output)]
    if summary.people == 0:
        lines.append(f"  no faces found in {counted(summary.frames, 'frame')}")
    else:
        lines.append(
            f"  {counted(summary.frames, 'frame')}, {counted(summary.people, 'face track')}, "
            f"{counted(summary.restored, 'face')} deblurred"
        )
    if summary.left_alone:
        reasons = ", ".join(f"{count} {reason}" for reason, count in sorted(summary.left_alone.items()))
        lines.append(f"  left alone: {reasons}")
    if summary.copied:
        lines.append("  nothing was changed, so the streams were copied as they are")
    lines += [f"  damaged input: {line}" for line in summary.damage]
    lines += [f"  note: {line}" for line in summary.notes]
    lines.append(f"  {summary.seconds:.1f} s ({rate:.1f} frames/s) on {summary.device}, {summary.precision}")
    if verbose:
        lines.append(f"  model {summary.model}, faces found by {summary.detector}")
    return lines
