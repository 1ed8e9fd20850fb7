"""The optimiser of the kernels."""

import torch
from torch import nn

from fvdeblur.training.muon import KernelOptimizer, orthogonalise


def test_singular_values_are_brought_near_one() -> None:
    generator = torch.Generator().manual_seed(0)
    for shape in ((3, 16, 40), (3, 40, 16), (2, 24, 24)):
        values = torch.linalg.svdvals(orthogonalise(torch.randn(shape, generator=generator)).float())
        assert values.max() < 1.35
        assert values.median() > 0.6


def test_singular_vectors_are_kept() -> None:
    generator = torch.Generator().manual_seed(1)
    left = torch.linalg.qr(torch.randn(8, 8, generator=generator))[0]
    right = torch.linalg.qr(torch.randn(20, 8, generator=generator))[0]
    matrix = left @ torch.diag(torch.linspace(0.5, 1.0, 8)) @ right.T
    inner = left.T @ orthogonalise(matrix[None])[0].float() @ right
    off = inner - torch.diag(inner.diagonal())
    assert off.abs().max() < 0.05
    assert inner.diagonal().min() > 0.6


def test_a_linear_problem_is_solved_and_the_state_is_resumed() -> None:
    generator = torch.Generator().manual_seed(2)
    given, truth = torch.randn(64, 6, generator=generator), torch.randn(6, 4, generator=generator)

    def begin() -> tuple[nn.Linear, KernelOptimizer]:
        torch.manual_seed(3)
        layer = nn.Linear(6, 4)
        return layer, KernelOptimizer(layer, lr=0.05, weight_decay=0.0)

    def go_on(layer: nn.Linear, optimiser: KernelOptimizer, steps: range) -> float:
        for step in steps:
            optimiser.set_learning_rate(0.1 * (1 - step / 120))
            loss = (layer(given) - given @ truth).square().mean()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        return float(loss.detach())

    layer, optimiser = begin()
    first = go_on(layer, optimiser, range(1))
    assert go_on(layer, optimiser, range(1, 120)) < 0.01 * first

    half, half_optimiser = begin()
    go_on(half, half_optimiser, range(60))
    again, again_optimiser = begin()
    again.load_state_dict(half.state_dict())
    again_optimiser.load_state_dict(half_optimiser.state_dict())
    go_on(again, again_optimiser, range(60, 120))
    assert torch.equal(again.weight, layer.weight)
    assert torch.equal(again.bias, layer.bias)
