"""The network ``ren2019``: the deblurring branch of Ren et al. 2019, "Face Video Deblurring using 3D Facial Priors".

Section 3.2 and Fig. 2 of the paper give the design: early fusion of five frames, an encoder-decoder of 5x5 convolutions
and residual blocks at the original scale only, the rendered face concatenated to the features of the first
convolution, the identity vector concatenated to the last features of the encoder. What the paper leaves to its
supplement (strides, 4x4 transposed convolutions, skip connections by addition, a rectifier behind every convolution but
the last, the identity in the map's centre) is as in the authors' public program.

The initialisation is not the paper's, see `Ren2019`.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from fvdeblur.networks.checks import check_sides, keep_size
from fvdeblur.networks.window import central_frame

MAP_SIDE = 9
"""Side of the square matrix into which the identity vector is reshaped (section 3.2)."""

BLOCKS = 3
"""Residual blocks a level, of the encoder as of the decoder."""

RESIDUAL_GAIN = 0.2
"""Size of a residual beside what it is added to, before training."""

OUTPUT_GAIN = 0.05
"""Brings features of unit variance to the size of a change, where the last layer gives one."""


class ResidualBlock(nn.Module):
    """Convolution (5x5), rectifier, convolution (5x5), added to the input, rectifier; [B, C, H, W] in and out."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 5, padding=2)
        self.second = nn.Conv2d(channels, channels, 5, padding=2)

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(x + self.second(functional.relu(self.first(x))))


class Ren2019(nn.Module):
    """Predict the sharp central frame of a window, guided by a rendered 3D face and an identity vector.

    Parameters
    ----------
    frames
        Number of frames in a window, odd; the central one is restored. 5 in the paper, 1 in its comparison with a
        single image (section 4.5).
    width
        Channels of the first convolution, at least 3; the levels have ``width``, 2 ``width`` and 4 ``width``: 32, 64
        and 128 in the paper. A smaller one costs less, by its square.
    prior_channels
        Channels of the rendered face (0: none), 3 for R'G'B' as in the paper, 4 with the mask.
    identity_size
        Length of the identity vector (0: none), 80 in the paper, at most 81.
    residual
        Whether the last layer gives the change of the central frame and not, as in the paper, an image: then nothing
        has to be learnt to keep what is sharp, which a short training is too short for.

    Raises
    ------
    ValueError
        An option is out of its range.

    Notes
    -----
    The rows of the paper's Table 2 are ``prior_channels`` of 0 or 3 with ``identity_size`` of 0 or 80.

    Fully convolutional: height and width must be multiples of the attribute ``multiple``, 4. The identity matrix is
    padded with zeros to the bottleneck's size, whatever it is, and never cropped: with an identity vector both sides
    must be 36 pixels or more.

    The last layer gives an image, not a residual (section 3.2: "the predicted clear face content"). `forward` returns
    this image less the central frame, so that every network is used alike.

    Before training the image is the central frame itself, which the first three features of the finest level carry
    from the first convolution to the last; all other layers begin at a size that neither grows nor fades with depth.
    The authors begin at random (Xavier), from where the network must learn to copy first.
    """

    multiple = 4
    takes_flow = False

    def __init__(
        self,
        frames: int = 5,
        width: int = 32,
        prior_channels: int = 3,
        identity_size: int = 80,
        residual: bool = False,
    ) -> None:
        super().__init__()
        if frames % 2 == 0 or frames < 1:
            raise ValueError(f"frames must be odd and positive, got {frames}")
        if width < 3:
            raise ValueError(f"width must be at least 3, got {width}")
        if prior_channels < 0:
            raise ValueError(f"prior_channels must not be negative, got {prior_channels}")
        if not 0 <= identity_size <= MAP_SIDE**2:
            raise ValueError(f"identity_size must be between 0 and {MAP_SIDE**2}, got {identity_size}")
        self.frames = frames
        self.prior_channels = prior_channels
        self.identity_size = identity_size
        self.residual = residual
        fine, middle, coarse = width + prior_channels, 2 * width, 4 * width
        bottom = coarse + (identity_size > 0)
        self.head = nn.Conv2d(3 * frames, width, 5, padding=2)
        self.encoder = nn.ModuleList(_blocks(channels) for channels in (fine, middle, coarse))
        self.down = nn.ModuleList(
            nn.Conv2d(before, after, 5, stride=2, padding=2)
            for before, after in ((fine, middle), (middle, coarse))
        )
        self.decoder = nn.ModuleList(_blocks(channels) for channels in (bottom, middle, fine))
        self.up = nn.ModuleList(
            nn.ConvTranspose2d(before, after, 4, stride=2, padding=1)
            for before, after in ((bottom, middle), (middle, fine))
        )
        self.tail = nn.Conv2d(fine, 3, 5, padding=2)
        self._initialise()

    @torch.no_grad()
    def _initialise(self) -> None:
        """Keep the size of the features through the layers and begin with the central frame as the image."""
        keep_size(self, 2)
        for module in self.modules():
            if isinstance(module, ResidualBlock):
                module.second.weight.mul_(RESIDUAL_GAIN)
        if self.residual:
            self.tail.weight.zero_()
            return
        # The first three features of the finest level: the central frame, which nothing is added to.
        centre, colours = 2, torch.arange(3)
        self.head.weight[:3] = 0
        self.head.weight[colours, 3 * (self.frames // 2) + colours, centre, centre] = 1
        for module in (*self.encoder[0].modules(), *self.decoder[-1].modules()):
            if isinstance(module, ResidualBlock):
                module.second.weight[:3] = 0
        self.up[-1].get_parameter("weight")[:, :3] = 0
        self.tail.weight.zero_()
        self.tail.weight[colours, colours, centre, centre] = 1

    def forward(self, frames: Tensor, prior: Tensor | None = None, identity: Tensor | None = None) -> Tensor:
        """Return the change for the central frame.

        Parameters
        ----------
        frames
            float [B, 3 * frames, H, W]: R'G'B' in 0..1, frame after frame in time order.
        prior
            float [B, prior_channels, H, W] in 0..1, the rendered sharp face; left out, it is zero everywhere.
        identity
            float [B, identity_size], standard deviations; left out, it is the zero vector.

        Returns
        -------
        float [B, 3, H, W]: R'G'B' change, the network's image less the central frame; the restored frame is the
        central frame plus this, clipped to 0..1.

        Raises
        ------
        ValueError
            Height or width is not a multiple of ``multiple``, or the bottleneck is smaller than the identity matrix.
        """
        batch, _, height, width = frames.shape
        check_sides(frames, self.multiple)
        if self.identity_size and min(height, width) < MAP_SIDE * self.multiple:
            raise ValueError(
                f"{width}x{height}: with an identity vector both sides must be at least {MAP_SIDE * self.multiple}"
            )
        x = functional.relu(self.head(frames))
        if self.prior_channels:
            if prior is None:
                prior = x.new_zeros(batch, self.prior_channels, height, width)
            x = torch.cat([x, prior.to(x.dtype)], dim=1)
        skips = []
        for blocks, down in zip(self.encoder, self.down, strict=False):
            x = blocks(x)
            skips.append(x)
            x = functional.relu(down(x))
        x = self.encoder[-1](x)
        if self.identity_size:
            if identity is None:
                identity = x.new_zeros(batch, self.identity_size)
            x = torch.cat([x, identity_map(identity.to(x.dtype), x.shape[2], x.shape[3])], dim=1)
        x = self.decoder[0](x)
        for blocks, up in zip(self.decoder[1:], self.up, strict=True):
            x = blocks(functional.relu(up(x)) + skips.pop())
        if self.residual:
            return self.tail(x) * OUTPUT_GAIN
        return self.tail(x) - central_frame(frames)


def _blocks(channels: int) -> nn.Sequential:
    return nn.Sequential(*(ResidualBlock(channels) for _ in range(BLOCKS)))


def identity_map(identity: Tensor, height: int, width: int) -> Tensor:
    """Reshape identity vectors to 9x9 matrices in the centre of a map of zeros.

    Parameters
    ----------
    identity
        float [B, N] with N of at most 81; row after row, what is left of the matrix is zero.
    height, width
        Size of the map, at least 9 each.

    Returns
    -------
    float [B, 1, height, width].
    """
    matrix = functional.pad(identity, (0, MAP_SIDE**2 - identity.shape[1])).reshape(-1, 1, MAP_SIDE, MAP_SIDE)
    top, left = (height - MAP_SIDE) // 2, (width - MAP_SIDE) // 2
    return functional.pad(matrix, (left, width - MAP_SIDE - left, top, height - MAP_SIDE - top))
