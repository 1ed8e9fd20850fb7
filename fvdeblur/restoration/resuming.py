"""Where segments begin, and what the stages of the pipeline must know to go on there as if nothing had stopped them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from fvdeblur.faces import Detector, FaceTracker
from fvdeblur.media import DecodedFrame, FramePlanes
from fvdeblur.media.reader import Place

LONGEST, SHORTEST = 250, 25
"""Frames: a segment ends there, or at a cut from there on. 250 is what encoders have between key frames anyway."""

HELD = 14
"""Frames that are held back before they are handed on, of which those that go on need the last few."""

PREVIEW_SIDE = 640
"""Longer side of the pictures that faces are sought and followed in."""

DAMAGED = (LookupError, TypeError, ValueError, AttributeError)
"""What reading a state raises that is not what was written."""

State = dict[str, Any]


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

    def copy(self) -> Tally:
        """The same, which stays as it is."""
        return Tally(set(self.tracks), self.restored, Counter(self.left_alone))

    def add(self, more: State) -> None:
        """Add what `since` gave."""
        self.tracks |= {int(track) for track in more["tracks"]}
        self.restored += int(more["restored"])
        self.left_alone.update({str(reason): int(count) for reason, count in more["left_alone"].items()})

    def since(self, before: Tally) -> State:
        """What has come to an earlier copy, ready for JSON."""
        return {
            "tracks": sorted(self.tracks - before.tracks),
            "restored": self.restored - before.restored,
            "left_alone": dict(self.left_alone - before.left_alone),
        }


@dataclass
class Boundary:
    """The beginning of a segment, on its way through the pipeline with the first frame.

    Attributes
    ----------
    state
        What is needed to go on here, ready for JSON; each stage adds its own before it takes the frame.
    tally
        What was done to the faces of the segment before.
    """

    state: State
    tally: State = field(default_factory=dict)


class Segmenting:
    """Decides where segments begin.

    Parameters
    ----------
    start
        Index of the frame that the first one begins with.
    """

    def __init__(self, start: int = 0) -> None:
        self._begin = start

    def begins(self, index: int, cut: bool) -> bool:
        """Whether a segment begins with this frame, which comes after the last one asked for."""
        length = index - self._begin
        if length < LONGEST and not (cut and length >= SHORTEST):
            return False
        self._begin = index
        return True


class Start:
    """What the stages need to go on behind segments that are done.

    Parameters
    ----------
    index
        Of the first frame that is still to be done.
    state
        Of the `Boundary` there.
    held
        The frames before it that were on their way then, as they were decoded.
    rotation
        Degrees clockwise that turn the coded picture upright.
    detector
        For the tracker; None: the faces are not tracked anew.
    tally
        What is done already.

    Raises
    ------
    LookupError, TypeError, ValueError, AttributeError
        The state is damaged.
    """

    def __init__(
        self,
        index: int,
        state: State,
        held: Sequence[DecodedFrame],
        rotation: int,
        detector: Detector | None,
        tally: Tally,
    ) -> None:
        self.index, self.state, self.held, self.tally = index, state, list(held), tally
        if not self.held or self.held[-1].index != index - 1:
            raise ValueError("other frames were on their way")
        self.tracker: FaceTracker | None = None
        if detector is not None:
            self.tracker = FaceTracker(detector)
            previews = [FramePlanes(one.frame, rotation).preview(PREVIEW_SIDE) for one in self.held]
            self.tracker.restore(state["tracker"], previews)


def place_of(state: State) -> Place:
    """Where the frames are that a `Start` needs."""
    place = state["place"]
    times, digests = tuple(map(int, place["times"])), tuple(map(str, place["digests"]))
    if not times or len(times) != len(digests):
        raise ValueError("no place")
    return Place(int(place["first"]), times, digests)
