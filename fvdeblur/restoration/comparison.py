"""Two videos of the same film looked at together: side by side, split by a moving line, or their difference."""

from __future__ import annotations

import dataclasses
import itertools
import math
import os
import time
from collections.abc import Callable, Generator
from contextlib import closing, suppress
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from types import TracebackType

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from fvdeblur.errors import UsageError
from fvdeblur.evaluation import psnr, ssim
from fvdeblur.media import DecodedFrame, FramePlanes, VideoInfo, VideoReader, VideoWriter
from fvdeblur.media.failures import shown, writing
from fvdeblur.media.target import check_free
from fvdeblur.restoration.crop_folder import write_picture
from fvdeblur.restoration.summary import Progress, expected_frames

Picture = NDArray[np.uint8]

MODES = ("side-by-side", "split", "difference")
REFERENCES = ("A", "B")
PICTURES = (".png", ".jpg", ".webp")
"""Suffixes of outputs that are sheets; others are videos."""

PERIOD = 4.0
"""Seconds in which the line goes from one side to the other and back."""

GAIN = 4
"""The difference is shown so many times as strong, around a middle grey."""

ROWS, ROW_WIDTH = 6, 1280
"""Frames on a sheet, and its width in pixels at most."""


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
        A picture (`PICTURES`): a sheet of some frames; else a video, with the sound and the rest of A.
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
    errors: list[float] = [0.0, 0.0]
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
        with _sink(target, info, mode, (start, end), threads, overwrite) as sink:
            tolerance = 0.4 / float(info.average_rate or 25)
            with closing(_pairs(reader, other, tolerance, trimmed, unpaired)) as pairs:
                for mine, theirs in pairs:
                    a = FramePlanes(mine.frame, info.rotation).picture()
                    b = FramePlanes(theirs.frame, other.info.rotation).picture()
                    if reference is not None:
                        errors[0] += 255.0**2 * 10 ** (-psnr(a, b) / 10)
                        errors[1] += ssim(
                            cv2.cvtColor(a, cv2.COLOR_RGB2GRAY), cv2.cvtColor(b, cv2.COLOR_RGB2GRAY)
                        )
                    sink.add(mine, _compose(a, b, mode, mine.time if sink.moves else None))
                    count += 1
                    if progress is not None:
                        progress(Progress(count, total, 0))
            if not count:
                raise UsageError(
                    f"{shown(one)} and {shown(two)} have no frames of the same time; compare other files"
                )
            sink.finish()
        notes = [*reader.notes, *other.notes, *sink.notes, *reader.damage, *other.damage]
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


def _compose(a: Picture, b: Picture, mode: str, seconds: float | None) -> Picture:
    """The comparison of a frame; ``seconds`` moves the line, None: it stands in the middle."""
    if mode == "side-by-side":
        return np.concatenate([a, b], axis=1)
    if mode == "difference":
        return np.clip(128 + GAIN * (b.astype(np.int16) - a), 0, 255).astype(np.uint8)
    width = a.shape[1]
    phase = math.pi / 2 if seconds is None else 2 * math.pi * seconds / PERIOD
    line = round(width * (0.5 - 0.45 * math.cos(phase)))
    both = np.concatenate([a[:, :line], b[:, line:]], axis=1)
    both[:, max(0, line - 1) : line + 1] = 255
    return both


def _sink(
    target: Path,
    info: VideoInfo,
    mode: str,
    part: tuple[float | None, float | None],
    threads: int,
    overwrite: bool,
) -> _Sheet | _Video:
    if target.suffix.lower() in PICTURES:
        return _Sheet(target, info, overwrite)
    return _Video(target, info, mode, part, threads, overwrite)


class _Sheet:
    """Some frames below each other, evenly spread over all that come: of many, every n-th is held."""

    moves = False

    def __init__(self, path: Path, info: VideoInfo, overwrite: bool) -> None:
        self.notes: list[str] = []
        self._path, self._partial = path, path.with_name(f"{path.name}.partial{path.suffix.lower()}")
        if os.path.realpath(path) == os.path.realpath(info.path):
            raise UsageError(f"{shown(path)}: the output would replace an input; choose another name with -o")
        check_free(path, overwrite)
        with writing(path):  # a place that cannot be written is better known before the work
            self._partial.touch()
        self._rows: list[Picture] = []
        self._every, self._seen = 1, itertools.count()

    def __enter__(self) -> _Sheet:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with suppress(OSError):
            self._partial.unlink(missing_ok=True)

    def add(self, decoded: DecodedFrame, picture: Picture) -> None:
        if next(self._seen) % self._every:
            return
        if len(self._rows) == 2 * ROWS:
            self._rows = self._rows[::2]
            self._every *= 2
        scale = min(1.0, ROW_WIDTH / picture.shape[1])
        size = round(picture.shape[1] * scale), max(1, round(picture.shape[0] * scale))
        row = cv2.resize(picture, size, interpolation=cv2.INTER_AREA) if scale < 1 else picture.copy()
        for colour, thick in (((0, 0, 0), 3), ((255, 255, 255), 1)):
            text = f"{decoded.time:.2f} s"
            cv2.putText(row, text, (6, 18), cv2.FONT_HERSHEY_SIMPLEX, 0.5, colour, thick, cv2.LINE_AA)
        self._rows.append(np.asarray(row, np.uint8))

    def finish(self) -> None:
        places = np.linspace(0, len(self._rows) - 1, min(ROWS, len(self._rows))).round().astype(int)
        with writing(self._path):
            write_picture(self._partial, np.concatenate([self._rows[place] for place in places]))
            self._partial.replace(self._path)


class _Video:
    """A video of the comparison with 8 bits a sample, and with the other streams of A."""

    moves = True

    def __init__(
        self,
        path: Path,
        info: VideoInfo,
        mode: str,
        part: tuple[float | None, float | None],
        threads: int,
        overwrite: bool,
    ) -> None:
        self._even = info.display_width // 2 * 2, info.display_height // 2 * 2
        turned = info.rotation in (90, 270)
        aspect: Fraction = info.sample_aspect_ratio
        changed = dataclasses.replace(
            info,
            width=self._even[0] * (2 if mode == "side-by-side" else 1),
            height=self._even[1],
            pix_fmt="yuv420p",
            bit_depth=8,
            sample_aspect_ratio=1 / aspect if turned else aspect,
            rotation=0,
            display_matrix=None,
            color_space=1,  # BT.709, in which the frames are written
            color_range=1,  # limited
        )
        self._sides = mode == "side-by-side"
        self._writer = VideoWriter(
            path, changed, start=part[0], end=part[1], threads=threads, overwrite=overwrite
        )

    @property
    def notes(self) -> list[str]:
        return list(self._writer.notes)

    def __enter__(self) -> _Video:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._writer.__exit__(kind, error, trace)

    def add(self, decoded: DecodedFrame, picture: Picture) -> None:
        width, height = self._even
        if self._sides:
            half = picture.shape[1] // 2
            picture = np.concatenate([picture[:, :width], picture[:, half : half + width]], axis=1)
        picture = np.ascontiguousarray(picture[:height] if self._sides else picture[:height, :width])
        frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(
            format="yuv420p", dst_colorspace=1, src_color_range=2, dst_color_range=1
        )
        frame.colorspace, frame.color_range = 1, 1
        frame.pts, frame.time_base = decoded.frame.pts, decoded.frame.time_base
        self._writer.write(frame)

    def finish(self) -> None:
        self._writer.finish()
