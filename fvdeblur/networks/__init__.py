"""Network definitions and their registry; pure ``torch.nn``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

from fvdeblur.errors import UsageError
from fvdeblur.networks.chrysos2017 import Chrysos2017
from fvdeblur.networks.dfpgnet import DFPGnet, FeatureDiscriminator
from fvdeblur.networks.fvd import FVD, multiply_accumulates
from fvdeblur.networks.ren2019 import Ren2019
from fvdeblur.networks.window import WindowShape, central_frame, window_indices, window_table

_REGISTRY: dict[str, Callable[..., nn.Module]] = {
    "chrysos2017": Chrysos2017,
    "dfpgnet": DFPGnet,
    "fvd": FVD,
    "ren2019": Ren2019,
}


def create(name: str, **options: Any) -> nn.Module:
    """Create an untrained network by its registered name.

    Raises
    ------
    UsageError
        The name is not registered or an option does not fit; the text lists what there is.
    """
    if name not in _REGISTRY:
        raise UsageError(f"unknown network {name!r}; there are: {', '.join(names())}")
    try:
        return _REGISTRY[name](**options)
    except (TypeError, ValueError) as error:
        raise UsageError(f"network {name!r}: {error}") from error


def names() -> list[str]:
    """Registered network names."""
    return sorted(_REGISTRY)


__all__ = [
    "FVD",
    "Chrysos2017",
    "DFPGnet",
    "FeatureDiscriminator",
    "Ren2019",
    "WindowShape",
    "central_frame",
    "create",
    "multiply_accumulates",
    "names",
    "window_indices",
    "window_table",
]
