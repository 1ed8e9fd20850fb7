"""Sharp face clips, their split by identity, and blur made from them by motion."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fvdeblur.datasets.blur import BlurSettings, Segment, synthesise
    from fvdeblur.datasets.clip_reader import ClipReader
    from fvdeblur.datasets.clips import Clip, load_clips, load_stills
    from fvdeblur.datasets.index import ClipRecord, is_validation, read_index

_HOMES = {
    "BlurSettings": "blur",
    "Clip": "clips",
    "ClipReader": "clip_reader",
    "ClipRecord": "index",
    "Segment": "blur",
    "is_validation": "index",
    "load_clips": "clips",
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
    "load_stills",
    "read_index",
    "synthesise",
]


def __getattr__(name: str) -> Any:
    """Import what is asked for only then: mining and looking at a dataset need no torch."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
