"""The middle of the pipeline: tracked frames in, the same frames with their faces restored out."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from fvdeblur.faces import Detector, FaceTracker, TrackedFace, TrackedFrame, face_size
from fvdeblur.media import DecodedFrame, FramePlanes
from fvdeblur.networks import window_indices
from fvdeblur.restoration.crops import CropPlan, FloatArray, blend, cut, overlaps, plan_crop
from fvdeblur.restoration.priors import REACH, FaceTracks, Guides
from fvdeblur.restoration.restorer import Restorer

PREVIEW_SIDE = 640
"""Longer side of the pictures that faces are sought and followed in."""

SHARP_CHANGE = 0.4 / 255
"""A face whose mean absolute change is below this is sharp already and left alone: nobody could see the change."""

TOO_SMALL = "too small"
ALREADY_SHARP = "already sharp"
NOT_FINITE = "no finite result"
NO_STRENGTH = "strength 0"


class TrackedPicture(NamedTuple):
    """A decoded frame with the faces in it."""

    decoded: DecodedFrame
    tracked: TrackedFrame


@dataclass
class Tally:
    """What was done to the faces so far.

    Attributes
    ----------
    tracks
        Identifiers of the tracks seen.
    restored
        Number of faces restored, counted in every frame.
    left_alone
        Number of faces left alone in a frame, by reason.
    """

    tracks: set[int] = field(default_factory=set)
    restored: int = 0
    left_alone: Counter[str] = field(default_factory=Counter)


def track(frames: Iterable[DecodedFrame], rotation: int, detector: Detector) -> Iterator[TrackedPicture]:
    """Find and follow the faces; frames come out in order with the delay of the tracker's look-ahead."""
    tracker = FaceTracker(detector)
    waiting: deque[DecodedFrame] = deque()
    for decoded in frames:
        planes = FramePlanes(decoded.frame, rotation)
        preview = planes.preview(PREVIEW_SIDE)
        waiting.append(decoded)
        scale = max(planes.width, planes.height) / max(preview.shape[:2])
        for tracked in tracker.push(preview, scale):
            yield TrackedPicture(waiting.popleft(), tracked)
    for tracked in tracker.flush():
        yield TrackedPicture(waiting.popleft(), tracked)


@dataclass
class _Held:
    """A frame whose pixels other windows may still need: its changes wait until none does."""

    picture: TrackedPicture
    planes: FramePlanes
    changes: list[tuple[CropPlan, FloatArray]] = field(default_factory=list)


class FaceRestorer:
    """Restores the faces of a stream of tracked frames.

    Parameters
    ----------
    restorer
        The network.
    rotation
        Degrees clockwise that turn the coded picture upright.
    strength
        Factor of the change, 0..1.
    min_face
        Faces smaller than this many pixels (square root of the box's area) are left alone.
    """

    def __init__(self, restorer: Restorer, rotation: int, strength: float, min_face: float) -> None:
        self._restorer, self._rotation = restorer, rotation
        self._strength, self._min_face = strength, min_face
        self._tracks = None if restorer.reader is None else FaceTracks(restorer.reader)
        self.tally = Tally()

    def __call__(self, pictures: Iterable[TrackedPicture]) -> Generator[DecodedFrame, None, None]:
        """Yield every frame once, in order, with its faces restored in place."""
        radius = self._restorer.frames // 2
        shot: deque[_Held] = deque()
        first = restored = 0  # positions in the shot of the oldest frame held and of the next to restore
        for picture in pictures:
            if picture.tracked.starts_shot and shot:
                yield from self._finish(shot, first, restored)
                first = restored = 0
            shot.append(_Held(picture, FramePlanes(picture.decoded.frame, self._rotation)))
            self._read(shot[-1], first + len(shot) - 1)
            while restored + radius < first + len(shot):
                self._restore(shot, first, restored, None)
                restored += 1
                while first + radius < restored:
                    yield self._release(shot.popleft())
                    first += 1
        yield from self._finish(shot, first, restored)

    def _finish(self, shot: deque[_Held], first: int, restored: int) -> Iterator[DecodedFrame]:
        length = first + len(shot)
        for position in range(restored, length):
            self._restore(shot, first, position, length)
        if self._tracks is not None:
            self._tracks.clear()
        while shot:
            yield self._release(shot.popleft())

    def _release(self, held: _Held) -> DecodedFrame:
        blend(held.planes, held.changes, self._strength)
        return held.picture.decoded

    def _read(self, held: _Held, position: int) -> None:
        """Read the 3D faces of a frame that has just come in, where the network is told of them."""
        if self._tracks is not None and self._strength > 0:
            faces = held.picture.tracked.faces
            self._tracks.see(
                position, held.planes, [face for face in faces if face_size(face.box) >= self._min_face]
            )
            self._tracks.forget(position - self._restorer.frames - REACH)

    def _guides(self, position: int, group: Sequence[tuple[int, CropPlan]]) -> list[Guides] | None:
        """What is known of the faces of these tracks, for their crops."""
        if self._tracks is None:
            return None
        sizes = self._restorer.prior_channels, self._restorer.identity_size
        return [self._tracks.guides(position, track, plan, *sizes) for track, plan in group]

    def _restore(self, shot: deque[_Held], first: int, position: int, length: int | None) -> None:
        """Compute the changes of one frame; ``length`` is the shot's where its end is known."""
        held = shot[position - first]
        plans = [
            (face.track, plan)
            for face in held.picture.tracked.faces
            if (plan := self._plan(held.planes, face)) is not None
        ]
        if not plans:
            return
        indices = window_indices(position, length or position + self._restorer.frames, self._restorer.frames)
        frames = {index: shot[index - first].planes for index in indices}
        by_size: dict[int, list[tuple[int, CropPlan]]] = {}
        for track, plan in plans:
            by_size.setdefault(plan.size, []).append((track, plan))
        for group in by_size.values():
            windows = []
            for _, plan in group:
                crops = {index: cut(planes, plan) for index, planes in frames.items()}
                windows.append(np.stack([crops[index] for index in indices]))
            changes = self._restorer.changes(windows, self._guides(position, group))
            for (_, plan), change in zip(group, changes, strict=True):
                self._keep(held, plan, change)

    def _plan(self, planes: FramePlanes, face: TrackedFace) -> CropPlan | None:
        self.tally.tracks.add(face.track)
        if face_size(face.box) < self._min_face:
            self.tally.left_alone[TOO_SMALL] += 1
            return None
        if self._strength == 0:
            self.tally.left_alone[NO_STRENGTH] += 1
            return None
        plan = plan_crop(face.box, self._restorer.multiple, self._restorer.card.largest_side)
        return plan if overlaps(planes, plan) else None

    def _keep(self, held: _Held, plan: CropPlan, change: FloatArray | None) -> None:
        if change is None:
            self.tally.left_alone[NOT_FINITE] += 1
        elif _face_change(change) < SHARP_CHANGE:
            self.tally.left_alone[ALREADY_SHARP] += 1
        else:
            self.tally.restored += 1
            held.changes.append((plan, change))


def _face_change(change: FloatArray) -> float:
    """Mean absolute change in the middle of the crop, where the face is."""
    edge = change.shape[0] // 4
    return float(np.abs(change[edge:-edge, edge:-edge]).mean())
