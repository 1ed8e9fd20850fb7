"""One video mined: its objects followed, judged, and the good clips cut out.

The algorithm of Chrysos & Zafeiriou (2017), section 4. Which frames of an object make a clip:

1. Tracker and detector must agree in at least half of the frames of a part, else all of it is dropped: the tracker
   drifted.
2. A frame is good where they agree, the classifier accepts the fitting of the landmarks, and the object is large enough
   and within the picture. The paper keeps all good frames; but blur is made from frames that follow each other, so
   here runs of good frames without a gap are kept, and only those that are long enough for a window of a network and
   for the frames that are averaged around each of its frames (``least_frames``).
3. A run must move, but not too much; and it must be sharp and free from the marks of compression, since what is blurred
   cannot be a target. Runs in which the object wanders are cut before, so that the crop stays close to it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from fvdeblur.datasets.checking import sha256_of
from fvdeblur.datasets.index import CLIPS_FOLDER, ClipRecord, Source, split_of
from fvdeblur.datasets.mining.crops import plan_crop
from fvdeblur.datasets.mining.cutting import ClipCutter, Cut
from fvdeblur.datasets.mining.following import Candidate, Part, follow
from fvdeblur.datasets.mining.judging import ACCEPTED, Judged, judge
from fvdeblur.datasets.mining.ledger import Video
from fvdeblur.datasets.mining.parts import Parts
from fvdeblur.datasets.mining.settings import MiningSettings
from fvdeblur.datasets.mining.shots import shot_frames
from fvdeblur.media import DecodedFrame, VideoReader

NO_OBJECT = "no face"
INTERLACED = "interlaced"

PROGRESS_STEP = 10
"""Frames from one report of progress to the next."""


@dataclass
class MinedVideo:
    """What a video gave.

    Attributes
    ----------
    candidates
        A line of JSON for every candidate, accepted or not.
    records
        A line of the index for every clip, in the order of the clips' numbers.
    damage
        What could not be decoded, one line each.
    """

    candidates: list[str] = field(default_factory=list)
    records: list[str] = field(default_factory=list)
    damage: list[str] = field(default_factory=list)


def report_line(
    video: str,
    *,
    reason: str,
    figures: dict[str, float],
    shot: int | None = None,
    track: int | None = None,
    frames: tuple[int, int] | None = None,
    clip: str | None = None,
    detail: str | None = None,
) -> str:
    """A line of the report: what became of a candidate and why, with the figures of all rules that were looked at."""
    first, last = frames or (None, None)
    fields: dict[str, Any] = {
        "video": video,
        "shot": shot,
        "track": track,
        "first": first,
        "last": last,
        "accepted": reason == ACCEPTED,
        "reason": reason,
        "clip": clip,
        "figures": {name: _rounded(value) for name, value in figures.items()},
    }
    if detail is not None:
        fields["detail"] = detail
    return json.dumps(fields, ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def mine_video(
    video: Video,
    folder: Path,
    parts: Parts,
    settings: MiningSettings,
    progress: Callable[[int], None] | None = None,
) -> MinedVideo:
    """Mine one video.

    Parameters
    ----------
    video
        The video.
    folder
        Where its clips are written, named by the video's key and the number of the candidate.
    parts
        Detector, tracker, landmarker and classifier.
    settings
        What to look for and what to keep.
    progress
        Called with the number of frames looked at since the last call.

    Raises
    ------
    UsageError, InputError
        The video cannot be read.
    OutputError
        A clip cannot be written.
    """
    mined = MinedVideo()
    with VideoReader(video.path, threads=1) as reader, ClipCutter(video.path) as cutter:
        if reader.info.interlaced:  # its frames show two moments at once: no targets
            mined.candidates.append(report_line(video.name, reason=INTERLACED, figures={}))
            return mined
        count = 0
        with closing(iter(reader)) as frames:

            def counted() -> Iterable[DecodedFrame]:
                nonlocal count
                for count, frame in enumerate(frames, 1):
                    yield frame
                    if progress is not None and count % PROGRESS_STEP == 0:
                        progress(PROGRESS_STEP)

            for part in follow(shot_frames(counted(), reader.info.rotation), parts, settings):
                _take(video, part, folder, cutter, settings, mined)
        if progress is not None and count % PROGRESS_STEP:
            progress(count % PROGRESS_STEP)
        mined.damage = reader.damage
    if not mined.candidates:
        mined.candidates.append(report_line(video.name, reason=NO_OBJECT, figures={"frames": count}))
    return mined


def _take(
    video: Video, part: Part, folder: Path, cutter: ClipCutter, settings: MiningSettings, mined: MinedVideo
) -> None:
    """Judge the candidates of a part, cut the accepted clips, and take both down."""
    entries = [
        (candidate, judged)
        for candidate in part.candidates
        for judged in judge(candidate, part.size, settings)
    ]
    entries.sort(key=lambda entry: (entry[0].first + entry[1].first, entry[0].number))
    cuts: dict[int, Cut] = {}
    for number, (candidate, judged) in enumerate(entries, len(mined.candidates)):
        if judged.accepted:
            boxes = np.array(candidate.detected[judged.first : judged.stop])
            square = plan_crop(boxes, *part.size)
            path = folder / f"{video.key}-{number:04d}.mp4"
            cuts[number] = Cut(
                path, candidate.first + judged.first, candidate.first + judged.stop - 1, *square
            )
    cutter.cut(list(cuts.values()))
    for number, (candidate, judged) in enumerate(entries, len(mined.candidates)):
        cut = cuts.get(number)
        clip = None
        if cut is not None:
            record = _record(video, candidate, judged, cut, float(cutter.fps), settings)
            mined.records.append(record.to_json())
            clip = record.file
        mined.candidates.append(
            report_line(
                video.name,
                reason=judged.reason,
                figures=judged.figures,
                shot=candidate.shot,
                track=candidate.number,
                frames=(candidate.first + judged.first, candidate.first + judged.stop - 1),
                clip=clip,
                detail=judged.detail,
            )
        )


def _record(
    video: Video, candidate: Candidate, judged: Judged, cut: Cut, fps: float, settings: MiningSettings
) -> ClipRecord:
    corner = np.array([cut.left, cut.top], np.float32)
    frames = slice(judged.first, judged.stop)
    landmarks = np.array(candidate.landmarks[frames], np.float32) - corner
    boxes = np.array(candidate.detected[frames], np.float32) - np.tile(corner, 2)
    identity = _identity(video, settings)
    return ClipRecord(
        file=f"{CLIPS_FOLDER}/{cut.path.name}",
        identity=identity,
        split=split_of(identity, video.name),
        frames=judged.stop - judged.first,
        fps=round(fps, 3),
        width=cut.side,
        height=cut.side,
        boxes=boxes,
        landmarks=landmarks,
        sharpness=_rounded(judged.figures["sharpness"]),
        motion=_rounded(judged.figures["motion"]),
        source=Source(video.name, cut.first, cut.last, (cut.left, cut.top, cut.side, cut.side)),
        sha256=sha256_of(cut.path),
        licence=settings.licence,
    )


def _identity(video: Video, settings: MiningSettings) -> str | None:
    if settings.identity_from is None:
        return None
    if settings.identity_from == "file":
        return PurePosixPath(video.name).stem
    return video.path.resolve().parent.name


def _rounded(value: float) -> float | None:
    """Four significant digits; None for what was not measured."""
    return float(f"{value:.4g}") if np.isfinite(value) else None
