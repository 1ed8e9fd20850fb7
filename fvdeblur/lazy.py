"""Packages that import what they export only when it is asked for."""

from __future__ import annotations

import gc
import importlib
from collections.abc import Callable, Mapping
from typing import Any


def lazy_exports(package: str, homes: Mapping[str, str]) -> Callable[[str], Any]:
    """A module's ``__getattr__``: each name is taken from its home, a module of the package, when it is asked for.

    So the command line shows its help without torch, PyAV, OpenCV and SciPy.
    """

    def get(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        collecting = gc.isenabled()
        gc.disable()  # importing PyTorch makes half a million objects, and none of them is garbage
        try:
            return getattr(importlib.import_module(f"{package}.{homes[name]}"), name)
        finally:
            if collecting:
                gc.enable()

    return get
