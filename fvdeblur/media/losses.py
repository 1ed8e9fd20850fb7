"""What of a source's description its new container could not keep, found by reading what was written."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import av

from fvdeblur.errors import FvdeblurError
from fvdeblur.media.containers import MATROSKA_FAMILY, called
from fvdeblur.media.pixel_formats import is_rgb
from fvdeblur.media.probe import MAX_PIXELS, VideoInfo, open_input, probe
from fvdeblur.media.streams import STALE_STREAM_TAGS, is_stale

_WRITTEN_ANYWAY = {"handler_name", "vendor_id", "variant_bitrate", "creation_time", "filename", "mimetype"}
_UNKNOWN_LANGUAGES = {None, "", "und"}
_UPRIGHT = (1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30)
_DEFAULT = int(av.stream.Disposition.default)  # a matter of order in most containers


def find_losses(
    info: VideoInfo, written: Path, container: str, places: Mapping[int, int], chapters: int
) -> list[str]:
    """Compare a finished file with its source.

    Parameters
    ----------
    info : VideoInfo
        The source.
    written : pathlib.Path
        The file.
    container : str
        FFmpeg's name of its container.
    places : mapping of int to int
        Where each stream of the source stands in it, by index.
    chapters : int
        How many chapters it was given.

    Returns
    -------
    list of str
        What is missing in it, in one line; empty where nothing is.
    """
    try:
        with open_input(info.path) as source, open_input(written) as output:
            missing = _of_file(source, output, info.container, chapters)
            missing += _of_streams(source, output, places)
        largest = max(MAX_PIXELS, info.width * info.height)  # it was let in
        missing += _of_picture(info, probe(written, largest), container)
    except FvdeblurError:
        return ["what was written could not be looked over"]
    return [f"a {called(container)} file does not keep {', '.join(missing)}"] if missing else []


def _of_file(source: Any, output: Any, container: str, chapters: int) -> list[str]:
    lost = chapters - len(output.chapters())
    found = [f"{lost} chapter{'s' if lost > 1 else ''}"] if lost > 0 else []
    kept = {key.lower() for key in output.metadata}
    tags = {key.lower() for key in source.metadata if not is_stale(key, container)} - kept - {"timecode"}
    return found + ([f"the file's {_named('tag', tags)}"] if tags else [])


def _of_streams(source: Any, output: Any, places: Mapping[int, int]) -> list[str]:
    languages: list[str] = []
    tags: set[str] = set()
    flags: set[str] = set()
    # Muxers put tracks of their own between, for timecode and chapters, but never of these kinds.
    kinds = {kind: [s for s in output.streams if s.type == kind] for kind in ("video", "audio", "subtitle")}
    for index in sorted(places, key=lambda index: places[index]):
        one = source.streams[index]
        if not kinds.get(one.type):
            continue
        other = kinds[one.type].pop(0)
        kept = {_plain(key): value for key, value in other.metadata.items()}
        for key, value in one.metadata.items():
            plain = _plain(key)
            if plain == "language":
                if value not in _UNKNOWN_LANGUAGES and kept.get("language") in _UNKNOWN_LANGUAGES:
                    languages.append(value)
            elif (
                plain not in kept
                and plain not in _WRITTEN_ANYWAY | STALE_STREAM_TAGS | {"timecode"}
                and not plain.startswith("_statistics")
                and not is_stale(key, source.format.name)
            ):
                tags.add(plain)
        lost = int(one.disposition) & ~int(other.disposition) & ~_DEFAULT
        flags |= {str(flag.name) for flag in av.stream.Disposition if lost & int(flag)}
    found = [f"languages of streams ({', '.join(dict.fromkeys(languages))})"] if languages else []
    found += [f"the streams' {_named('tag', tags)}"] if tags else []
    return found + ([f"the streams' {_named('disposition', flags)}"] if flags else [])


def _plain(key: str) -> str:
    """What a tag of a stream is called everywhere."""
    plain = key.lower().split("-")[0]
    return "title" if plain == "name" else plain


def _of_picture(before: VideoInfo, after: VideoInfo, container: str) -> list[str]:
    found = []
    if (after.display_matrix or _UPRIGHT) != (before.display_matrix or _UPRIGHT):
        found.append(
            f"the rotation by {before.rotation} degrees" if before.rotation else "the mirrored display"
        )
    # Of Matroska it is said at the beginning already.
    if after.sample_aspect_ratio != before.sample_aspect_ratio and container not in MATROSKA_FAMILY:
        found.append(f"the pixel aspect {before.sample_aspect_ratio}")
    colours = [
        name
        for name, unspecified, meaning in (
            ("primaries", 2, "color_primaries"),
            ("transfer", 2, "color_trc"),
            ("matrix", 2, "color_space"),
            ("range", 0, "color_range"),
        )
        if getattr(before, meaning) not in {unspecified, getattr(after, meaning)}
    ]
    if colours and is_rgb(before.pix_fmt) == is_rgb(after.pix_fmt):
        found.append(f"the {_named('colour tag', colours)}")
    return found


def _named(what: str, names: Any) -> str:
    listed = sorted(names)
    return f"{what}{'s' if len(listed) > 1 else ''} {', '.join(listed)}"
