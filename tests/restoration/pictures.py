"""Tracked frames made by hand, and small networks whose answer is known."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import av
import numpy as np
import torch
from torch import Tensor, nn

from fvdeblur.faces import TrackedFace, TrackedFrame
from fvdeblur.media import DecodedFrame
from fvdeblur.restoration import ModelCard, Restorer
from fvdeblur.restoration.stream import FaceRestorer, TrackedPicture


class Network(nn.Module):
    """A network of five frames that answers by a function and remembers what it was given.

    ``answer`` takes float [B, 15, H, W] and returns the change, float [B, 3, H, W].
    """

    frames = 5
    multiple = 16

    def __init__(self, answer: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.unused = nn.Parameter(torch.zeros(1), requires_grad=False)
        self._answer = [answer]
        self.seen: list[np.ndarray] = []

    def forward(self, x: Tensor) -> Tensor:
        self.seen += list(x.float().permute(0, 2, 3, 1).numpy())
        return self._answer[0](x)


def constant(value: float) -> Callable[[Tensor], Tensor]:
    """The same change everywhere."""
    return lambda x: torch.full_like(x[:, :3], value)


def restorer(network: nn.Module, largest_side: int = 384, precision: str = "fp32") -> Restorer:
    card = ModelCard(name="test", network="test", options={}, largest_side=largest_side, sha256="")
    return Restorer.of(network, card, device="cpu", precision=precision)


def to_frame(picture: np.ndarray, pix_fmt: str = "yuv444p") -> av.VideoFrame:
    """A decoded frame with the pixels of a picture, uint8 [H, W, 3]."""
    return av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24").reformat(format=pix_fmt)


def stream(
    frames: Sequence[av.VideoFrame],
    boxes: Sequence[Sequence[Any]] | Sequence[Any],
    cuts: Iterable[int] = (),
) -> list[TrackedPicture]:
    """Frames with the same faces in each; ``cuts`` are the indices (besides 0) at which a shot begins."""
    cuts = {0, *cuts}
    shot, pictures = -1, []
    for index, frame in enumerate(frames):
        shot += index in cuts
        faces = tuple(
            TrackedFace(number, np.asarray(box, np.float32), 0.9, None) for number, box in enumerate(boxes)
        )
        tracked = TrackedFrame(index, shot, index in cuts, faces)
        pictures.append(TrackedPicture(DecodedFrame(index, index / 25, frame), tracked))
    return pictures


def run(
    network: nn.Module,
    pictures: Sequence[TrackedPicture],
    *,
    strength: float = 1.0,
    min_face: float = 0.0,
    largest_side: int = 384,
    precision: str = "fp32",
) -> FaceRestorer:
    """Send frames through the stage, which changes them in place; they come out once each, in order."""
    stage = FaceRestorer(restorer(network, largest_side, precision), 0, strength, min_face)
    out = list(stage(pictures))
    assert [decoded.index for decoded in out] == [picture.decoded.index for picture in pictures]
    return stage
