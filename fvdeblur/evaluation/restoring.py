"""Restoring whole sequences of face crops, as the papers measure it: no detection, no blending."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from fvdeblur.networks import WindowShape, window_indices, window_table
from fvdeblur.restoration import Restorer
from fvdeblur.restoration.priors import Guides
from fvdeblur.training.guides import Guide, as_inputs

Frames = NDArray[np.uint8]


def restore_frames(restorer: Restorer, frames: Frames) -> Frames:
    """Restore every frame of a sequence of crops from the window around it.

    Parameters
    ----------
    restorer
        The network.
    frames
        uint8 [T, S, S, 3], R'G'B', the face in the middle.

    Returns
    -------
    uint8 [T, S, S, 3]; a frame whose result is not finite stays as it was.
    """
    guides = _guides(restorer, frames)
    restored = []
    for k, frame in enumerate(frames):
        window = frames[window_indices(k, len(frames), restorer.frames)]
        change = restorer.changes([window], guides[k : k + 1])[0]
        picture = frame if change is None else frame + 255 * change
        restored.append(np.clip(np.round(picture), 0, 255).astype(np.uint8))
    return np.stack(restored)


def _guides(restorer: Restorer, frames: Frames) -> list[Guides]:
    """What the network is told of the face in every frame; empty where it asks nothing."""
    if restorer.reader is None:
        return []
    shape = WindowShape(
        restorer.frames, restorer.multiple, False, restorer.prior_channels, restorer.identity_size
    )
    guide = Guide(shape)
    guide.reader = restorer.reader
    pictures = torch.from_numpy(frames).permute(0, 3, 1, 2)
    told = as_inputs(guide.of(pictures, window_table(len(frames), restorer.frames)))
    return [
        Guides(*(told[name][k] if name in told else None for name in ("prior", "identity")))
        for k in range(len(frames))
    ]
