"""The network ``dfpgnet``: the generator of Jung et al. 2022, "Deep Feature Prior Guided Face Deblurring".

An encoder and a decoder that deblur, and between them a stream that estimates deep features of the sharp face as a face
recognition network would see them (sections 3.1 to 3.3). The paper leaves open, and here is:

- *Channels*: 64, 128 and 256 at full, 1/2 and 1/4 size, those of the VGGFace features that are estimated.
- *Numbers of blocks*: two at each place of encoder and decoder, four in each part of the prior stream, which has the
  harder task (a later public program of the same laboratory has twice as many there too, but 5 and 10:
  more than 50 MB in half precision).
- *Mappings of the feature transforms*: two 3x3 convolutions with a leaky rectifier (0.2) for the scale, two for the
  shift. The scale is learnt as a difference from 1, as in the work that the module is taken from (Wang et al. 2018).
- *Ways down and up*: 4x4 convolutions and transposed convolutions of stride 2.
- *The first and last layer*: 3x3 convolutions; E_0, the features of the first, is added to those of the decoder before
  the last, from which the image comes.
- *What the estimate looks like where the features have other channels than the stream*: a last 1x1 convolution.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from fvdeblur.networks.checks import check_sides, keep_size

INPUT_GAIN = 4.0
"""Brings pixels to about unit variance."""

REDUCTION = 16
"""Channels of channel attention, to those of its bottleneck (Hu et al. 2018)."""

RESIDUAL_GAIN = 0.2
"""Size of a residual beside what it is added to, before training."""

OUTPUT_GAIN = 0.05
"""Brings features of unit variance to the size of a change, where the last layer gives one."""

SLOPE = 0.2
"""Of leaky rectifiers."""


class ChannelAttention(nn.Module):
    """Weigh channels by what they are on average over the picture (Hu et al. 2018); [B, C, H, W] in and out."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        inner = max(1, channels // REDUCTION)
        self.squeeze = nn.Conv2d(channels, inner, 1)
        self.excite = nn.Conv2d(inner, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        weights = functional.relu(self.squeeze(x.mean(dim=(2, 3), keepdim=True)))
        return x * torch.sigmoid(self.excite(weights))


class AttentionBlock(nn.Module):
    """Residual channel-attention block (Zhang et al. 2018): convolution, rectifier, convolution, attention, added."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)
        self.attention = ChannelAttention(channels)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.attention(self.second(functional.relu(self.first(x))))


class FeatureTransform(nn.Module):
    """Scale and shift features by what a condition says at each position: equation (2), and (1) where both are one.

    Features [B, channels, H, W] and condition [B, condition, H, W] in, [B, channels, H, W] out.
    """

    def __init__(self, channels: int, condition: int) -> None:
        super().__init__()
        self.scale, self.shift = (
            nn.Sequential(
                nn.Conv2d(condition, channels, 3, padding=1),
                nn.LeakyReLU(SLOPE),
                nn.Conv2d(channels, channels, 3, padding=1),
            )
            for _ in range(2)
        )

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        return x * (1 + self.scale(condition)) + self.shift(condition)


class PriorStream(nn.Module):
    """Estimate the deep features of one scale: SSFT, attention blocks; [B, channels, H, W] to [B, features, H, W]."""

    def __init__(self, channels: int, features: int, blocks: int, transforms: bool) -> None:
        super().__init__()
        self.transform = FeatureTransform(channels, channels) if transforms else None
        self.blocks = _blocks(channels, blocks)
        self.last = nn.Conv2d(channels, features, 1) if features != channels else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        if self.transform is not None:
            x = self.transform(x, x)
        return self.last(self.blocks(x))


class Addition(nn.Module):
    """What stands for a transform where there is none: the condition added, by a 1x1 convolution."""

    def __init__(self, channels: int, condition: int) -> None:
        super().__init__()
        self.mapping = nn.Conv2d(condition, channels, 1)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        return x + self.mapping(condition)


class DFPGnet(nn.Module):
    """Predict the sharp face of a single frame, guided by the deep features that it estimates of it.

    Parameters
    ----------
    widths
        Channels at full, 1/2 and 1/4 size.
    features
        Channels of the deep features at full, 1/2 and 1/4 size: 64, 128 and 256 for relu1_2, relu2_2 and relu3_3 of
        VGGFace. Empty: no prior stream (row B1 of the paper's Table 4).
    blocks
        Attention blocks at each place of encoder and decoder.
    prior_blocks
        Attention blocks of each part of the prior stream.
    transforms
        Whether features are transformed between the streams (SSFT and SFT); otherwise they go over as they are and are
        added (row B3).
    residual
        Whether the last layer gives the change of the frame and not an image: then nothing has to be learnt to keep
        what is sharp, which a short training is too short for.

    Raises
    ------
    ValueError
        An option is out of its range.

    Notes
    -----
    Fully convolutional: height and width must be multiples of the attribute ``multiple``, 4. 22.4 million parameters
    with the options as they stand.

    The network gives an image; `forward` returns it less the frame, so that every network is used alike. Before
    training the image is the frame itself, which the first three features of E_0 carry: the decoder's last
    convolution begins at zero.
    """

    frames = 1
    multiple = 4

    def __init__(
        self,
        widths: Sequence[int] = (64, 128, 256),
        features: Sequence[int] = (64, 128, 256),
        blocks: int = 2,
        prior_blocks: int = 4,
        transforms: bool = True,
        residual: bool = False,
    ) -> None:
        super().__init__()
        if len(widths) != 3 or min(widths) < 3:
            raise ValueError(f"widths must be three numbers from 3, got {list(widths)}")
        if len(features) not in (0, 3) or min(features, default=1) < 1:
            raise ValueError(f"features must be three positive numbers or none, got {list(features)}")
        if blocks < 1 or prior_blocks < 1:
            raise ValueError("blocks and prior_blocks must be at least 1")
        self.features = tuple(features)
        self.residual = residual
        steps = list(pairwise(widths))
        self.head = nn.Conv2d(3, widths[0], 3, padding=1)
        self.encoder = nn.ModuleList(_blocks(width, blocks) for width in widths)
        self.down = nn.ModuleList(nn.Conv2d(fine, coarse, 4, 2, 1) for fine, coarse in steps)
        self.middle = _blocks(widths[-1], blocks)
        self.decoder = nn.ModuleList(_blocks(width, blocks) for width in widths)
        self.up = nn.ModuleList(nn.ConvTranspose2d(coarse, fine, 4, 2, 1) for fine, coarse in steps)
        self.prior = nn.ModuleList(
            PriorStream(width, count, prior_blocks, transforms)
            for width, count in zip(widths, features, strict=False)
        )
        joint = FeatureTransform if transforms else Addition
        self.joints = nn.ModuleList(
            joint(width, count) for width, count in zip(widths, features, strict=False)
        )
        self.last = nn.Conv2d(widths[0], widths[0], 3, padding=1)
        self.tail = nn.Conv2d(widths[0], 3, 3, padding=1)
        self._initialise()

    @torch.no_grad()
    def _initialise(self) -> None:
        """Keep the size of the features through the layers and begin with the frame as the image."""
        keep_size(self, 1)
        for module in self.modules():
            if isinstance(module, AttentionBlock):
                module.second.weight.mul_(RESIDUAL_GAIN)
            elif isinstance(module, FeatureTransform):
                for part in (module.scale[-1], module.shift[-1]):
                    part.get_parameter("weight").mul_(RESIDUAL_GAIN)
        self.tail.weight.zero_()
        if self.residual:
            return
        colours = torch.arange(3)
        self.head.weight[:3] = 0
        self.head.weight[colours, colours, 1, 1] = 1
        self.last.weight.zero_()
        self.tail.weight[colours, colours, 1, 1] = 1

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
        return self.estimate(frames)[0]

    def estimate(self, frames: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Return the change as `forward` does, and the estimated features of the sharp face.

        Returns
        -------
        The change float [B, 3, H, W]; features float [B, C, H, W], [B, C', H/2, W/2] and [B, C'', H/4, W/4] with the
        channels of ``features``, none where there is no prior stream.
        """
        check_sides(frames, self.multiple)
        given = (frames - 0.5) * INPUT_GAIN
        first = self.head(given)
        x, encoded = first, []
        for i, blocks in enumerate(self.encoder):
            x = blocks(self.down[i - 1](x) if i else x)
            encoded.append(x)
        estimated = [stream(features) for stream, features in zip(self.prior, encoded, strict=False)]
        x = self.middle(x)
        for i in (2, 1, 0):
            if i < 2:
                x = self.up[i](x)
            if estimated:
                x = self.joints[i](x, estimated[i])
            x = self.decoder[i](x)
        image = self.tail(first + self.last(x))
        change = image * OUTPUT_GAIN if self.residual else (image - given) / INPUT_GAIN
        return change, estimated


class FeatureDiscriminator(nn.Module):
    """Tell the deep features of sharp faces from estimated ones (section 3.4); needed for training alone.

    Parameters
    ----------
    features
        Channels of the features at full, 1/2 and 1/4 size.
    attention
        Whether channels are weighed first (row B6 of Table 4); otherwise not (row B5).

    Notes
    -----
    Equation (5): channel attention on each scale, a processing block, its result halved and concatenated to the next
    scale. The paper says nothing of the layers: a 3x3 convolution and a 4x4 convolution of stride 2 a block, to
    64, 128 and 256 channels, with leaky rectifiers (0.2) and without normalisation, so that a picture is judged alone;
    the classifier is the mean over the picture and a linear layer, so that a picture may be of any size.
    """

    widths = (64, 128, 256)

    def __init__(self, features: Sequence[int], attention: bool = True) -> None:
        super().__init__()
        self.attention = nn.ModuleList(
            ChannelAttention(channels) if attention else nn.Identity() for channels in features
        )
        before = (0, *self.widths[:-1])
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(already + channels, width, 3, padding=1),
                nn.LeakyReLU(SLOPE),
                nn.Conv2d(width, width, 4, 2, 1),
                nn.LeakyReLU(SLOPE),
            )
            for already, channels, width in zip(before, features, self.widths, strict=True)
        )
        self.classifier = nn.Linear(self.widths[-1], 1)

    def forward(self, features: Sequence[Tensor]) -> tuple[list[Tensor], Tensor]:
        """Weigh and judge features.

        Parameters
        ----------
        features
            float [B, C, H, W] at full, 1/2 and 1/4 size.

        Returns
        -------
        The weighed features of the same shapes (equation 4), and float [B] logits: above 0 for sharp faces.
        """
        weighed = [weigh(part) for weigh, part in zip(self.attention, features, strict=True)]
        x = weighed[0][:, :0]
        for block, part in zip(self.blocks, weighed, strict=True):
            x = block(torch.cat([part, x], dim=1))
        return weighed, self.classifier(x.mean(dim=(2, 3)))[:, 0]


def _blocks(channels: int, count: int) -> nn.Sequential:
    return nn.Sequential(*(AttentionBlock(channels) for _ in range(count)))
