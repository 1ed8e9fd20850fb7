"""The default network ``fvd``: a multi-frame residual encoder-decoder on face crops.

Early fusion of five neighbouring frames and an encoder-decoder with skip connections follow Ren et al. 2019,
section 3.2 (rendered face beside the frames in the first layer, identity vector at the last encoder features).
Plain 3x3 convolutions on a 2x pixel-unshuffled input are used instead of the paper's layers, because they give the
most restoration for a given time on processors without a GPU.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

INPUT_GAIN = 4.0
"""Brings pixels to about unit variance."""

FLOW_GAIN = 0.125
"""Brings flow in pixels to about unit variance."""

OUTPUT_GAIN = 0.05
"""Brings features of unit variance to the size of a change, so that one step of the optimiser changes it little."""


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions with a rectifier between them, added to the input; [B, C, H, W] in and out."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.second(functional.relu(self.first(x)))


class HalvingConvolution(nn.Conv2d):
    """A 3x3 convolution of a picture whose blocks of 2x2 pixels have become channels, at half its size.

    It is computed as the 6x6 convolution with a stride of 2 that is the same, which moves no pixel and takes less time.

    Parameters
    ----------
    channels
        Of the picture.
    features
        That come out.
    half_channels
        Of what is given at half the size already.
    """

    def __init__(self, channels: int, features: int, half_channels: int = 0) -> None:
        super().__init__(4 * channels + half_channels, features, 3, padding=1)
        self._unshuffled = 4 * channels

    def forward(self, picture: Tensor, half: Tensor | None = None) -> Tensor:
        """[B, features, H/2, W/2] of a picture [B, channels, H, W] and what is given at half its size."""
        weight = functional.pixel_shuffle(self.weight[:, : self._unshuffled], 2)
        x = functional.conv2d(picture, weight, self.bias, stride=2, padding=2)
        if half is None:
            return x
        return x + functional.conv2d(half, self.weight[:, self._unshuffled :], padding=1)


class FVD(nn.Module):
    """Predict what must be added to the central frame of a window to make it sharp.

    Parameters
    ----------
    frames
        Number of frames in a window, odd; the central one is restored.
    widths
        Channels at 1/2, 1/4, 1/8, ... of the input's size.
    encoder_blocks
        Residual blocks of the encoder at each of these sizes; the last entry is the bottleneck.
    decoder_blocks
        Residual blocks of the decoder at each size but the smallest.
    prior_channels
        Channels of the rendered 3D face given beside the frames: 0 for none, 4 for R'G'B' and mask, 7 with the normals
        as well.
    identity_size
        Length of the identity vector (0: none), e.g. 80. It scales and shifts the features of the bottleneck and of
        each level of the decoder.
    takes_flow
        Whether optical flow is given: the neighbours are then seen a second time, moved onto the central frame, and
        the flow beside them, which tells how far an exposure smears.

    Notes
    -----
    Fully convolutional: height and width must be multiples of the attribute ``multiple``, 2 ** len(widths).
    """

    def __init__(
        self,
        frames: int = 5,
        widths: Sequence[int] = (32, 64, 128, 192),
        encoder_blocks: Sequence[int] = (1, 2, 3, 5),
        decoder_blocks: Sequence[int] = (2, 2, 2),
        prior_channels: int = 0,
        identity_size: int = 0,
        takes_flow: bool = False,
    ) -> None:
        super().__init__()
        if frames % 2 == 0 or frames < 1:
            raise ValueError(f"frames must be odd and positive, got {frames}")
        if len(encoder_blocks) != len(widths) or len(decoder_blocks) != len(widths) - 1:
            raise ValueError("encoder_blocks needs one entry a width, decoder_blocks one fewer")
        if takes_flow and len(widths) < 2:
            raise ValueError(
                "takes_flow needs two widths at least, as flow is given at a quarter of the size"
            )
        if prior_channels not in (0, 4, 7):
            raise ValueError(f"prior_channels must be 0, 4 or 7, got {prior_channels}")
        self.frames = frames
        self.prior_channels = prior_channels
        self.identity_size = identity_size
        self.takes_flow = takes_flow
        self.multiple = 2 ** len(widths)
        self.head = HalvingConvolution(frames * 3, widths[0])
        if takes_flow:
            self.flow_head = HalvingConvolution((frames - 1) * 3, widths[0], (frames - 1) * 2)
        if prior_channels:
            self.prior_head = HalvingConvolution(prior_channels, widths[0])
        if identity_size:
            self.identity_heads = nn.ModuleList(nn.Linear(identity_size, 2 * width) for width in widths)
        self.encoder = nn.ModuleList(
            _blocks(width, n) for width, n in zip(widths, encoder_blocks, strict=True)
        )
        self.down = nn.ModuleList(nn.Conv2d(fine, coarse, 2, stride=2) for fine, coarse in pairwise(widths))
        self.up = nn.ModuleList(nn.Conv2d(coarse, fine * 4, 1) for fine, coarse in pairwise(widths))
        self.decoder = nn.ModuleList(
            _blocks(width, n) for width, n in zip(widths[:-1], decoder_blocks, strict=True)
        )
        self.tail = nn.Conv2d(widths[0], 3 * 4, 3, padding=1)
        self._initialise()

    def _initialise(self) -> None:
        """Keep the variance through the layers, begin with small residuals and no change at all."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.kaiming_normal_(module.weight, nonlinearity="linear")
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
            if isinstance(module, ResidualBlock):
                nn.init.kaiming_normal_(module.first.weight, nonlinearity="relu")
        for module in self.modules():
            if isinstance(module, ResidualBlock):
                nn.init.kaiming_normal_(module.second.weight, nonlinearity="linear")
                module.second.weight.data.mul_(0.2)
        silent: list[nn.Conv2d | nn.Linear] = [self.tail]
        silent += [self.flow_head] if self.takes_flow else []
        silent += [self.prior_head] if self.prior_channels else []
        silent += list(self.identity_heads) if self.identity_size else []  # type: ignore[arg-type]
        for module in silent:
            nn.init.zeros_(module.weight)

    def forward(
        self,
        frames: Tensor,
        prior: Tensor | None = None,
        identity: Tensor | None = None,
        flow: Tensor | None = None,
        aligned: Tensor | None = None,
    ) -> Tensor:
        """Return the change for the central frame.

        Parameters
        ----------
        frames
            float [B, 3 * frames, H, W]: R'G'B' in 0..1, frame after frame in time order.
        prior
            float [B, prior_channels, H, W], the rendered sharp face, zero outside of it: R'G'B' in 0..1, mask in 0..1,
            unit normals in -1..1; left out, nothing is added for it.
        identity
            float [B, identity_size], in standard deviations; left out, no feature is changed for it.
        flow
            float [B, 2 * (frames - 1), H/4, W/4]: from the central frame to each other one in time order, x and y in
            pixels (`fvdeblur.flow`); left out, nothing is added for it.
        aligned
            float [B, 3 * (frames - 1), H, W], what `aligned_neighbours` gives; left out, it is computed.

        Returns
        -------
        float [B, 3, H, W]: R'G'B' change; the restored frame is the central frame plus this, clipped to 0..1.
        """
        x = self.head((frames - 0.5) * INPUT_GAIN)
        if flow is not None and self.takes_flow:
            half = functional.interpolate(
                flow.to(x.dtype), scale_factor=2, mode="bilinear", align_corners=False
            )
            if aligned is None:
                aligned = aligned_neighbours(frames, flow)
            x = x + self.flow_head((aligned.to(x.dtype) - 0.5) * INPUT_GAIN, half * FLOW_GAIN)
        if prior is not None and self.prior_channels:
            # As the frames, but zero outside of the face: at 0..1 as they are given, it learns more slowly.
            colours = (prior[:, :3] - 0.5 * prior[:, 3:4]) * INPUT_GAIN
            x = x + self.prior_head(torch.cat([colours, prior[:, 3:]], dim=1))
        skips = []
        for blocks, down in zip(self.encoder, self.down, strict=False):
            x = blocks(x)
            skips.append(x)
            x = down(x)
        modulations: list[Tensor | None] = [None] * len(self.encoder)
        if identity is not None and self.identity_size:
            modulations = [head(identity)[:, :, None, None] for head in self.identity_heads]
        x = self.encoder[-1](_modulated(x, modulations.pop()))
        for blocks, up in zip(reversed(self.decoder), reversed(self.up), strict=True):
            x = blocks(_modulated(functional.pixel_shuffle(up(x), 2) + skips.pop(), modulations.pop()))
        return functional.pixel_shuffle(self.tail(x), 2) * OUTPUT_GAIN


def _blocks(channels: int, count: int) -> nn.Sequential:
    return nn.Sequential(*(ResidualBlock(channels) for _ in range(count)))


def _modulated(x: Tensor, modulation: Tensor | None) -> Tensor:
    """Features [B, C, H, W], scaled and shifted by a modulation [B, 2 * C, 1, 1]."""
    if modulation is None:
        return x
    scale, shift = modulation.chunk(2, dim=1)
    return x * (1 + scale) + shift


def aligned_neighbours(frames: Tensor, flow: Tensor) -> Tensor:
    """Move every frame of a window but the central one onto that.

    Parameters
    ----------
    frames
        float [B, 3 * F, H, W], in time order.
    flow
        float [B, 2 * (F - 1), H/4, W/4], from the central frame to each other one, x and y in pixels.

    Returns
    -------
    float32 [B, 3 * (F - 1), H, W]; beyond a frame's edge the edge is repeated. Always in single precision: places in
    half precision are wrong by whole pixels.
    """
    batch, channels, height, width = frames.shape
    count = channels // 3
    # Plane after plane, which is sampled the fastest.
    planes = frames.contiguous().float().unflatten(1, (count, 3))
    middle = count // 2
    neighbours = torch.cat([planes[:, :middle], planes[:, middle + 1 :]], dim=1).flatten(0, 1)
    moved = flow.float().unflatten(1, (count - 1, 2)).flatten(0, 1)
    # In units of half the picture, as grid_sample wants it, with -1 and 1 at the outer edges of the outer pixels.
    moved = moved * moved.new_tensor([2 / width, 2 / height])[:, None, None]
    moved = functional.interpolate(moved, (height, width), mode="bilinear", align_corners=False)
    x, y = ((2 * torch.arange(size, device=frames.device) + 1) / size - 1 for size in (width, height))
    places = moved + torch.stack(torch.meshgrid(x, y, indexing="xy"))
    aligned = functional.grid_sample(
        neighbours, places.permute(0, 2, 3, 1), padding_mode="border", align_corners=False
    )
    return aligned.unflatten(0, (batch, count - 1)).flatten(1, 2)


def multiply_accumulates(network: nn.Module, *inputs: Tensor) -> int:
    """Multiply-accumulate operations of the network's convolutions and linear layers for these inputs."""
    total = 0

    def count(module: nn.Module, given: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal total
        if isinstance(module, nn.Conv2d):
            total += output[0].numel() * module.weight[0].numel()
        elif isinstance(module, nn.ConvTranspose2d):
            total += given[0][0].numel() * module.weight[0].numel()
        elif isinstance(module, nn.Linear):
            total += output[0].numel() * module.weight.shape[1]

    hooks = [module.register_forward_hook(count) for module in network.modules()]
    with torch.no_grad():
        network(*inputs)
    for hook in hooks:
        hook.remove()
    return total
