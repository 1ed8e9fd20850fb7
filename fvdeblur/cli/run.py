"""``fvdeblur run``: deblur the faces of videos, photographs and image sequences."""

from __future__ import annotations

import os
import sys
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fvdeblur.cli.batch import cluster_address, note_what_is_kept
from fvdeblur.cli.messages import counted, say, shown
from fvdeblur.cli.options import (
    COMPARISONS,
    PROGRESS_MODES,
    choosing_options,
    debug_option,
    face_strength_option,
    identity_option,
    restoring_options,
    video_options,
)
from fvdeblur.errors import EXIT_FAILURE, UsageError
from fvdeblur.folders import check_folders
from fvdeblur.restoration.settings import Settings

if TYPE_CHECKING:
    from fvdeblur.cli.reporting import Reporter
    from fvdeblur.restoration import Item


def comparison_mode(_: click.Context, __: click.Parameter, value: str | None) -> str | None:
    """Callback of the option that takes a way to compare."""
    if value is not None and value not in COMPARISONS:
        raise UsageError(
            f"--compare {shown(value)}: is no way to compare; give {', '.join(COMPARISONS)}, and put --compare "
            "without one behind the inputs"
        )
    return value


@click.command()
@click.argument("inputs", metavar="INPUT...", nargs=-1, required=True)
@click.option(
    "-o",
    "--output",
    help="Where to write: for one file a file, for several or for folders a folder, - for standard output "
    "as Matroska, -.y4m as YUV4MPEG2.  "
    "[default: <stem>.deblurred<suffix> beside each]",
)
@click.option(
    "--recursive", is_flag=True, help="Look into folders of folders, and mirror them in the output."
)
@click.option("--sequence", is_flag=True, help="Take the pictures of a folder as frames of one video.")
@click.option("--skip-existing", is_flag=True, help="Pass over inputs whose output is there already.")
@click.option("--fail-fast", is_flag=True, help="Stop at the first failure.")
@click.option(
    "--workers", type=click.IntRange(1), default=1, show_default=True, help="Processes that share the inputs."
)
@click.option(
    "--ray",
    is_flag=False,
    flag_value="auto",
    callback=cluster_address,
    metavar="[ADDRESS]",
    help="Share the inputs among the machines of a Ray cluster: HOST:PORT, or without ADDRESS the one that runs here.",
)
@click.option(
    "--dry-run", is_flag=True, help="Only say what would be done, how long it takes and how large it gets."
)
@restoring_options
@choosing_options
@face_strength_option
@identity_option
@video_options
@click.option(
    "--no-resume",
    "resume",
    flag_value=False,
    default=Settings.resume,
    help="Discard what an earlier run that was stopped had done.",
)
@click.option(
    "--progress",
    type=click.Choice(PROGRESS_MODES),
    default="auto",
    show_default=True,
    help="How progress is shown on standard error; jsonl: a line of JSON an event.",
)
@click.option(
    "--json", "as_json", is_flag=True, help="Print the summary as JSON (its schema: docs/summary.md)."
)
@click.option(
    "--report",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Write a page about what was done (for several inputs: a folder for the pages).",
)
@click.option(
    "--compare",
    is_flag=False,
    flag_value=COMPARISONS[0],
    callback=comparison_mode,
    metavar=f"[{'|'.join(COMPARISONS)}]",
    help="Write a comparison with the input, <output stem>.compare.mp4, beside each output.",
)
@click.option(
    "--compare-output",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Write it there, as a video or a picture (for several inputs: a folder for the videos).",
)
@click.option(
    "--tracks",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Do as this file says, which `analyze` wrote and you may have edited.",
)
@click.option("--log", type=click.Path(path_type=Path), metavar="FILE", help="Add what happens to this file.")
@click.option("-v", "--verbose", is_flag=True, help="Print more in the summary.")
@debug_option
def run(
    inputs: tuple[str, ...],
    output: str | None,
    recursive: bool,
    sequence: bool,
    skip_existing: bool,
    fail_fast: bool,
    workers: int,
    ray: str | None,
    dry_run: bool,
    progress: str,
    as_json: bool,
    report: Path | None,
    compare: str | None,
    compare_output: Path | None,
    log: Path | None,
    quiet: bool,
    verbose: bool,
    debug: bool,
    **values: Any,
) -> int:
    """Deblur the faces of INPUTs: videos, photographs, folders of either, wildcards ('*.mp4'), patterns of image
    sequences ('shot-%04d.png'), or - for standard input.
    """
    from fvdeblur.cli.reporting import Reporter
    from fvdeblur.cli.standard_streams import (
        read_standard_input,
        suffix_of_standard_output,
        write_standard_output,
    )
    from fvdeblur.restoration import Item, find_items

    settings = Settings(**values)
    with ExitStack() as stack:
        suffix = suffix_of_standard_output(output)
        piped: list[Path] = []
        if "-" in inputs:
            if len(inputs) > 1 or output is None:
                raise UsageError("-: standard input stands alone and needs an output; give -o FILE or -o -")
            piped.append(stack.enter_context(read_standard_input()))
            inputs = (str(piped[0]),)
        if suffix is not None:
            if len(inputs) > 1 or os.path.isdir(inputs[0]):
                raise UsageError("-o -: one video only can go to standard output; name one input")
            piped.append(stack.enter_context(write_standard_output(suffix)))
            items = [Item(Path(inputs[0]), piped[-1])]
        else:
            items = find_items(inputs, output, recursive=recursive, sequence=sequence)
        several = len(items) > 1 or (any(os.path.isdir(name) for name in inputs) and not sequence)
        if settings.tracks is not None and several:
            raise UsageError("--tracks is about one video; name one input")
        if report is not None:
            items = _with_reports(items, report, several)
        if compare is not None or compare_output is not None:
            if suffix is not None and compare_output is None:
                raise UsageError(
                    "--compare: nothing stands beside standard output; give --compare-output FILE"
                )
            items = _with_comparisons(items, compare or COMPARISONS[0], compare_output, several)
        reporter = stack.enter_context(
            Reporter(
                items,
                mode="none" if quiet else progress,
                as_json=as_json,
                log=log,
                quiet=quiet,
                verbose=verbose,
                debug=debug,
                stream=sys.stdout if suffix is None else sys.stderr,
                several=several,
                piped=piped,
            )
        )
        if dry_run:
            return _estimate(items, settings, skip_existing, reporter)
        return _work(items, settings, workers, ray, skip_existing, fail_fast, reporter)


def _with_reports(items: list[Item], report: Path, several: bool) -> list[Item]:
    """The items with the places of their pages."""
    if any(item.kind != "video" for item in items):
        raise UsageError("--report is for videos; leave it out")
    if not several:
        return [replace(items[0], report=report)]
    check_folders([report])
    pages = [report / f"{item.target.name}.html" for item in items]
    if len(set(pages)) < len(pages):
        raise UsageError(f"{shown(report)}: several pages would have one name; run folder by folder")
    return [replace(item, report=page) for item, page in zip(items, pages, strict=True)]


def _with_comparisons(items: list[Item], mode: str, output: Path | None, several: bool) -> list[Item]:
    """The items with the places of their comparisons."""
    from fvdeblur.restoration.inputs import comparison_output

    if any(item.kind != "video" for item in items):
        raise UsageError("--compare is for videos; leave it out")
    if not several and output is not None:
        return [replace(items[0], comparison=output, comparison_mode=mode)]
    if output is not None:
        check_folders([output])
    places = [comparison_output(item.target, output) for item in items]
    taken = {os.path.realpath(place) for place in places}
    if len(taken) < len(places) or taken & {os.path.realpath(item.target) for item in items}:
        raise UsageError("--compare: several files would have one name; run folder by folder")
    return [
        replace(item, comparison=place, comparison_mode=mode)
        for item, place in zip(items, places, strict=True)
    ]


def _work(
    items: list[Item],
    settings: Settings,
    workers: int,
    ray: str | None,
    skip_existing: bool,
    fail_fast: bool,
    reporter: Reporter,
) -> int:
    from fvdeblur.restoration import run_batch

    failed = 0
    left = dict.fromkeys(items)
    results = run_batch(
        items,
        settings,
        workers=workers,
        cluster=ray,
        skip_existing=skip_existing,
        fail_fast=fail_fast,
        progress=reporter.progress if reporter.shows_progress else None,
    )
    try:
        with closing(results):
            for result in results:
                failed += result.status == "failed"
                left.pop(result.item)
                reporter.ended(result)
    except Exception:
        raise
    except BaseException as stop:  # an interrupt; by now all processes are gone
        if len(items) > 1 or ray is not None:
            again = skip_existing or settings.overwrite or len(items) == 1
            same = "the same command" if again else "the same command with --skip-existing"
            note_what_is_kept(stop, items, list(left), f"{same} goes on with the rest")
        raise
    if failed:
        more = "; the rest was not begun" if fail_fast and reporter.left else ""
        say(f"{failed} of {counted(len(items), 'input')} failed{more}")
    return EXIT_FAILURE if failed else 0


def _estimate(items: list[Item], settings: Settings, skip_existing: bool, reporter: Reporter) -> int:
    from fvdeblur.restoration.estimate import estimate

    reporter.estimated(estimate(items, settings, skip_existing=skip_existing))
    return 0
