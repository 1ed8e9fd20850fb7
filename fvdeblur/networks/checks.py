"""What several networks demand of their inputs and begin with."""

from __future__ import annotations

from torch import Tensor, nn


def check_sides(frames: Tensor, multiple: int) -> None:
    """Raise ValueError where height or width of [..., H, W] is no multiple."""
    height, width = frames.shape[-2:]
    if height % multiple or width % multiple:
        raise ValueError(f"{width}x{height}: both sides must be multiples of {multiple}")


def keep_size(network: nn.Module, transposed_gain: float) -> None:
    """Initialise convolutions so that features keep their size through ReLUs; biases begin at zero.

    Parameters
    ----------
    network
        What holds them.
    transposed_gain
        Squared gain of transposed convolutions of 4x4 with stride 2: 2 behind a ReLU, else 1.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
        elif isinstance(module, nn.ConvTranspose2d):
            # Each output pixel sees a quarter of the kernel, of all input channels.
            nn.init.normal_(module.weight, std=(transposed_gain / (module.in_channels * 4)) ** 0.5)
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d) and module.bias is not None:
            nn.init.zeros_(module.bias)
