"""Frozen face recognition networks as sources of deep features; needed for losses and measures, never to restore.

Of each network the last features at three sizes are taken, as relu1_2, relu2_2 and relu3_3 of VGGFace in Jung et al.
2022, section 4.1:

========== ======================================================= ============= ==============================
network    file                                                    channels      picture that it is given
========== ======================================================= ============= ==============================
VGGFace    ``.safetensors`` with ``conv1_1.weight``, ``.bias`` ... 64, 128, 256  as it is
           ``conv3_3.weight``, ``.bias``, for R'G'B' in 0..255
           less `VGG_MEAN`
MobileFace the same as ``.safetensors``, or a checkpoint whose     64, 64, 128   enlarged to twice its size, as
Net        ``net_state_dict`` begins with ``conv1``, ``dw_conv1``                the network's first convolution
           and ``blocks.0`` to ``blocks.11``                                     halves it
========== ======================================================= ============= ==============================
"""

from __future__ import annotations

import pickle
import textwrap
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from fvdeblur.errors import InputError, UsageError

VGG_MEAN = (129.1863, 104.7624, 93.5940)
"""Of R'G'B', 0..255, of the pictures that VGGFace was trained on."""


VGG_BLOCKS = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))
"""Channels and convolutions of each block of VGGFace."""


class Recogniser(nn.Module):
    """The early layers of a face recognition network, without gradients of their own.

    Attributes
    ----------
    channels
        Of the features at full, 1/2 and 1/4 size.
    """

    channels: tuple[int, int, int]

    def stages(self, pictures: Tensor) -> list[Tensor]:
        """The features of pictures in 0..1, of whatever size of values."""
        raise NotImplementedError

    def forward(self, pictures: Tensor) -> list[Tensor]:
        """Deep features of pictures, with a gradient in the pictures where they have one.

        Parameters
        ----------
        pictures
            float [B, 3, H, W], R'G'B' in 0..1, sides multiples of 4.

        Returns
        -------
        float [B, C, H, W], [B, C', H/2, W/2] and [B, C'', H/4, W/4], each divided by its root mean square over the
        picture: so the features of any network and any layer are of one size, which a discriminator can compare and
        another network can give. The prior loss normalises them at each position anyway.
        """
        return [
            part / (part.square().mean(dim=(1, 2, 3), keepdim=True).sqrt() + 1e-6)
            for part in (stage.float() for stage in self.stages(pictures))
        ]


class VGGFace(Recogniser):
    """The convolutions of VGGFace (Parkhi et al. 2015): relu1_2, relu2_2, relu3_3 and, of more blocks, the like.

    Parameters
    ----------
    blocks
        How many, 1 to 5.
    """

    channels = (64, 128, 256)

    def __init__(self, blocks: int = 3) -> None:
        super().__init__()
        self._names: list[list[str]] = []
        inputs = 3
        for block, (width, count) in enumerate(VGG_BLOCKS[:blocks], 1):
            self._names.append([f"conv{block}_{number}" for number in range(1, count + 1)])
            for name in self._names[-1]:
                self.add_module(name, nn.Conv2d(inputs, width, 3, padding=1))
                inputs = width

    def stages(self, pictures: Tensor) -> list[Tensor]:
        x = pictures * 255 - torch.tensor(VGG_MEAN, device=pictures.device)[:, None, None]
        features: list[Tensor] = []
        for names in self._names:
            x = functional.max_pool2d(x, 2) if features else x
            for name in names:
                x = functional.relu(self.get_submodule(name)(x))
            features.append(x)
        return features


class MobileFaceNet(Recogniser):
    """MobileFaceNet (Chen et al. 2018) as far as 1/8 of its input's size."""

    channels = (64, 64, 128)

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = _Layer(3, 64, stride=2)
        self.dw_conv1 = _Layer(64, 64, groups=64)
        first = [_Inverted(64, 64, 2, 2 if i == 0 else 1) for i in range(5)]
        second = [_Inverted(64, 128, 4, 2)] + [_Inverted(128, 128, 2, 1) for _ in range(6)]
        self.blocks = nn.ModuleList(first + second)

    def stages(self, pictures: Tensor) -> list[Tensor]:
        x = (pictures * 255 - 127.5) / 128
        x = functional.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
        x = self.dw_conv1(self.conv1(x))
        features = [x]
        for number, block in enumerate(self.blocks):
            x = block(x)
            if number in (4, 11):
                features.append(x)
        return features


class _Layer(nn.Module):
    """3x3 convolution, batch normalisation, parametric rectifier."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1, groups: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, 3, stride, 1, groups=groups, bias=False)
        self.bn = nn.BatchNorm2d(outputs)
        self.prelu = nn.PReLU(outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.prelu(self.bn(self.conv(x)))


class _Inverted(nn.Module):
    """Inverted residual block: 1x1 convolution to more channels, 3x3 of each channel, 1x1 back; added where it fits."""

    def __init__(self, inputs: int, outputs: int, expansion: int, stride: int) -> None:
        super().__init__()
        inner = inputs * expansion
        self.conv = nn.Sequential(
            nn.Conv2d(inputs, inner, 1, bias=False),
            nn.BatchNorm2d(inner),
            nn.PReLU(inner),
            nn.Conv2d(inner, inner, 3, stride, 1, groups=inner, bias=False),
            nn.BatchNorm2d(inner),
            nn.PReLU(inner),
            nn.Conv2d(inner, outputs, 1, bias=False),
            nn.BatchNorm2d(outputs),
        )
        self._adds = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv(x) if self._adds else self.conv(x)


def open_recogniser(path: str | Path) -> Recogniser:
    """Read the early layers of a face recognition network, ready for use on the CPU.

    Weights that the user supplies are read as safetensors. Of a PyTorch checkpoint tensors alone are read: nothing in
    it is run.

    Raises
    ------
    InputError
        The file cannot be read or holds neither of the networks that there are.
    """
    path = Path(path)
    weights = _read(path)
    network = VGGFace() if "conv1_1.weight" in weights else MobileFaceNet()
    wanted = network.state_dict()
    try:
        # A missing counter of batches does not matter; later layers are not needed.
        kept = {
            name: weights.get(name, value) if "num_batches" in name else weights[name]
            for name, value in wanted.items()
        }
        network.load_state_dict(kept)
    except (KeyError, RuntimeError) as error:
        reason = f"without {error}" if isinstance(error, KeyError) else textwrap.shorten(str(error), 120)
        raise InputError(
            f"{path}: these are neither weights of VGGFace nor of MobileFaceNet ({reason}); "
            "see fvdeblur.networks.recognition for the names that they must have"
        ) from error
    return network.eval().requires_grad_(False)


def _read(path: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if not path.is_file():
        raise InputError(
            f"{path}: no weights of a face recognition network; name them in the recipe with recogniser = PATH"
        )
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, EOFError, RuntimeError, ValueError, SafetensorError, pickle.UnpicklingError) as error:
        raise InputError(f"{path}: cannot be read ({textwrap.shorten(str(error), 120)})") from error
    weights = state.get("net_state_dict", state) if isinstance(state, dict) else {}
    return {name: value for name, value in weights.items() if isinstance(value, Tensor)}


def check_channels(recogniser: Recogniser, features: Sequence[int], path: str | Path) -> None:
    """Raise where a network does not estimate features of this many channels.

    Raises
    ------
    UsageError
        It does not.
    """
    if tuple(features) != recogniser.channels:
        raise UsageError(
            f"{path}: has features of {list(recogniser.channels)} channels; network_options.features must be the same, "
            f"not {list(features)}"
        )
