"""Faces followed through a video, frame by frame, with a bounded look-ahead."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from fvdeblur.faces.cuts import CutDetector
from fvdeblur.faces.detector import Detection, Detector
from fvdeblur.faces.geometry import face_size, iou_matrix
from fvdeblur.faces.motion import Pyramid, camera_shift, grey_pyramid
from fvdeblur.faces.state import State, pack, unpack
from fvdeblur.faces.track import Track

CONFIRMATION_SCORE = 0.5
"""A face is reported only if its track reaches this detection score at least once."""

LONGEST_GAP = 36
"""Frames for which a face may stay undetected before its track ends: a second at 30 a second, and a little."""

LARGE_MOTION = 0.4
"""Motion since the last detection, in units of the face's size, after which the detector is asked earlier."""

LOST_INTERVAL = 2
"""Frames between detections while a face is lost."""

NOBODY_FACTOR = 3
"""How many times as rarely the detector sees whole previews while nobody is followed, and halved ones between. Once it
sees somebody, it is asked about the frames passed over, too."""

STILL_DIFFERENCE = 5
"""Where no place of the smallest level of the pyramid differs by more, of 255, from a frame in which nobody was found,
nobody has come in since, and there is no need to look."""

LONGEST_STILL = 96
"""Frames after which a picture that stands still is searched all the same."""

LARGEST_STEP = 0.5
STEP_GROWTH = 0.03
"""Largest distance of a detection from the prediction, in units of the face's size, and its growth with each
frame since the face was seen."""

TORN_MISMATCH, TORN_MISMATCH_OF_SEVERAL = 0.4, 0.12
"""Where more of a frame does not go on from the last one and no face does, a new shot begins even in the same colours;
the second where that is so of two faces or more, which nothing but a cut takes away at once."""

LARGEST_SIZE_RATIO = 1.7
DUPLICATE_OVERLAP = 0.5
_IMPOSSIBLE = 1e3


@dataclass(frozen=True, eq=False)
class TrackedFace:
    """One face in one frame.

    Attributes
    ----------
    track : int
        Number of the track, from 0: the same face in the same shot keeps it; never reused.
    box : float32 [4]
        x0, y0, x1, y1 in full-resolution pixels, steadied in time; may reach beyond the picture.
    score : float
        Detection score 0..1, averaged over the detections near this frame.
    landmarks : float32 [5, 2] or None
        As in `Detection`, in full-resolution pixels.
    detected : bool
        Whether the detector saw it in this very frame; else it was followed there.
    """

    track: int
    box: NDArray[np.float32]
    score: float
    landmarks: NDArray[np.float32] | None
    detected: bool = False


@dataclass(frozen=True, eq=False)
class TrackedFrame:
    """The faces of one frame.

    Attributes
    ----------
    index : int
        Number of the frame in the order in which they were pushed, from 0.
    shot : int
        Number of the shot, from 0.
    starts_shot : bool
        Whether this is the first frame of its shot.
    faces : tuple of TrackedFace
        In the order of their track numbers.
    """

    index: int
    shot: int
    starts_shot: bool
    faces: tuple[TrackedFace, ...]


class FaceTracker:
    """Finds the faces of a video and follows them.

    Frames are pushed as small previews and come out again in order, each exactly once, ``lookahead`` frames
    later (at a cut and at the end at once). The detector runs on the first frame of each shot and then on
    every ``detect_every``-th, earlier where a face moves fast or is lost, more rarely while there is none, and hardly
    ever while nothing stirs either: once a face is seen, the frames passed over are made up for. Between, faces are
    followed by their pixels. A track ends at a cut, at the picture's edge, or when its face stays undetected for a
    second.

    Parameters
    ----------
    detector : Detector
        See `fvdeblur.faces.create_detector`.
    detect_every : int
        Frames between two detections, at least 1.
    lookahead : int
        Frames after a frame that are seen before it is reported, at least ``detect_every``. It is the half-
        width of the smoothing window, too.

    Raises
    ------
    ValueError
        ``detect_every`` or ``lookahead`` is too small.
    """

    def __init__(self, detector: Detector, *, detect_every: int = 4, lookahead: int = 14) -> None:
        if detect_every < 1 or lookahead < detect_every:
            raise ValueError("detect_every must be at least 1 and lookahead at least detect_every")
        self._detector = detector
        self._detect_every = detect_every
        self.lookahead = lookahead
        self._cuts = CutDetector()
        self._next_cuts: bool | None = None  # of the frame that is pushed next, where it is known already
        self._frame = -1
        self._shot = -1
        self._next_id = 0
        self._scales: deque[float] = deque()  # of the frames not reported yet
        self._tracks: list[Track] = []
        # Frames since the whole of one was last searched, while nobody is followed.
        self._passed: list[tuple[NDArray[np.uint8], Pyramid]] = []
        self._pyramids: deque[Pyramid] = deque(maxlen=detect_every)
        self._shot_start = 0
        self._last_detection = 0
        self._empty: tuple[int, NDArray[np.uint8]] | None = (
            None  # frame that nobody was found in, and its picture
        )
        self._flushed = False

    def push(self, preview: NDArray[np.uint8], scale: float) -> list[TrackedFrame]:
        """Take the next frame.

        Parameters
        ----------
        preview : uint8 RGB [h, w, 3]
            The whole frame, reduced; a longer side of 640 pixels suits the detectors.
        scale : float
            Full-resolution pixels for each preview pixel.

        Returns
        -------
        list of TrackedFrame
            The frames that are settled now: none, one, or at a cut all that were held back.
        """
        ready: list[TrackedFrame] = []
        pyramid = grey_pyramid(preview)
        cut, self._next_cuts = self.cuts(preview, pyramid), None
        if cut:
            ready = self._finish_shot()
            self._shot += 1
            self._shot_start = self._frame + 1
            self._flushed = False
        self._frame += 1
        self._scales.append(scale)
        if self._frame == self._shot_start or self._active():
            self._follow(self._frame, preview, pyramid)
        else:
            self._pass_over(preview, pyramid)
        if len(self._scales) > self.lookahead:
            ready.append(self._report())
        return ready

    def cuts(self, preview: NDArray[np.uint8], pyramid: Pyramid | None = None) -> bool:
        """Tell whether the next frame, which must be pushed next, begins a new shot."""
        if self._next_cuts is None:
            torn = self._cuts.update(preview) or self._flushed
            self._next_cuts = torn or self._torn(preview, pyramid)
        return self._next_cuts

    def state(self) -> State:
        """All that the faces of later frames depend on, beside the frames that are held back, ready for JSON."""
        return {
            "frame": self._frame,
            "shot": self._shot,
            "next_id": self._next_id,
            "scales": list(self._scales),
            "tracks": [track.state() for track in self._tracks],
            "pyramids": len(self._pyramids),
            "passed": len(self._passed),
            "shot_start": self._shot_start,
            "last_detection": self._last_detection,
            "empty": self._empty and {"frame": self._empty[0], "picture": pack(self._empty[1])},
            "flushed": self._flushed,
            "cuts": self._cuts.state(),
            "next_cuts": self._next_cuts,
        }

    def restore(self, state: State, previews: Sequence[NDArray[np.uint8]]) -> None:
        """Go on from the `state` of another tracker with the same parameters.

        Parameters
        ----------
        state
            What is damaged raises a LookupError, TypeError or ValueError.
        previews
            Of the frames that were held back, as they were pushed.
        """
        if len(previews) != len(state["scales"]):
            raise ValueError(f"{len(previews)} frames instead of {len(state['scales'])} were held back")
        for name in ("frame", "shot", "next_id", "shot_start", "last_detection", "flushed", "next_cuts"):
            setattr(self, f"_{name}", state[name])
        empty = state["empty"]
        self._empty = empty and (int(empty["frame"]), unpack(empty["picture"]))
        self._scales = deque(state["scales"])
        self._tracks = [Track.restored(one) for one in state["tracks"]]
        recent = list(previews)
        passed = [recent.pop() for _ in range(state["passed"])][::-1]
        self._passed = [(preview, grey_pyramid(preview)) for preview in passed]
        followed = [recent.pop() for _ in range(state["pyramids"])][::-1]
        self._pyramids = deque(map(grey_pyramid, followed), maxlen=self._detect_every)
        self._cuts.restore(state["cuts"])

    def flush(self) -> list[TrackedFrame]:
        """Report the frames that are still held back; a frame pushed later begins a new shot."""
        self._flushed = True
        return self._finish_shot()

    def _finish_shot(self) -> list[TrackedFrame]:
        self._make_up()
        ready = [self._report() for _ in range(len(self._scales))]
        self._tracks.clear()
        self._pyramids.clear()
        return ready

    def _torn(self, preview: NDArray[np.uint8], pyramid: Pyramid | None) -> bool:
        """Whether this frame shows other things in the same colours: neither its middle nor any face goes on."""
        if self._cuts.mismatch <= TORN_MISMATCH_OF_SEVERAL:
            return False
        followed = [track for track in self._active() if track.matched(self._frame)]
        if self._cuts.mismatch <= TORN_MISMATCH and len(followed) < 2:
            return False
        if not followed:
            return False
        pyramid = pyramid or grey_pyramid(preview)
        return not any(track.goes_on(self._frame, pyramid) for track in followed)

    def _pass_over(self, preview: NDArray[np.uint8], pyramid: Pyramid) -> None:
        """Take the current frame while nobody is followed."""
        self._passed.append((preview, pyramid))
        self._pyramids.clear()  # nobody is followed back beyond the frames passed over
        whole = len(self._passed) >= min(NOBODY_FACTOR * self._detect_every, self.lookahead)
        if not whole and len(self._passed) % self._detect_every:
            return
        still = self._still(pyramid)
        if not still and self._detector.detect(preview if whole else _halved(preview)):
            self._make_up()
        elif whole:
            self._passed.clear()
            self._last_detection = self._frame
            if not still:
                self._empty = self._frame, pyramid[-1]

    def _still(self, pyramid: Pyramid) -> bool:
        """Whether the current frame shows what a frame showed in which nobody was found."""
        if self._empty is None or self._frame - self._empty[0] >= LONGEST_STILL:
            return False
        now, then = pyramid[-1], self._empty[1]
        return now.shape == then.shape and int(cv2.absdiff(now, then).max()) <= STILL_DIFFERENCE

    def _make_up(self) -> None:
        """Look for faces in the frames passed over as often as in others."""
        passed, self._passed = self._passed, []
        for frame, (preview, pyramid) in enumerate(passed, self._frame - len(passed) + 1):
            self._follow(frame, preview, pyramid)

    def _follow(self, frame: int, preview: NDArray[np.uint8], pyramid: Pyramid) -> None:
        """Bring all tracks into a frame."""
        tracks = self._active()
        camera = camera_shift(self._pyramids[-1], pyramid) if tracks else np.zeros(2)
        for track in tracks:
            track.advance(frame, pyramid, camera, self._first_pending)
        if frame == self._shot_start or self._detection_due(frame):
            self._detect(frame, preview, pyramid)
        for track in self._active():
            unseen = frame - track.last.frame
            never_again = track.sightings == 1 and track.misses > 2
            track.ended = track.ended or unseen > LONGEST_GAP or never_again
        self._pyramids.append(pyramid)

    @property
    def _first_pending(self) -> int:
        """Number of the oldest frame that is not reported yet."""
        return self._frame - len(self._scales) + 1

    def _active(self) -> list[Track]:
        return [track for track in self._tracks if not track.ended]

    def _detection_due(self, frame: int) -> bool:
        elapsed = frame - self._last_detection
        if elapsed >= self._detect_every:
            return True
        for track in self._active():
            if track.misses and track.sightings > 1:
                if elapsed >= LOST_INTERVAL:
                    return True
            elif not track.matched(frame) or track.moved(frame) > LARGE_MOTION:
                return True
        return False

    def _detect(self, frame: int, preview: NDArray[np.uint8], pyramid: Pyramid) -> None:
        detections = self._detector.detect(preview)
        tracks = self._active()
        pairs = self._assign(frame, tracks, detections)
        for index, track in enumerate(tracks):
            if index in pairs:
                track.observe(frame, detections[pairs[index]], pyramid, self._first_pending)
            else:
                track.misses += 1
        undetected = range(self._last_detection + 1, frame)
        earlier = list(zip(reversed(undetected), reversed(self._pyramids), strict=False))
        for index in sorted(set(range(len(detections))) - set(pairs.values())):
            track = Track(frame, detections[index], pyramid)
            track.extend_back(earlier)
            self._tracks.append(track)
        self._last_detection = frame
        self._empty = None if self._active() else (frame, pyramid[-1])

    def _assign(self, frame: int, tracks: list[Track], detections: list[Detection]) -> dict[int, int]:
        """Pair tracks with detections by position and size: index of the track to index of the detection."""
        if not tracks or not detections:
            return {}
        predicted = np.array([track.box(frame) for track in tracks])
        found = np.array([detection.box for detection in detections], np.float64)
        sizes = [np.array([face_size(box) for box in boxes]) for boxes in (predicted, found)]
        mean_size = np.maximum((sizes[0][:, None] + sizes[1][None, :]) / 2, 1.0)
        ratio = np.abs(np.log(np.maximum(sizes[0][:, None], 1.0) / np.maximum(sizes[1][None, :], 1.0)))
        centres = [(boxes[:, :2] + boxes[:, 2:]) / 2 for boxes in (predicted, found)]
        distance = np.linalg.norm(centres[0][:, None] - centres[1][None, :], axis=2) / mean_size
        unseen = np.array([frame - track.last.frame for track in tracks])
        reach = LARGEST_STEP + STEP_GROWTH * unseen[:, None]
        cost = distance + ratio + 0.5 * (1 - iou_matrix(predicted, found))
        cost[(distance > reach) | (ratio > np.log(LARGEST_SIZE_RATIO))] = _IMPOSSIBLE
        if min(cost.shape) == 1:
            rows, columns = np.unravel_index([int(np.argmin(cost))], cost.shape)
        else:
            from scipy.optimize import linear_sum_assignment  # takes a third of a second

            rows, columns = linear_sum_assignment(cost)
        return {
            int(row): int(column)
            for row, column in zip(rows, columns, strict=True)
            if cost[row, column] < _IMPOSSIBLE
        }

    def _report(self) -> TrackedFrame:
        """Settle the oldest frame that is held back."""
        frame = self._first_pending
        scale = self._scales.popleft()
        present = [
            track
            for track in self._tracks
            if track.best_score >= CONFIRMATION_SCORE
            and (track.sightings > 1 or track.misses == 0)
            and track.present(frame, self.lookahead)
        ]
        # Of two tracks in one place, the one whose face was seen nearest in time is in front.
        present.sort(key=lambda track: min(abs(seen.frame - frame) for seen in track.observations))
        boxes: list[NDArray[np.float64]] = []
        faces = []
        for track in present:
            box, score, landmarks = track.smoothed(frame, self.lookahead)
            if boxes and iou_matrix(box, np.array(boxes)).max() > DUPLICATE_OVERLAP:
                continue
            boxes.append(box)
            if track.public_id is None:
                track.public_id, self._next_id = self._next_id, self._next_id + 1
            points = None if landmarks is None else (landmarks * scale).astype(np.float32)
            seen = any(each.frame == frame for each in track.observations)
            faces.append(TrackedFace(track.public_id, (box * scale).astype(np.float32), score, points, seen))
        faces.sort(key=lambda face: face.track)

        settled = frame - self.lookahead
        self._tracks = [track for track in self._tracks if not track.ended or track.last.frame > settled]
        for track in self._tracks:
            track.forget(settled)
        starts = frame == self._shot_start
        return TrackedFrame(frame, self._shot, starts, tuple(faces))


def _halved(preview: NDArray[np.uint8]) -> NDArray[np.uint8]:
    height, width = preview.shape[:2]
    size = (max(1, width // 2), max(1, height // 2))
    return np.asarray(cv2.resize(preview, size, interpolation=cv2.INTER_AREA), np.uint8)
