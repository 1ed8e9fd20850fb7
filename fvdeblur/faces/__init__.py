"""Faces in video: detection, tracking, scene cuts and crop geometry."""

from fvdeblur.faces.cuts import CutDetector
from fvdeblur.faces.detector import DETECTORS, Detection, Detector, create_detector
from fvdeblur.faces.geometry import face_size, face_square
from fvdeblur.faces.tracker import FaceTracker, TrackedFace, TrackedFrame

__all__ = [
    "DETECTORS",
    "CutDetector",
    "Detection",
    "Detector",
    "FaceTracker",
    "TrackedFace",
    "TrackedFrame",
    "create_detector",
    "face_size",
    "face_square",
]
