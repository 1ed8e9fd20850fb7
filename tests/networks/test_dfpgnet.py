"""The network of Jung et al. 2022: layers, transforms, the discriminator, the rows of Table 4, and that it learns."""

import pytest
import skimage.data
import torch
from torch import Tensor, nn

from fvdeblur import networks
from fvdeblur.errors import UsageError
from fvdeblur.networks import DFPGnet, FeatureDiscriminator, WindowShape, multiply_accumulates
from fvdeblur.networks.dfpgnet import AttentionBlock, ChannelAttention, FeatureTransform

SMALL = {"widths": [8, 12, 16], "features": [6, 12, 10], "blocks": 1, "prior_blocks": 1}


@pytest.fixture(scope="module")
def face() -> Tensor:
    """float [1, 3, 64, 64], 0..1."""
    return torch.from_numpy(skimage.data.astronaut()[86:150, 190:254]).permute(2, 0, 1)[None].float() / 255


def stirred(**options: object) -> DFPGnet:
    """A small network whose last layers listen to all features, as after training."""
    torch.manual_seed(0)
    network = networks.create("dfpgnet", **{**SMALL, **options}).eval()
    assert isinstance(network, DFPGnet)
    for layer in (network.last, network.tail):
        nn.init.normal_(layer.weight, std=0.05)
    return network


def test_the_layers_counted_by_hand() -> None:
    network = networks.create("dfpgnet")

    def convolution(before: int, after: int, side: int) -> int:
        return side * side * before * after + after

    def block(width: int) -> int:
        inner = width // 16
        return 2 * convolution(width, width, 3) + convolution(width, inner, 1) + convolution(inner, width, 1)

    transform = {width: 4 * convolution(width, width, 3) for width in (64, 128, 256)}
    # Encoder 2, decoder 2 and prior stream 4 blocks at each size, two more at the end of the encoder; SSFT and SFT.
    expected = sum(8 * block(width) + 2 * transform[width] for width in (64, 128, 256)) + 2 * block(256)
    expected += 2 * (convolution(64, 128, 4) + convolution(128, 256, 4)) - (128 + 256) + (64 + 128)
    expected += convolution(3, 64, 3) + convolution(64, 64, 3) + convolution(64, 3, 3)
    assert sum(parameter.numel() for parameter in network.parameters()) == expected == 22_409_027
    assert expected * 2 < 50e6  # bytes in half precision
    assert WindowShape.of(network) == WindowShape(1, 4, takes_flow=False)


@torch.no_grad()
def test_the_features_are_of_the_sizes_of_those_of_vggface(face: Tensor) -> None:
    change, features = networks.create("dfpgnet", blocks=1, prior_blocks=1).estimate(face[..., :32, :48])
    assert change.shape == (1, 3, 32, 48)
    # relu1_2, relu2_2 and relu3_3 have 64, 128 and 256 channels behind no, one and two poolings.
    assert [part.shape for part in features] == [(1, 64, 32, 48), (1, 128, 16, 24), (1, 256, 8, 12)]


@torch.no_grad()
def test_channels_that_differ_are_mapped(face: Tensor) -> None:
    _, features = stirred().estimate(face)
    assert [part.shape for part in features] == [(1, 6, 64, 64), (1, 12, 32, 32), (1, 10, 16, 16)]
    assert isinstance(stirred().prior[1].last, nn.Identity)


@torch.no_grad()
def test_a_transform_scales_and_shifts_by_its_condition() -> None:
    """Equations (1) and (2)."""
    torch.manual_seed(0)
    transform = FeatureTransform(4, 6)
    x, condition = torch.randn(2, 4, 8, 8), torch.randn(2, 6, 8, 8)
    scale, shift = 1 + transform.scale(condition), transform.shift(condition)
    torch.testing.assert_close(transform(x, condition), scale * x + shift)
    assert scale.std() > 0.1
    for part in (transform.scale, transform.shift):
        nn.init.zeros_(part[-1].weight)
        nn.init.zeros_(part[-1].bias)
    assert torch.equal(transform(x, condition), x)


@torch.no_grad()
def test_the_streams_are_joined_where_the_paper_joins_them(face: Tensor) -> None:
    network = stirred()
    seen: dict[str, tuple[Tensor, ...]] = {}
    for name in ("prior.0.transform", "prior.2.transform", "joints.0", "joints.2", "tail", "decoder.0"):
        network.get_submodule(name).register_forward_hook(
            lambda _, given, __, name=name: seen.__setitem__(name, given)
        )
    outputs: dict[str, Tensor] = {}
    for name in ("head", "encoder.0", "encoder.2", "middle", "last"):
        network.get_submodule(name).register_forward_hook(
            lambda _, __, out, name=name: outputs.__setitem__(name, out)
        )
    _, features = network.estimate(face)
    for place in (0, 2):  # SSFT: E_i by itself
        x, condition = seen[f"prior.{place}.transform"]
        assert x is condition
        assert torch.equal(x, outputs[f"encoder.{place}"])
        assert torch.equal(seen[f"joints.{place}"][1], features[place])  # SFT: D_i by the estimate
    assert torch.equal(seen["joints.2"][0], outputs["middle"])
    assert torch.equal(seen["tail"][0], outputs["head"] + outputs["last"])  # the global skip: E_0 + D_0


def test_channel_attention_weighs_channels_by_their_means() -> None:
    torch.manual_seed(0)
    attention, x = ChannelAttention(32), torch.randn(2, 32, 5, 7)
    ratio = attention(x) / x
    torch.testing.assert_close(ratio, ratio[:, :, :1, :1].expand_as(ratio))
    weights = ratio[:, :, 0, 0]
    assert 0 < weights.min() < weights.max() < 1
    shuffled = x.flatten(2)[..., torch.randperm(35)].reshape_as(x)
    torch.testing.assert_close((attention(shuffled) / shuffled)[:, :, 0, 0], weights)
    assert (weights[0] - weights[1]).abs().max() > 1e-3
    block = AttentionBlock(32)
    nn.init.zeros_(block.second.weight)
    nn.init.zeros_(block.second.bias)
    assert torch.equal(block(x), x)


ROWS = {"B1": {"features": []}, "B3": {"transforms": False}, "B6": {}}
"""Rows of Table 4 that differ in the generator."""


@pytest.mark.parametrize("row", ROWS)
@torch.no_grad()
def test_every_row_begins_with_the_frame(row: str, face: Tensor) -> None:
    network = networks.create("dfpgnet", **{**SMALL, **ROWS[row]})
    assert network(face).abs().max() < 1e-6
    change = stirred(**ROWS[row])(face)
    assert change.abs().mean() > 0.01
    assert len(stirred(**ROWS[row]).estimate(face)[1]) == (0 if row == "B1" else 3)


@torch.no_grad()
def test_the_estimate_reaches_the_image(face: Tensor) -> None:
    for options in (ROWS["B3"], ROWS["B6"]):
        network = stirred(**options)
        before = network(face)
        for stream in network.prior:
            nn.init.normal_(stream.blocks[0].second.weight)
        assert not torch.allclose(network(face), before, atol=1e-4)


@torch.no_grad()
def test_the_last_layer_gives_an_image_and_not_a_residual(face: Tensor) -> None:
    network = stirred()
    nn.init.zeros_(network.tail.weight)
    torch.testing.assert_close(face + network(face), torch.full_like(face, 0.5))


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"widths": [8, 16]}, r"widths must be three numbers from 3, got \[8, 16\]"),
        ({"widths": [2, 8, 8]}, "widths must be three numbers from 3"),
        ({"features": [8]}, r"features must be three positive numbers or none, got \[8\]"),
        ({"features": [8, 0, 8]}, "features must be three positive numbers or none"),
        ({"blocks": 0}, "blocks and prior_blocks must be at least 1"),
        ({"depth": 3}, "depth"),
    ],
)
def test_a_bad_option_is_named(options: dict[str, object], text: str) -> None:
    with pytest.raises(UsageError, match=text):
        networks.create("dfpgnet", **options)


@torch.no_grad()
def test_sides_that_do_not_fit_are_named(face: Tensor) -> None:
    assert stirred()(face[..., :4, :20]).shape == (1, 3, 4, 20)
    with pytest.raises(ValueError, match="22x64: both sides must be multiples of 4"):
        stirred()(face[..., :22])


def test_everything_is_trained(face: Tensor) -> None:
    network = stirred()
    for module in network.modules():
        if isinstance(module, ChannelAttention):  # so few inner channels may all be below zero
            nn.init.ones_(module.squeeze.bias)
    change, features = network.estimate(face)
    (change.square().sum() + sum(part.square().sum() for part in features)).backward()
    idle = [name for name, parameter in network.named_parameters() if not parameter.grad.any()]
    assert idle == []


def test_a_few_steps_sharpen(face: Tensor) -> None:
    padded = nn.functional.pad(face, (4, 4, 0, 0), mode="replicate")
    blurred = nn.functional.conv2d(padded, torch.full((3, 1, 1, 9), 1 / 9), groups=3)[..., 16:48, 16:48]
    sharp = face[..., 16:48, 16:48]
    torch.manual_seed(0)
    network = networks.create("dfpgnet", **SMALL)
    optimiser = torch.optim.Adam(network.parameters(), lr=2e-3)
    errors = []
    for _ in range(40):
        error = (blurred + network(blurred) - sharp).abs().mean()
        optimiser.zero_grad()
        error.backward()
        optimiser.step()
        errors.append(error.item())
    assert errors[-1] < 0.8 * errors[0]


def test_the_cost() -> None:
    costs = [
        multiply_accumulates(networks.create("dfpgnet", **options), torch.zeros(1, 3, 32, 32)) * 64
        for options in ({}, {"widths": [32, 64, 128], "features": [64, 64, 128]})
    ]
    assert costs[0] == pytest.approx(195e9, rel=0.01)
    assert costs[1] == pytest.approx(costs[0] / 4, rel=0.05)


@torch.no_grad()
def test_bfloat16_stays_close(face: Tensor) -> None:
    network = stirred()
    exact = network(face)
    low = network.bfloat16()(face.bfloat16()).float()
    assert exact.std() > 2 / 255  # a change worth comparing
    assert (low - exact).std() < 0.05 * exact.std()


@torch.no_grad()
def test_the_discriminator_weighs_and_joins_the_scales() -> None:
    """Equations (4) and (5)."""
    torch.manual_seed(0)
    channels = (6, 32, 48)
    features = [torch.randn(2, c, 32 // 2**i, 32 // 2**i) for i, c in enumerate(channels)]
    judge = FeatureDiscriminator(channels)
    weighed, verdict = judge(features)
    assert verdict.shape == (2,)
    for part, given, attention in zip(weighed, features, judge.attention, strict=True):
        assert torch.equal(part, attention(given))
        assert 0 < (part / given).min() < (part / given).max() < 1
    assert [block[0].in_channels for block in judge.blocks] == [6, 64 + 32, 128 + 48]
    first = judge.blocks[0](weighed[0])
    second = judge.blocks[1](torch.cat([weighed[1], first], dim=1))
    third = judge.blocks[2](torch.cat([weighed[2], second], dim=1))
    torch.testing.assert_close(verdict, judge.classifier(third.mean(dim=(2, 3)))[:, 0])
    plain, _ = FeatureDiscriminator(channels, attention=False)(features)
    assert all(torch.equal(part, given) for part, given in zip(plain, features, strict=True))
