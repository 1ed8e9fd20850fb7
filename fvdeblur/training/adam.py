"""Adam for all parameters, as Ren et al. 2019 train (section 4.1)."""

from __future__ import annotations

import torch
from torch import nn

from fvdeblur.training.muon import BETAS, KernelOptimizer


class Adam(KernelOptimizer):
    """Adam (Kingma & Ba 2014) behind the same interface, with decoupled weight decay where that is not zero."""

    def __init__(self, network: nn.Module, lr: float, weight_decay: float) -> None:
        self._parts = [torch.optim.AdamW(network.parameters(), lr=lr, betas=BETAS, weight_decay=weight_decay)]
        self._shares = [1.0]
