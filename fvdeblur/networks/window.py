"""Which frames a multi-frame network sees."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn


class WindowShape(NamedTuple):
    """What a network must be given.

    Attributes
    ----------
    frames
        Frames of a window.
    multiple
        Height and width must be multiples of this.
    takes_flow
        Whether optical flow is wanted beside the frames, and the neighbours moved along it are taken (``aligned``).
    prior_channels
        Channels of the rendered face that is wanted beside the frames; 0 for none.
    identity_size
        Length of the identity vector that is wanted beside the frames; 0 for none.
    """

    frames: int
    multiple: int
    takes_flow: bool
    prior_channels: int = 0
    identity_size: int = 0

    @classmethod
    def of(cls, network: nn.Module) -> WindowShape:
        """As the network's attributes of these names say; of what it has no attribute for, it wants none."""
        values: Any = network
        return cls(
            int(values.frames),
            int(values.multiple),
            bool(getattr(network, "takes_flow", False)),
            int(getattr(network, "prior_channels", 0)),
            int(getattr(network, "identity_size", 0)),
        )

    @property
    def takes_guides(self) -> bool:
        """Whether a face has to be read for it."""
        return self.prior_channels > 0 or self.identity_size > 0


def window_indices(centre: int, length: int, frames: int) -> list[int]:
    """Indices of a window of ``frames`` frames around ``centre``, reflected at both ends of ``length`` frames.

    >>> window_indices(0, 10, 5)
    [2, 1, 0, 1, 2]
    >>> window_indices(1, 2, 5)
    [1, 0, 1, 0, 1]
    """
    if length == 1:
        return [0] * frames
    period = 2 * (length - 1)
    folded = [i % period for i in range(centre - frames // 2, centre + frames // 2 + 1)]
    return [min(i, period - i) for i in folded]


def window_table(length: int, frames: int) -> NDArray[np.int64]:
    """The windows of ``frames`` frames around every frame of ``length``: int64 [length, frames]."""
    return np.array([window_indices(centre, length, frames) for centre in range(length)], np.int64)


def central_frame(windows: Tensor) -> Tensor:
    """The central frames [B, 3, H, W] of windows [B, 3 * frames, H, W] with their frames in time order."""
    middle = windows.shape[1] // 2 - 1
    return windows[:, middle : middle + 3]
