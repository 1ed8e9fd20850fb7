"""What is to be worked on: videos, photographs and image sequences, named, in folders or by patterns."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from fvdeblur.errors import InputError, UsageError
from fvdeblur.folders import check_folders
from fvdeblur.media.containers import CONTAINERS, container_format
from fvdeblur.media.failures import shown
from fvdeblur.media.photograph import PHOTOGRAPH_SUFFIXES, is_photograph
from fvdeblur.media.probe import main_video_stream, open_input

Kind = Literal["video", "photograph", "sequence"]

OUTPUT_MARK, RENDERED_MARK, COMPARED_MARK = ".deblurred", ".rendered", ".compare"
"""Ends of the stems of what this program writes beside its inputs."""

VIDEO_SUFFIXES = tuple(CONTAINERS)
"""Files of a folder that are taken for videos without a look into them."""

_NUMBER = re.compile(r"%0?(\d*)d")
_WILDCARD = re.compile(r"[*?\[]")
# What lies beside videos and is never one; the rest is looked into.
_NEVER_VIDEOS = (
    *PHOTOGRAPH_SUFFIXES,
    *(".aac", ".ass", ".csv", ".flac", ".gz", ".htm", ".html", ".json", ".jsonl", ".log", ".m4a", ".md"),
    *(".mp3", ".ogg", ".opus", ".partial", ".pdf", ".py", ".sha256", ".srt", ".tar", ".toml", ".tsv", ".txt"),
    *(".vtt", ".wav", ".xml", ".yaml", ".yml", ".zip"),
)


@dataclass(frozen=True)
class Item:
    """One thing to work on.

    Attributes
    ----------
    source
        The file; of a sequence its folder, or the pattern of its files.
    target
        Where the result will stand: a file; of a sequence a folder.
    kind
        ``video``, ``photograph`` or ``sequence``.
    pictures
        Files of a sequence, in order; else empty.
    report
        Where a page about the run will stand; None: nowhere.
    comparison, comparison_mode
        Where a comparison of the input with the result will stand; None: nowhere. And how they are compared: one of
        `fvdeblur.restoration.comparison.MODES`.
    in_folder
        Whether the folders on the way to the target may be made: it lies in an output folder.
    """

    source: Path
    target: Path
    kind: Kind = "video"
    pictures: tuple[Path, ...] = ()
    in_folder: bool = False
    report: Path | None = None
    comparison: Path | None = None
    comparison_mode: str = "side-by-side"


def default_output(path: str | Path) -> Path:
    """``<stem>.deblurred<suffix>`` beside the input; where no file with that suffix can be written, a Matroska file."""
    path = Path(path)
    suffix = path.suffix
    if container_format(path) is None and suffix.lower() not in PHOTOGRAPH_SUFFIXES:
        suffix = ".png" if path.is_file() and is_photograph(path) else ".mkv"
    return path.with_name(f"{path.stem}{OUTPUT_MARK}{suffix}")


def comparison_output(target: str | Path, folder: str | Path | None = None) -> Path:
    """``<stem>.compare.mp4`` beside a result, or in a folder."""
    path = Path(target)
    name = f"{path.stem}{COMPARED_MARK}.mp4"
    return path.with_name(name) if folder is None else Path(folder) / name


def find_items(
    inputs: Sequence[str | os.PathLike[str]],
    output: str | os.PathLike[str] | None = None,
    *,
    recursive: bool = False,
    sequence: bool = False,
) -> list[Item]:
    """Find out what is to be worked on, and where each result goes.

    Parameters
    ----------
    inputs
        Files, folders, wildcards (``*.mp4``, ``**/*.mov``) and patterns of image sequences (``shot-%04d.png``). Of a
        folder its videos are taken and, where it holds none, its photographs; never what this program wrote.
    output
        None: every result beside its input. For one file: a file. Else a folder, in which the inputs' folders are
        mirrored.
    recursive
        Whether folders in folders count.
    sequence
        Whether the pictures of a folder are the frames of one video.

    Raises
    ------
    UsageError
        An input is missing or holds nothing to work on, the output does not fit, or two results would have one name.
    """
    target = None if output is None else Path(output)
    items: list[Item] = []
    single = len(inputs) == 1
    for given in inputs:
        text = os.fspath(given)
        path = Path(text)
        if _NUMBER.search(path.name) and not os.path.exists(path):
            items.append(_sequence(path, _numbered(path), target, single))
        elif _WILDCARD.search(text) and not os.path.exists(path):
            matches = [Path(match) for match in sorted(glob.glob(text, recursive=True))]
            given_parts = set(path.parts)
            found = [
                match
                for match in matches
                if match.is_file()
                and not any(_is_ours(Path(part)) for part in match.parts if part not in given_parts)
            ]
            if not found:
                raise UsageError(f"{shown(text)}: matches no file; check the path")
            single = False
            items += [_file(match, target) for match in found]
        elif os.path.isdir(path):
            if sequence:
                items.append(_sequence(path, _pictures(path), target, single))
            else:
                items += _in_folder(path, target, recursive)
        elif os.path.exists(path):
            items.append(
                Item(path, target, _kind(path)) if single and target is not None else _file(path, target)
            )
        else:
            raise UsageError(f"{shown(path)}: there is no such file or folder")
    items = list({os.path.realpath(item.source): item for item in reversed(items)}.values())[::-1]
    _check_targets(items, target)
    return items


def find_videos(folder: str | Path, *, recursive: bool = False) -> list[Path]:
    """Videos in a folder, sorted by path, without earlier outputs of this program.

    Files whose suffix says nothing are looked into.

    Raises
    ------
    UsageError
        There is none, or the folder cannot be listed.
    """
    found = [path for path in _files(Path(folder), recursive) if _is_video(path)]
    if not found:
        raise UsageError(f"{shown(folder)}: holds no videos")
    return found


def _in_folder(folder: Path, target: Path | None, recursive: bool) -> Iterator[Item]:
    files = list(_files(folder, recursive))
    found = [path for path in files if _is_video(path)]
    kind: Kind = "video" if found else "photograph"
    if not found:
        found = [path for path in files if path.suffix.lower() in PHOTOGRAPH_SUFFIXES]
    if not found:
        more = "" if recursive else "; --recursive looks into its folders too"
        raise UsageError(f"{shown(folder)}: holds no videos and no photographs{more}")
    for path in found:
        place = default_output(path)
        if target is not None:
            place = target / path.relative_to(folder).with_suffix(place.suffix)
        yield Item(path, place, kind, in_folder=target is not None)


def _files(folder: Path, recursive: bool) -> Iterator[Path]:
    """Files of a folder by path, without hidden ones and ours; links to folders are not followed."""

    def refuse(error: OSError) -> None:
        raise UsageError(
            f"{shown(error.filename)}: cannot be listed ({error.strerror}); check the path and rights"
        ) from error

    for place, folders, names in os.walk(folder, onerror=refuse):
        folders[:] = sorted(
            f for f in folders if recursive and not f.startswith(".") and not _is_ours(Path(f))
        )
        for name in sorted(names):
            path = Path(place, name)
            if not name.startswith(".") and path.is_file() and not _is_ours(path):
                yield path


def _is_ours(path: Path) -> bool:
    """Whether the name is one that this program gives to what it writes."""
    return path.stem.endswith((OUTPUT_MARK, RENDERED_MARK, COMPARED_MARK)) or path.name.endswith(
        (".partial", OUTPUT_MARK)
    )


def _is_video(path: Path) -> bool:
    suffix = path.suffix.lower()
    if suffix in VIDEO_SUFFIXES:
        return True
    if suffix in _NEVER_VIDEOS:
        return False
    try:
        with open_input(path) as container:
            main_video_stream(path, container)
            return True
    except (InputError, UsageError):
        return False


def _kind(path: Path) -> Kind:
    return "photograph" if is_photograph(path) else "video"


def _file(path: Path, folder: Path | None) -> Item:
    """A file whose result goes beside it or into a folder."""
    place = default_output(path)
    if folder is None:
        return Item(path, place, _kind(path))
    return Item(path, folder / f"{path.stem}{place.suffix}", _kind(path), in_folder=True)


def _sequence(source: Path, pictures: list[Path], target: Path | None, single: bool) -> Item:
    if not pictures:
        raise UsageError(f"{shown(source)}: holds no pictures; check the path")
    folder = source.parent if _NUMBER.search(source.name) else source
    name = os.path.basename(os.path.abspath(folder))
    if target is None:
        target = Path(os.path.abspath(folder)).with_name(f"{name}{OUTPUT_MARK}")
    elif not single:
        target = target / name
    return Item(source, target, "sequence", tuple(pictures), in_folder=True)


def _numbered(pattern: Path) -> list[Path]:
    """Files that a pattern such as ``shot-%04d.png`` names, by number."""
    match = _NUMBER.search(pattern.name)
    assert match is not None
    before, after = re.escape(pattern.name[: match.start()]), re.escape(pattern.name[match.end() :])
    digits = rf"(\d{{{match[1] or 1},}})"
    named = re.compile(before + digits + after)
    try:
        names = os.listdir(pattern.parent)
    except OSError as error:
        raise UsageError(f"{shown(pattern)}: cannot be listed ({error.strerror}); check the path") from error
    numbered = sorted((int(found[1]), name) for name in names if (found := named.fullmatch(name)))
    return [pattern.parent / name for _, name in numbered]


def _pictures(folder: Path) -> list[Path]:
    """Pictures of a folder, with the numbers in their names counted as numbers."""

    def order(path: Path) -> list[tuple[int, str]]:
        return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", path.name)]

    found = [path for path in _files(folder, False) if path.suffix.lower() in PHOTOGRAPH_SUFFIXES]
    return sorted(found, key=order)


def _check_targets(items: Sequence[Item], target: Path | None) -> None:
    if target is not None and any(item.in_folder for item in items):
        check_folders([target])
    places: dict[str, Path] = {}
    for item in items:
        other = places.setdefault(os.path.realpath(item.target), item.source)
        if other != item.source:
            raise UsageError(
                f"{shown(other)} and {shown(item.source)} would both be written to {shown(item.target)}; give -o other "
                "folders, or rename one"
            )
