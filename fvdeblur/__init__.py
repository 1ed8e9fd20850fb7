"""Deblur faces in video with a multi-frame network; everything but the faces stays as it was.

>>> from fvdeblur import Deblurrer
>>> summary = Deblurrer(strength=0.8).video("clip.mp4")  # doctest: +SKIP
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fvdeblur.restoration import Deblurrer, Progress, Settings, Summary

__version__ = "0.1.0"

__all__ = ["Deblurrer", "Progress", "Settings", "Summary", "__version__"]


def __getattr__(name: str) -> Any:
    """Import the public classes only when they are used."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from fvdeblur import restoration

    return getattr(restoration, name)
