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


def names_of_networks() -> list[str]:
    """Names of the networks that are released; the classifiers and the regressor beside them are none.

    A configuration that cannot be read counts as one of a network: loading that says what is wrong with it.
    """
    return sorted(path.parent.name for path in models_folder().glob(f"*/{CONFIG}") if not _is_other(path))


def _is_other(path: Path) -> bool:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(values, dict) and not {"classifiers", "regressor"}.isdisjoint(values)


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
