"""Momentum with orthogonalised updates for convolution kernels, AdamW for everything else.

The momentum of each kernel, seen as a matrix [output channels, everything else], is brought close to an orthogonal
matrix by a few Newton-Schulz iterations (Jordan et al. 2024, "Muon"), so that all directions of a layer learn at the
same pace. On this project's plain residual networks it needs less than half of AdamW's steps for the same gain.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

MOMENTUM = 0.95
ITERATIONS = 5
COEFFICIENTS = (3.4445, -4.7750, 2.0315)
"""Odd polynomial a x + b x^3 + c x^5 that moves singular values in 0..1 towards 1."""

BETAS = (0.9, 0.999)
"""Of Adam."""

UPDATE_SIZE = 0.2
"""Root-mean-square size of an update in units of the learning rate, about AdamW's own."""


@torch.no_grad()
def orthogonalise(matrices: Tensor) -> Tensor:
    """Bring matrices [N, rows, columns] close to orthogonal ones; singular values come out between 0.7 and 1.2."""
    a, b, c = COEFFICIENTS
    x = matrices.to(torch.bfloat16)
    tall = x.shape[1] > x.shape[2]
    x = x.mT if tall else x
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(ITERATIONS):
        square = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(square, square, square, beta=b, alpha=c), x, beta=a)
    return (x.mT if tall else x).to(matrices.dtype)


class Muon(torch.optim.Optimizer):
    """Orthogonalised momentum for parameters of two or more dimensions."""

    def __init__(self, parameters: Iterable[Tensor], lr: float, weight_decay: float) -> None:
        super().__init__(parameters, {"lr": lr, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Make one update; gradients that are None are passed over."""
        for group in self.param_groups:
            by_shape: dict[tuple[int, int], list[tuple[nn.Parameter, Tensor]]] = defaultdict(list)
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                state = self.state[parameter]
                if "momentum" not in state:
                    state["momentum"] = torch.zeros_like(parameter)
                momentum = state["momentum"].mul_(MOMENTUM).add_(parameter.grad)
                ahead = parameter.grad.add(momentum, alpha=MOMENTUM).flatten(1)
                by_shape[ahead.shape[0], ahead.shape[1]].append((parameter, ahead))
            for shape, members in by_shape.items():
                updates = orthogonalise(torch.stack([ahead for _, ahead in members]))
                factor = group["lr"] * UPDATE_SIZE * max(shape) ** 0.5
                for (parameter, _), update in zip(members, updates, strict=True):
                    parameter.mul_(1 - group["lr"] * group["weight_decay"])
                    parameter.add_(update.reshape(parameter.shape), alpha=-factor)


class KernelOptimizer:
    """`Muon` for kernels and matrices, AdamW for biases, behind the interface of one optimiser."""

    def __init__(self, network: nn.Module, lr: float, weight_decay: float) -> None:
        kernels = [p for p in network.parameters() if p.ndim >= 2]
        others = [p for p in network.parameters() if p.ndim < 2]
        self._parts: list[torch.optim.Optimizer] = [
            Muon(kernels, lr, weight_decay),
            torch.optim.AdamW(others, lr=lr / 2, weight_decay=0.0),
        ]
        self._shares = [1.0, 0.5]

    def add(self, other: nn.Module, share: float) -> None:
        """Train another network too, by Adam, at this share of the learning rate and without weight decay."""
        self._parts.append(torch.optim.AdamW(other.parameters(), betas=BETAS, weight_decay=0.0))
        self._shares.append(share)

    def set_learning_rate(self, lr: float) -> None:
        """Set the learning rate; each part gets its share of it, biases half."""
        for part, share in zip(self._parts, self._shares, strict=True):
            for group in part.param_groups:
                group["lr"] = lr * share

    def zero_grad(self) -> None:
        """Forget the gradients."""
        for part in self._parts:
            part.zero_grad(set_to_none=True)

    def step(self) -> None:
        """Make one update."""
        for part in self._parts:
            part.step()

    def state_dict(self) -> dict[str, Any]:
        """State of all parts."""
        return {str(i): part.state_dict() for i, part in enumerate(self._parts)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over the state of all parts."""
        for i, part in enumerate(self._parts):
            part.load_state_dict(state[str(i)])
