"""Two videos of the same film looked at together: side by side, split by a moving line, or their difference."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import cv2

from fvdeblur.errors import UsageError
from fvdeblur.media import DecodedFrame, FramePlanes, VideoInfo, VideoReader
from fvdeblur.media.failures import shown
from fvdeblur.media.target import check_free
from fvdeblur.restoration.comparison_outputs import (
    MODES,
    PICTURES,
    ComparisonSheet,
    ComparisonVideo,
    Picture,
)
from fvdeblur.restoration.summary import Progress, expected_frames

REFERENCES = ("A", "B")


@dataclass(frozen=True)
class ComparisonSummary:
    """What was compared.

    Attributes
    ----------
    first, second, output
        The files.
    frames
        Frames compared.
    psnr, ssim
        Of one against the other, where one is a reference: from the mean squared error of R'G'B' over all frames, in dB
        (infinite where they are equal), and the mean over the frames of the index of their luma.
    notes
        What else the user should know.
    seconds
        Wall-clock time.
    """

    first: Path
    second: Path
    output: Path
    frames: int
    psnr: float | None
    ssim: float | None
    seconds: float
    notes: list[str] = field(default_factory=list)


def compare(
    first: str | Path,
    second: str | Path,
    output: str | Path,
    *,
    mode: str = "side-by-side",
    reference: str | None = None,
    start: float | None = None,
    end: float | None = None,
    trimmed: bool = False,
    threads: int = 0,
    overwrite: bool = False,
    progress: Callable[[Progress], None] | None = None,
) -> ComparisonSummary:
    """Compare two videos frame by frame; frames are paired by time, and memory does not grow with their length.

    Parameters
    ----------
    first, second
        The videos A and B, upright of the same size.
    output
        A picture (`PICTURES`): a sheet of some frames, each with its largest face close up where that is larger; else
        a video, with the sound and the rest of A.
    mode
        ``side-by-side``: A left, B right; ``split``: A left and B right of a line, which moves in a video;
        ``difference``: B minus A, `GAIN` times as strong, around a middle grey.
    reference
        ``A`` or ``B``: that one is the truth, and PSNR and SSIM of the other are measured.
    start, end
        Part to compare, in seconds.
    trimmed
        Whether B holds that part of A alone and begins anew at its own time, as ``fvdeblur run --start`` writes it.
    threads
        Threads of decoder and encoder; 0: chosen by the libraries.
    overwrite
        Whether an output that is there already may be replaced.
    progress
        Called after every frame.

    Raises
    ------
    UsageError
        An input is missing, the output is there already or is an input, the sizes differ, no frames have the same time,
        or an option does not fit.
    InputError
        An input cannot be read as a video.
    OutputError
        The output cannot be written. Nothing stands under its name then.
    """
    began = time.monotonic()
    if mode not in MODES:
        raise UsageError(f"unknown comparison {mode!r}; choose one of {', '.join(MODES)}")
    if reference not in (None, *REFERENCES):
        raise UsageError(f"unknown reference {reference!r}; choose A or B")
    one, two, target = Path(first), Path(second), Path(output)
    errors = [0.0, 0.0]
    count, unpaired = 0, [0, 0]
    with (
        VideoReader(one, start=start, end=end, threads=threads) as reader,
        VideoReader(
            two, start=None if trimmed else start, end=None if trimmed else end, threads=threads
        ) as other,
    ):
        info = reader.info
        sizes = [(each.display_width, each.display_height) for each in (info, other.info)]
        if sizes[0] != sizes[1]:
            shapes = " and ".join(f"{width}x{height}" for width, height in sizes)
            raise UsageError(
                f"{shown(one)} and {shown(two)} are of {shapes}; only videos of one size can be compared"
            )
        if os.path.realpath(target) == os.path.realpath(two):
            raise UsageError(
                f"{shown(target)}: the output would replace an input; choose another name with -o"
            )
        total = expected_frames(info, start, end)
        with _output(target, info, mode, (start, end), threads, overwrite) as out:
            tolerance = 0.4 / float(info.average_rate or 25)
            with closing(_pairs(reader, other, tolerance, trimmed, unpaired)) as pairs:
                for mine, theirs in pairs:
                    a = FramePlanes(mine.frame, info.rotation).picture()
                    b = FramePlanes(theirs.frame, other.info.rotation).picture()
                    if reference is not None:
                        errors = [total + own for total, own in zip(errors, _measured(a, b), strict=True)]
                    out.add(mine, a, b)
                    count += 1
                    if progress is not None:
                        progress(Progress(count, total, 0))
            if not count:
                raise UsageError(
                    f"{shown(one)} and {shown(two)} have no frames of the same time; compare other files"
                )
            out.finish()
        notes = [*reader.notes, *other.notes, *out.notes, *reader.damage, *other.damage]
    notes += [
        f"{number} frames of {shown(name)} have no partner in the other"
        for name, number in zip((one, two), unpaired, strict=True)
        if number
    ]
    mean = errors[0] / count
    return ComparisonSummary(
        first=one,
        second=two,
        output=target,
        frames=count,
        psnr=None if reference is None else (math.inf if mean == 0 else 10 * math.log10(255.0**2 / mean)),
        ssim=None if reference is None else errors[1] / count,
        seconds=time.monotonic() - began,
        notes=notes,
    )


def _measured(a: Picture, b: Picture) -> tuple[float, float]:
    """The mean squared error of two pictures, and the structural similarity of their luma."""
    from fvdeblur.evaluation import psnr, ssim  # what it needs takes a while to load

    grey_a, grey_b = (cv2.cvtColor(each, cv2.COLOR_RGB2GRAY) for each in (a, b))
    return 255.0**2 * 10 ** (-psnr(a, b) / 10), ssim(grey_a, grey_b)


def check_comparison(path: Path, source: Path, target: Path, overwrite: bool) -> None:
    """Raise UsageError where a comparison of a source with a target must not be written to a path."""
    if os.path.realpath(path) in (os.path.realpath(source), os.path.realpath(target)):
        raise UsageError(
            f"{shown(path)}: is the input or the output; choose another name with --compare-output"
        )
    check_free(path, overwrite, "--compare-output")


def _pairs(
    first: VideoReader, second: VideoReader, tolerance: float, aligned: bool, unpaired: list[int]
) -> Generator[tuple[DecodedFrame, DecodedFrame], None, None]:
    """Frames of the same time, counted from the first of each where they are aligned; the others are counted."""
    with closing(iter(first)) as mine, closing(iter(second)) as theirs:
        one, two = next(mine, None), next(theirs, None)
        shift = one.time - two.time if aligned and one is not None and two is not None else 0.0
        while one is not None and two is not None:
            apart = one.time - two.time - shift
            if abs(apart) <= tolerance:
                yield one, two
                one, two = next(mine, None), next(theirs, None)
            elif apart < 0:
                unpaired[0] += 1
                one = next(mine, None)
            else:
                unpaired[1] += 1
                two = next(theirs, None)
        unpaired[0] += (one is not None) + sum(1 for _ in mine)
        unpaired[1] += (two is not None) + sum(1 for _ in theirs)


def _output(
    target: Path,
    info: VideoInfo,
    mode: str,
    part: tuple[float | None, float | None],
    threads: int,
    overwrite: bool,
) -> ComparisonSheet | ComparisonVideo:
    if target.suffix.lower() in PICTURES:
        return ComparisonSheet(target, info, mode, threads, overwrite)
    return ComparisonVideo(target, info, mode, part, threads, overwrite)
