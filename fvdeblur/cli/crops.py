"""``fvdeblur crops``: the deblurred faces of a video as pictures, sorted by person."""

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
    face_strength_option,
    identity_option,
    reading_options,
    restoring_options,
)
from fvdeblur.errors import UsageError
from fvdeblur.restoration.settings import Settings

if TYPE_CHECKING:
    from fvdeblur.restoration.extraction import CropSummary


@click.command()
@click.argument("input", type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="Where to write.  [default: <stem>.crops beside it]",
)
@click.option(
    "--aligned",
    "mode",
    flag_value="aligned",
    default="aligned",
    help="Eyes and mouth in the same places (default).",
)
@click.option(
    "--upright", "mode", flag_value="upright", help="The box's square, turned so that the eyes are level."
)
@click.option("--raw", "mode", flag_value="raw", help="The box's square pixel by pixel, in its own size.")
@click.option("--size", type=int, default=256, show_default=True, metavar="PIXELS", help="Side of the crops.")
@click.option(
    "--margin", type=float, default=0.25, show_default=True, help="Around the face, in units of its size."
)
@click.option(
    "--format", "kind", default="png", show_default=True, help="png, jpg, webp, or video (one a track)."
)
@click.option(
    "--template",
    help="Names of the files, with the fields person, track, frame, time, shot.  [default: {frame:06d}]",
)
@choosing_options
@identity_option
@restoring_options
@face_strength_option
@reading_options
@debug_option
def crops(
    input: Path,
    output: Path | None,
    mode: str,
    size: int,
    margin: float,
    kind: str,
    template: str | None,
    identity: str,
    quiet: bool,
    debug: bool,
    **values: Any,
) -> None:
    """Write the deblurred faces of INPUT, a video, as pictures: a folder a person, a picture a frame.

    Beside them stand the best shot of each person, a contact sheet, and an index of all crops as CSV and JSON lines.
    """
    if not os.path.exists(input):
        raise UsageError(f"{shown(input)}: there is no such file")
    from fvdeblur.restoration.alignment import Aligner
    from fvdeblur.restoration.crop_folder import check_template
    from fvdeblur.restoration.extraction import CropExtractor

    chosen: dict[str, Any] = {
        "aligner": Aligner(mode, size, margin),
        "kind": kind,
        "template": check_template(
            template, kind
        ),  # what is wrong is better known before the networks are loaded
    }
    extractor = CropExtractor(Settings(**values), embedder=None if identity == "shape" else identity)
    run_one(
        input, lambda progress: extractor.run(input, output, **chosen, progress=progress), crop_lines, quiet
    )


def crop_lines(summary: CropSummary) -> list[str]:
    """The closing summary, one line a subject."""
    lines = [shown(summary.output)]
    frames = counted(summary.frames, "frame")
    if not summary.people:
        lines.append(f"  no faces found in {frames}")
    else:
        people = "1 person" if len(summary.people) == 1 else f"{len(summary.people)} people"
        total = counted(sum(summary.people.values()), "crop")
        lines.append(f"  {frames}, {total} of {people} in {counted(summary.tracks, 'face track')}")
        lines.append(f"  {counted(summary.restored, 'face')} deblurred")
        lines.append(f"  people told apart by {summary.identity}")
    if summary.fused:
        lines.append(
            f"  best shots made better from several frames: {len(summary.fused)}, in best/ as *-fused.png"
        )
    if summary.left_alone:
        reasons = ", ".join(f"{count} {reason}" for reason, count in sorted(summary.left_alone.items()))
        lines.append(f"  left as they are: {reasons}")
    if summary.sharpness is not None:
        lines.append(f"  sharpness {summary.sharpness[0]:.2f} -> {summary.sharpness[1]:.2f}")
    return lines + closing_lines(summary, summary.precision)
