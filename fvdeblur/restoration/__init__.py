"""Restoring the faces of a video: the streaming pipeline and its one door, `Deblurrer`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fvdeblur.lazy import lazy_exports

if TYPE_CHECKING:
    from fvdeblur.restoration.deblurrer import Deblurrer, Progress, Summary, default_output, find_videos
    from fvdeblur.restoration.rendering import FaceRenderer, RenderSummary
    from fvdeblur.restoration.restorer import Restorer
    from fvdeblur.restoration.settings import Settings
    from fvdeblur.restoration.weights import ModelCard, load_model, model_names

_HOMES = {
    "Deblurrer": "deblurrer",
    "FaceRenderer": "rendering",
    "ModelCard": "weights",
    "Progress": "deblurrer",
    "RenderSummary": "rendering",
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
    "FaceRenderer",
    "ModelCard",
    "Progress",
    "RenderSummary",
    "Restorer",
    "Settings",
    "Summary",
    "default_output",
    "find_videos",
    "load_model",
    "model_names",
]

__getattr__ = lazy_exports(__name__, _HOMES)
