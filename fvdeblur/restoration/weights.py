"""Released networks: their files, checked and loaded."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

import fvdeblur
from fvdeblur import networks
from fvdeblur.errors import InputError, UsageError


@dataclass(frozen=True)
class ModelCard:
    """What ``models/<name>/config.json`` says of a released network.

    Attributes
    ----------
    name
        Name of the model.
    network, options
        Registered network and its constructor arguments.
    largest_side
        Side in pixels up to which face crops are restored at their own resolution; larger ones are reduced to it
        and the upsampled change is added.
    sha256
        Digest of ``weights.safetensors``.
    """

    name: str
    network: str
    options: dict[str, Any]
    largest_side: int
    sha256: str


def models_folder() -> Path:
    """Folder of the released models: inside the installed package, or beside it in a source tree."""
    package = Path(fvdeblur.__file__).parent
    installed = package / "models"
    return installed if installed.is_dir() else package.parent / "models"


def model_names() -> list[str]:
    """Names of the models that can be loaded; the classifiers beside them are no models."""
    return sorted(path.parent.name for path in models_folder().glob("*/config.json") if not _classifies(path))


def _classifies(path: Path) -> bool:
    try:
        return "classifiers" in json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):  # reading the card says what is wrong with it
        return False


def read_card(name: str) -> ModelCard:
    """Read a model's configuration.

    Raises
    ------
    UsageError
        There is no such model; the text lists what there is.
    InputError
        The configuration is damaged.
    """
    if name not in model_names():
        raise UsageError(f"unknown model {name!r}; there are: {', '.join(model_names())}")
    path = models_folder() / name / "config.json"
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        return ModelCard(name=name, **values)
    except (OSError, ValueError, TypeError) as error:
        raise InputError(
            f"{path}: the model's configuration is damaged ({error}); reinstall fvdeblur"
        ) from error


def load_model(name: str) -> tuple[nn.Module, ModelCard]:
    """Load a released network in float32 on the CPU, ready for inference.

    Raises
    ------
    UsageError
        There is no such model.
    InputError
        Its weights are missing, their SHA-256 is not the one of the configuration, or they do not fit it.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load

    card = read_card(name)
    path = models_folder() / name / "weights.safetensors"
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: the weights are missing ({error.strerror}); reinstall fvdeblur") from error
    if hashlib.sha256(data).hexdigest() != card.sha256:
        raise InputError(f"{path}: the weights are damaged (SHA-256 differs); reinstall fvdeblur")
    network = networks.create(card.network, **card.options)
    try:
        network.load_state_dict({key: value.to(torch.float32) for key, value in load(data).items()})
    except (SafetensorError, RuntimeError) as error:
        raise InputError(f"{path}: the weights do not fit their configuration; reinstall fvdeblur") from error
    return network.eval().requires_grad_(False), card
