"""Sharp face clips, their split by identity, and blur made from them by motion."""

from typing import TYPE_CHECKING

from fvdeblur.lazy import lazy_exports

if TYPE_CHECKING:
    from fvdeblur.datasets.blur import BlurSettings, Segment, synthesise
    from fvdeblur.datasets.clip_reader import ClipReader
    from fvdeblur.datasets.clips import Clip, load_clips, load_pictures, load_stills
    from fvdeblur.datasets.index import ClipRecord, is_validation, read_index

_HOMES = {
    "BlurSettings": "blur",
    "Clip": "clips",
    "ClipReader": "clip_reader",
    "ClipRecord": "index",
    "Segment": "blur",
    "is_validation": "index",
    "load_clips": "clips",
    "load_pictures": "clips",
    "load_stills": "clips",
    "read_index": "index",
    "synthesise": "blur",
}

__all__ = [
    "BlurSettings",
    "Clip",
    "ClipReader",
    "ClipRecord",
    "Segment",
    "is_validation",
    "load_clips",
    "load_pictures",
    "load_stills",
    "read_index",
    "synthesise",
]

__getattr__ = lazy_exports(__name__, _HOMES)
