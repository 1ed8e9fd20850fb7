"""What is released with the package: a folder for each, with ``config.json`` and ``weights.safetensors``."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import fvdeblur
from fvdeblur.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

CONFIG, WEIGHTS = "config.json", "weights.safetensors"


def models_folder() -> Path:
    """Folder of all that is released: inside the installed package, or beside it in a source tree."""
    package = Path(fvdeblur.__file__).parent
    installed = package / "models"
    return installed if installed.is_dir() else package.parent / "models"


def names_of(kind: str) -> list[str]:
    """Names of what is released of a kind: ``network``, ``regressor`` or ``classifiers``.

    The configuration of each kind has a key of this name. One that cannot be read counts as a network: loading it
    says what is wrong with it.
    """
    return sorted(path.parent.name for path in models_folder().glob(f"*/{CONFIG}") if _is(path, kind))


def _is(path: Path, kind: str) -> bool:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        values = None
    return kind in values if isinstance(values, dict) and values else kind == "network"


def read_config(name: str) -> dict[str, Any]:
    """Read the configuration of something released.

    Raises
    ------
    InputError
        It is missing or damaged.
    """
    path = models_folder() / name / CONFIG
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(values, dict):
            raise ValueError("no object")
    except (OSError, ValueError) as error:
        raise InputError(
            f"{path}: the model's configuration is damaged ({error}); reinstall fvdeblur"
        ) from error
    return values


def read_weights(name: str, sha256: str) -> dict[str, Tensor]:
    """Read released weights as float32 on the CPU, after a check of their SHA-256.

    Raises
    ------
    InputError
        They are missing or damaged.
    """
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load

    path = models_folder() / name / WEIGHTS
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: the weights are missing ({error.strerror}); reinstall fvdeblur") from error
    if hashlib.sha256(data).hexdigest() != sha256:
        raise InputError(f"{path}: the weights are damaged (SHA-256 differs); reinstall fvdeblur")
    try:
        return {key: value.to(torch.float32) for key, value in load(data).items()}
    except SafetensorError as error:
        raise do_not_fit(name) from error


def do_not_fit(name: str) -> InputError:
    """The error of weights that are not those of the network that their configuration names."""
    path = models_folder() / name / WEIGHTS
    return InputError(f"{path}: the weights do not fit their configuration; reinstall fvdeblur")
