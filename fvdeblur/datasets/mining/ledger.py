"""What was mined already: one file for every video, from which the dataset's index and report are put together.

``DATASET/.mining/`` holds ``<key>.jsonl`` for every video that is done (a header, then its lines of the report, then
its records of the index) and ``<key>.work/``, where its clips lie until it is done. A video is entered whole: first its
clips get their place and names, then its file appears. So a run that was killed loses the videos that it was at, and
nothing of them shows.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any

from fvdeblur.datasets.index import CLIPS_FOLDER, INDEX_NAME, append_lines, read_index, write_lines
from fvdeblur.errors import OutputError, UsageError

try:
    import fcntl
except ImportError:  # not a POSIX system
    fcntl = None  # type: ignore[assignment]

REPORT_NAME = "mining.jsonl"
FOLDER = ".mining"
WORK_SUFFIX = ".work"


@dataclass(frozen=True)
class Video:
    """A video to be mined.

    Attributes
    ----------
    path
        The file.
    name
        What the dataset calls it: its path below the folder that was given, with ``/``; of a single file its name.
    """

    path: Path
    name: str

    @property
    def key(self) -> str:
        """A file name that stands for it: its own in plain letters, and a digest of the whole name."""
        stem = re.sub(r"[^a-z0-9]+", "-", Path(self.name).stem.lower()).strip("-")[:40]
        return f"{stem or 'video'}-{hashlib.sha256(self.name.encode('utf-8', 'replace')).hexdigest()[:8]}"


@dataclass(frozen=True)
class Header:
    """First line of a video's file in the ledger.

    Attributes
    ----------
    video
        Its name.
    path, size, modified
        Where it lay, its bytes, and its time of modification in nanoseconds.
    settings
        What it was mined with, in words.
    failed
        Whether it could not be read; then it is tried again the next time.
    candidates, clips
        Numbers of lines of the report and of records of the index that follow.
    """

    video: str
    path: str
    size: int
    modified: int
    settings: str
    failed: bool
    candidates: int
    clips: int


class Ledger:
    """The mining state of one dataset.

    Parameters
    ----------
    dataset
        Folder of the dataset; made if it is not there.

    Raises
    ------
    OutputError
        The folder cannot be made.
    """

    def __init__(self, dataset: Path) -> None:
        self.dataset = dataset
        self._folder = dataset / FOLDER
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            (dataset / CLIPS_FOLDER).mkdir(exist_ok=True)
        except OSError as error:
            raise OutputError(f"{dataset}: cannot make this folder ({error.strerror})") from error

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other processes from mining into this dataset, for as long as this one lives.

        Raises
        ------
        UsageError
            Another one is at it.
        """
        with ExitStack() as stack:
            if fcntl is not None:
                file = stack.enter_context((self._folder / "lock").open("w"))
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except OSError as error:
                    raise UsageError(
                        f"{self.dataset}: another process is mining into this dataset; wait for it or stop it"
                    ) from error
            yield

    def is_done(self, video: Video, settings: str) -> bool:
        """Whether the video was mined with these settings and did not change since.

        Raises
        ------
        UsageError
            The dataset holds another video of this name that still exists.
        """
        header = self._header(self._file(video))
        if header is None:
            return False
        size, modified = _stamp(video)
        before = Path(header.path)
        if os.path.abspath(video.path) != header.path and _are_two(before, video.path):
            raise UsageError(
                f"{video.path}: the dataset {self.dataset} holds another {video.name}, from {before}; mine the folder "
                "that holds both, or into another dataset"
            )
        unchanged = (header.size, header.modified) == (size, modified)
        return unchanged and header.settings == settings and not header.failed

    def work_folder(self, video: Video) -> Path:
        """An empty folder for the clips of a video that is being mined.

        Raises
        ------
        OutputError
            It cannot be made.
        """
        folder = self._folder / (video.key + WORK_SUFFIX)
        try:
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
        except OSError as error:
            raise OutputError(f"{folder}: cannot make this folder ({error.strerror})") from error
        return folder

    def remove_work(self) -> None:
        """Remove what videos that did not get done have left."""
        for folder in self._folder.glob("*" + WORK_SUFFIX):
            shutil.rmtree(folder, ignore_errors=True)

    def enter(
        self,
        video: Video,
        settings: str,
        candidates: Sequence[str],
        records: Sequence[str],
        *,
        failed: bool = False,
    ) -> None:
        """Note that a video is done: give its clips their place, write its file, add to index and report.

        Parameters
        ----------
        candidates, records
            Lines of the report and of the index.

        Raises
        ------
        OutputError
            The dataset cannot be written.
        """
        size, modified = _stamp(video)
        path = os.path.abspath(video.path)
        header = Header(video.name, path, size, modified, settings, failed, len(candidates), len(records))
        file, work = self._file(video), self._folder / (video.key + WORK_SUFFIX)
        again = file.exists()
        try:
            outdated = self._clips(file)
            file.unlink(missing_ok=True)
            for clip in outdated:
                (self.dataset / clip).unlink(missing_ok=True)
            for fresh in sorted(work.glob("*.mp4")):
                fresh.replace(self.dataset / CLIPS_FOLDER / fresh.name)
        except OSError as error:
            raise OutputError(f"{self.dataset}: cannot be written ({error.strerror})") from error
        write_lines(file, [json.dumps(asdict(header)), *candidates, *records])
        shutil.rmtree(work, ignore_errors=True)
        if again:
            self.assemble()
        else:
            append_lines(self.dataset / REPORT_NAME, candidates)
            append_lines(self.dataset / INDEX_NAME, records)

    def assemble(self) -> None:
        """Write index and report anew, in the order of the videos' names.

        Clips of the index that no video of the ledger accounts for (the dataset was converted, for one) stay, in
        front of the others.

        Raises
        ------
        InputError
            The index that is there is spoilt.
        OutputError
            The dataset cannot be written.
        """
        done = self._done()
        index = self.dataset / INDEX_NAME
        mined = re.compile("|".join(["$^", *(re.escape(f"{CLIPS_FOLDER}/{file.stem}-") for file in done)]))
        others = []
        if index.exists():
            others = [record.to_json() for record in read_index(self.dataset) if not mined.match(record.file)]
        write_lines(index, chain(others, *(_records(file) for file in done)))
        write_lines(self.dataset / REPORT_NAME, chain(*(_candidates(file) for file in done)))

    def candidates(self, videos: Sequence[Video]) -> Iterator[dict[str, Any]]:
        """The lines of the report that belong to some videos, read as JSON."""
        for video in videos:
            if self._file(video).exists():
                yield from (json.loads(line) for line in _candidates(self._file(video)))

    def _file(self, video: Video) -> Path:
        return self._folder / (video.key + ".jsonl")

    def _header(self, file: Path) -> Header | None:
        """The first line of a video's file; None where there is none that this version understands."""
        with suppress(OSError, ValueError, TypeError), file.open(encoding="utf-8") as lines:
            return Header(**json.loads(next(lines, "")))
        return None

    def _clips(self, file: Path) -> list[str]:
        """Files of the clips that a video gave earlier."""
        if self._header(file) is None:
            return []
        return [json.loads(line)["file"] for line in _records(file)]

    def _done(self) -> list[Path]:
        """The videos' files, in the order of the videos' names."""
        headers = [(self._header(file), file) for file in self._folder.glob("*.jsonl")]
        return [file for header, file in sorted((h.video, f) for h, f in headers if h is not None)]


def _are_two(one: Path, other: Path) -> bool:
    """Whether both files exist and are not the same."""
    try:
        return not one.samefile(other)
    except OSError:
        return False


def _stamp(video: Video) -> tuple[int, int]:
    """Size and time of modification of a video; zeros where it is gone."""
    try:
        found = video.path.stat()
    except OSError:
        return 0, 0
    return found.st_size, found.st_mtime_ns


def _candidates(file: Path) -> Iterator[str]:
    with file.open(encoding="utf-8", newline="\n") as lines:
        header = Header(**json.loads(next(lines)))
        yield from (line.rstrip("\n") for line in islice(lines, header.candidates))


def _records(file: Path) -> Iterator[str]:
    with file.open(encoding="utf-8", newline="\n") as lines:
        header = Header(**json.loads(next(lines)))
        yield from (line.rstrip("\n") for line in islice(lines, header.candidates, None))
