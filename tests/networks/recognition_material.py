"""Weights of face recognition networks: random, as nothing that anybody trained may lie here."""

from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from fvdeblur.networks.recognition import MobileFaceNet, Recogniser


def weights_of(network: Recogniser) -> dict[str, Tensor]:
    """Random weights whose features neither grow nor fade, the same every time."""
    generator = torch.Generator().manual_seed(0)
    weights = {}
    for name, value in network.state_dict().items():
        if value.ndim == 4:
            spread = (2 / value[0].numel()) ** 0.5
            weights[name] = torch.randn(value.shape, generator=generator) * spread
        elif value.is_floating_point():  # all but the counters of batches
            weights[name] = 0.5 + torch.rand(value.shape, generator=generator)
    return weights


def write_recogniser(path: Path) -> Path:
    save_file(weights_of(MobileFaceNet()), path)
    return path
