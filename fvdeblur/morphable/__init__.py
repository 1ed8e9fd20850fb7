"""The 3D morphable model of faces: its file, its coefficients, its cameras, its light and its renderer."""

from fvdeblur.morphable.basel import load_basel
from fvdeblur.morphable.camera import project
from fvdeblur.morphable.coefficients import Coefficients
from fvdeblur.morphable.model import MorphableModel, load_default
from fvdeblur.morphable.renderer import Rendering, landmarks, render, render_skin

__all__ = [
    "Coefficients",
    "MorphableModel",
    "Rendering",
    "landmarks",
    "load_basel",
    "load_default",
    "project",
    "render",
    "render_skin",
]
