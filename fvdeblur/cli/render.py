"""``fvdeblur render``: show the 3D faces that are read, beside each frame of a video or of every video in a folder."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fvdeblur.cli.batch import closing_lines, run_each, run_one
from fvdeblur.cli.messages import counted, shown
from fvdeblur.cli.options import debug_option, device_option, video_options
from fvdeblur.errors import UsageError
from fvdeblur.folders import check_folders, make_folders
from fvdeblur.restoration.settings import Settings

if TYPE_CHECKING:
    from fvdeblur.restoration.rendering import FaceRenderer, RenderSummary


@click.command()
@click.argument("input", type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    help="Where to write (for a folder: the folder to write to).  [default: <stem>.rendered<suffix> beside it]",
)
@click.option(
    "--json",
    "rows",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Write a line of JSON a frame and face: track, box, doubt, angles, coefficients (for a folder: the folder "
    "to write <name>.jsonl to).",
)
@device_option
@video_options
@debug_option
def render(
    input: Path, output: Path | None, rows: Path | None, quiet: bool, debug: bool, **values: Any
) -> int:
    """Show the 3D faces read in INPUT, a video or a folder of videos.

    Beside each frame stands the same in grey and darker, with the rendered faces in their places, so that it can be
    seen how well they fit. Faces that cannot be read well fade.
    """
    if not os.path.exists(input):
        raise UsageError(f"{shown(input)}: there is no such file or folder")
    from fvdeblur.restoration import FaceRenderer, find_videos

    if not input.is_dir():
        _render_one(FaceRenderer(Settings(**values)), input, output, rows, quiet)
        return 0
    videos = find_videos(input)
    folders = [folder for folder in (output, rows) if folder is not None]
    check_folders(folders)
    renderer = FaceRenderer(Settings(**values))
    make_folders(folders)

    def work(video: Path) -> None:
        target = None if output is None else output / video.name
        _render_one(renderer, video, target, None if rows is None else rows / f"{video.name}.jsonl", quiet)

    return run_each(videos, work, debug)


def _render_one(
    renderer: FaceRenderer, video: Path, output: Path | None, rows: Path | None, quiet: bool
) -> None:
    run_one(
        video,
        lambda progress: renderer.run(video, output, rows=rows, progress=progress),
        render_summary_lines,
        quiet,
    )


def render_summary_lines(summary: RenderSummary) -> list[str]:
    """The closing summary, one line a subject."""
    lines = [shown(summary.output)]
    if summary.rows is not None:
        lines.append(shown(summary.rows))
    frames, people = counted(summary.frames, "frame"), counted(summary.people, "face track")
    if summary.people == 0:
        lines.append(f"  no faces found in {frames}")
    else:
        lines.append(f"  {frames}, {people}, {counted(summary.drawn, 'face')} drawn")
    if summary.left_out:
        reasons = ", ".join(f"{count} {reason}" for reason, count in sorted(summary.left_out.items()))
        lines.append(f"  not drawn: {reasons}")
    return lines + closing_lines(summary)
