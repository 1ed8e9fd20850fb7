"""Blur protocols by name: each a pure function of sharp frames and a seed, on whole clips and on any device.

`apply` blurs a clip in memory, `BlurStream` one that is read frame by frame, `blur_video` a file.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from fvdeblur.datasets.flow import FlowSource
from fvdeblur.datasets.protocols.averages import Average5, Average7To11
from fvdeblur.datasets.protocols.convolutions import Gaussian, Jung, MotionKernel, Sharp
from fvdeblur.datasets.protocols.exposure import Exposure
from fvdeblur.datasets.protocols.mixtures import Mixed
from fvdeblur.datasets.protocols.modifiers import Modifiers
from fvdeblur.datasets.protocols.protocol import Protocol
from fvdeblur.datasets.protocols.shake import Shake
from fvdeblur.datasets.protocols.stream import BlurredFrames, BlurStream, blur_clip
from fvdeblur.errors import UsageError

PROTOCOLS: dict[str, type[Protocol]] = {
    kind.name: kind
    for kind in (Average5, Average7To11, Gaussian, MotionKernel, Jung, Exposure, Shake, Mixed, Sharp)
}
"""Every protocol by its name."""


@dataclass(frozen=True)
class Blurred:
    """A blurred clip with its sharp truth.

    Attributes
    ----------
    blurred, sharp
        uint8 [N, 3, H, W], R'G'B', aligned with each other; on the device of the frames given.
    frames
        Index of each of them in the clip. Frames without enough neighbours and rejected ones are missing.
    record
        What was done, ready for JSON: protocol, seed, settings, modifiers, what was drawn for the clip and for each
        frame, and the rejected frames with the reason.
    """

    blurred: Tensor
    sharp: Tensor
    frames: list[int]
    record: dict[str, Any]


def create(name: str, settings: Mapping[str, Any] | None = None) -> Protocol:
    """Make a protocol with some of its settings changed.

    Raises
    ------
    UsageError
        There is no such protocol or setting, or a value does not fit.
    """
    if name not in PROTOCOLS:
        raise UsageError(f"unknown protocol {name!r}; use one of {', '.join(PROTOCOLS)}")
    known = [field.name for field in dataclasses.fields(PROTOCOLS[name])]
    for key in settings or {}:
        if key not in known:
            raise UsageError(f"{name} has no setting {key!r}; its settings are {', '.join(known)}")
    return PROTOCOLS[name](**(settings or {}))


def apply(
    name: str,
    sharp: Tensor,
    seed: int,
    *,
    settings: Mapping[str, Any] | None = None,
    modifiers: Modifiers | None = None,
    flow: FlowSource | None = None,
    boxes: NDArray[np.floating[Any]] | None = None,
) -> Blurred:
    """Blur a clip.

    The result depends on the arguments alone, and on the device by no more than rounding: random numbers are drawn
    on the processor, everything else is computed on the device of the frames.

    Parameters
    ----------
    name
        One of `PROTOCOLS`.
    sharp
        uint8 [T, 3, H, W], R'G'B'.
    seed
        Seed of every random number, from 0 on.
    settings
        Settings of the protocol that differ from its defaults.
    modifiers
        What follows the blur; nothing by default.
    flow
        Flow between neighbouring frames by their indices, such as `Clip.flow`; computed where it is needed and left
        out.
    boxes
        float [T, 4]: x0, y0, x1, y1 of the face in each frame, for mixtures.

    Raises
    ------
    UsageError
        The protocol, a setting or the seed is not valid.
    InputError
        The clip is too short for the protocol, or all of its frames were rejected by the protocol's rules.
    """
    protocol = create(name, settings)
    result, record = blur_clip(protocol, sharp, seed, modifiers=modifiers, flow=flow, boxes=boxes)
    return Blurred(result.blurred, result.sharp, [frame["frame"] for frame in result.frames], record)


__all__ = [
    "PROTOCOLS",
    "BlurStream",
    "Blurred",
    "BlurredFrames",
    "Modifiers",
    "Protocol",
    "apply",
    "create",
]
