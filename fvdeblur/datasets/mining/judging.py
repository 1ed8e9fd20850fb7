"""Which frames of a followed object make clips, and why the others do not: the rules put together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from fvdeblur.datasets.mining.crops import split_path
from fvdeblur.datasets.mining.following import LEAST_OVERLAP, SURROUNDINGS, Candidate
from fvdeblur.datasets.mining.rules import (
    LEAST_SHARPNESS,
    Verdict,
    movement_rule,
    overlap_rule,
    quality_rule,
)
from fvdeblur.datasets.mining.settings import MiningSettings
from fvdeblur.faces.geometry import visible_fraction

ACCEPTED = "accepted"
TOO_SHORT = "too short"
DRIFT = "overlap"
STATIC, TOO_FAST = "static", "too much movement"
BLURRED, COMPRESSED = "blurred", "compressed"
NO_OVERLAP, WRONG_FITTING, TOO_SMALL, AT_EDGE = (
    "not detected",
    "wrong fitting",
    "too small",
    "cut off by the edge",
)

LEAST_VISIBLE = 0.9
"""Share of the object's box that must lie within the picture."""

MOST_MOVEMENT_SHARE = 0.035
"""Largest mean movement from frame to frame, in units of the part of the picture that is looked at."""

FRAME_SHARPNESS = 0.7 * LEAST_SHARPNESS
"""A single frame below this ends a run; the run as a whole is judged by its median, against the full limit."""


@dataclass(frozen=True)
class Judged:
    """What became of some consecutive frames of a candidate.

    Attributes
    ----------
    first, stop
        The frames, counted from the candidate's first.
    reason
        ``accepted``, or why not, in a word or two.
    detail
        One line with the figures that decided.
    figures
        What every rule measured that was asked, by name.
    """

    first: int
    stop: int
    reason: str
    detail: str
    figures: dict[str, float]

    @property
    def accepted(self) -> bool:
        return self.reason == ACCEPTED


def judge(candidate: Candidate, size: tuple[int, int], settings: MiningSettings) -> list[Judged]:
    """Judge the frames of a candidate.

    Parameters
    ----------
    candidate
        The object, as it was followed.
    size
        Width and height of the picture.
    settings
        What to keep.

    Returns
    -------
    list of Judged
        One entry for the whole candidate where no run of its frames is good, else one for each run, in order.
    """
    everything = range(len(candidate))
    figures = _figures(candidate, everything)
    if len(candidate) < settings.least_frames:
        detail = f"{len(candidate)} frames (fewer than {settings.least_frames})"
        return [Judged(0, len(candidate), TOO_SHORT, detail, figures)]
    agreement = overlap_rule(candidate.tracked, candidate.detected, LEAST_OVERLAP)
    figures |= agreement.figures
    if not agreement.passed:
        return [Judged(0, len(candidate), DRIFT, agreement.reason, figures)]
    faults = [_fault(candidate, frame, size, settings) for frame in everything]
    boxes = np.array(candidate.detected)
    runs = [
        range(run.start + first, run.start + stop)
        for run in _runs(faults)
        for first, stop in split_path(boxes[run.start : run.stop], *size)
    ]
    runs = [run for run in runs if len(run) >= settings.least_frames]
    if not runs:
        common = Counter(fault for fault in faults if fault is not None).most_common()
        counts = (
            ", ".join(f"{count} {fault}" for fault, count in common) or "the path is too long for one crop"
        )
        reason = common[0][0] if common else TOO_FAST
        detail = f"no {settings.least_frames} good frames in a row: {counts}"
        return [Judged(0, len(candidate), reason, detail, figures)]
    return [_judge_run(candidate, run, agreement) for run in runs]


def _fault(candidate: Candidate, frame: int, size: tuple[int, int], settings: MiningSettings) -> str | None:
    """Why a frame is not good; None where it is."""
    if candidate.landmarks[frame] is None:
        return NO_OVERLAP
    box = candidate.detected[frame]
    if float((box[2:] - box[:2]).max()) < settings.least_face:
        return TOO_SMALL
    if visible_fraction(box, *size) < LEAST_VISIBLE:
        return AT_EDGE
    if candidate.sharpness[frame] < FRAME_SHARPNESS:  # asked first: landmarks are often wrong because of blur
        return BLURRED
    return None if candidate.fitting[frame] > 0 else WRONG_FITTING


def _runs(faults: list[str | None]) -> Iterator[range]:
    """Ranges of frames without a fault between them."""
    start = None
    for frame, fault in enumerate([*faults, "end"]):
        if fault is None:
            start = frame if start is None else start
        elif start is not None:
            yield range(start, frame)
            start = None


def _judge_run(candidate: Candidate, run: range, agreement: Verdict) -> Judged:
    """Judge good frames that follow each other."""
    frames = slice(run.start, run.stop)
    boxes = np.array(candidate.tracked[frames])
    side = (1 + 2 * SURROUNDINGS) * float(np.median((boxes[:, 2:] - boxes[:, :2]).max(axis=1)))
    moving = movement_rule(candidate.movement[run.start + 1 : run.stop], most=MOST_MOVEMENT_SHARE * side)
    quality = quality_rule(candidate.sharpness[frames], candidate.blockiness[frames])
    figures = _figures(candidate, run) | agreement.figures | moving.figures | quality.figures
    if not moving.passed:
        static = moving.reason.startswith(STATIC)
        return Judged(run.start, run.stop, STATIC if static else TOO_FAST, moving.reason, figures)
    if not quality.passed:
        blurred = quality.reason.startswith(BLURRED)
        return Judged(run.start, run.stop, BLURRED if blurred else COMPRESSED, quality.reason, figures)
    detail = f"{moving.reason}; {quality.reason}"
    return Judged(run.start, run.stop, ACCEPTED, detail, figures)


def _figures(candidate: Candidate, frames: range) -> dict[str, float]:
    """Figures of these frames that no rule gives."""
    part = slice(frames.start, frames.stop)
    tracked = np.array(candidate.tracked[part])
    fitting = np.array(candidate.fitting[part])
    known = fitting[np.isfinite(fitting)]
    moved = [largest for largest, _ in candidate.movement[part][1:]]
    return {
        "face": float(np.median((tracked[:, 2:] - tracked[:, :2]).max(axis=1))),
        "confidence": float(np.mean(candidate.confidence[part])),
        "fitting": float(np.median(known)) if known.size else float("nan"),
        "fitting_share": float((known > 0).sum() / len(frames)),
        "motion": float(np.median(moved)) if moved else float("nan"),
        "sharpness": float(np.median(candidate.sharpness[part])),
        "blockiness": float(np.median(candidate.blockiness[part])),
    }
