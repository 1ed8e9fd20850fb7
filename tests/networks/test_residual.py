"""Networks of the papers whose last layer gives a change instead of an image."""

from typing import Any

import pytest
import skimage.data
import torch
from torch import Tensor, nn

from fvdeblur import networks
from fvdeblur.networks import WindowShape, central_frame

SMALL: dict[str, dict[str, Any]] = {
    "ren2019": {"width": 6},
    "chrysos2017": {},
    "dfpgnet": {"widths": (8, 12, 16), "features": (4, 4, 4), "prior_blocks": 1},
}


def make(name: str, **options: Any) -> nn.Module:
    torch.manual_seed(0)
    return networks.create(name, **SMALL[name], **options)


def windows(network: nn.Module) -> Tensor:
    """A face blurred across, in every frame: float [1, 3 * frames, 48, 48]."""
    photograph = torch.from_numpy(skimage.data.astronaut()[90:138, 180:236]).permute(2, 0, 1)[None]
    blurred = nn.functional.conv2d(photograph.float() / 255, torch.full((3, 1, 1, 9), 1 / 9), groups=3)
    return blurred.repeat(1, WindowShape.of(network).frames, 1, 1)


def truth() -> Tensor:
    return torch.from_numpy(skimage.data.astronaut()[90:138, 184:232]).permute(2, 0, 1)[None].float() / 255


def last_layers(network: nn.Module) -> list[nn.Conv2d]:
    layers = network.mappings if hasattr(network, "mappings") else [network.tail]
    return [layer for layer in layers if isinstance(layer, nn.Conv2d)]


@pytest.mark.parametrize("name", SMALL)
@torch.no_grad()
def test_the_last_layer_gives_the_change(name: str) -> None:
    network = make(name, residual=True).eval()
    given = windows(network)
    assert not network(given).any()  # before training: nothing is changed, exactly
    for layer in last_layers(network):
        nn.init.normal_(layer.weight, std=0.1)
    changed = network(given)
    assert changed.any()
    for layer in last_layers(network):
        layer.weight.mul_(2)
        if layer.bias is not None:
            layer.bias.mul_(2)
    torch.testing.assert_close(network(given), 2 * changed, atol=1e-5, rtol=1e-3)  # an image would not double


@pytest.mark.parametrize("name", SMALL)
def test_the_weights_are_of_the_same_shapes(name: str) -> None:
    with_it, without = (make(name, residual=value).state_dict() for value in (True, False))
    assert {key: value.shape for key, value in with_it.items()} == {
        key: value.shape for key, value in without.items()
    }


@pytest.mark.parametrize("name", SMALL)
def test_a_few_steps_sharpen(name: str) -> None:
    network = make(name, residual=True)
    given, sharp = windows(network), truth()
    optimiser = torch.optim.Adam(network.parameters(), lr=1e-3)
    errors = []
    for _ in range(25):
        error = (central_frame(given) + network(given) - sharp).square().mean()
        optimiser.zero_grad()
        error.backward()
        optimiser.step()
        errors.append(error.item())
    assert errors[0] == pytest.approx((central_frame(given) - sharp).square().mean().item(), rel=1e-5)
    assert errors[-1] < 0.9 * errors[0]
