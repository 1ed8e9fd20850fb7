"""``fvdeblur blur``: make blurred videos with their sharp references, for measuring and training."""

from __future__ import annotations

import os
import time
import zlib
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import click

from fvdeblur.cli.batch import run_each
from fvdeblur.cli.messages import shown
from fvdeblur.cli.options import debug_option
from fvdeblur.errors import UsageError


class _Job(NamedTuple):
    """A video to blur: the file, the name of what is written, its seed, and the face's box in each frame."""

    source: Path
    name: str
    seed: int
    boxes: Any


def _list(context: click.Context, _: click.Parameter, wanted: bool) -> None:
    if not wanted or context.resilient_parsing:
        return
    from fvdeblur.datasets.protocols import PROTOCOLS

    width = max(map(len, PROTOCOLS))
    for name, protocol in PROTOCOLS.items():
        click.echo(f"{name:{width}}  {protocol.summary}")
    context.exit()


@click.command()
@click.argument("sharp", type=click.Path(path_type=Path))
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="Folder to write to.")
@click.option("--protocol", required=True, help="How to blur; --list shows the names.")
@click.option("--seed", type=click.IntRange(min=0), required=True, help="Seed of every random number.")
@click.option(
    "--set", "settings", multiple=True, metavar="NAME=VALUE", help="Change a setting; may be repeated."
)
@click.option(
    "--split",
    type=click.Choice(["all", "train", "validation"]),
    default="all",
    show_default=True,
    help="Which clips of a dataset.",
)
@click.option("--crf", type=float, help="Write H.264 of this quality in MP4.  [default: FFV1 without loss]")
@click.option("--device", default="cpu", show_default=True, help="auto, cpu or cuda[:N].")
@click.option("--overwrite", is_flag=True, help="Replace outputs that are there already.")
@click.option("-q", "--quiet", is_flag=True, help="Print errors only.")
@debug_option
@click.option(
    "--list", is_flag=True, is_eager=True, expose_value=False, callback=_list, help="Show the protocols."
)
def blur(
    sharp: Path,
    output: Path,
    protocol: str,
    seed: int,
    settings: tuple[str, ...],
    split: str,
    crf: float | None,
    device: str,
    overwrite: bool,
    quiet: bool,
    debug: bool,
) -> int:
    """Blur SHARP, a video, a folder of videos or a dataset, by a protocol.

    Writes blurred/NAME, sharp/NAME (the same frames) and NAME.json (what was done) to the output folder. Of several
    videos each has a seed of its own, made of --seed and its name; it stands in its JSON.
    """
    if not os.path.exists(sharp):
        raise UsageError(f"{shown(sharp)}: there is no such file or folder")
    from fvdeblur.datasets.protocols.values import parse_settings
    from fvdeblur.restoration.restorer import select_device

    made, modifiers = parse_settings(protocol, settings)
    if crf is not None and not 0 <= crf <= 51:
        raise UsageError(f"--crf {crf:g} is out of range; give 0 to 51")
    place = select_device(device)
    if os.path.lexists(output) and not output.is_dir():
        raise UsageError(f"{shown(output)}: is not a folder; give a folder with -o")
    jobs = _jobs(sharp, seed, split)
    options = {"protocol": made, "modifiers": modifiers, "crf": crf, "device": place, "overwrite": overwrite}
    if len(jobs) == 1:
        _run(jobs[0], output, quiet, **options)
        return 0
    return run_each(jobs, lambda job: _run(job, output, quiet, **options), debug)


def _jobs(sharp: Path, seed: int, split: str) -> list[_Job]:
    """The videos that were asked for."""
    from fvdeblur.datasets.index import INDEX_NAME, read_index
    from fvdeblur.restoration import find_videos

    indexed = (sharp / INDEX_NAME).exists()
    if split != "all" and not indexed:
        raise UsageError(
            f"{shown(sharp)}: is no dataset with an index, so it has no splits; leave --split out"
        )
    if not sharp.is_dir():
        return [_Job(sharp, sharp.stem, seed, None)]
    boxes: dict[Path, Any] = {}
    if indexed:
        records = [r for r in read_index(sharp) if not r.is_still and split in ("all", r.split)]
        boxes = {sharp / record.file: record.boxes for record in records}
        videos = list(boxes)
        if not videos:
            raise UsageError(f"{shown(sharp)}: the dataset has no videos in the split {split}")
    else:
        videos = find_videos(sharp / "clips" if (sharp / "clips.tsv").exists() else sharp)
    stems = Counter(video.stem for video in videos)
    names = [video.stem if stems[video.stem] == 1 else video.name for video in videos]
    return [
        _Job(
            video,
            name,
            zlib.crc32(f"{seed} {video.name}".encode("utf-8", "surrogateescape")),
            boxes.get(video),
        )
        for video, name in zip(videos, names, strict=True)
    ]


def _run(job: _Job, output: Path, quiet: bool, **options: Any) -> None:
    from fvdeblur.cli.counter import Counter as FrameCounter
    from fvdeblur.datasets.protocols.files import blur_video

    began = time.monotonic()
    place = {"name": job.name, "boxes": job.boxes, "seed": job.seed}
    if quiet:
        blur_video(job.source, output, **place, **options)
        return
    with FrameCounter(shown(job.source.name), "frames") as counter:
        result = blur_video(job.source, output, **place, **options, progress=counter.update)
    seconds = max(time.monotonic() - began, 1e-6)
    click.echo(shown(result.record))
    rejected = f", {result.rejected} rejected" if result.rejected else ""
    click.echo(
        f"  {result.frames} frames{rejected}, {seconds:.1f} s ({result.frames / seconds:.1f} frames/s)"
    )
    for note in result.notes:
        click.echo(f"  note: {note}")
