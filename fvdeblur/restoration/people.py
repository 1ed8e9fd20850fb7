"""Who is who: tracks of one person, in whatever shots, put together by identity."""

from __future__ import annotations

from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from fvdeblur.faces import Detection, TrackedFace
from fvdeblur.faces.identity import Embedder, FloatArray, robust_mean, unit
from fvdeblur.media import FramePlanes
from fvdeblur.morphable.reader import FaceReader, Reading
from fvdeblur.restoration.crops import CropPlan, cut, plan_crop
from fvdeblur.restoration.priors import FaceTracks

SAMPLES = 5
"""A track is known by so many of its sharpest frames."""

SPACING = 4
"""Frames between two of them at least."""

SAMPLE_SIDE = 256
"""Largest side in pixels of the crops that are kept of them."""

ENDED = 60
"""A track that has not been seen for so many frames has ended."""

SHAPE_AND_COLOUR = "3D shape, texture and colours"
SHAPE_THRESHOLD = 0.84
"""Cosine of `shape_and_colour` from which on two tracks are one person: see ``python -m benchmarks.identity``."""

SHAPE_PHOTO_THRESHOLD = 0.6
"""The same for a person and a single photograph, which must be of the same scene."""

_COLOUR_MEAN = np.array([127.6, 143.9, 141.8, 87.4, 133.7, 135.9, 120.3, 137.0, 133.2])
_COLOUR_DEVIATION = np.array([24.4, 3.6, 4.0, 38.1, 3.3, 5.2, 47.2, 11.8, 14.6])
"""Of `face_colours` over 14 clips of 12 people."""


@dataclass
class _Sample:
    frame: int
    quality: float
    crop: NDArray[np.uint8]
    detection: Detection
    reading: Reading | None


@dataclass
class _Track:
    first: int
    last: int
    samples: list[_Sample] = field(default_factory=list)
    embedding: FloatArray | None = None


class Portrayer:
    """Tells people apart by an embedder, or without one by the 3D face and by colours (`shape_and_colour`).

    Parameters
    ----------
    embedder
        None: without.
    reader
        Reads the 3D faces of single pictures; None: the released regressor, where it is needed.

    Attributes
    ----------
    name
        What tells people apart.
    threshold, photo_threshold
        Cosine from which on two tracks are one person, and a track and a single photograph.
    """

    def __init__(self, embedder: Embedder | None, reader: FaceReader | None = None) -> None:
        self._embedder, self._reader = embedder, reader
        self.name = SHAPE_AND_COLOUR if embedder is None else embedder.name
        self.threshold = SHAPE_THRESHOLD if embedder is None else embedder.threshold
        self.photo_threshold = SHAPE_PHOTO_THRESHOLD if embedder is None else embedder.photo_threshold

    def embed(self, planes: FramePlanes, face: TrackedFace) -> FloatArray:
        """Embedding of a face of one picture, float32 [D] of length 1."""
        plan = plan_crop(face.box, 1, SAMPLE_SIDE)
        crop = np.round(cut(planes, plan) * 255).astype(np.uint8)
        reading = None
        if self._embedder is None:
            self._reader = self._reader or FaceReader()
            faces = FaceTracks(self._reader)
            faces.see(0, planes, [face])
            reading = faces.at(0, face.track)
        return self.embed_crop(crop, in_crop(face, plan), reading)

    def embed_crop(self, crop: NDArray[np.uint8], face: Detection, reading: Reading | None) -> FloatArray:
        """Embedding of a face in a crop (uint8 R'G'B' [S, S, 3]) whose 3D face was read; zeros without a reading."""
        if self._embedder is not None:
            return self._embedder.embed(crop, face)
        if reading is None:
            return np.zeros(1, np.float32)
        return shape_and_colour(reading, face_colours(crop, face.box))


class People:
    """Collects what tracks look like, and tells which of them are one person.

    Parameters
    ----------
    portrayer
        Tells people apart.
    """

    def __init__(self, portrayer: Portrayer) -> None:
        self._portrayer = portrayer
        self._tracks: dict[int, _Track] = {}
        self._open: set[int] = set()

    def see(
        self, frame: int, planes: FramePlanes, face: TrackedFace, reading: Reading | None, quality: float
    ) -> None:
        """A face in a frame; frames come in order. ``quality`` says how well it shows the person, 0 not at all."""
        track = self._tracks.setdefault(face.track, _Track(frame, frame))
        track.last = frame
        self._open.add(face.track)
        samples = track.samples
        near = [sample for sample in samples if frame - sample.frame < SPACING]
        rival = near[0] if near else min(samples, key=lambda each: each.quality, default=None)
        full = bool(near) or len(samples) >= SAMPLES
        if quality <= 0 or (full and rival is not None and rival.quality >= quality):
            return
        if full and rival is not None:
            samples.remove(rival)
        plan = plan_crop(face.box, 1, SAMPLE_SIDE)
        crop = np.round(cut(planes, plan) * 255).astype(np.uint8)
        samples.append(_Sample(frame, quality, crop, in_crop(face, plan), reading))

    def settle(self, before: int) -> None:
        """Embed the tracks that were last seen before this frame and let go of their pictures."""
        for number in sorted(self._open):
            track = self._tracks[number]
            if track.last < before:
                vectors = [
                    self._portrayer.embed_crop(each.crop, each.detection, each.reading)
                    for each in track.samples
                ]
                known = [vector for vector in vectors if vector.any()]
                track.embedding = robust_mean(np.array(known)) if known else None
                track.samples = []
                self._open.discard(number)

    def persons(self) -> dict[int, int]:
        """The person of every track, numbered from 1 in the order in which they are first seen; settles all tracks."""
        self.settle(1 + max((track.last for track in self._tracks.values()), default=0))
        numbers = sorted(self._tracks, key=lambda number: (self._tracks[number].first, number))
        tracks = [self._tracks[number] for number in numbers]
        spans = [(track.first, track.last) for track in tracks]
        groups = merge([track.embedding for track in tracks], spans, self._portrayer.threshold)
        return {numbers[place]: who for who, group in enumerate(groups, 1) for place in group}

    def like(self, embedding: FloatArray, persons: dict[int, int], alike: bool) -> dict[int, int]:
        """Those of the persons of tracks who are like one whose embedding (of one photograph) is given, or are not.

        Parameters
        ----------
        embedding
            float32 [D] of length 1.
        persons
            As `persons` gave them.
        alike
            Whether those who are like it are wanted, or the others.
        """
        found: dict[int, list[FloatArray]] = {}
        for number, who in persons.items():
            known = self._tracks[number].embedding
            found.setdefault(who, []).extend([] if known is None else [known])
        chosen = {
            who
            for who, own in found.items()
            if own and float(unit(np.sum(own, axis=0)) @ embedding) >= self._portrayer.photo_threshold
        }
        return {number: who for number, who in persons.items() if (who in chosen) == alike}


def merge(
    embeddings: list[FloatArray | None], spans: list[tuple[int, int]], threshold: float
) -> list[list[int]]:
    """Put tracks together that are one person.

    The two groups that are most alike (cosine of their mean embeddings) become one, as long as they reach the
    threshold; groups of which two tracks are seen at the same time never do. A track without an embedding stays alone.

    Parameters
    ----------
    embeddings
        float32 [D] of length 1 of each track, in the order of their first frames; None where there is none.
    spans
        First and last frame of each.
    threshold
        Least cosine.

    Returns
    -------
    Places of the tracks in the given lists, group by group, in the order of their first track.
    """
    groups = [[place] for place in range(len(embeddings))]
    known = [place for place, each in enumerate(embeddings) if each is not None]
    if len(known) < 2:
        return groups
    sums = np.array([each for each in embeddings if each is not None], np.float64)
    starts, stops = (np.array([spans[place][end] for place in known]) for end in (0, 1))
    together = (starts[:, None] <= stops[None]) & (starts[None] <= stops[:, None])
    alike = np.where(together, -np.inf, sums @ sums.T)
    members = {row: groups[place] for row, place in enumerate(known)}
    while alike.size:
        first, second = sorted(int(each) for each in np.unravel_index(int(alike.argmax()), alike.shape))
        if not alike[first, second] >= threshold:
            break
        members[first] += members[second]
        members[second].clear()
        sums[first] += sums[second]
        together[first] |= together[second]
        together[:, first] = together[first]
        lengths = np.maximum(np.linalg.norm(sums, axis=1), 1e-12)
        fresh = np.where(together[first], -np.inf, sums @ sums[first] / (lengths * lengths[first]))
        alive = np.array([bool(members[row]) for row in range(len(known))])
        alike[first] = alike[:, first] = np.where(alive, fresh, -np.inf)
        alike[second] = alike[:, second] = -np.inf
    return [sorted(group) for group in groups if group]


def quality_of(face: TrackedFace, sharpness: float, reading: Reading | None) -> float:
    """How well a face shows the person: larger for sharp, large faces that look at the camera."""
    x0, y0, x1, y1 = (float(value) for value in face.box)
    size = float(np.sqrt(max(x1 - x0, 0.0) * max(y1 - y0, 0.0)))
    frontal = 1.0
    if reading is not None:
        pitch, yaw = (float(angle) for angle in reading.coefficients.pose[0, :2])
        frontal = max(0.05, float(np.cos(yaw) * np.cos(pitch)))
    return (0.1 + sharpness) * min(1.0, size / 112) * frontal**2


def shape_and_colour(reading: Reading, colours: NDArray[np.float64]) -> FloatArray:
    """What the 3D face and the colours say of a person: float32 [169] of length 1.

    Parameters
    ----------
    reading
        Of one face.
    colours
        As `face_colours`.
    """
    identity, texture = (
        unit(part[0].cpu().numpy()) for part in (reading.coefficients.identity, reading.coefficients.texture)
    )
    return unit(np.concatenate([0.5 * identity, 0.5 * texture, (colours - _COLOUR_MEAN) / _COLOUR_DEVIATION]))


def face_colours(picture: NDArray[np.uint8], box: NDArray[np.floating]) -> NDArray[np.float64]:
    """Mean L*a*b* (0..255 each) of the face, of what is above it and of what is below it: float64 [9].

    Parameters
    ----------
    picture
        uint8 R'G'B' [H, W, 3].
    box
        x0, y0, x1, y1 of the face in pixels.
    """
    x0, y0, x1, y1 = (float(value) for value in box)
    width, height = x1 - x0, y1 - y0
    parts = (
        (x0 + 0.25 * width, y0 + 0.25 * height, x1 - 0.25 * width, y1 - 0.3 * height),
        (x0 + 0.2 * width, y0 - 0.25 * height, x1 - 0.2 * width, y0 + 0.05 * height),
        (x0 - 0.3 * width, y1 + 0.25 * height, x1 + 0.3 * width, y1 + 0.4 * height),
    )
    means = []
    lab = cv2.cvtColor(picture, cv2.COLOR_RGB2LAB)
    bottom, right = picture.shape[:2]
    for left, top, end, low in parts:
        column, row = (min(max(round(at), 0), most - 2) for at, most in ((left, right), (top, bottom)))
        part = lab[row : max(row + 2, round(low)), column : max(column + 2, round(end))]
        means.append(part.reshape(-1, 3).mean(axis=0))
    return np.concatenate(means).astype(np.float64)


def in_crop(face: TrackedFace | Detection, plan: CropPlan) -> Detection:
    """The face in pixels of a crop of its frame."""
    corner, scale = np.array([plan.left, plan.top], np.float32), plan.size / plan.side
    box = (np.asarray(face.box).reshape(2, 2) - corner).ravel() * scale
    points = None if face.landmarks is None else ((face.landmarks - corner) * scale).astype(np.float32)
    return Detection(box.astype(np.float32), face.score, points)
