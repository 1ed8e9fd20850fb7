"""Blurring a clip, whole or frame by frame as it is read, with the same result."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fvdeblur.datasets.flow import FlowSource
from fvdeblur.datasets.protocols.modifiers import Modifiers
from fvdeblur.datasets.protocols.protocol import Protocol, Window
from fvdeblur.errors import InputError, UsageError
from fvdeblur.flow import dis_flow

BATCH_PIXELS = 1 << 22
MOST_FRAMES = 64
"""Frames are blurred in batches of this many pixels, at most this many frames."""

GROUP = 24
"""Frames that a real encoder is given at once."""

Picture = NDArray[np.uint8]
FaceSource = Callable[[int, Picture], "NDArray[np.floating[Any]] | None"]
"""Box of the face, x0, y0, x1, y1 in pixels, of a frame: its index, and uint8 [H, W, 3], R'G'B'."""


class ClipError(InputError):
    """The clip holds no frame that the protocol can blur, or may."""


class BlurredFrames(NamedTuple):
    """Some frames of a clip, blurred.

    Attributes
    ----------
    blurred, sharp
        uint8 [N, 3, H, W], R'G'B', aligned with each other.
    frames
        What was done to each; ``frame`` is its index in the clip.
    """

    blurred: Tensor
    sharp: Tensor
    frames: list[dict[str, Any]]


@dataclass
class BlurStream:
    """A clip that is blurred as it is read; memory does not grow with its length.

    Frames that have not enough neighbours, at the ends of the clip and at cuts, are not blurred.

    Parameters
    ----------
    protocol
        How to blur.
    seed
        Seed of the clip, from 0 on.
    modifiers
        What follows the blur.
    flow
        Flow between neighbouring frames by their indices; computed from the frames where left out.
    faces
        Where the face is in a frame, asked in the order of the frames and only for mixtures on faces.
    cut
        Whether a frame begins a new shot; blur never reaches across.

    Attributes
    ----------
    record
        What is done, for JSON.
    rejected
        Frames that were left out by a rule of the protocol, with the reason.
    """

    protocol: Protocol
    seed: int
    modifiers: Modifiers = field(default_factory=Modifiers)
    flow: FlowSource | None = None
    faces: FaceSource | None = None
    cut: Callable[[Picture], bool] | None = None

    def __post_init__(self) -> None:
        if self.seed < 0:
            raise UsageError(f"the seed must be 0 or more, not {self.seed}")
        self._modification = self.modifiers.draw(self.seed)
        self._reach = self.protocol.reach(self.seed)
        self.rejected: list[dict[str, Any]] = []
        self.record: dict[str, Any] = {
            "protocol": self.protocol.name,
            "seed": self.seed,
            "settings": dataclasses.asdict(self.protocol),
            "modifiers": dataclasses.asdict(self.modifiers),
            "neighbours": self._reach,
            "drawn": {**self.protocol.drawn(self.seed), **self._modification.record()},
        }

    def blur(self, frames: Iterable[Tensor]) -> Iterator[BlurredFrames]:
        """Blur frames, each uint8 [3, H, W], R'G'B', on one device.

        Raises
        ------
        ClipError
            No frame has enough neighbours, or all of them were rejected.
        """
        self.rejected.clear()
        pieces = self._pieces(frames)
        kept = 0
        for piece in _in_groups(pieces) if self._modification.encoding else pieces:
            kept += len(piece.frames)
            yield piece._replace(blurred=self._modification.encoded(piece.blurred))
        if not kept and self.rejected:
            first = self.rejected[0]
            raise ClipError(
                f"all {len(self.rejected)} frames were rejected, the first for {first['rejected']}; "
                f"take another clip or other settings"
            )
        if not kept:
            raise ClipError(
                f"no {2 * self._reach + 1} consecutive frames, which {self.protocol.name} needs with this seed; "
                "take a longer clip"
            )

    def _pieces(self, frames: Iterable[Tensor]) -> Iterator[BlurredFrames]:
        footage = _Footage(self.flow, self.faces)
        for first, batch in self._batches(frames):
            footage.hold(first, batch)
            window = Window(batch, first, self._reach, self.seed, footage.flow, footage.box)
            piece = self.protocol.blur(window)
            self.rejected += [record for record in piece.frames if "rejected" in record]
            good = [k for k, record in enumerate(piece.frames) if "rejected" not in record]
            if good:
                everything = len(good) == len(piece.frames)
                blurred, sharp = (part if everything else part[good] for part in (piece.blurred, piece.sharp))
                records = [piece.frames[k] for k in good]
                indices = [record["frame"] for record in records]
                blurred = self._modification.modified(blurred, indices, self.protocol.light)
                yield BlurredFrames(blurred, sharp, records)

    def _batches(self, frames: Iterable[Tensor]) -> Iterator[tuple[int, Tensor]]:
        """Index of the first frame, and uint8 [N + 2 * reach, 3, H, W]; neighbouring batches share frames."""
        held: list[Tensor] = []
        first, around = 0, 2 * self._reach
        for index, frame in enumerate(frames):
            if self.cut is not None and self.cut(_picture(frame)) and index:
                if len(held) > around:
                    yield first, torch.stack(held)
                held, first = [], index
            held.append(frame)
            size = max(1, min(MOST_FRAMES, BATCH_PIXELS // (frame.shape[-2] * frame.shape[-1])))
            if len(held) == size + around:
                yield first, torch.stack(held)
                del held[:size]
                first += size
        if len(held) > around:
            yield first, torch.stack(held)


def blur_clip(
    protocol: Protocol,
    sharp: Tensor,
    seed: int,
    *,
    modifiers: Modifiers | None = None,
    flow: FlowSource | None = None,
    boxes: NDArray[np.floating[Any]] | None = None,
) -> tuple[BlurredFrames, dict[str, Any]]:
    """Blur a whole clip, uint8 [T, 3, H, W]; see `fvdeblur.datasets.protocols.apply`."""
    if sharp.dtype != torch.uint8 or sharp.ndim != 4 or sharp.shape[1] != 3:
        raise ValueError(f"frames must be uint8 [T, 3, H, W], not {sharp.dtype} {list(sharp.shape)}")
    faces = None if boxes is None else lambda index, _: boxes[index]
    stream = BlurStream(protocol, seed, modifiers or Modifiers(), flow, faces)
    pieces = list(stream.blur(sharp))
    records = list(itertools.chain.from_iterable(piece.frames for piece in pieces))
    blurred = torch.cat([piece.blurred for piece in pieces])
    aligned = torch.cat([piece.sharp for piece in pieces])
    record = {**stream.record, "frames": records, "rejected": list(stream.rejected)}
    return BlurredFrames(blurred, aligned, records), record


def _in_groups(pieces: Iterable[BlurredFrames]) -> Iterator[BlurredFrames]:
    """The same frames in pieces of `GROUP`."""
    held: list[BlurredFrames] = []
    for piece in pieces:
        for k in range(len(piece.frames)):
            held.append(BlurredFrames(piece.blurred[k], piece.sharp[k], [piece.frames[k]]))
            if len(held) == GROUP:
                yield _joined(held)
                held = []
    if held:
        yield _joined(held)


def _joined(single: list[BlurredFrames]) -> BlurredFrames:
    blurred = torch.stack([piece.blurred for piece in single])
    sharp = torch.stack([piece.sharp for piece in single])
    return BlurredFrames(blurred, sharp, [piece.frames[0] for piece in single])


class _Footage:
    """What is known of the frames in hand beside their pixels; found out when it is asked for, and once."""

    def __init__(self, flow: FlowSource | None, faces: FaceSource | None) -> None:
        self._given, self._faces = flow, faces
        self._first = 0
        self._batch: Tensor | None = None
        self._pictures: dict[int, Picture] = {}
        self._flow: dict[tuple[int, int], NDArray[np.float16]] = {}

    def hold(self, first: int, batch: Tensor) -> None:
        """Take the next frames, and forget what lies before them."""
        self._first, self._batch = first, batch
        self._pictures = {index: picture for index, picture in self._pictures.items() if index >= first}
        self._flow = {pair: flow for pair, flow in self._flow.items() if min(pair) >= first}

    def flow(self, source: int, target: int) -> NDArray[np.float16]:
        if self._given is not None:
            return self._given(source, target)
        if (source, target) not in self._flow:
            self._flow[source, target] = dis_flow(self._frame(source), self._frame(target))
        return self._flow[source, target]

    def box(self, index: int) -> NDArray[np.floating[Any]] | None:
        return None if self._faces is None else self._faces(index, self._frame(index))

    def _frame(self, index: int) -> Picture:
        if index not in self._pictures:
            assert self._batch is not None
            self._pictures[index] = _picture(self._batch[index - self._first])
        return self._pictures[index]


def _picture(frame: Tensor) -> Picture:
    """uint8 [H, W, 3] of uint8 [3, H, W]."""
    return np.ascontiguousarray(frame.permute(1, 2, 0).cpu().numpy())
