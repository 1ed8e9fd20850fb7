"""``fvdeblur compare``: two videos of the same film looked at together."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from fvdeblur.cli.messages import counted, shown
from fvdeblur.cli.options import COMPARISONS, debug_option, timecode

if TYPE_CHECKING:
    from fvdeblur.restoration.comparison import ComparisonSummary


@click.command()
@click.argument("a", type=click.Path(path_type=Path))
@click.argument("b", type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    required=True,
    help="Where to write: a sheet of some frames (.png, .jpg, .webp) or a video.",
)
@click.option(
    "--mode",
    type=click.Choice(COMPARISONS),
    default=COMPARISONS[0],
    show_default=True,
    help="A beside B, A and B parted by a moving line, or B minus A.",
)
@click.option(
    "--reference", type=click.Choice(["A", "B"]), help="Which is the truth: print PSNR and SSIM of the other."
)
@click.option("--start", callback=timecode, metavar="TIME", help="Compare from here (seconds or [H:]M:S).")
@click.option("--end", callback=timecode, metavar="TIME", help="Compare up to here (seconds or [H:]M:S).")
@click.option("--threads", type=int, default=0, show_default=True, help="Threads a stage; 0 chooses.")
@click.option("--overwrite", is_flag=True, help="Replace an output that is there already.")
@click.option("-q", "--quiet", is_flag=True, help="Print errors and the figures only.")
@debug_option
def compare(
    a: Path,
    b: Path,
    output: Path,
    mode: str,
    reference: str | None,
    start: float | None,
    end: float | None,
    threads: int,
    overwrite: bool,
    quiet: bool,
    debug: bool,
) -> None:
    """Compare the videos A and B of the same film, frame by frame."""
    from fvdeblur.cli.progress import ProgressDisplay
    from fvdeblur.restoration.comparison import compare as work

    def run(display: ProgressDisplay | None) -> ComparisonSummary:
        return work(
            a,
            b,
            output,
            mode=mode,
            reference=reference,
            start=start,
            end=end,
            threads=threads,
            overwrite=overwrite,
            progress=None if display is None else display.update,
        )

    if quiet:
        summary = run(None)
    else:
        with ProgressDisplay(output.name) as display:
            summary = run(display)
    for line in comparison_lines(summary, reference, quiet):
        click.echo(line)


def comparison_lines(summary: ComparisonSummary, reference: str | None, quiet: bool = False) -> list[str]:
    """The closing summary, one line a subject."""
    lines = [] if quiet else [shown(summary.output), f"  {counted(summary.frames, 'frame')} compared"]
    if summary.psnr is not None and summary.ssim is not None:
        other = "B against A" if reference == "A" else "A against B"
        lines.append(f"  {other}: PSNR {summary.psnr:.2f} dB, SSIM {summary.ssim:.4f}")
    if not quiet:
        lines += [f"  note: {line}" for line in summary.notes]
        lines.append(f"  {summary.seconds:.1f} s")
    return lines
