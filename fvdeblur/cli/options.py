"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from fvdeblur.restoration.settings import Settings

Command = Callable[..., Any]

PROGRESS_MODES = ("auto", "rich", "plain", "jsonl", "none")
"""How progress can be shown; ``auto`` is a bar on a terminal and plain lines elsewhere."""

COMPARISONS = ("side-by-side", "split", "difference")
"""How two videos can be compared: those of `fvdeblur.restoration.comparison`, which is not loaded for a help text."""

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


_PART = (
    click.option("--start", callback=timecode, metavar="TIME", help="Keep from here (seconds or [H:]M:S)."),
    click.option("--end", callback=timecode, metavar="TIME", help="Keep up to here (seconds or [H:]M:S)."),
    click.option(
        "--min-face",
        type=float,
        default=Settings.min_face,
        show_default=True,
        metavar="PIXELS",
        help="Leave smaller faces alone.",
    ),
)
_ENCODING = (
    click.option("--codec", help="Codec family or encoder.  [default: the source's]"),
    click.option(
        "--crf", type=float, help="Quality of the encoder; smaller is better.  [default: by codec, H.264 17]"
    ),
    click.option("--preset", help="Speed of the encoder.  [default: by codec, H.264 fast]"),
    click.option(
        "--pix-fmt", metavar="NAME", help="Pixel format to encode (yuv420p10le).  [default: the source's]"
    ),
    click.option(
        "--encoder-option",
        multiple=True,
        metavar="KEY=VALUE",
        help="Option of the encoder, by FFmpeg's name (tune=film); can be given several times.",
    ),
)
_WORK = (
    click.option(
        "--hwaccel",
        default=Settings.hwaccel,
        show_default=True,
        metavar="NAME",
        help="Hardware that decodes: none, auto (what is there) or its name (cuda, vaapi, videotoolbox).",
    ),
    click.option(
        "--detector", default=Settings.detector, show_default=True, help="auto, centerface or scrfd."
    ),
    click.option(
        "--threads", type=int, default=Settings.threads, show_default=True, help="Threads a stage; 0 chooses."
    ),
    click.option(
        "--max-pixels",
        type=int,
        default=Settings.max_pixels,
        show_default=True,
        help="Refuse videos with larger pictures.",
    ),
    click.option("--max-duration", callback=timecode, metavar="TIME", help="Refuse videos that last longer."),
    click.option("--overwrite", is_flag=True, help="Replace an output that is there already."),
    click.option("-q", "--quiet", is_flag=True, help="Print errors only."),
)


device_option = click.option(
    "--device", default=Settings.device, show_default=True, help="auto, cpu or cuda[:N]."
)
identity_option = click.option(
    "--identity",
    default="auto",
    show_default=True,
    help="What tells people apart: auto, insightface, dlib or shape.",
)

_RESTORING = (
    click.option("--model", default=Settings.model, show_default=True, help="Released model to use."),
    device_option,
    click.option(
        "--precision", default=Settings.precision, show_default=True, help="auto, fp32, bf16 or fp16."
    ),
    click.option(
        "--strength", type=float, default=Settings.strength, show_default=True, help="0 nothing, 1 all."
    ),
)


_CHOOSING = (
    click.option(
        "--faces",
        multiple=True,
        default=Settings.faces,
        show_default=True,
        metavar="WHICH",
        help="all, largest, center, track:ID, like:PHOTO or unlike:PHOTO; several, or with commas between them.",
    ),
    click.option(
        "--region",
        multiple=True,
        metavar="X,Y,W,H",
        help="Leave faces alone whose centre lies elsewhere; pixels of the upright picture, or percent with %.",
    ),
    click.option(
        "--exclude", multiple=True, metavar="X,Y,W,H", help="Leave faces alone whose centre lies there."
    ),
)
face_strength_option = click.option(
    "--face-strength",
    multiple=True,
    metavar="track:ID=STRENGTH",
    help="The strength for one track, as analyze numbers them.",
)


def choosing_options(command: Command) -> Command:
    """Add what every command takes that chooses faces; their names are those of `Settings`."""
    return _with(_CHOOSING, command)


def restoring_options(command: Command) -> Command:
    """Add what every command takes that deblurs faces; their names are those of `Settings`."""
    return _with(_RESTORING, command)


def training_options(command: Command) -> Command:
    """Add what every training command takes; their names are those of `fvdeblur.training.train`."""
    return _with(_TRAINING, command)


def video_options(command: Command) -> Command:
    """Add what every command takes that reads videos and writes them anew; their names are those of `Settings`."""
    return _with((*_PART, *_ENCODING, *_WORK), command)


def reading_options(command: Command) -> Command:
    """Add what every command takes that reads videos and writes something else; their names are those of `Settings`."""
    return _with((*_PART, *_WORK), command)


def _with(options: tuple[Command, ...], command: Command) -> Command:
    for option in reversed(options):
        command = option(command)
    return command
