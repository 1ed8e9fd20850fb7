"""``fvdeblur run``: deblur the faces of a video, or of every video in a folder."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fvdeblur.cli.batch import run_each
from fvdeblur.cli.messages import counted, say, shown
from fvdeblur.cli.options import debug_option, timecode
from fvdeblur.errors import OutputError, UsageError
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
@click.option("--start", callback=timecode, metavar="TIME", help="Keep from here (seconds or [H:]M:S).")
@click.option("--end", callback=timecode, metavar="TIME", help="Keep up to here (seconds or [H:]M:S).")
@click.option(
    "--min-face",
    type=float,
    default=Settings.min_face,
    show_default=True,
    metavar="PIXELS",
    help="Leave smaller faces alone.",
)
@click.option("--codec", help="Codec family or encoder.  [default: the source's]")
@click.option(
    "--crf", type=float, help="Quality of the encoder; smaller is better.  [default: by codec, H.264 17]"
)
@click.option("--preset", help="Speed of the encoder.  [default: by codec, H.264 fast]")
@click.option("--detector", default=Settings.detector, show_default=True, help="auto, centerface or scrfd.")
@click.option(
    "--threads", type=int, default=Settings.threads, show_default=True, help="Threads a stage; 0 chooses."
)
@click.option("--overwrite", is_flag=True, help="Replace an output that is there already.")
@click.option("-q", "--quiet", is_flag=True, help="Print errors only.")
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
    if output is not None and output.exists() and not output.is_dir():
        raise UsageError(f"{shown(output)}: is not a folder; for a folder of videos, give a folder")
    deblurrer = Deblurrer(Settings(**values))
    if output is not None:
        try:
            output.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(f"{shown(output)}: cannot make this folder ({error.strerror})") from error

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
