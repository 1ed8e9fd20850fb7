"""Restoring the faces of a video: the streaming pipeline and its one door, `Deblurrer`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fvdeblur.lazy import lazy_exports

if TYPE_CHECKING:
    from fvdeblur.restoration.alignment import Aligner
    from fvdeblur.restoration.analysis import AnalysisSummary, FaceAnalyzer
    from fvdeblur.restoration.batch import Result, run_batch
    from fvdeblur.restoration.comparison import ComparisonSummary, compare
    from fvdeblur.restoration.deblurrer import Deblurrer
    from fvdeblur.restoration.extraction import CropExtractor, CropSummary
    from fvdeblur.restoration.inputs import Item, default_output, find_items, find_videos
    from fvdeblur.restoration.rendering import FaceRenderer, RenderSummary
    from fvdeblur.restoration.restorer import Restorer
    from fvdeblur.restoration.settings import Settings
    from fvdeblur.restoration.summary import Progress, Summary
    from fvdeblur.restoration.track_file import read_tracks
    from fvdeblur.restoration.weights import ModelCard, load_model, model_names

_HOMES = {
    "Aligner": "alignment",
    "AnalysisSummary": "analysis",
    "ComparisonSummary": "comparison",
    "CropExtractor": "extraction",
    "CropSummary": "extraction",
    "Deblurrer": "deblurrer",
    "FaceAnalyzer": "analysis",
    "FaceRenderer": "rendering",
    "Item": "inputs",
    "ModelCard": "weights",
    "Progress": "summary",
    "RenderSummary": "rendering",
    "Restorer": "restorer",
    "Result": "batch",
    "Settings": "settings",
    "Summary": "summary",
    "compare": "comparison",
    "default_output": "inputs",
    "find_items": "inputs",
    "find_videos": "inputs",
    "load_model": "weights",
    "model_names": "weights",
    "read_tracks": "track_file",
    "run_batch": "batch",
}

__all__ = [
    "Aligner",
    "AnalysisSummary",
    "ComparisonSummary",
    "CropExtractor",
    "CropSummary",
    "Deblurrer",
    "FaceAnalyzer",
    "FaceRenderer",
    "Item",
    "ModelCard",
    "Progress",
    "RenderSummary",
    "Restorer",
    "Result",
    "Settings",
    "Summary",
    "compare",
    "default_output",
    "find_items",
    "find_videos",
    "load_model",
    "model_names",
    "read_tracks",
    "run_batch",
]

__getattr__ = lazy_exports(__name__, _HOMES)
