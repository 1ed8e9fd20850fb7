"""Released networks: their files, checked and loaded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import nn

from fvdeblur import networks, released
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
    smallest_side
        Side in pixels that smaller face crops are enlarged to. The same as ``largest_side`` it lets the network see
        every face at one size, which some are trained for.
    faster
        Name of a model that does the same in less time, less well; empty: there is none.
    photographs
        Name of the model that restores single pictures in its place, as it lives on neighbouring frames; empty: itself.
    """

    name: str
    network: str
    options: dict[str, Any]
    largest_side: int
    sha256: str
    smallest_side: int = 0
    faster: str = ""
    photographs: str = ""


def model_names() -> list[str]:
    """Names of the networks that can be loaded."""
    return released.names_of_networks()


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
    try:
        return ModelCard(name=name, **released.read_config(name))
    except TypeError as error:
        path = released.models_folder() / name / released.CONFIG
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
    card = read_card(name)
    weights = released.read_weights(name, card.sha256)
    network = networks.create(card.network, **card.options)
    try:
        network.load_state_dict(weights)
    except RuntimeError as error:
        raise released.do_not_fit(name) from error
    return network.eval().requires_grad_(False), card
