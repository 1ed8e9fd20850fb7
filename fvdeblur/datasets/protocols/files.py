"""Blurring a video file: blurred video, sharp reference and a record, each written whole or not at all."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, TextIO

import av
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fvdeblur import __version__
from fvdeblur.datasets.protocols.modifiers import Modifiers
from fvdeblur.datasets.protocols.protocol import Protocol
from fvdeblur.datasets.protocols.stream import BlurredFrames, BlurStream, ClipError, Picture
from fvdeblur.errors import InputError, OutputError, UsageError
from fvdeblur.faces import CutDetector, create_detector, face_size
from fvdeblur.media import FramePlanes, VideoInfo, VideoReader, VideoWriter
from fvdeblur.media.failures import shown

PREVIEW_SIDE = 128
"""Longer side of the picture in which cuts are looked for."""

BLURRED, SHARP = "blurred", "sharp"


@dataclass(frozen=True)
class BlurredVideo:
    """What was written.

    Attributes
    ----------
    blurred, sharp, record
        The files.
    frames
        Frames of each video.
    rejected
        Frames that a rule of the protocol left out.
    notes
        What differs from the source, or could not be read of it; one line each.
    """

    blurred: Path
    sharp: Path
    record: Path
    frames: int
    rejected: int
    notes: list[str]


def output_paths(folder: Path, name: str, crf: float | None) -> tuple[Path, Path, Path]:
    """Where blurred video, sharp reference and record of a video of this name (without suffix) stand."""
    suffix = ".mkv" if crf is None else ".mp4"
    return folder / BLURRED / (name + suffix), folder / SHARP / (name + suffix), folder / f"{name}.json"


def blur_video(
    source: str | os.PathLike[str],
    folder: str | os.PathLike[str],
    protocol: Protocol,
    seed: int,
    *,
    name: str | None = None,
    modifiers: Modifiers | None = None,
    boxes: NDArray[np.floating[Any]] | None = None,
    crf: float | None = None,
    device: str | torch.device = "cpu",
    overwrite: bool = False,
    progress: Callable[[int, int | None], None] | None = None,
) -> BlurredVideo:
    """Blur a video file; memory does not grow with its length.

    Written are ``blurred/NAME``, ``sharp/NAME`` and ``NAME.json`` in the folder: FFV1 in Matroska, without loss, or
    H.264 in MP4. Both videos hold the same frames, upright, 8 bits deep, with the source's times and other streams.
    Blur never reaches across a cut; frames without enough neighbours in their shot are left out.

    Parameters
    ----------
    source
        The sharp video.
    folder
        Where to write; made where it is missing.
    protocol, seed, modifiers
        As `BlurStream` takes them.
    name
        Of the files, without suffix; the source's by default.
    boxes
        float [T, 4]: the face in each frame of the source in pixels; found by the detector where it is needed and
        left out.
    crf
        Constant rate factor of H.264; None: without loss.
    device
        ``cpu`` or ``cuda[:N]``.
    overwrite
        Whether files that stand there already may be replaced.
    progress
        Called with the number of frames done, and of all where it is known.

    Raises
    ------
    UsageError
        The source is missing, a file stands there already, or the device or an option is not valid.
    InputError
        The source is no video, too short, or all of its frames were rejected.
    OutputError
        A file cannot be written.
    """
    reader = VideoReader(source)
    blurred_path, sharp_path, record_path = paths = output_paths(Path(folder), name or Path(source).stem, crf)
    _prepare(paths, overwrite)
    info = _output_info(reader.info, crf is None)
    encoder: dict[str, Any] = {"codec": "ffv1" if crf is None else "h264", "crf": crf, "overwrite": overwrite}
    times: dict[int, tuple[int, int]] = {}
    faces = _Faces(boxes)
    stream = BlurStream(protocol, seed, modifiers or Modifiers(), faces=faces, cut=_cuts())
    done, before = 0, [_identity(path) for path in paths]
    with ExitStack() as stack:
        stack.enter_context(reader)
        record = stack.enter_context(_Record(record_path))
        record.begin(_head(stream, reader.info, (blurred_path, sharp_path), crf))
        writers: list[VideoWriter] = []
        for piece in _named(source, stream.blur(_tensors(reader, torch.device(device), times))):
            if not writers:
                for path in (blurred_path, sharp_path):
                    writers.append(stack.enter_context(VideoWriter(path, info, **encoder)))
            for writer, frames in zip(writers, (piece.blurred, piece.sharp), strict=True):
                pictures = frames.permute(0, 2, 3, 1).contiguous().cpu().numpy()
                for picture, each in zip(pictures, piece.frames, strict=True):
                    writer.write(_frame(picture, *times[each["frame"]], info.time_base))
            for each in piece.frames:
                seconds = float(times[each["frame"]][0] * info.time_base - info.origin)
                record.add({**each, "time": round(seconds, 6)})
            done += len(piece.frames)
            for index in [index for index in times if index <= piece.frames[-1]["frame"]]:
                del times[index]
            if progress is not None:
                progress(done, reader.info.frames)
        notes = [*dict.fromkeys(note for writer in writers for note in writer.notes), *reader.damage]
        record.end({"count": done, "rejected": stream.rejected, "notes": notes})
        try:
            for writer in writers:
                writer.finish()
            record.commit()
        except BaseException:  # all files get their names, or none of them
            for path, old in zip(paths, before, strict=True):
                if _identity(path) != old:
                    with suppress(OSError):
                        path.unlink(missing_ok=True)
            raise
    return BlurredVideo(blurred_path, sharp_path, record_path, done, len(stream.rejected), notes)


def _prepare(paths: tuple[Path, ...], overwrite: bool) -> None:
    for path in paths:
        if os.path.lexists(path) and not overwrite:
            raise UsageError(f"{shown(path)} exists; use --overwrite or -o")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(f"{shown(path.parent)}: cannot make this folder ({error.strerror})") from error


def _output_info(info: VideoInfo, lossless: bool) -> VideoInfo:
    """The format of what is written: upright 8-bit R'G'B', as blurred; or the Y'CbCr that players know."""
    turned = info.rotation in (90, 270)
    aspect = info.sample_aspect_ratio
    space = 0 if lossless else (1 if (info.width if turned else info.height) >= 720 else 6)
    return dataclasses.replace(
        info,
        width=info.height if turned else info.width,
        height=info.width if turned else info.height,
        sample_aspect_ratio=1 / aspect if turned else aspect,
        rotation=0,
        display_matrix=None,
        pix_fmt="bgr0" if lossless else "yuv420p",
        bit_depth=8,
        color_space=space,
        color_range=2 if lossless else 1,
        mastering_display=None,
        content_light=None,
        interlaced=False,
    )


def _tensors(
    reader: VideoReader, device: torch.device, times: dict[int, tuple[int, int]]
) -> Iterator[Tensor]:
    """Frames upright as uint8 [3, H, W]; their timestamps and lengths are noted in ``times``."""
    for decoded in reader:
        frame = decoded.frame
        times[decoded.index] = (int(frame.pts or 0), int(getattr(frame, "duration", 0) or 0))
        picture = FramePlanes(frame, reader.info.rotation).preview(max(frame.width, frame.height))
        yield torch.from_numpy(np.ascontiguousarray(picture)).to(device).permute(2, 0, 1)


def _frame(picture: Picture, pts: int, duration: int, time_base: Fraction) -> av.VideoFrame:
    frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
    frame.pts, frame.time_base, frame.duration = pts, time_base, duration
    return frame


def _head(stream: BlurStream, info: VideoInfo, paths: tuple[Path, Path], crf: float | None) -> dict[str, Any]:
    turned = info.rotation in (90, 270)
    return {
        "source": info.path.name,
        BLURRED: f"{BLURRED}/{paths[0].name}",
        SHARP: f"{SHARP}/{paths[1].name}",
        "encoding": "lossless" if crf is None else f"H.264, CRF {crf:g}",
        "width": info.height if turned else info.width,
        "height": info.width if turned else info.height,
        "frame_rate": str(info.average_rate) if info.average_rate else None,
        "fvdeblur": __version__,
        **stream.record,
    }


def _cuts() -> Callable[[Picture], bool]:
    detector = CutDetector()

    def cut(picture: Picture) -> bool:
        step = max(1, max(picture.shape[:2]) // PREVIEW_SIDE)
        return detector.update(np.ascontiguousarray(picture[::step, ::step]))

    return cut


class _Faces:
    """The largest face of each frame; where none is found, the last one."""

    def __init__(self, boxes: NDArray[np.floating[Any]] | None) -> None:
        self._boxes = boxes
        self._detector: Any = None
        self._last: NDArray[np.floating[Any]] | None = None

    def __call__(self, index: int, picture: Picture) -> NDArray[np.floating[Any]] | None:
        if self._boxes is not None:
            return np.asarray(self._boxes[min(index, len(self._boxes) - 1)])
        if self._detector is None:
            self._detector = create_detector("centerface")
        found = self._detector.detect(picture)
        if found:
            self._last = max(found, key=lambda face: face_size(face.box)).box
        return self._last


class _Record:
    """A JSON file, written frame by frame beside its place and moved there by `commit`."""

    def __init__(self, path: Path) -> None:
        self._path, self._partial = path, path.with_name(path.name + ".partial")
        self._file: TextIO | None = None
        self._separator = ""

    def __enter__(self) -> _Record:
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()
        with suppress(OSError):
            self._partial.unlink(missing_ok=True)

    def begin(self, head: dict[str, Any]) -> None:
        try:
            self._file = self._partial.open("w", encoding="utf-8", newline="\n")
        except OSError as error:
            raise self._error(error) from error
        self._write("{\n" + _members(head) + ',\n "frames": [')

    def add(self, frame: dict[str, Any]) -> None:
        self._write(f"{self._separator}\n  {json.dumps(frame)}")
        self._separator = ","

    def end(self, tail: dict[str, Any]) -> None:
        self._write("\n ],\n" + _members(tail) + "\n}\n")

    def commit(self) -> None:
        assert self._file is not None
        try:
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
            self._partial.replace(self._path)
        except OSError as error:
            raise self._error(error) from error

    def _write(self, text: str) -> None:
        assert self._file is not None
        try:
            self._file.write(text)
        except OSError as error:
            raise self._error(error) from error

    def _error(self, error: OSError) -> OutputError:
        return OutputError(f"{shown(self._path)}: cannot be written ({error.strerror})")


def _named(source: str | os.PathLike[str], pieces: Iterator[BlurredFrames]) -> Iterator[BlurredFrames]:
    """The same, where an error names the file."""
    try:
        yield from pieces
    except ClipError as error:
        raise InputError(f"{shown(source)}: {error}") from error


def _identity(path: Path) -> tuple[int, int] | None:
    """Tells one file from another that took its place."""
    try:
        stat = path.lstat()
    except OSError:
        return None
    return stat.st_ino, stat.st_mtime_ns


def _members(values: dict[str, Any]) -> str:
    """Members of a JSON object, a line each."""
    return ",\n".join(f" {json.dumps(key)}: {json.dumps(value)}" for key, value in values.items())
