"""Restoring the faces of a video: the streaming pipeline and its one door, `Deblurrer`."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fvdeblur.restoration.deblurrer import Deblurrer, Progress, Summary, default_output, find_videos
    from fvdeblur.restoration.restorer import Restorer
    from fvdeblur.restoration.settings import Settings
    from fvdeblur.restoration.weights import ModelCard, load_model, model_names

_HOMES = {
    "Deblurrer": "deblurrer",
    "ModelCard": "weights",
    "Progress": "deblurrer",
    "Restorer": "restorer",
    "Settings": "settings",
    "Summary": "deblurrer",
    "default_output": "deblurrer",
    "find_videos": "deblurrer",
    "load_model": "weights",
    "model_names": "weights",
}

__all__ = [
    "Deblurrer",
    "ModelCard",
    "Progress",
    "Restorer",
    "Settings",
    "Summary",
    "default_output",
    "find_videos",
    "load_model",
    "model_names",
]


def __getattr__(name: str) -> Any:
    """Import what is asked for only then: torch and PyAV take a second that ``--help`` should not cost."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
