"""Faces in video: detection, landmarks, tracking, scene cuts and crop geometry."""

from fvdeblur.faces.cuts import CutDetector
from fvdeblur.faces.detector import DETECTORS, Detection, Detector, create_detector
from fvdeblur.faces.geometry import face_size, face_square
from fvdeblur.faces.landmarks import LANDMARKERS, Landmarker, create_landmarker
from fvdeblur.faces.tracker import FaceTracker, TrackedFace, TrackedFrame

__all__ = [
    "DETECTORS",
    "LANDMARKERS",
    "CutDetector",
    "Detection",
    "Detector",
    "FaceTracker",
    "Landmarker",
    "TrackedFace",
    "TrackedFrame",
    "create_detector",
    "create_landmarker",
    "face_size",
    "face_square",
]
