"""One face through one shot: where it was seen, how it moved between, and the steady box made of both.

Two sources are combined. The detector says where the face is, with some jitter, every few frames. Matching of
pixels says precisely how far the face has moved from frame to frame, but drifts. So each detection near a
frame is carried to that frame along the measured motion, from before as well as from after, and the carried
detections are averaged. What is averaged hardly moves, therefore the average steadies the box without
trailing behind.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fvdeblur.faces.detector import Detection
from fvdeblur.faces.geometry import Floats, visible_fraction
from fvdeblur.faces.motion import Patch, Pyramid
from fvdeblur.faces.state import State, pack, unpack

LEAST_CORRELATION = 0.75
"""Pixels that agree less are not the same face: strong motion blur leaves 0.85, another face reaches 0.7."""

LARGEST_DRIFT = 0.25
"""Detections and matched motion that differ by more, in units of the face's size, mean a wrong match."""

LEAST_VISIBLE = 0.25

SOON = 2
STEADINESS = 0.9
"""A face goes on as it last did for so many frames without its pixels; then as it did before, on an average to which
each frame hands on so much. Just before a face is hidden, what hides it is taken for a part of it."""


@dataclass(frozen=True)
class Observation:
    """A stored detection: centre [2] and size [2] in preview pixels, landmarks [5, 2] in units of the box."""

    frame: int
    centre: NDArray[np.float64]
    size: NDArray[np.float64]
    score: float
    landmarks: NDArray[np.float64] | None

    @classmethod
    def from_detection(cls, frame: int, detection: Detection) -> Observation:
        """Take the detection made in the frame of the given number."""
        corners = np.asarray(detection.box, np.float64).reshape(2, 2)
        centre, size = corners.mean(axis=0), np.maximum(corners[1] - corners[0], 1.0)
        landmarks = None if detection.landmarks is None else (detection.landmarks - centre) / size
        return cls(frame, centre, size, detection.score, landmarks)


class Track:
    """One face through one shot.

    Parameters
    ----------
    frame : int
        Number of the frame in which the face was detected first.
    detection : Detection
        The detection, in pixels of the preview.
    pyramid : Pyramid
        That frame's grey pyramid.
    """

    def __init__(self, frame: int, detection: Detection, pyramid: Pyramid) -> None:
        self.public_id: int | None = None
        self.best_score = 0.0
        self.sightings = 0
        self.misses = 0
        self.ended = False
        self.observations: list[Observation] = []
        self._motion: dict[int, NDArray[np.float64]] = {frame: np.zeros(2)}
        self._matched: set[int] = set()
        self._velocity, self._usual = np.zeros(2), np.zeros(2)
        self.observe(frame, detection, pyramid, frame)

    @property
    def last(self) -> Observation:
        """The latest detection."""
        return self.observations[-1]

    def box(self, frame: int) -> NDArray[np.float64]:
        """Predicted box [4]: the latest detection, carried along the motion to a later frame."""
        centre = self.last.centre + self._motion[frame] - self._motion[self.last.frame]
        return np.concatenate([centre - self.last.size / 2, centre + self.last.size / 2])

    def matched(self, frame: int) -> bool:
        """Whether the pixels of the face were found in the frame."""
        return frame in self._matched

    def moved(self, frame: int) -> float:
        """Distance since the latest detection in units of the face's size."""
        step = self._motion[frame] - self._motion[self.last.frame]
        return float(np.linalg.norm(step) / np.sqrt(self.last.size.prod()))

    def goes_on(self, frame: int, pyramid: Pyramid) -> bool:
        """Whether the pixels of the face are found in the frame after this one, which looks like that."""
        shift = self._motion[frame] - self._motion[self.last.frame]
        return self._patch.find(pyramid, shift).correlation >= LEAST_CORRELATION

    def advance(self, frame: int, pyramid: Pyramid, camera: NDArray[np.float64], first_pending: int) -> None:
        """Follow the face into the next frame, given the shift [2] of the whole picture since the last one.

        Where its pixels are not found, it is taken to go on as before, relative to the picture. When they are
        found again, the frames between are corrected, from ``first_pending`` on: those before are reported.
        """
        lost = frame - max(self._matched) > SOON
        guess = self._motion[frame - 1] + camera + (self._usual if lost else self._velocity)
        since_patch = self._motion[self.last.frame]
        match = self._patch.find(pyramid, guess - since_patch)
        self._motion[frame] = guess
        if match.correlation >= LEAST_CORRELATION:
            since = max(*self._matched, first_pending - 1)
            self._spread(since_patch + match.shift - guess, since, frame)
            self._matched.add(frame)
            step = self._motion[frame] - self._motion[frame - 1]
            self._velocity = (self._velocity + step - camera) / 2
            self._usual = STEADINESS * self._usual + (1 - STEADINESS) * (step - camera)
        height, width = pyramid[0].shape
        if visible_fraction(self.box(frame), width, height) < LEAST_VISIBLE:
            self.ended = True

    def observe(self, frame: int, detection: Detection, pyramid: Pyramid, first_pending: int) -> None:
        """Add a detection; it may correct the motion in the frames from ``first_pending`` on."""
        observation = Observation.from_detection(frame, detection)
        if self.observations:
            self._reconcile(observation, max(self.last.frame, first_pending - 1))
        self.observations.append(observation)
        self.sightings += 1
        self.misses = 0
        self.best_score = max(self.best_score, detection.score)
        self._matched.add(frame)
        self._patch = Patch(pyramid, detection.box)

    def extend_back(self, frames: list[tuple[int, Pyramid]]) -> None:
        """Follow the face from its first detection into earlier frames (latest first) while it is found."""
        shift = np.zeros(2)
        for frame, pyramid in frames:
            match = self._patch.find(pyramid, shift)
            if match.correlation < LEAST_CORRELATION:
                break
            shift = match.shift
            self._motion[frame] = shift.copy()
            self._matched.add(frame)

    def _reconcile(self, observation: Observation, since: int) -> None:
        """Make the motion agree with the detections where pixels were lost or something else followed."""
        frames = range(self.last.frame + 1, observation.frame + 1)
        moved = self._motion[observation.frame] - self._motion[self.last.frame]
        drift = observation.centre - self.last.centre - moved
        slipped = np.linalg.norm(drift) > LARGEST_DRIFT * np.sqrt(observation.size.prod())
        if slipped or not all(frame in self._matched for frame in frames[:-1]):
            self._spread(drift, since, observation.frame)

    def _spread(self, correction: NDArray[np.float64], since: int, frame: int) -> None:
        """Move the face by ``correction`` in a frame, and in those after ``since`` by a growing share of it."""
        for number in range(since + 1, frame + 1):
            share = (number - since) / (frame - since)
            self._motion[number] = self._motion[number] + share * correction

    def present(self, frame: int, lookahead: int) -> bool:
        """Whether the face is taken to be visible in the frame, by all that is known now.

        Between two detections it is, if its pixels were followed or the gap is no longer than the look-ahead.
        Before the first and after the last detection it is as far as its pixels were followed.
        """
        if frame not in self._motion:
            return False
        before = max((seen.frame for seen in self.observations if seen.frame <= frame), default=None)
        after = min((seen.frame for seen in self.observations if seen.frame >= frame), default=None)
        if before is None:
            return frame in self._matched
        if after is not None and after - before <= lookahead:
            return True
        return all(number in self._matched for number in range(before, frame + 1))

    def smoothed(
        self, frame: int, lookahead: int
    ) -> tuple[NDArray[np.float64], float, NDArray[np.float64] | None]:
        """Steady box [4], score and landmarks [5, 2] of a frame, in preview pixels."""
        width = lookahead + 1
        near = [seen for seen in self.observations if abs(seen.frame - frame) < width]
        if not near:
            near = [min(self.observations, key=lambda seen: abs(seen.frame - frame))]
        distances = np.array([seen.frame - frame for seen in near], np.float64)

        weights = np.maximum(1.0 - (distances / width) ** 2, 1e-6)  # a parabolic window
        weights /= weights.sum()

        carried = np.array([seen.centre + self._motion[frame] - self._motion[seen.frame] for seen in near])
        centre = weights @ carried
        sizes = np.log([seen.size for seen in near])
        size = np.exp(weights @ sizes + _trend(distances, sizes, weights, 0.06 * width**2))
        score = float(weights @ np.array([seen.score for seen in near]))
        landmarks = None
        relative = [seen.landmarks for seen in near if seen.landmarks is not None]
        if len(relative) == len(near):
            landmarks = centre + np.tensordot(weights, np.array(relative), axes=1) * size
        box = np.concatenate([centre - size / 2, centre + size / 2])
        return box, score, landmarks

    def forget(self, frame: int) -> None:
        """Drop what lies before the frame and is needed no more."""
        last = self.last
        self.observations = [seen for seen in self.observations if seen.frame >= frame or seen is last]
        oldest = min(frame, last.frame)
        self._motion = {number: shift for number, shift in self._motion.items() if number >= oldest}
        self._matched = {number for number in self._matched if number >= oldest}

    def state(self) -> State:
        """All that its future depends on, for `restored`."""
        return {
            "public_id": self.public_id,
            "best_score": self.best_score,
            "sightings": self.sightings,
            "misses": self.misses,
            "ended": self.ended,
            "observations": [
                {
                    "frame": seen.frame,
                    "centre": pack(seen.centre),
                    "size": pack(seen.size),
                    "score": seen.score,
                    "landmarks": pack(seen.landmarks),
                }
                for seen in self.observations
            ],
            "motion_frames": list(self._motion),
            "motion": pack(np.array(list(self._motion.values()))),
            "matched": sorted(self._matched),
            "velocity": pack(self._velocity),
            "usual": pack(self._usual),
            "patch": self._patch.state(),
        }

    @classmethod
    def restored(cls, state: State) -> Track:
        """The track of a `state`."""
        track = cls.__new__(cls)
        for name in ("public_id", "best_score", "sightings", "misses", "ended"):
            setattr(track, name, state[name])
        track.observations = [
            Observation(
                seen["frame"],
                unpack(seen["centre"]),
                unpack(seen["size"]),
                seen["score"],
                unpack(seen["landmarks"]),
            )
            for seen in state["observations"]
        ]
        track._motion = dict(zip(state["motion_frames"], unpack(state["motion"]), strict=True))
        track._matched = set(state["matched"])
        track._velocity, track._usual = unpack(state["velocity"]), unpack(state["usual"])
        track._patch = Patch.restored(state["patch"])
        return track


def _trend(distances: Floats, values: Floats, weights: Floats, damping: float) -> NDArray[np.float64]:
    """Correction of the weighted mean of ``values`` [N, C] where the ``distances`` [N] lie to one side.

    That is so at the ends of a shot, where a plain mean trails behind a face that grows. With the damping
    used, about half of the trend is carried over: a compromise, since all of it would double the jitter.
    """
    offsets = distances - weights @ distances
    slope = (weights * offsets) @ values / (weights @ offsets**2 + damping)
    return np.asarray(-slope * (weights @ distances), np.float64)
