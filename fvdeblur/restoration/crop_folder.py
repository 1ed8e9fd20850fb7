"""The folder of face crops: written track by track, sorted by person at the end, and named only when it is whole."""

from __future__ import annotations

import csv
import json
import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any, TextIO

import av
import numpy as np

from fvdeblur.errors import OutputError, UsageError
from fvdeblur.media.failures import shown, writing
from fvdeblur.restoration.fusion import fuse
from fvdeblur.restoration.people import ENDED
from fvdeblur.restoration.picture_files import SHOWN, Picture, read_picture, sheet_row, write_picture

FORMATS = ("png", "jpg", "webp", "video")
VIDEO_SUFFIX, VIDEO_OPTIONS = ".mp4", {"crf": "14", "preset": "fast"}

TEMPLATES = {"video": "track-{track:03d}"}
TEMPLATE = "{frame:06d}"
"""Names of the files, without their suffixes."""

INDEX_CSV, INDEX_JSONL, BEST, SHEET = "index.csv", "index.jsonl", "best", "contact-sheet.png"
FUSED = "-fused"
COLUMNS = ("file", "person", "track", "frame", "time", "left", "top", "right", "bottom")
FIGURES = ("pitch", "yaw", "roll", "sharpness_before", "sharpness_after")
POINTS = ("left_eye", "right_eye", "nose", "left_mouth", "right_mouth")

MOST_PEOPLE = 50
"""The contact sheet shows so many people, those with most crops."""


def check_template(template: str | None, kind: str) -> str:
    """The template of names for a format.

    Raises
    ------
    UsageError
        The format is unknown, or the template has unknown fields, names a folder, or gives several files one name.
    """
    if kind not in FORMATS:
        raise UsageError(f"unknown format {kind!r}; choose one of {', '.join(FORMATS)}")
    template = TEMPLATES.get(kind, TEMPLATE) if template is None else template
    one = {"person": 1, "track": 1, "frame": 1, "time": 0.04, "shot": 0}
    other = {**one, "track": 2} if kind == "video" else {**one, "frame": 2, "time": 0.08}
    fields = ", ".join(one)
    try:
        first, second = template.format(**one), template.format(**other)
    except (KeyError, IndexError, ValueError, AttributeError, TypeError) as error:
        raise UsageError(f"the template {template!r} cannot be filled; its fields are {fields}") from error
    if first == second:
        wanted = "{track}" if kind == "video" else "{frame} or {time}"
        raise UsageError(f"the template {template!r} gives several files one name; put {wanted} into it")
    if not first.strip(". ") or {"/", "\\", "\0"} & set(template):
        raise UsageError(f"the template {template!r} is no file name; leave out folders")
    return template


KEPT = 8
"""A track's best shot can be fused from so many of its best crops."""


@dataclass
class _Track:
    """What has been written of a track so far; ``kept`` has the worth of its best crops, by the number of the file."""

    kept: dict[int, float] = field(default_factory=dict)
    container: Any = None
    stream: Any = None
    start: int = 0
    last: int = 0
    shot: int = 0

    @property
    def best(self) -> float:
        return max(self.kept.values())

    def best_first(self) -> list[str]:
        """Names of the files of the best crops."""
        return [f"best-{slot}.png" for slot in sorted(self.kept, key=lambda slot: -self.kept[slot])]


class CropFolder:
    """Writes crops to a folder that has its name only when everything is in it.

    Parameters
    ----------
    path
        The folder. It must not be there, or be empty; or be one that was written by this, with ``overwrite``.
    kind
        One of `FORMATS`: a picture a frame, or a video a track.
    template
        As `check_template` gave it.
    time_base
        Of the timestamps of videos.
    overwrite
        Whether a folder that was written before may be replaced.

    Attributes
    ----------
    fused
        The persons whose best shot could be made better by others of its track (`fvdeblur.restoration.fusion`).

    Raises
    ------
    UsageError
        The folder is there and may not be replaced.
    OutputError
        It cannot be written, here or by the methods.
    """

    def __init__(self, path: Path, kind: str, template: str, time_base: Fraction, overwrite: bool) -> None:
        self.path, self._kind, self._template, self._time_base = path, kind, template, time_base
        self._suffix = VIDEO_SUFFIX if kind == "video" else f".{kind}"
        with writing(path):
            if os.path.lexists(path) and not path.is_dir():
                raise UsageError(f"{shown(path)}: is no folder; choose another -o")
            if path.is_dir() and any(path.iterdir()):
                ours = (path / INDEX_JSONL).is_file() and (path / INDEX_CSV).is_file()
                if not (ours and overwrite):
                    what = (
                        "exists; use --overwrite or"
                        if ours
                        else "is not empty and holds other things; choose"
                    )
                    raise UsageError(f"{shown(path)} {what} another -o")
            path.parent.mkdir(parents=True, exist_ok=True)
            made = tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".partial", dir=path.parent)
            self._partial = Path(made)
            self._partial.chmod(0o755)
            self._rows: TextIO = (self._partial / "rows").open("w+", encoding="utf-8", newline="\n")
        self._tracks: dict[int, _Track] = {}
        self.fused: list[int] = []

    def __enter__(self) -> CropFolder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for track in self._tracks.values():
            if track.container is not None:
                with suppress(Exception):
                    track.container.close()
        with suppress(OSError):
            self._rows.close()
        shutil.rmtree(self._partial, ignore_errors=True)

    def add(self, row: dict[str, Any], crop: Picture, pts: int, worth: float) -> None:
        """Write a crop.

        Parameters
        ----------
        row
            What the index says of it; ``track``, ``frame``, ``time`` and ``shot`` must be there.
        crop
            uint8 [H, W, 3], R'G'B'.
        pts
            Timestamp of the frame.
        worth
            The best shot is the one that is worth most.
        """
        number = row["track"]
        with writing(self.path):
            if number not in self._tracks:
                self._home(number).mkdir()
            track = self._tracks.setdefault(number, _Track(start=pts))
            if self._kind == "video":
                self._add_to_video(track, number, crop, pts)
            else:
                write_picture(self._home(number) / f"{row['frame']}{self._suffix}", crop)
            track.last, track.shot = row["frame"], row["shot"]
            slot = (
                len(track.kept) if len(track.kept) < KEPT else min(track.kept, key=lambda at: track.kept[at])
            )
            if slot not in track.kept or worth > track.kept[slot]:
                track.kept[slot] = worth
                write_picture(self._home(number) / f"best-{slot}.png", crop)
            self._rows.write(json.dumps(row) + "\n")

    def end_tracks(self, frame: int, shot: int) -> None:
        """Finish the videos of the tracks that do not go on from this frame, because of a cut or for long absence."""
        for track in self._tracks.values():
            if track.container is not None and (track.shot != shot or track.last < frame - ENDED):
                with writing(self.path):
                    track.container.mux(track.stream.encode(None))
                    track.container.close()
                track.container = track.stream = None

    def finish(self, persons: dict[int, int]) -> Counter[int]:
        """Sort everything by person and give the folder its name.

        Parameters
        ----------
        persons
            The person of each track; tracks that are left out are thrown away.

        Returns
        -------
        Number of crops of each person.
        """
        self.end_tracks(0, -1)
        with writing(self.path):
            counts = self._sort(persons)
            (self._partial / BEST).mkdir()
            for who in counts:
                own = [number for number in self._tracks if persons.get(number) == who]
                best = max(own, key=lambda number: self._tracks[number].best)
                files = [self._home(best) / name for name in self._tracks[best].best_first()]
                fused = fuse([read_picture(file) for file in files])
                if fused is not None:
                    write_picture(self._partial / BEST / f"{_folder(who)}{FUSED}.png", fused)
                    self.fused.append(who)
                files[0].rename(self._partial / BEST / f"{_folder(who)}.png")
            self._write_sheet(counts)
            self._rows.close()
            (self._partial / "rows").unlink()
            for number in self._tracks:
                shutil.rmtree(self._home(number))
            self._name()
        return counts

    def _home(self, track: int) -> Path:
        return self._partial / f"track-{track}"

    def _add_to_video(self, track: _Track, number: int, crop: Picture, pts: int) -> None:
        even = np.ascontiguousarray(crop[: crop.shape[0] // 2 * 2, : crop.shape[1] // 2 * 2])
        if track.container is None:
            track.container = av.open(str(self._home(number) / f"video{VIDEO_SUFFIX}"), "w")
            track.stream = track.container.add_stream("libx264", options=VIDEO_OPTIONS)
            track.stream.height, track.stream.width = even.shape[:2]
            track.stream.pix_fmt = "yuv420p"
            track.stream.time_base = track.stream.codec_context.time_base = self._time_base
        frame = av.VideoFrame.from_ndarray(even, format="rgb24")
        frame.pts, frame.time_base = pts - track.start, self._time_base
        track.container.mux(track.stream.encode(frame))

    def _stored(self) -> Iterator[dict[str, Any]]:
        self._rows.flush()
        self._rows.seek(0)
        for line in self._rows:
            yield json.loads(line)

    def _sort(self, persons: dict[int, int]) -> Counter[int]:
        """Move the crops to the folders of their persons, and write both indices."""
        counts: Counter[int] = Counter()
        moved: set[int] = set()
        with (
            (self._partial / INDEX_JSONL).open("w", encoding="utf-8", newline="\n") as lines,
            (self._partial / INDEX_CSV).open("w", encoding="utf-8", newline="") as table,
        ):
            writer = csv.writer(table)
            writer.writerow([*COLUMNS, *FIGURES, *(f"{point}_{axis}" for point in POINTS for axis in "xy")])
            for row in self._stored():
                number = row["track"]
                who = persons.get(number)
                if who is None:
                    continue
                folder = self._partial / _folder(who)
                folder.mkdir(exist_ok=True)
                values = {key: row[key] for key in ("track", "frame", "time", "shot")}
                name = f"{self._template.format(person=who, **values)}{self._suffix}"
                if self._kind != "video":
                    _move(self._home(number) / f"{row['frame']}{self._suffix}", folder / name)
                elif number not in moved:
                    _move(self._home(number) / f"video{VIDEO_SUFFIX}", folder / name)
                moved.add(number)
                counts[who] += 1
                whole = {"file": f"{folder.name}/{name}", "person": who, **row}
                lines.write(json.dumps(whole) + "\n")
                writer.writerow(_cells(whole))
        return counts

    def _write_sheet(self, counts: Counter[int]) -> None:
        """Draw the best shot of each person and some others, a row a person."""
        if not counts:
            return
        people = sorted(who for who, _ in counts.most_common(MOST_PEOPLE))
        wanted = {
            who: set(np.linspace(0, counts[who] - 1, SHOWN + 1).round().astype(int)[1:-1].tolist())
            for who in people
        }
        tiles = {who: [self._partial / BEST / f"{_folder(who)}.png"] for who in people}
        if self._kind != "video":
            seen: Counter[int] = Counter()
            with (self._partial / INDEX_JSONL).open(encoding="utf-8") as lines:
                for line in lines:
                    row = json.loads(line)
                    who = row["person"]
                    if seen[who] in wanted.get(who, ()):
                        tiles[who].append(self._partial / row["file"])
                    seen[who] += 1
        rows = [
            sheet_row(tiles[who], f"{_folder(who)}: {counts[who]} crops, best first", self._kind != "video")
            for who in people
        ]
        write_picture(self._partial / SHEET, np.concatenate(rows))

    def _name(self) -> None:
        """Give the folder its name; one that stands there goes when the new one is in its place."""
        if not self.path.is_dir():
            self._partial.rename(self.path)
            return
        aside = Path(f"{self._partial}.old")
        self.path.rename(aside)
        try:
            self._partial.rename(self.path)
        except BaseException:
            aside.rename(self.path)
            raise
        shutil.rmtree(aside, ignore_errors=True)


def _folder(who: int) -> str:
    return f"person-{who:02d}"


def _move(source: Path, target: Path) -> None:
    if target.exists():
        raise OutputError(f"{shown(target.name)}: two crops have this name; choose another --template")
    source.rename(target)


def _cells(row: dict[str, Any]) -> list[Any]:
    points = row["landmarks"] or [["", ""]] * len(POINTS)
    figures = ["" if row[key] is None else row[key] for key in FIGURES]
    return [
        *(row[key] for key in COLUMNS[:5]),
        *row["box"],
        *figures,
        *(v for point in points for v in point),
    ]
