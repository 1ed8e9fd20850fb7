"""Several processes that train one network, each on its own device and share of the batch (``torchrun``)."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, distributed, nn

from fvdeblur.errors import UsageError


@dataclass(frozen=True)
class Processes:
    """This process among those of a run.

    Attributes
    ----------
    rank, world
        Number of this process, and how many there are.
    device
        Device of this process, ``cpu`` or ``cuda:N``.
    """

    rank: int
    world: int
    device: str

    @property
    def leads(self) -> bool:
        """Whether this is the process that reports and writes."""
        return self.rank == 0

    @torch.no_grad()
    def average(self, parameters: Iterable[nn.Parameter], *figures: Tensor) -> list[Tensor]:
        """Replace the gradients by their mean over all processes; return the means of these scalars too."""
        if self.world == 1:
            return list(figures)
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        flat = torch.cat([gradient.flatten() for gradient in gradients] + [f.reshape(1) for f in figures])
        distributed.all_reduce(flat)
        flat /= self.world
        pieces = flat.split([gradient.numel() for gradient in gradients] + [1] * len(figures))
        for gradient, piece in zip(gradients, pieces, strict=False):
            gradient.copy_(piece.reshape(gradient.shape))
        return [piece[0] for piece in pieces[len(gradients) :]]

    @torch.no_grad()
    def agree(self, values: Iterable[Tensor]) -> None:
        """Replace these values, such as moving statistics, by their mean over all processes."""
        kept = list(values)
        if self.world == 1 or not kept:
            return
        flat = torch.cat([value.flatten() for value in kept])
        distributed.all_reduce(flat)
        for value, piece in zip(kept, (flat / self.world).split([v.numel() for v in kept]), strict=True):
            value.copy_(piece.reshape(value.shape))

    def wait(self) -> None:
        """Wait until every process is here."""
        if self.world > 1:
            distributed.barrier()

    def leave(self) -> None:
        """End the common work."""
        if self.world > 1 and distributed.is_initialized():
            distributed.destroy_process_group()


def join(device: str) -> Processes:
    """Join the processes that ``torchrun`` started; without it, be the only one.

    Parameters
    ----------
    device
        ``cpu``, or ``cuda`` (the device of this process's number on its machine), or ``cuda:N`` for one process.

    Raises
    ------
    UsageError
        The device is unknown, this machine does not have it, or one device was named for several processes.
    """
    world = int(os.environ.get("WORLD_SIZE", "1"))
    rank = int(os.environ.get("RANK", "0"))
    kind = _kind(device)
    if world > 1 and kind == "cuda":
        if ":" in device:
            raise UsageError(f"device {device!r} is one device, but {world} processes were started; use cuda")
        device = f"cuda:{os.environ.get('LOCAL_RANK', '0')}"
    if kind == "cuda" and (torch.device(device).index or 0) >= torch.cuda.device_count():
        raise UsageError(f"device {device!r} was asked for, but this machine does not have it; use cpu")
    if world > 1:
        if kind == "cuda":
            torch.cuda.set_device(device)
        distributed.init_process_group("nccl" if kind == "cuda" else "gloo", rank=rank, world_size=world)
    return Processes(rank, world, device)


def _kind(name: str) -> str:
    try:
        kind = torch.device(name).type
    except RuntimeError:
        kind = ""
    if kind not in ("cpu", "cuda"):
        raise UsageError(f"unknown device {name!r}; use cpu or cuda[:N]")
    return kind
