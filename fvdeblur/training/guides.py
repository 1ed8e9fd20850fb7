"""What a network is told beside the frames of a segment: flow, the rendered face and the identity vector.

All of it is computed from the blurred frames, as it is when a video is restored.
"""

from __future__ import annotations

from functools import cache, cached_property
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fvdeblur.errors import InputError, UsageError
from fvdeblur.flow import sequence_flow
from fvdeblur.morphable import Coefficients, load_default
from fvdeblur.morphable.coefficients import IDENTITY
from fvdeblur.morphable.guidance import draw_prior, identity_vector
from fvdeblur.morphable.mirror import find_mirror
from fvdeblur.morphable.reader import FaceReader, Reading, read_regressor
from fvdeblur.networks import WindowShape
from fvdeblur.restoration.restorer import native_dtype

PRIOR_CHANNELS = (0, 3, 4, 7)
"""Of the rendered face: none, R'G'B', with the mask, with the normals as well."""

NORMALS = 4
"""Channel of a rendered face that its normals begin at."""

NORMAL_UNIT, NORMAL_ZERO = 127, 128
"""How a component of a normal, -1..1, is kept in a byte; zero stays exactly zero."""


def pack_prior(prior: Tensor) -> Tensor:
    """Rendered faces float [..., C, H, W] (R'G'B' and mask in 0..1, normals in -1..1) as bytes of the same shape."""
    colours, normals = prior[..., :NORMALS, :, :], prior[..., NORMALS:, :, :]
    return torch.cat([colours * 255, normals * NORMAL_UNIT + NORMAL_ZERO], dim=-3).round().to(torch.uint8)


def unpack_prior(packed: Tensor) -> Tensor:
    """The inverse of `pack_prior`, float32."""
    colours, normals = packed[..., :NORMALS, :, :].float(), packed[..., NORMALS:, :, :].float()
    return torch.cat([colours / 255, (normals - NORMAL_ZERO) / NORMAL_UNIT], dim=-3)


@cache
def identity_signs() -> Tensor:
    """What mirroring a picture does to the identity vector: float32 [80] of 1 and -1.

    Raises
    ------
    InputError
        The model is missing, damaged or not symmetric.
    """
    mirror = find_mirror(load_default())
    if mirror is None:
        raise InputError("the released 3D face model is not symmetric; reinstall fvdeblur")
    return mirror.signs[:IDENTITY]


def as_inputs(guides: dict[str, Tensor]) -> dict[str, Tensor]:
    """Guides as `Guide.of` gives them, as float32 arguments of the networks."""
    inputs = {name: value.float() for name, value in guides.items() if name == "identity"}
    if "flow" in guides:
        inputs["flow"] = guides["flow"].flatten(1, 2).float()
    if "prior" in guides:
        inputs["prior"] = unpack_prior(guides["prior"])
    return inputs


def windows_flow(frames: Tensor, windows: NDArray[np.int64]) -> Tensor:
    """Flow from the central frame of each window to its other ones.

    Parameters
    ----------
    frames
        uint8 [T, 3, H, W], R'G'B'.
    windows
        Numbers of the frames of each window, [N, F].

    Returns
    -------
    float16 [N, F - 1, 2, H/4, W/4] (rounded up), in pixels, on the processor.
    """
    middle = windows.shape[1] // 2
    pairs = [(row[middle], other) for row in windows for i, other in enumerate(row) if i != middle]
    pictures = frames.permute(0, 2, 3, 1).cpu().numpy()
    flow = sequence_flow([np.ascontiguousarray(picture) for picture in pictures], pairs)
    return torch.from_numpy(flow).unflatten(0, (len(windows), windows.shape[1] - 1))


def open_reader(regressor: str | Path = "", device: torch.device | str = "cpu") -> FaceReader:
    """What reads faces, in the precision that it reads them in when a video is restored on this device.

    Parameters
    ----------
    regressor
        Weights of a regressor ``light`` as ``fvdeblur train-regressor`` writes them; empty: the released regressor.
    device
        Where it reads.

    Raises
    ------
    InputError
        The weights cannot be read or do not fit; the released files are missing or damaged.
    """
    own = read_regressor(regressor) if str(regressor) else None
    return FaceReader(own, device=device, dtype=native_dtype(torch.device(device)))


class Guide:
    """Makes what one network is told.

    Parameters
    ----------
    shape
        What the network must be given.
    regressor
        As for `open_reader`; opened once, in the process where the first face is read.
    device
        Where faces are read and drawn.

    Raises
    ------
    UsageError
        The network wants a rendered face or an identity vector of a size that there is none of.
    """

    def __init__(
        self, shape: WindowShape, regressor: str | Path = "", device: torch.device | str = "cpu"
    ) -> None:
        if shape.prior_channels not in PRIOR_CHANNELS:
            raise UsageError(f"prior_channels must be 0, 3, 4 or 7 to be trained, got {shape.prior_channels}")
        if shape.identity_size not in (0, IDENTITY):
            raise UsageError(
                f"identity_size must be 0 or {IDENTITY} to be trained, got {shape.identity_size}"
            )
        self.shape = shape
        self._regressor, self._device = regressor, device

    @cached_property
    def reader(self) -> FaceReader:
        """Made where it is first asked for: after the forking of worker processes, in each of them."""
        return open_reader(self._regressor, self._device)

    def of(self, blurred: Tensor, windows: NDArray[np.int64]) -> dict[str, Tensor]:
        """What is told of the central frames of windows.

        Parameters
        ----------
        blurred
            uint8 [T, 3, S, S], R'G'B': all frames of a segment, in time order. A face is read that fills about half
            of them; where there is none that can be read, the rendered face and the identity are zero.
        windows
            Numbers of the frames of each window, [N, F].

        Returns
        -------
        By name, where the network wants it: ``flow`` float16 [N, F - 1, 2, S/4, S/4] in pixels, ``prior`` uint8
        [N, C, S, S] (`pack_prior`), ``identity`` float32 [N, 80]; on the device.
        """
        guides = {}
        if self.shape.takes_flow:
            guides["flow"] = windows_flow(blurred, windows).to(self._device)
        if not self.shape.takes_guides:
            return guides
        reading = self.reader.follow(blurred.to(self._device).float() / 255)
        centres = torch.from_numpy(windows[:, windows.shape[1] // 2].copy()).to(self._device)
        parts = (part[centres] for part in reading.coefficients)
        reading = Reading(Coefficients(*parts), reading.doubt[centres])
        if self.shape.prior_channels:
            side = blurred.shape[-1]
            guides["prior"] = pack_prior(
                draw_prior(self.reader.model, reading, side, self.shape.prior_channels)
            )
        if self.shape.identity_size:
            guides["identity"] = identity_vector(reading)
        return guides
