"""Sharp face clips, their split by identity, and blur made from them by motion."""

from fvdeblur.datasets.blur import BlurSettings, Segment, synthesise
from fvdeblur.datasets.clips import Clip, is_validation, load_clips, load_stills

__all__ = ["BlurSettings", "Clip", "Segment", "is_validation", "load_clips", "load_stills", "synthesise"]
