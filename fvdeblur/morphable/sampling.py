"""Weighted sums of a table's rows: how values are taken from vertices and from textures.

Values of N pixels are kept as [C, N], so that everything that is done to them later runs over contiguous memory.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional


class _WeightedRows(torch.autograd.Function):
    """One fused pass over the rows forward; torch's own backward of it is many times slower than this one."""

    @staticmethod
    def forward(ctx: Any, table: Tensor, indices: Tensor, weights: Tensor) -> Tensor:
        ctx.save_for_backward(table, indices, weights)
        rows = weights.new_empty(indices.shape)
        for column, weight in zip(rows.unbind(1), weights, strict=True):
            column.copy_(weight)  # several times faster than to transpose
        sums = functional.embedding_bag(indices, table, per_sample_weights=rows, mode="sum")
        return torch.stack(sums.unbind(1))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, None, Tensor | None]:
        table, indices, weights = ctx.saved_tensors
        gradient = gradients[0].t().contiguous()
        for_table = for_weights = None
        if ctx.needs_input_grad[0]:
            for_table = torch.zeros_like(table)
            for column, weight in zip(indices.unbind(1), weights, strict=True):
                for_table.index_add_(0, column, gradient * weight[:, None])
        if ctx.needs_input_grad[2]:
            columns = indices.unbind(1)
            for_weights = torch.stack([(table.index_select(0, rows) * gradient).sum(1) for rows in columns])
        return for_table, None, for_weights


def weighted_rows(table: Tensor, indices: Tensor, weights: Tensor) -> Tensor:
    """Σ_k ``weights[k, n] * table[indices[n, k]]``, [C, N]; differentiable in both.

    Parameters
    ----------
    table : [R, C]
        Floating point.
    indices : int64 [N, K]
        Rows.
    weights : [K, N]
        Of the same type as the table.
    """
    result: Tensor = _WeightedRows.apply(table, indices, weights)
    return result


def sample_maps(maps: Tensor, numbers: Tensor, uv: Tensor) -> Tensor:
    """Read UV maps bilinearly.

    Parameters
    ----------
    maps : [B, U, U, C]
        The centre of texel (row, column) lies at ((column + 0.5) / U, (row + 0.5) / U); beyond the outermost centres
        the values there go on.
    numbers : int64 [N]
        Which map to read.
    uv : [2, N]
        Where, 0..1.

    Returns
    -------
    [C, N]
        Differentiable in the maps and in the places.
    """
    side = maps.shape[1]
    place = (uv * side - 0.5).clamp(0, side - 1)
    corner = place.detach().floor().clamp(max=max(side - 2, 0))
    right, down = place - corner
    left, up = 1 - right, 1 - down
    weights = torch.stack([left * up, right * up, left * down, right * down])
    column, row = corner.long()
    step = min(side - 1, 1)
    steps = torch.tensor([0, step, step * side, step * side + step], device=maps.device)
    indices = ((numbers * side + row) * side + column)[:, None] + steps
    return weighted_rows(maps.flatten(0, 2), indices, weights)
