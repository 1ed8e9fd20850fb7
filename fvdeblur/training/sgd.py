"""Stochastic gradient descent for all parameters, as Chrysos & Zafeiriou 2017 train (section 5.1)."""

from __future__ import annotations

import torch
from torch import nn

from fvdeblur.training.muon import KernelOptimizer

MOMENTUM = 0.9
"""The paper names none; this is that of the ResNet which it begins with (He et al. 2016)."""


class SGD(KernelOptimizer):
    """Gradient descent with momentum behind the same interface; the weight decay is part of the gradient."""

    def __init__(self, network: nn.Module, lr: float, weight_decay: float) -> None:
        self._parts = [
            torch.optim.SGD(network.parameters(), lr=lr, momentum=MOMENTUM, weight_decay=weight_decay)
        ]
        self._shares = [1.0]
