"""Reading faces: coefficients off crops, how far they can be trusted, and their steadying along a track.

A face is read twice, as it is and mirrored (left to right). The mean of both is better than either, and how far the
two readings lie apart tells where a face cannot be read: turned away, covered, tiny or smeared beyond recognition.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from fvdeblur import released
from fvdeblur.errors import InputError, UsageError
from fvdeblur.morphable.camera import place
from fvdeblur.morphable.coefficients import Coefficients
from fvdeblur.morphable.mirror import find_mirror
from fvdeblur.morphable.model import MorphableModel, load_default
from fvdeblur.morphable.regressor import Regressor, create_regressor
from fvdeblur.morphable.squares import Squares

NAME = "regressor"
"""Of the released regressor."""

REACH, SPREAD = 2, 1.0
"""Frames to either side that a reading is steadied over, and the deviation in frames of their weights."""

ROUNDS = 3
"""Of looking for the face of a picture, each with a square around what the round before found."""

MOST_OF_PERSON = 32
"""Identity and texture of a person are the mean over at most so many readings, those of least doubt."""

LEAST_SQUARE, LARGEST_SQUARE = 0.2, 2.0
"""Bounds of half the side of the squares that a face is looked for in, in units of half the picture's side."""

LEAST_DOUBT = 0.5
"""Doubts below this one (in % of the eye distance) count alike."""


class Reading(NamedTuple):
    """What was read off B faces.

    Attributes
    ----------
    coefficients
        Of B faces, float32, with poses relative to the square crops.
    doubt
        float32 [B]: mean distance of the landmarks as read off the face and off its mirror image, in % of the eye
        distance.
    """

    coefficients: Coefficients
    doubt: Tensor

    @classmethod
    def join(cls, readings: Sequence[Reading]) -> Reading:
        """One of all faces of these readings."""
        parts = zip(*(reading.coefficients for reading in readings), strict=True)
        return cls(
            Coefficients(*(torch.cat(each) for each in parts)),
            torch.cat([reading.doubt for reading in readings]),
        )

    def one(self, number: int) -> Reading:
        """The reading of one of the faces (B = 1)."""
        parts = (part[number : number + 1] for part in self.coefficients)
        return Reading(Coefficients(*parts), self.doubt[number : number + 1])


class FaceReader:
    """A regressor, released or in training, with the model whose coefficients it gives.

    Parameters
    ----------
    regressor
        Ready for inference; None: the released one.
    model
        Its model; None: the one of the package.
    device
        Where it reads.
    dtype
        Of the regressor's features; its coefficients, and all that is made of them, are float32.

    Raises
    ------
    InputError
        The released files are missing or damaged.
    ValueError
        The model has no mirror.
    """

    def __init__(
        self,
        regressor: Regressor | None = None,
        model: MorphableModel | None = None,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        plain = load_default() if model is None else model
        mirror = find_mirror(plain)
        if mirror is None:
            raise ValueError("faces of a model without a mirror cannot be read")
        network = load_regressor() if regressor is None else regressor
        self.model = plain.to(device)
        self.device = torch.device(device)
        self.size = network.size
        self._landmarks = torch.cat([self.model.landmarks["5"], self.model.landmarks["68"]])  # the eyes first
        self._signs = mirror.signs.to(device)
        self._dtype = dtype
        self._network = network.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._network.body.to(dtype)

    @torch.inference_mode()
    def read(self, crops: Tensor) -> Reading:
        """Read faces.

        Parameters
        ----------
        crops
            float [B, 3, S, S], R'G'B' in 0..1: squares as `fvdeblur.morphable.squares.box_square` gives them; brought
            to the size that the regressor was trained for.
        """
        crops = self._fitting(crops)
        plain, mirrored = self._network(torch.cat([crops, crops.flip(3)])).vector().float().chunk(2)
        mirrored = mirrored * self._signs
        places = [place(self.model, Coefficients.split(each), self._landmarks) for each in (plain, mirrored)]
        eyes = (places[0][:, 1] - places[0][:, 0]).norm(dim=1).clamp_min(1e-3)
        doubt = 100 * (places[0] - places[1]).norm(dim=2).mean(1) / eyes
        return Reading(Coefficients.split((plain + mirrored) / 2), doubt)

    @torch.inference_mode()
    def follow(self, pictures: Tensor) -> Reading:
        """Read the one face of a sequence of square pictures that it fills about half of.

        Parameters
        ----------
        pictures
            float [T, 3, S, S], R'G'B' in 0..1, in time order.

        Returns
        -------
        Of T faces, with poses relative to the whole pictures: steadied along the sequence, with one identity and one
        texture.
        """
        pictures = pictures.to(self.device)
        count = len(pictures)
        zero = pictures.new_zeros(count)
        squares = Squares(zero[:, None].expand(-1, 2), zero + 1, zero)
        for _ in range(ROUNDS - 1):
            found = self._network(self._fitting(squares.cut(pictures, self.size)))
            found = found._replace(pose=squares.pose_outside(found.pose))
            squares = Squares.around(place(self.model, found))
            squares = squares._replace(
                centre=squares.centre.clamp(-1, 1), half=squares.half.clamp(LEAST_SQUARE, LARGEST_SQUARE)
            )
        read = self.read(squares.cut(pictures, self.size))
        whole = read.coefficients._replace(pose=squares.pose_outside(read.coefficients.pose))
        readings = Reading(whole, read.doubt)
        steady = []
        for i in range(count):
            near = range(max(0, i - REACH), min(count, i + REACH + 1))
            steady.append(steadied([readings.one(k) for k in near], [k - i for k in near]))
        whole, doubt = Reading.join(steady)
        return Reading(as_person(whole, person_of(readings)), doubt)

    def _fitting(self, crops: Tensor) -> Tensor:
        crops = crops.to(self.device)
        if crops.shape[-1] != self.size:
            shrinks = crops.shape[-1] > self.size
            crops = functional.interpolate(
                crops, (self.size, self.size), mode="bilinear", antialias=shrinks, align_corners=False
            )
        return crops.to(self._dtype, memory_format=torch.channels_last)


def load_regressor(name: str = NAME) -> Regressor:
    """The released regressor in float32 on the CPU, ready for inference.

    Raises
    ------
    InputError
        Its files are missing or damaged.
    """
    config = released.read_config(name)
    try:
        network = create_regressor(config["regressor"], **config["options"])
        network.load_state_dict(released.read_weights(name, config["sha256"]))
    except (KeyError, RuntimeError, UsageError) as error:
        raise released.do_not_fit(name) from error
    return network.eval().requires_grad_(False)


def read_regressor(path: str | Path, network: str = "light") -> Regressor:
    """A regressor of weights that ``fvdeblur train-regressor`` wrote, in float32 on the CPU, ready for inference.

    Raises
    ------
    InputError
        The weights cannot be read or do not fit.
    UsageError
        There is no such network.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    regressor = create_regressor(network)
    try:
        regressor.load_state_dict({name: value.float() for name, value in load_file(path).items()})
    except (OSError, SafetensorError, RuntimeError) as error:
        reason = textwrap.shorten(str(error), 160)
        raise InputError(
            f"{path}: no weights of the regressor {network!r} ({reason}); name a file of fvdeblur train-regressor"
        ) from error
    return regressor.eval().requires_grad_(False)


def steadied(readings: Sequence[Reading], distances: Sequence[int]) -> Reading:
    """One reading of a face from those of the frames around it.

    Parameters
    ----------
    readings
        Of single faces (B = 1), all relative to one square.
    distances
        How many frames each lies away.

    Returns
    -------
    Means by nearness in time and trust; the doubt is the mean doubt.
    """
    coefficients, doubts = Reading.join(readings)
    doubts = doubts.clamp_min(LEAST_DOUBT)
    near = torch.tensor([math.exp(-0.5 * (distance / SPREAD) ** 2) for distance in distances])
    weights = near.to(doubts) / doubts.square()
    weights = weights / weights.sum()
    vector = weights[None] @ coefficients.vector()
    return Reading(Coefficients.split(vector), (weights * doubts).sum()[None])


def person_of(readings: Reading) -> tuple[Tensor, Tensor]:
    """Identity [80] and texture [80] of the one person of B readings: the mean over those of least doubt."""
    doubt, chosen = readings.doubt.clamp_min(LEAST_DOUBT).sort()
    weights = doubt[:MOST_OF_PERSON] ** -2
    weights = weights / weights.sum()
    chosen = chosen[:MOST_OF_PERSON]
    return weights @ readings.coefficients.identity[chosen], weights @ readings.coefficients.texture[chosen]


def as_person(coefficients: Coefficients, person: tuple[Tensor, Tensor]) -> Coefficients:
    """The same faces with this identity [80] and texture [80]."""
    identity, texture = person
    return coefficients._replace(
        identity=identity.expand_as(coefficients.identity), texture=texture.expand_as(coefficients.texture)
    )
