"""Mining many videos into one dataset, in several processes; a run that was stopped goes on where it was."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import cv2

from fvdeblur import __version__
from fvdeblur.datasets.mining.ledger import Ledger, Video
from fvdeblur.datasets.mining.miner import MinedVideo, mine_video, report_line
from fvdeblur.datasets.mining.parts import Parts, face_parts
from fvdeblur.datasets.mining.settings import MiningSettings
from fvdeblur.errors import FvdeblurError, OutputError, UsageError
from fvdeblur.media.containers import CONTAINERS
from fvdeblur.processes import Outcome, Report, Work, run_jobs

UNREADABLE = "unreadable"


@dataclass(frozen=True)
class MiningProgress:
    """How far a run is.

    Attributes
    ----------
    videos, total
        Videos done, and all that there are to do.
    frames
        Frames looked at so far.
    clips
        Clips accepted so far.
    """

    videos: int
    total: int
    frames: int
    clips: int


@dataclass(frozen=True)
class Tally:
    """How many candidates a reason applied to, and their frames."""

    candidates: int
    frames: int


@dataclass(frozen=True)
class MiningSummary:
    """What a run gave.

    Attributes
    ----------
    dataset
        Folder of the dataset.
    videos, done_before
        Number of videos given, and how many of them were done already.
    failed
        Name and reason of every video that could not be mined.
    damage
        What could not be decoded of videos that were mined in this run, one line each.
    reasons
        Why candidates of the given videos were accepted or rejected, the most frequent first.
    frames, seconds
        Frames looked at in this run, and wall-clock time.
    """

    dataset: Path
    videos: int
    done_before: int
    failed: list[tuple[str, FvdeblurError]]
    damage: list[str]
    reasons: dict[str, Tally]
    frames: int
    seconds: float


def find_videos(inputs: Sequence[str | os.PathLike[str]], dataset: Path) -> list[Video]:
    """The videos that files and folders (with all below them) stand for, in the order of their names.

    Hidden files and folders, and the dataset itself where it lies in such a folder, are left out.

    Raises
    ------
    UsageError
        A path does not exist, a folder holds no videos, or two videos have one name.
    """
    videos: dict[str, Video] = {}
    for given in inputs:
        path = Path(given)
        if not path.exists():
            raise UsageError(f"{path}: there is no such file or folder")
        found = list(_below(path, dataset.resolve())) if path.is_dir() else [Video(path, path.name)]
        if not found:
            raise UsageError(f"{path}: holds no videos (looked for {', '.join(sorted(CONTAINERS))})")
        for video in found:
            other = videos.setdefault(video.name, video)
            if other is not video and not other.path.samefile(video.path):
                raise UsageError(
                    f"{video.path} and {other.path} have one name; give the folder that holds both instead"
                )
    return [videos[name] for name in sorted(videos)]


def _below(folder: Path, dataset: Path) -> Iterable[Video]:
    for home, folders, files in os.walk(folder):
        folders[:] = sorted(
            name for name in folders if name[0] != "." and Path(home, name).resolve() != dataset
        )
        for name in sorted(files):
            path = Path(home, name)
            if name[0] != "." and path.suffix.lower() in CONTAINERS and path.is_file():
                yield Video(path, path.relative_to(folder).as_posix())


def mine(
    inputs: Sequence[str | os.PathLike[str]],
    dataset: str | os.PathLike[str],
    settings: MiningSettings | None = None,
    *,
    processes: int = 0,
    progress: Callable[[MiningProgress], None] | None = None,
    make_parts: Callable[[MiningSettings], Parts] = face_parts,
) -> MiningSummary:
    """Mine videos for clips of faces, or of another kind of object, into a dataset.

    Videos that were mined with the same settings and have not changed are passed over. The result does not depend on
    the number of processes. Processes are spawned: a script that calls this needs a ``__main__`` guard.

    Parameters
    ----------
    inputs
        Video files, and folders of which all videos are taken.
    dataset
        Folder of the dataset, new or not.
    settings
        What to look for and what to keep.
    processes
        Videos that are mined at once; 0 takes one for each processor core.
    progress
        Called now and then.
    make_parts
        Makes what knows the object, once in every process; it must be picklable.

    Raises
    ------
    UsageError
        An input does not exist, or a part that was asked for is not installed.
    OutputError
        The dataset cannot be written.
    """
    settings = settings or MiningSettings()
    if processes < 0:
        raise UsageError(f"--processes is {processes}; give 0 (one a core) or more")
    began = time.monotonic()
    videos = find_videos(inputs, Path(dataset))
    described = _described(settings, make_parts(settings))
    ledger = Ledger(Path(dataset))
    failed: list[tuple[str, FvdeblurError]] = []
    damage: list[str] = []
    with ledger.locked():
        todo = [video for video in videos if not ledger.is_done(video, described)]
        counter = _Counter(len(todo), progress)
        prepare = partial(_prepare, ledger.dataset, settings, make_parts)
        workers = min(processes or os.cpu_count() or 1, len(todo))
        try:
            ledger.remove_work()
            with closing(run_jobs(prepare, todo, workers, counter.add_frames)) as outcomes:
                for outcome in outcomes:
                    clips = _enter(ledger, described, outcome, failed, damage)
                    counter.add_video(clips)
        finally:
            ledger.remove_work()
            ledger.assemble()
        reasons = _reasons(ledger, videos)
    return MiningSummary(
        dataset=ledger.dataset,
        videos=len(videos),
        done_before=len(videos) - len(todo),
        failed=sorted(failed, key=lambda item: item[0]),
        damage=sorted(damage),
        reasons=reasons,
        frames=counter.frames,
        seconds=time.monotonic() - began,
    )


class _Counter:
    """Adds up what the processes report."""

    def __init__(self, total: int, progress: Callable[[MiningProgress], None] | None) -> None:
        self._total, self._progress = total, progress
        self.frames = self._videos = self._clips = 0

    def add_frames(self, frames: int) -> None:
        self.frames += frames
        self._show()

    def add_video(self, clips: int) -> None:
        self._videos += 1
        self._clips += clips
        self._show()

    def _show(self) -> None:
        if self._progress is not None:
            self._progress(MiningProgress(self._videos, self._total, self.frames, self._clips))


def _described(settings: MiningSettings, parts: Parts) -> str:
    """All that the result depends on besides the video, in words."""
    return json.dumps({"fvdeblur": __version__, "parts": parts.name, **asdict(settings)}, sort_keys=True)


def _prepare(dataset: Path, settings: MiningSettings, make_parts: Callable[[MiningSettings], Parts]) -> Work:
    """Make the parts, in a process of its own; return what mines a video with them."""
    cv2.setNumThreads(1)  # optical flow depends on the number of threads
    parts, ledger = make_parts(settings), Ledger(dataset)

    def work(video: Video, report: Report) -> MinedVideo:
        return mine_video(video, ledger.work_folder(video), parts, settings, report)

    return work


def _enter(
    ledger: Ledger,
    described: str,
    outcome: Outcome[Video],
    failed: list[tuple[str, FvdeblurError]],
    damage: list[str],
) -> int:
    """Take down how the mining of one video ended; return its number of clips."""
    video, mined = outcome.job, outcome.result
    if isinstance(outcome.error, OutputError):
        raise outcome.error
    if outcome.error is not None:
        failed.append((video.name, outcome.error))
        why = str(outcome.error).removeprefix(f"{video.path}: ")
        line = report_line(video.name, reason=UNREADABLE, figures={}, detail=why)
        ledger.enter(video, described, [line], [], failed=True)
        return 0
    damage += [f"{video.name}: {line}" for line in mined.damage]
    ledger.enter(video, described, mined.candidates, mined.records)
    return len(mined.records)


def _reasons(ledger: Ledger, videos: Sequence[Video]) -> dict[str, Tally]:
    tallies: dict[str, Tally] = {}
    for line in ledger.candidates(videos):
        before = tallies.get(line["reason"], Tally(0, 0))
        frames = 0 if line["first"] is None else line["last"] - line["first"] + 1
        tallies[line["reason"]] = Tally(before.candidates + 1, before.frames + frames)
    return dict(sorted(tallies.items(), key=lambda item: (-item[1].candidates, item[0])))
