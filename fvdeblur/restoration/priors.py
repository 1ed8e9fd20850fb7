"""The 3D faces of a shot: read as frames come in, steadied along each track, and drawn for the network."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from fvdeblur.faces import TrackedFace
from fvdeblur.faces.state import pack, unpack
from fvdeblur.media import FramePlanes
from fvdeblur.morphable.coefficients import Coefficients
from fvdeblur.morphable.guidance import draw_prior, identity_vector
from fvdeblur.morphable.reader import (
    MOST_OF_PERSON,
    REACH,
    FaceReader,
    Reading,
    as_person,
    person_of,
    steadied,
)
from fvdeblur.morphable.squares import Squares, box_square
from fvdeblur.restoration.crops import CropPlan, cut

PERSON_INTERVAL = 12
"""Frames after which a person's identity and texture are taken anew from the readings so far."""


class Guides(NamedTuple):
    """What a network is told of one face beside its pixels.

    Attributes
    ----------
    prior
        float32 [prior_channels, size, size], as `fvdeblur.morphable.guidance.draw_prior`; None where none is wanted.
    identity
        float32 [identity_size], in standard deviations; None where none is wanted.
    """

    prior: Tensor | None
    identity: Tensor | None


@dataclass
class _Person:
    """What was read of one track: poses in pixels of the frame, by position in the shot."""

    readings: dict[int, Reading] = field(default_factory=dict)
    best: list[Reading] = field(default_factory=list)
    known_at: int | None = None
    features: tuple[Tensor, Tensor] | None = None
    albedo: Tensor | None = None

    def add(self, position: int, reading: Reading) -> None:
        self.readings[position] = reading
        self.best.append(reading)
        if len(self.best) > MOST_OF_PERSON:
            doubts = [float(one.doubt) for one in self.best]
            del self.best[doubts.index(max(doubts))]


class FaceTracks:
    """Reads every face of the frames of a shot.

    The identity and texture of a track are means over its readings of least doubt up to the frame asked for and the
    few frames after it that have been seen by then.

    Parameters
    ----------
    reader
        Reads the coefficients.
    sparing
        Whether faces are read in every second frame alone, which takes half the time; what lies between is what
        steadying makes of its neighbours, so both of them should have come in.
    """

    def __init__(self, reader: FaceReader, sparing: bool = False) -> None:
        self._reader, self._sparing = reader, sparing
        self._people: dict[int, _Person] = {}

    def see(self, position: int, planes: FramePlanes, faces: Iterable[TrackedFace]) -> None:
        """Read the faces of the frame at this position of the shot."""
        spared = self._sparing and position % 2 == 1  # where they were read in the frame before
        faces = [face for face in faces if not (spared and self._was_read(face.track, position - 1))]
        if not faces:
            return
        plans = [_plan(face, self._reader.size) for face in faces]
        crops = torch.stack([torch.from_numpy(cut(planes, plan)).permute(2, 0, 1) for plan in plans])
        reading = self._reader.read(crops)
        pose = _squares(plans, reading.doubt).pose_outside(reading.coefficients.pose)
        whole = Reading(reading.coefficients._replace(pose=pose), reading.doubt)
        for number, face in enumerate(faces):
            self._people.setdefault(face.track, _Person()).add(position, whole.one(number))

    def _was_read(self, track: int, position: int) -> bool:
        person = self._people.get(track)
        return person is not None and position in person.readings

    def forget(self, before: int) -> None:
        """Readings of frames before this position are not needed any more; tracks without any others have ended."""
        for track, person in list(self._people.items()):
            for position in [position for position in person.readings if position < before]:
                del person.readings[position]
            if not person.readings:
                del self._people[track]

    def state(self) -> dict[str, Any]:
        """All that was read of the shot so far and is still needed, ready for JSON."""
        return {
            str(track): {
                "readings": {str(position): _packed(one) for position, one in person.readings.items()},
                "best": [_packed(one) for one in person.best],
                "known_at": person.known_at,
                "features": person.features
                and [pack(np.asarray(part.cpu().numpy())) for part in person.features],
            }
            for track, person in self._people.items()
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a `state`; what is damaged raises a LookupError, TypeError, ValueError or AttributeError."""
        self._people.clear()
        for track, known in state.items():
            person = _Person(
                readings={int(k): self._unpacked(one) for k, one in known["readings"].items()},
                best=[self._unpacked(one) for one in known["best"]],
                known_at=known["known_at"],
            )
            if known["features"]:
                identity, texture = (self._tensor(part) for part in known["features"])
                person.features = identity, texture
                person.albedo = self._reader.model.albedo(texture[None])
            self._people[int(track)] = person

    def _unpacked(self, packed: dict[str, Any]) -> Reading:
        return Reading(Coefficients.split(self._tensor(packed["vector"])), self._tensor(packed["doubt"]))

    def _tensor(self, packed: dict[str, Any]) -> Tensor:
        return torch.from_numpy(unpack(packed)).to(self._reader.device)

    def clear(self) -> None:
        """The shot is over."""
        self._people.clear()

    def at(self, position: int, track: int) -> Reading | None:
        """The steadied reading of a face, its pose in pixels of the frame; None where it was not seen there."""
        person = self._people.get(track)
        if person is None or not (position in person.readings or self._sparing):
            return None
        near = [k for k in range(position - REACH, position + REACH + 1) if k in person.readings]
        if not near:
            return None
        steady = steadied([person.readings[k] for k in near], [k - position for k in near])
        if (
            person.features is None
            or person.known_at is None
            or position - person.known_at >= PERSON_INTERVAL
        ):
            person.known_at = position
            person.features = person_of(Reading.join(person.best))
            person.albedo = self._reader.model.albedo(person.features[1][None])
        return Reading(as_person(steady.coefficients, person.features), steady.doubt)

    def guides(
        self, position: int, track: int, plan: CropPlan, prior_channels: int, identity_size: int
    ) -> Guides:
        """The guides of a face for a crop of its frame; zero where it was not seen."""
        reading = self.at(position, track)
        if reading is None:
            prior = torch.zeros(prior_channels, plan.size, plan.size) if prior_channels else None
            return Guides(prior, torch.zeros(identity_size) if identity_size else None)
        prior = identity = None
        if prior_channels:
            pose = _squares([plan], reading.doubt).pose(reading.coefficients.pose)
            placed = Reading(reading.coefficients._replace(pose=pose), reading.doubt)
            albedo = self._people[track].albedo
            prior = draw_prior(self._reader.model, placed, plan.size, prior_channels, albedo)[0]
        if identity_size:
            identity = identity_vector(reading)[0, :identity_size]
        return Guides(prior, identity)


def _packed(reading: Reading) -> dict[str, Any]:
    vector, doubt = (
        np.asarray(part.cpu().numpy()) for part in (reading.coefficients.vector(), reading.doubt)
    )
    return {"vector": pack(vector), "doubt": pack(doubt)}


def _plan(face: TrackedFace, size: int) -> CropPlan:
    x0, y0, x1, y1 = (float(value) for value in face.box)
    x, y, side = box_square((x0, y0, x1, y1))
    whole = max(8, round(side))
    return CropPlan(round(x - whole / 2), round(y - whole / 2), whole, size)


def _squares(plans: list[CropPlan], like: Tensor) -> Squares:
    """The crops' squares in pixels of the frame, whose first one reaches from 0 to 1."""
    half = like.new_tensor([plan.side / 2 for plan in plans])
    corner = like.new_tensor([(plan.left, plan.top) for plan in plans])
    return Squares(corner + half[:, None], half, torch.zeros_like(half))
