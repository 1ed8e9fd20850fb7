"""Restoring the faces of a video: the streaming pipeline and its one door, `Deblurrer`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fvdeblur.lazy import lazy_exports

if TYPE_CHECKING:
    from fvdeblur.restoration.batch import Result, run_batch
    from fvdeblur.restoration.deblurrer import Deblurrer, Progress, Summary
    from fvdeblur.restoration.inputs import Item, default_output, find_items, find_videos
    from fvdeblur.restoration.rendering import FaceRenderer, RenderSummary
    from fvdeblur.restoration.restorer import Restorer
    from fvdeblur.restoration.settings import Settings
    from fvdeblur.restoration.weights import ModelCard, load_model, model_names

_HOMES = {
    "Deblurrer": "deblurrer",
    "FaceRenderer": "rendering",
    "Item": "inputs",
    "ModelCard": "weights",
    "Progress": "deblurrer",
    "RenderSummary": "rendering",
    "Result": "batch",
    "Restorer": "restorer",
    "Settings": "settings",
    "Summary": "deblurrer",
    "default_output": "inputs",
    "find_items": "inputs",
    "find_videos": "inputs",
    "load_model": "weights",
    "model_names": "weights",
    "run_batch": "batch",
}

__all__ = [
    "Deblurrer",
    "FaceRenderer",
    "Item",
    "ModelCard",
    "Progress",
    "RenderSummary",
    "Restorer",
    "Result",
    "Settings",
    "Summary",
    "default_output",
    "find_items",
    "find_videos",
    "load_model",
    "model_names",
    "run_batch",
]

__getattr__ = lazy_exports(__name__, _HOMES)
