"""Objects followed through a part of a shot: the main loop of the algorithm, frame by frame.

After Chrysos & Zafeiriou (2017), algorithm 1. What differs: every object that is found is followed, not the first
alone; where the first frame of a shot shows none, later ones are looked at; and a long shot is taken in parts of
bounded length, each begun anew with a detection, so that memory does not grow with the shot and a tracker that lost
its object costs one part.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from fvdeblur.datasets.mining.parts import Image, ObjectTracker, Parts
from fvdeblur.datasets.mining.rules import LEAST_SIDE, blockiness, movement, sharpness
from fvdeblur.datasets.mining.settings import MiningSettings
from fvdeblur.datasets.mining.shots import ShotFrame
from fvdeblur.faces import Detection
from fvdeblur.faces.geometry import iou_matrix, visible_fraction

FIRST_SCORE = 0.5
"""Detection score, 0..1, that begins a track."""

LEAST_OVERLAP = 0.5
"""Intersection over union above which tracker and detector mean the same object."""

SEARCH_STEP = 5
"""Frames from one search to the next while a shot shows no object."""

SURROUNDINGS = 0.3
"""What is looked at for movement and compression around the object's box on each side, in units of its size."""

MOST_BLOCK_SIDE = 512
"""Side in pixels of the part that is looked at for compression: enough to be sure of it."""

Floats = NDArray[np.float32]
NOWHERE = np.full(4, np.nan, np.float32)


@dataclass
class Candidate:
    """One object in consecutive frames of one shot; every list has one entry a frame.

    Attributes
    ----------
    shot, number, first
        Shot, number of the object in the video, and index of the first frame.
    tracked, detected
        Boxes float32 [4] of the tracker and of the detection that overlaps it most (nan where there is none), in
        pixels of the video's upright picture.
    confidence
        Of the tracker, 0..1.
    landmarks
        float32 [P, 2]; None where detector and tracker disagree.
    fitting
        Score of the landmarks by the classifier, above 0 for a right one; nan without landmarks.
    movement
        Largest and mean movement in pixels since the frame before, within the tracker's box and its surroundings; the
        first frame has none.
    sharpness, blockiness
        Of the picture within the tracker's box, and within it and its surroundings.
    """

    shot: int
    number: int
    first: int
    tracked: list[Floats] = field(default_factory=list)
    detected: list[Floats] = field(default_factory=list)
    confidence: list[float] = field(default_factory=list)
    landmarks: list[Floats | None] = field(default_factory=list)
    fitting: list[float] = field(default_factory=list)
    movement: list[tuple[float, float]] = field(default_factory=list)
    sharpness: list[float] = field(default_factory=list)
    blockiness: list[float] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.tracked)


@dataclass(frozen=True)
class Part:
    """Consecutive frames of one shot in which objects were followed.

    Attributes
    ----------
    candidates
        The objects; all begin with the part's first frame and end with its last.
    size
        Width and height of the picture.
    """

    candidates: tuple[Candidate, ...]
    size: tuple[int, int]


def follow(frames: Iterable[ShotFrame], parts: Parts, settings: MiningSettings) -> Iterator[Part]:
    """Follow the objects of a video, a part of a shot after the other.

    Parameters
    ----------
    frames
        All frames of the video, in order.
    parts
        Detector, tracker, landmarker and classifier.
    settings
        Sizes and numbers.

    Yields
    ------
    Part
        Where at least one object was found, in the order of time.
    """
    follower: _Follower | None = None
    found = 0
    since_search = 0
    for frame in frames:
        if follower is not None and (frame.starts_shot or follower.length == settings.most_frames):
            yield follower.part()
            follower, since_search = None, 0
        elif frame.starts_shot:
            since_search = 0
        if follower is not None:
            follower.advance(frame.image)
            continue
        if since_search % SEARCH_STEP == 0:
            detections = _beginnings(frame.image, parts, settings)
            if detections:
                follower = _Follower(frame, detections, found, parts)
                found += len(detections)
        since_search += 1
    if follower is not None:
        yield follower.part()


def _beginnings(image: Image, parts: Parts, settings: MiningSettings) -> list[Detection]:
    """The detections that are good and large enough to follow, and for the most part within the picture."""
    height, width = image.shape[:2]
    if min(height, width) < LEAST_SIDE:
        return []
    good = [
        detection
        for detection in parts.detector.detect(image)
        if detection.score >= FIRST_SCORE
        and float((detection.box[2:] - detection.box[:2]).max()) >= settings.least_face
        and visible_fraction(detection.box, width, height) > 0.5
    ]
    return good[: settings.most_faces]


class _Follower:
    """Follows the objects that were detected in one frame."""

    def __init__(self, frame: ShotFrame, detections: Sequence[Detection], number: int, parts: Parts) -> None:
        self._parts = parts
        self._previous = image = frame.image
        self._trackers: list[ObjectTracker] = []
        self._candidates: list[Candidate] = []
        for offset, detection in enumerate(detections):
            self._trackers.append(parts.start_tracker(image, detection.box))
            candidate = Candidate(frame.shot, number + offset, frame.index)
            self._note(candidate, image, detection.box, 1.0, detection)
            candidate.movement.append((0.0, 0.0))
            self._candidates.append(candidate)

    @property
    def length(self) -> int:
        return len(self._candidates[0])

    def part(self) -> Part:
        height, width = self._previous.shape[:2]
        return Part(tuple(self._candidates), (width, height))

    def advance(self, image: Image) -> None:
        """Take the next frame."""
        found = [tracker.update(image) for tracker in self._trackers]
        detections = self._parts.detector.detect(image)
        partners = _partners([box for box, _ in found], detections)
        for candidate, (box, confidence), partner in zip(self._candidates, found, partners, strict=True):
            self._note(candidate, image, box, confidence, partner)
            region = _region(box, image, SURROUNDINGS)
            candidate.movement.append(movement(self._previous[region], image[region]))
        self._previous = image

    def _note(
        self, candidate: Candidate, image: Image, box: Floats, confidence: float, partner: Detection | None
    ) -> None:
        """Add what is seen of one object in one frame."""
        candidate.tracked.append(np.asarray(box, np.float32))
        candidate.confidence.append(confidence)
        candidate.detected.append(NOWHERE if partner is None else np.asarray(partner.box, np.float32))
        landmarks, score = None, float("nan")
        if partner is not None and _overlap(box, partner) > LEAST_OVERLAP:
            landmarks = self._parts.landmarker.landmarks(image, partner)
            score = self._parts.classifier.score(image, landmarks)
        candidate.landmarks.append(landmarks)
        candidate.fitting.append(score)
        candidate.sharpness.append(sharpness(image[_region(box, image, 0.0)]))
        rows, columns = _region(box, image, SURROUNDINGS)
        candidate.blockiness.append(blockiness(image[_middle(rows), _middle(columns)]))


def _overlap(box: Floats, detection: Detection) -> float:
    return float(iou_matrix(box, detection.box)[0, 0])


def _partners(boxes: Sequence[Floats], detections: Sequence[Detection]) -> list[Detection | None]:
    """For each tracker's box the detection that overlaps it most; no detection is given to two, the best pair first."""
    partners: list[Detection | None] = [None] * len(boxes)
    if not detections:
        return partners
    overlap = iou_matrix(np.array(boxes), np.array([detection.box for detection in detections]))
    for _ in boxes:
        row, column = divmod(int(overlap.argmax()), len(detections))
        if overlap[row, column] <= 0:
            break
        partners[row] = detections[column]
        overlap[row], overlap[:, column] = 0, 0
    return partners


def _region(box: Floats, image: Image, margin: float) -> tuple[slice, slice]:
    """The part of a picture that a box and a margin around it cover: at least `LEAST_SIDE` wide and high."""
    height, width = image.shape[:2]
    size = float((box[2:] - box[:2]).max())
    slices = []
    for low, high, limit in ((box[1], box[3], height), (box[0], box[2], width)):
        start, stop = int(low - margin * size), int(high + margin * size)
        start = min(max(start, 0), max(limit - LEAST_SIDE, 0))
        slices.append(slice(start, min(max(stop, start + LEAST_SIDE), limit)))
    return slices[0], slices[1]


def _middle(part: slice) -> slice:
    """The middle of a range of pixels, of at most `MOST_BLOCK_SIDE`."""
    cut = max(0, part.stop - part.start - MOST_BLOCK_SIDE) // 2
    return slice(part.start + cut, part.stop - cut)
