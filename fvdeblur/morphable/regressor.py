"""Networks that read the coefficients of the morphable model off a face crop (Ren et al. 2019, section 3.1)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from fvdeblur.morphable.coefficients import LENGTHS, TOTAL, Coefficients

INPUT_MEAN, INPUT_DEVIATION = 0.45, 0.25
"""Of R'G'B' in 0..1, about those of face crops."""

OUTPUT_DEVIATIONS = (1.0, 1.0, 1.0, 0.3, 0.3)
"""Size of identity, expression, texture, light and pose that an output of 1 stands for."""

USUAL_SCALE = 0.4
"""Head unit in units of half the crop's side where the output is zero: a face box of 1 / 1.8 of the crop."""


class Regressor(nn.Module):
    """What all regressors share: a body that gives features, and the layer that turns these into coefficients.

    Attributes
    ----------
    size
        Side of the crop in pixels that it is given.
    """

    def __init__(self, body: nn.Module, features: int, size: int) -> None:
        super().__init__()
        self.size = size
        self.body = body
        self.last = nn.Linear(features, TOTAL)
        nn.init.normal_(self.last.weight, std=0.1 / math.sqrt(features))
        nn.init.zeros_(self.last.bias)
        unit = torch.cat(
            [torch.full((length,), size) for length, size in zip(LENGTHS, OUTPUT_DEVIATIONS, strict=True)]
        )
        usual = torch.zeros(TOTAL)
        usual[-1] = math.log(USUAL_SCALE)
        self.register_buffer("unit", unit, persistent=False)
        self.register_buffer("usual", usual, persistent=False)

    def forward(self, crops: Tensor) -> Coefficients:
        """Coefficients, in float32, of the faces in square crops, [B, 3, size, size], R'G'B' in 0..1.

        Crops are of the type of the body's weights.
        """
        features = self.body((crops - INPUT_MEAN) / INPUT_DEVIATION)
        vector = self.last(features.to(self.last.weight.dtype)).float() * self.unit + self.usual
        return Coefficients.split(vector)


class _Norm(nn.BatchNorm2d):
    """Batch normalisation without the counter of batches, which no average of weights can hold."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels)
        self.num_batches_tracked = None

    def _load_from_state_dict(self, *given: Any) -> None:
        nn.Module._load_from_state_dict(
            self, *given
        )  # without the counter that torch would add to older files


class _Block(nn.Module):
    """Two 3x3 convolutions with batch normalisation, added to the input."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
            _Norm(channels),
            nn.ReLU(),
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
            _Norm(channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(x + self.layers(x))


class LightRegressor(Regressor):
    """The default: a small residual network of plain 3x3 convolutions, 0.5 GMAC.

    The last features keep their places (4x4) instead of being averaged over the crop, since places are what it is
    asked for.

    Parameters
    ----------
    widths
        Channels at 1/2, 1/4, 1/8, ... of the crop's size.
    blocks
        Residual blocks at each of these sizes.
    size
        Side of the crop in pixels.
    """

    def __init__(
        self,
        widths: Sequence[int] = (32, 64, 128, 192, 256),
        blocks: Sequence[int] = (1, 2, 2, 2, 1),
        size: int = 128,
    ) -> None:
        if len(widths) != len(blocks) or not widths:
            raise ValueError("blocks needs one entry a width")
        if size % 2 ** len(widths):
            raise ValueError(f"size must be a multiple of {2 ** len(widths)}, got {size}")
        layers: list[nn.Module] = []
        for before, width, count in zip((3, *widths), widths, blocks, strict=False):
            layers += [
                nn.Conv2d(before, width, 3, stride=2, padding=1, bias=False),
                _Norm(width),
                nn.ReLU(),
            ]
            layers += [_Block(width) for _ in range(count)]
        squeezed = 64
        layers += [
            nn.Conv2d(widths[-1], squeezed, 1, bias=False),
            _Norm(squeezed),
            nn.ReLU(),
            nn.Flatten(),
        ]
        super().__init__(nn.Sequential(*layers), squeezed * (size // 2 ** len(widths)) ** 2, size)


class _Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions, added to the input (He et al. 2016)."""

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        outputs = 4 * width
        self.layers = nn.Sequential(
            nn.Conv2d(inputs, width, 1, bias=False),
            _Norm(width),
            nn.ReLU(),
            nn.Conv2d(width, width, 3, stride=stride, padding=1, bias=False),
            _Norm(width),
            nn.ReLU(),
            nn.Conv2d(width, outputs, 1, bias=False),
            _Norm(outputs),
        )
        nn.init.zeros_(self.layers[-1].weight)  # type: ignore[arg-type]
        self.shortcut: nn.Module = nn.Identity()
        if inputs != outputs or stride != 1:
            self.shortcut = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False), _Norm(outputs)
            )

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(self.shortcut(x) + self.layers(x))


class ResNet50Regressor(Regressor):
    """ResNet-50 whose last layer gives the 239 coefficients, as in the paper; it starts from scratch.

    Parameters
    ----------
    size
        Side of the crop in pixels, the 224 of the network unless said otherwise.
    """

    def __init__(self, size: int = 224) -> None:
        layers: list[nn.Module] = [
            nn.Conv2d(3, 64, 7, stride=2, padding=3, bias=False),
            _Norm(64),
            nn.ReLU(),
            nn.MaxPool2d(3, stride=2, padding=1),
        ]
        inputs = 64
        for width, count, stride in ((64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 2)):
            for number in range(count):
                layers.append(_Bottleneck(inputs, width, stride if number == 0 else 1))
                inputs = 4 * width
        layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten()]
        super().__init__(nn.Sequential(*layers), inputs, size)


_REGISTRY: dict[str, Callable[..., Regressor]] = {"light": LightRegressor, "resnet50": ResNet50Regressor}


def create_regressor(name: str, **options: object) -> Regressor:
    """Create an untrained regressor: ``light`` or ``resnet50``.

    Raises
    ------
    UsageError
        The name is unknown or an option does not fit.
    """
    from fvdeblur.errors import UsageError

    if name not in _REGISTRY:
        raise UsageError(f"unknown regressor {name!r}; there are: {', '.join(sorted(_REGISTRY))}")
    try:
        return _REGISTRY[name](**options)
    except (TypeError, ValueError) as error:
        raise UsageError(f"regressor {name!r}: {error}") from error
