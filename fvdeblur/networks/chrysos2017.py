"""The network ``chrysos2017``: Chrysos & Zafeiriou 2017, "Deep Face Deblurring", section 3.3.

A ResNet without max pooling, hypercolumn-like skip connections from its second and third block, each with batch
normalisation, and a linear mapping from these connections to the image. The paper leaves open:

- *The depth.* ResNet-50 here, the smallest of the original paper with bottleneck blocks. It ends with its third block
  (conv4_x), the last one from which a connection leads to the image: a fourth would have no way out.
- *What is a block, and what is a pooling.* Blocks are the groups of units of one resolution (conv2_x, conv3_x,
  conv4_x), as in the original paper's table. The one max pooling is gone, so that they see 1/2, 1/4 and 1/8 of
  the image's size; strided convolutions stay, as they choose what to keep. The stride of a unit lies in its 3x3
  convolution: in the 1x1, where the first ResNets had it, three of four positions would not be looked at.
- *The linear mapping.* Every position of a connection gives all the pixels that it covers (4x4 and 8x8, by a 1x1
  convolution and a pixel shuffle), and both images are added up. Hypercolumns of Hariharan et al. are enlarged
  bilinearly before they are mapped pixel by pixel; no detail finer than 1/4 of the size could come of that.
- *The statistics of the batch normalisation.* They are moving averages in training too, see `MovingNorm`.
- *The first weights.* The authors begin with those of ImageNet, which no package brings; see `Chrysos2017`.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from fvdeblur.networks.checks import check_sides

MEAN, DEVIATION = (140.0, 123.0, 116.0), 72.0
"""Of R'G'B' of pictures of faces, 0..255: the network sees pixels less the one, divided by the other."""

OUTPUT_GAIN = 1 / 9
"""Brings features of unit variance to the size of a change, 8 of 255, so that one step of the optimiser changes it
little: at the paper's learning rate the image would swing by 16 a step without."""

RESIDUAL_GAIN = 0.2
"""Size of what a unit adds, before training, where the frame is not to be carried through."""

UNITS, WIDTHS = (3, 4, 6), (64, 128, 256)
"""Bottleneck units of the blocks, and the channels of their 3x3 convolutions (ResNet-50)."""

EXPANSION = 4
"""Channels of a block's features, in units of those of its 3x3 convolutions."""

CARRYING_MOMENTUM = 0.001
"""Of the statistics of a network that carries the frame through: faster, and the weights could not keep it as it is."""

STATISTIC_PLACES = 2048
"""Of a batch, that the statistics of a normalisation are taken at."""

HALF_MEAN, HALF_VARIANCE = 0.43, 0.315
"""Of what a rectifier leaves of such pixels, or of their negatives."""


class MovingNorm(nn.Module):
    """Batch normalisation by moving averages of the statistics, in training as afterwards; [B, C, H, W] in and out.

    The statistics of one batch would take its own brightness and contrast out of the image, and nothing brings them
    back, since all that reaches the image goes through a normalisation. Who goes on from a trained ResNet
    holds its statistics still for the same reason. They begin with those of the first batch and follow the features at
    `momentum`. They must not lag behind: where they do, they go on moving while the rate of learning falls, and the
    weights can follow less and less. They are taken at `STATISTIC_PLACES` places of a batch at least, evenly spread:
    looking at all takes long on a processor.
    """

    momentum, epsilon = 0.02, 1e-5

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.mean: Tensor
        self.variance: Tensor
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("variance", torch.ones(channels))
        self.batches: Tensor
        self.register_buffer("batches", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        mean, variance = self.mean, self.variance
        if self.training:
            first = self.batches == 0
            mean, variance = mean.clone(), variance.clone()  # as they were, for the way back
            self._follow(x.detach())
            mean, variance = torch.where(first, self.mean, mean), torch.where(first, self.variance, variance)
        return functional.batch_norm(x, mean, variance, self.weight, self.bias, False, 0.0, self.epsilon)

    @torch.no_grad()
    def _follow(self, x: Tensor) -> None:
        step = max(1, math.isqrt(len(x) * x[0, 0].numel() // STATISTIC_PLACES))
        seen = x[:, :, ::step, ::step].float()
        variance, mean = torch.var_mean(seen, dim=(0, 2, 3), correction=0)
        self.batches.add_(1).clamp_(max=1 / self.momentum)
        share = 1 / self.batches
        for moving, now in ((self.mean, mean), (self.variance, variance)):
            moving.lerp_(torch.where(torch.isfinite(now), now, moving), share)

    @torch.no_grad()
    def pass_on(self, channels: int, mean: float = HALF_MEAN, variance: float = HALF_VARIANCE) -> None:
        """Leave the first channels as they come in, with statistics that they are likely to have."""
        self.mean[:channels], self.variance[:channels] = mean, variance
        self.batches.fill_(1 / self.momentum)
        self.bias[:channels], self.weight[:channels] = mean, (variance + self.epsilon) ** 0.5

    @torch.no_grad()
    def silence(self, channels: int) -> None:
        """Let nothing of the first channels through."""
        self.weight[:channels], self.bias[:channels] = 0, 0


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions, each normalised, added to the input, rectified (He et al. 2016).

    float [B, inputs, H, W] in, [B, 4 * width, H / stride, W / stride] out.
    """

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        outputs = EXPANSION * width
        self.reduce = nn.Conv2d(inputs, width, 1, bias=False)
        self.reduce_norm = MovingNorm(width)
        self.middle = nn.Conv2d(width, width, 3, stride=stride, padding=1, bias=False)
        self.middle_norm = MovingNorm(width)
        self.expand = nn.Conv2d(width, outputs, 1, bias=False)
        self.expand_norm = MovingNorm(outputs)
        self.projection: nn.Conv2d | None = None
        self.projection_norm: MovingNorm | None = None
        if stride > 1 or inputs != outputs:
            self.projection = nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False)
            self.projection_norm = MovingNorm(outputs)

    def forward(self, x: Tensor) -> Tensor:
        residual = functional.relu(self.reduce_norm(self.reduce(x)))
        residual = functional.relu(self.middle_norm(self.middle(residual)))
        residual = self.expand_norm(self.expand(residual))
        if self.projection is not None and self.projection_norm is not None:
            x = self.projection_norm(self.projection(x))
        return functional.relu(x + residual)


class Chrysos2017(nn.Module):
    """Predict the sharp face of a single frame.

    Parameters
    ----------
    residual
        Whether the linear mapping gives the change of the frame and not, as in the paper, the image: then nothing has
        to be learnt to keep what is sharp, which a short training is too short for.

    Notes
    -----
    The network works on pixels of 0..255 less a mean, divided by a deviation; `forward` takes 0..1 and returns the
    image less the frame, so that every network is used alike. 8.8 million parameters.

    Fully convolutional: height and width must be multiples of the attribute ``multiple``, 8.

    Before training the image is the frame itself. Without ``residual`` the first features of the first two blocks carry
    its pixels, halved into the part above and the part below the mean, which rectifiers leave alone. All other weights
    begin at random (He et al. 2015). With random weights alone the network would have to learn to copy before
    anything else.
    """

    frames = 1
    multiple = 8

    def __init__(self, residual: bool = False) -> None:
        super().__init__()
        self.residual = residual
        self.head = nn.Conv2d(3, 64, 7, stride=2, padding=3, bias=False)
        self.head_norm = MovingNorm(64)
        self.blocks = nn.ModuleList()
        inputs = 64
        for number, (width, units) in enumerate(zip(WIDTHS, UNITS, strict=True)):
            strides = [2 if number else 1] + [1] * (units - 1)
            block = []
            for stride in strides:
                block.append(Bottleneck(inputs, width, stride))
                inputs = EXPANSION * width
            self.blocks.append(nn.Sequential(*block))
        second, third = EXPANSION * WIDTHS[1], EXPANSION * WIDTHS[2]
        self.skip_norms = nn.ModuleList([MovingNorm(second), MovingNorm(third)])
        self.mappings = nn.ModuleList(
            [nn.Conv2d(second, 3 * 4**2, 1), nn.Conv2d(third, 3 * 8**2, 1, bias=False)]
        )
        if not residual:
            for module in self.modules():
                if isinstance(module, MovingNorm):
                    module.momentum = CARRYING_MOMENTUM
        self._initialise()

    @torch.no_grad()
    def _initialise(self) -> None:
        """Begin with the frame as the image."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        for mapping in self._mappings():
            mapping.weight.zero_()
        blocks: Any = self.blocks
        if self.residual:
            for unit in (unit for block in blocks for unit in block):
                unit.expand_norm.weight.fill_(RESIDUAL_GAIN)
            return
        first, second = list(blocks[0]), list(blocks[1])
        # 24 features at 1/2: sign, place in a cell of 2x2 pixels, colour.
        signs, places = (1, -1), [(y, x) for y in (0, 1) for x in (0, 1)]
        half = [(sign, y, x, colour) for sign in signs for y, x in places for colour in range(3)]
        self.head.weight[: len(half)] = 0
        for channel, (sign, y, x, colour) in enumerate(half):
            self.head.weight[channel, colour, 3 + y, 3 + x] = sign
        self.head_norm.pass_on(len(half), mean=0.0, variance=1.0)
        _copy(first[0].projection, len(half))
        first[0].projection_norm.pass_on(len(half))
        for unit in first:
            unit.expand_norm.silence(len(half))
        # 96 features at 1/4: place in a cell of 2x2 of these, which one of them.
        quarter = [(place, channel) for place in places for channel in range(len(half))]
        bridge = second[0]
        _copy(bridge.reduce, len(half))
        bridge.reduce_norm.pass_on(len(half))
        bridge.middle.weight[: len(quarter)] = 0
        for channel, ((y, x), source) in enumerate(quarter):
            bridge.middle.weight[channel, source, 1 + y, 1 + x] = 1
        bridge.middle_norm.pass_on(len(quarter))
        _copy(bridge.expand, len(quarter))
        bridge.expand_norm.pass_on(len(quarter))
        bridge.projection_norm.silence(len(quarter))
        for unit in second[1:]:
            unit.expand_norm.silence(len(quarter))
        norms: Any = self.skip_norms
        norms[0].pass_on(len(quarter))
        mapping = self._mappings()[0]
        for channel, ((above, left), source) in enumerate(quarter):
            sign, y, x, colour = half[source]
            mapping.weight[16 * colour + 4 * (2 * above + y) + 2 * left + x, channel] = sign / OUTPUT_GAIN

    def _mappings(self) -> list[nn.Conv2d]:
        return [module for module in self.mappings if isinstance(module, nn.Conv2d)]

    def forward(self, frames: Tensor) -> Tensor:
        """Return the change for the frame.

        Parameters
        ----------
        frames
            float [B, 3, H, W]: R'G'B' in 0..1.

        Returns
        -------
        float [B, 3, H, W]: R'G'B' change, the network's image less the frame; the restored frame is the frame plus
        this, clipped to 0..1.

        Raises
        ------
        ValueError
            Height or width is not a multiple of ``multiple``.
        """
        check_sides(frames, self.multiple)
        mean = torch.tensor(MEAN, dtype=frames.dtype, device=frames.device)[:, None, None]
        given = (frames * 255 - mean) / DEVIATION
        x = functional.relu(self.head_norm(self.head(given)))
        first, second, third = self.blocks
        at_quarter = second(first(x))
        at_eighth = third(at_quarter)
        finer, coarser = (
            functional.pixel_shuffle(mapping(norm(features)), scale)
            for mapping, norm, features, scale in zip(
                self.mappings, self.skip_norms, (at_quarter, at_eighth), (4, 8), strict=True
            )
        )
        image: Tensor = finer + coarser
        if not self.residual:
            image = image - given / OUTPUT_GAIN
        return image * (OUTPUT_GAIN * DEVIATION / 255)


def _copy(convolution: nn.Conv2d, channels: int) -> None:
    """Let the first output channels of a 1x1 convolution be its first input channels."""
    convolution.weight[:channels] = 0
    convolution.weight[torch.arange(channels), torch.arange(channels)] = 1
