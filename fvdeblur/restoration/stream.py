"""The middle of the pipeline: tracked frames in, the same frames with their faces restored out."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from fvdeblur.faces import Detector, FaceTracker, TrackedFace, TrackedFrame, face_size
from fvdeblur.media import DecodedFrame, FramePlanes
from fvdeblur.media.reader import Place
from fvdeblur.networks import window_indices
from fvdeblur.restoration.crops import (
    CropPlan,
    FloatArray,
    KeptPixels,
    blend,
    overlaps,
    plan_crop,
    spared,
)
from fvdeblur.restoration.priors import REACH, FaceTracks, Guides
from fvdeblur.restoration.restorer import Restorer
from fvdeblur.restoration.resuming import PREVIEW_SIDE, Boundary, Segmenting, Start, State, Tally

AHEAD = 1
"""Works that wait while the network is at another: meanwhile the next frames are read, cut and their flow estimated."""

SHARP_CHANGE = 0.4 / 255
"""A face whose mean absolute change is below this is sharp already and left alone: nobody could see the change."""

TOO_SMALL = "too small"
ALREADY_SHARP = "already sharp"
NOT_FINITE = "no finite result"
NO_STRENGTH = "strength 0"
NOT_CHOSEN, OUTSIDE = "not chosen", "outside the region"
"""Reasons given for faces that are left alone: for who they are, and for where they are."""

_NOTHING: Mapping[int, Any] = MappingProxyType({})


class TrackedPicture(NamedTuple):
    """A decoded frame with the faces in it.

    Attributes
    ----------
    decoded, tracked
        The frame and its faces.
    boundary
        Given where a segment begins.
    left
        Faces of it that are to be left alone, by their tracks, and why.
    strengths
        Factor of the change of single tracks, 0..1, in place of that of all.
    """

    decoded: DecodedFrame
    tracked: TrackedFrame
    boundary: Boundary | None = None
    left: Mapping[int, str] = _NOTHING
    strengths: Mapping[int, float] = _NOTHING

    def without_left(self) -> TrackedPicture:
        """The same frame without the faces that are to be left alone."""
        kept = tuple(face for face in self.tracked.faces if face.track not in self.left)
        return self._replace(tracked=replace(self.tracked, faces=kept), left=_NOTHING)


def track(
    frames: Iterable[DecodedFrame],
    rotation: int,
    detector: Detector,
    *,
    segments: bool = False,
    start: Start | None = None,
) -> Iterator[TrackedPicture]:
    """Find and follow the faces; frames come out in order with the delay of the tracker's look-ahead.

    Parameters
    ----------
    frames
        The frames of a video in order, with `start` those from its index on.
    rotation
        Degrees clockwise that turn the coded picture upright.
    detector
        Finds the faces.
    segments
        Whether to say where segments begin.
    start
        Where to go on; the frames that were on their way then come first.
    """
    tracker = FaceTracker(detector) if start is None or start.tracker is None else start.tracker
    waiting: deque[tuple[DecodedFrame, Boundary | None]] = deque()
    if start is not None:
        waiting.extend((held, None) for held in start.held)
    segmenting = Segmenting(start.index if start is not None else 0)
    for decoded in frames:
        planes = FramePlanes(decoded.frame, rotation)
        preview = planes.preview(PREVIEW_SIDE)
        boundary = None
        if segments and segmenting.begins(decoded.index, tracker.cuts(preview)):
            place = Place.of([held for held, _ in waiting])
            boundary = Boundary({"place": place._asdict(), "tracker": tracker.state()})
        waiting.append((decoded, boundary))
        scale = max(planes.width, planes.height) / max(preview.shape[:2])
        for tracked in tracker.push(preview, scale):
            picture, begins = waiting.popleft()
            yield TrackedPicture(picture, tracked, begins)
    for tracked in tracker.flush():
        picture, begins = waiting.popleft()
        yield TrackedPicture(picture, tracked, begins)


@dataclass
class _Held:
    """A frame whose pixels other windows may still need: its changes wait until none does."""

    picture: TrackedPicture
    planes: FramePlanes
    kept: KeptPixels
    changes: list[tuple[CropPlan, FloatArray]] = field(default_factory=list)


@dataclass(frozen=True)
class _Work:
    """What the network is at: faces of a frame, and what will be the changes of their crops."""

    held: _Held
    faces: list[tuple[TrackedFace, CropPlan]]
    changes: Future[list[FloatArray | None]]


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
    start
        Where to go on. The frames before it are not yielded.
    chooser
        Says which faces of a frame are to be left alone, and how strong the change of the others is; it is given the
        width and height of the upright picture, too. None: what the frame says itself.

    Attributes
    ----------
    tally
        What was done so far.
    boundaries
        Where segments begin, by the index of their first frame; put there before that frame is yielded.
    restored_by
        Faces restored up to each frame, by its index; put there before that frame is yielded, for the caller to take
        out. The tally runs ahead of it.

    Raises
    ------
    LookupError, TypeError, ValueError, AttributeError
        The state to go on from is damaged.
    """

    def __init__(
        self,
        restorer: Restorer,
        rotation: int,
        strength: float,
        min_face: float,
        *,
        start: Start | None = None,
        chooser: Callable[[TrackedPicture, int, int], TrackedPicture] | None = None,
    ) -> None:
        self._restorer, self._rotation, self._chooser = restorer, rotation, chooser
        self._strength, self._min_face = strength, min_face
        self._tracks = None if restorer.reader is None else FaceTracks(restorer.reader, sparing=True)
        self.tally = Tally() if start is None else start.tally.copy()
        self.boundaries: dict[int, Boundary] = {}
        self.restored_by: dict[int, int] = {}
        self._works: deque[_Work] = deque()
        self._restored = self.tally.restored  # in the frames yielded
        self._counted = self.tally.copy()  # up to where the segment in work begins
        self._from = 0 if start is None else start.index
        self._position = 0  # in its shot, of the frame to go on with
        if start is not None:
            state = start.state["restorer"]
            self._position = int(state["position"])
            if self._tracks is not None:
                self._tracks.restore(state["tracks"])

    def __call__(self, pictures: Iterable[TrackedPicture]) -> Generator[DecodedFrame, None, None]:
        """Yield every frame once, in order, with its faces restored in place."""
        with ThreadPoolExecutor(1, "fvdeblur-network") as self._thread:
            yield from self._stream(pictures)

    def _stream(self, pictures: Iterable[TrackedPicture]) -> Generator[DecodedFrame, None, None]:
        radius = self._restorer.frames // 2
        shot: deque[_Held] = deque()
        first = restored = 0  # positions in the shot of the oldest frame held and of the next to restore
        for picture in pictures:
            planes = FramePlanes(picture.decoded.frame, self._rotation)
            if self._chooser is not None:
                picture = self._chooser(picture, planes.width, planes.height)
            held = _Held(picture, planes, KeptPixels(planes))
            if picture.decoded.index < self._from:  # done already, but its pixels may be needed
                shot.append(held)
                if len(shot) > 2 * radius:
                    shot.popleft()
                continue
            if picture.decoded.index == self._from > 0:
                if picture.tracked.starts_shot:
                    shot.clear()
                first, restored = self._position - len(shot), max(0, self._position - radius)
            elif picture.tracked.starts_shot and shot:
                yield from self._finish(shot, first, restored)
                first = restored = 0
            if picture.boundary is not None:
                tracks = None if self._tracks is None else self._tracks.state()
                picture.boundary.state["restorer"] = {"position": first + len(shot), "tracks": tracks}
            shot.append(held)
            self._read(shot[-1], first + len(shot) - 1)
            while restored + radius < first + len(shot):
                self._restore(shot, first, restored, None)
                restored += 1
                while first + radius < restored:
                    yield from self._release(shot.popleft())
                    first += 1
        yield from self._finish(shot, first, restored)

    def _finish(self, shot: deque[_Held], first: int, restored: int) -> Iterator[DecodedFrame]:
        length = first + len(shot)
        for position in range(restored, length):
            self._restore(shot, first, position, length)
        if self._tracks is not None:
            self._tracks.clear()
        while shot:
            yield from self._release(shot.popleft())

    def _release(self, held: _Held) -> Iterator[DecodedFrame]:
        if held.picture.decoded.index >= self._from:
            while any(work.held is held for work in self._works):
                self._collect()
            blend(held.planes, held.changes, 1.0)
            self._restored += len(held.changes)
            self.restored_by[held.picture.decoded.index] = self._restored
            yield held.picture.decoded

    def counted(self) -> State:
        """What was done to the faces since the last segment began, or in this call since the call before."""
        self._collect_all()
        counted = self.tally.since(self._counted)
        self._counted = self.tally.copy()
        return counted

    def _enter(self, picture: TrackedPicture) -> None:
        """Count for another segment from this frame on."""
        if picture.boundary is not None:
            picture.boundary.tally = self.counted()
            self.boundaries[picture.decoded.index] = picture.boundary
        elif picture.decoded.index == self._from:
            self._collect_all()
            self.tally = self._counted.copy()  # the frames before were counted by the run that did them

    def _read(self, held: _Held, position: int) -> None:
        """Read the 3D faces of a frame that has just come in, where the network is told of them."""
        if self._tracks is not None:
            faces = [face for face in held.picture.tracked.faces if self._refusal(held.picture, face) is None]
            self._tracks.see(position, held.planes, faces)
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
        self._enter(held.picture)
        faces = {face.track: face for face in held.picture.tracked.faces}
        plans = [
            (track, plan) for track, face in faces.items() if (plan := self._plan(held, face)) is not None
        ]
        if not plans:
            return
        indices = window_indices(position, length or position + self._restorer.frames, self._restorer.frames)
        frames = {index: shot[index - first].kept for index in indices}
        by_size: dict[int, list[tuple[int, CropPlan]]] = {}
        for track, plan in plans:
            by_size.setdefault(plan.size, []).append((track, plan))
        for group in by_size.values():
            windows = []
            for _, plan in group:
                crops = {index: kept.cut(plan) for index, kept in frames.items()}
                windows.append(np.stack([crops[index] for index in indices]))
            inputs = self._restorer.prepare(windows, self._guides(position, group))
            if len(self._works) > AHEAD:
                self._collect()
            wanted = [(faces[track], plan) for track, plan in group]
            self._works.append(_Work(held, wanted, self._thread.submit(self._restorer.compute, inputs)))

    def _collect_all(self) -> None:
        while self._works:
            self._collect()

    def _collect(self) -> None:
        """Wait for the oldest work and keep what came of it."""
        work = self._works.popleft()
        for (face, plan), change in zip(work.faces, work.changes.result(), strict=True):
            self._keep(work.held, face, plan, change)

    def _plan(self, held: _Held, face: TrackedFace) -> CropPlan | None:
        self.tally.tracks.add(face.track)
        refusal = self._refusal(held.picture, face)
        if refusal is not None:
            self.tally.left_alone[refusal] += 1
            return None
        card = self._restorer.card
        plan = plan_crop(face.box, self._restorer.multiple, card.largest_side, card.smallest_side)
        return plan if overlaps(held.planes, plan) else None

    def _refusal(self, picture: TrackedPicture, face: TrackedFace) -> str | None:
        """Why a face is left alone, as far as that is known before the network has seen it."""
        if face.track in picture.left:
            return picture.left[face.track]
        if face_size(face.box) < self._min_face:
            return TOO_SMALL
        return NO_STRENGTH if picture.strengths.get(face.track, self._strength) == 0 else None

    def _keep(self, held: _Held, face: TrackedFace, plan: CropPlan, change: FloatArray | None) -> None:
        if change is None:
            self.tally.left_alone[NOT_FINITE] += 1
        elif _face_change(change) < SHARP_CHANGE:
            self.tally.left_alone[ALREADY_SHARP] += 1
        else:
            self.tally.restored += 1
            picture = held.picture
            others = [each.box for each in picture.tracked.faces if each.track in picture.left]
            change = change * np.float32(picture.strengths.get(face.track, self._strength))
            if others:
                change = change * spared(plan, face.box, others)[..., None]
            held.changes.append((plan, change))


def _face_change(change: FloatArray) -> float:
    """Mean absolute change in the middle of the crop, where the face is."""
    edge = change.shape[0] // 4
    return float(np.abs(change[edge:-edge, edge:-edge]).mean())
