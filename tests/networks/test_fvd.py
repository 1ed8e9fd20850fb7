"""The network: what it costs, what it gives before training, and its inputs beside the frames."""

import numpy as np
import pytest
import skimage.data
import torch
from torch import Tensor, nn
from torch.nn import functional

from fvdeblur import networks
from fvdeblur.errors import UsageError
from fvdeblur.flow import move_pictures
from fvdeblur.networks import FVD, multiply_accumulates
from fvdeblur.networks.fvd import HalvingConvolution, aligned_neighbours

SMALL = {"widths": (8, 16), "encoder_blocks": (1, 1), "decoder_blocks": (1,)}


@pytest.fixture(scope="module")
def window() -> Tensor:
    """Five frames of a face moving 2 px a frame: float [1, 15, 128, 128], 0..1."""
    photograph = torch.from_numpy(skimage.data.astronaut()).permute(2, 0, 1).float() / 255
    frames = [photograph[:, 50:178, 160 + 2 * i : 288 + 2 * i] for i in range(5)]
    return torch.cat(frames)[None]


def stirred(**options: object) -> nn.Module:
    """A network whose silent layers speak, as after training."""
    torch.manual_seed(0)
    network = networks.create("fvd", **{**SMALL, **options}).eval()
    for parameter in network.parameters():
        if not parameter.any():
            nn.init.normal_(parameter, std=0.1)
    return network


def test_the_registry_knows_fvd() -> None:
    assert "fvd" in networks.names()
    assert isinstance(networks.create("fvd", **SMALL), FVD)


def test_an_unknown_name_is_answered_with_the_known_ones() -> None:
    with pytest.raises(UsageError, match=r"unknown network 'fdv'.*fvd"):
        networks.create("fdv")


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"depth": 3}, "depth"),
        ({"frames": 4}, "odd"),
        ({"frames": -1}, "odd"),
        ({"prior_channels": 3}, "prior_channels must be 0, 4 or 7, got 3"),
        ({"widths": (8, 16), "encoder_blocks": (1, 1, 1), "decoder_blocks": (1,)}, "encoder_blocks"),
        ({"widths": (8, 16), "encoder_blocks": (1, 1), "decoder_blocks": (1, 1)}, "decoder_blocks"),
        ({"widths": (8,), "encoder_blocks": (1,), "decoder_blocks": (), "takes_flow": True}, "takes_flow"),
    ],
)
def test_a_bad_option_is_named(options: dict[str, object], text: str) -> None:
    with pytest.raises(UsageError, match=text) as caught:
        networks.create("fvd", **options)
    assert "\n" not in str(caught.value)


def test_a_new_network_changes_nothing(window: Tensor) -> None:
    with torch.no_grad():
        change = networks.create("fvd")(window)
    assert change.shape == (1, 3, 128, 128)
    assert not change.any()


@pytest.mark.parametrize(
    "options", [SMALL, {"widths": (8, 8, 8), "encoder_blocks": (1,) * 3, "decoder_blocks": (0, 0)}]
)
def test_every_multiple_fits_and_nothing_else(options: dict[str, tuple[int, ...]], window: Tensor) -> None:
    network = stirred(**options)
    multiple = network.multiple
    assert multiple == 2 ** len(options["widths"])
    for height, width in ((multiple, multiple), (3 * multiple, 5 * multiple), (96, 128)):
        assert network(window[..., :height, :width]).shape == (1, 3, height, width)
    with pytest.raises(RuntimeError):
        network(window[..., : multiple + 2, :multiple])


def test_the_answer_does_not_depend_on_what_lies_far_away(window: Tensor) -> None:
    network = stirred()
    with torch.no_grad():
        whole, part = network(window), network(window[..., 32:96, 32:96])
    # 26 px is more than the reach of these few layers
    inside = slice(26, 38)
    torch.testing.assert_close(part[..., inside, inside], whole[..., 58:70, 58:70], atol=1e-5, rtol=0)
    assert not torch.allclose(part[..., :4, :], whole[..., 32:36, 32:96], atol=1e-5, rtol=0)


def test_windows_of_another_length(window: Tensor) -> None:
    network = stirred(frames=3)
    assert network(window[:, :9]).shape == (1, 3, 128, 128)


@torch.no_grad()
def test_halving_convolution(window: Tensor, flow: Tensor) -> None:
    """It is the 3x3 convolution of what pixel-unshuffling gives, and of what is given at half the size."""
    torch.manual_seed(2)
    layer = HalvingConvolution(15, 7, half_channels=8)
    half = functional.interpolate(flow, scale_factor=2)
    seen = torch.cat([functional.pixel_unshuffle(window, 2), half], dim=1)
    expected = functional.conv2d(seen, layer.weight, layer.bias, padding=1)
    assert expected.abs().mean() > 0.1
    torch.testing.assert_close(layer(window, half), expected, atol=1e-5, rtol=1e-5)
    assert multiply_accumulates(layer, window, half) == 7 * 64 * 64 * 68 * 9
    alone = HalvingConvolution(15, 7)
    expected = functional.conv2d(functional.pixel_unshuffle(window, 2), alone.weight, alone.bias, padding=1)
    torch.testing.assert_close(alone(window), expected, atol=1e-5, rtol=1e-5)


def test_multiply_accumulates_of_single_layers() -> None:
    layers = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1, stride=2), nn.Conv2d(8, 6, 1, groups=2), nn.Flatten()
    )
    assert multiply_accumulates(layers, torch.zeros(1, 3, 8, 8)) == 8 * 4 * 4 * 3 * 9 + 6 * 4 * 4 * 4
    assert multiply_accumulates(nn.Linear(7, 5), torch.zeros(1, 7)) == 35
    up = nn.ConvTranspose2d(6, 4, 4, stride=2, padding=1, groups=2)
    assert multiply_accumulates(up, torch.zeros(1, 6, 8, 8)) == 6 * 8 * 8 * 2 * 16


def test_multiply_accumulates_leaves_no_hook_and_counts_one_picture() -> None:
    network = networks.create("fvd", **SMALL)
    one = multiply_accumulates(network, torch.zeros(1, 15, 32, 32))
    assert multiply_accumulates(network, torch.zeros(3, 15, 32, 32)) == one
    assert not any(module._forward_hooks for module in network.modules())
    fine, coarse = 16 * 16, 8 * 8
    expected = fine * 60 * 8 * 9  # head
    expected += (fine * 8 * 8 * 9 * 2) * 2 + coarse * 16 * 16 * 9 * 2  # one block of each
    expected += coarse * 8 * 4 * 16 + coarse * 16 * 32  # down, up
    expected += fine * 8 * 12 * 9  # tail
    assert one == expected


def test_the_default_network_costs_five_billion() -> None:
    total = multiply_accumulates(networks.create("fvd"), torch.zeros(1, 15, 256, 256))
    assert total == pytest.approx(5.0e9, rel=0.02)


@pytest.fixture
def guides() -> tuple[Tensor, Tensor]:
    """A rendered face (here the photograph itself, flat, with a full mask) and an identity vector."""
    photograph = torch.from_numpy(skimage.data.astronaut()[50:178, 164:292]).permute(2, 0, 1).float() / 255
    normals = torch.tensor([0.0, 0.0, 1.0])[:, None, None].expand(3, 128, 128)
    prior = torch.cat([photograph, torch.ones(1, 128, 128), normals])[None]
    identity = torch.from_numpy(np.random.default_rng(0).normal(size=(1, 80))).float()
    return prior, identity


@torch.no_grad()
def test_guides_do_nothing_before_training_and_something_after(
    window: Tensor, guides: tuple[Tensor, Tensor]
) -> None:
    prior, identity = guides
    network = networks.create("fvd", **SMALL, prior_channels=7, identity_size=80).eval()
    nn.init.normal_(network.tail.weight, std=0.1)
    plain = network(window)
    assert plain.any()
    assert torch.equal(network(window, prior, identity), plain)
    assert torch.equal(network(window, prior), plain)
    nn.init.normal_(network.prior_head.weight, std=0.1)
    with_prior = network(window, prior)
    assert not torch.allclose(with_prior, plain)
    assert torch.equal(network(window, identity=identity), plain)
    for head in network.identity_heads:
        nn.init.normal_(head.weight, std=0.1)
        assert not torch.allclose(network(window, identity=identity), plain)
        plain_again = network(window, identity=torch.zeros_like(identity))
        assert torch.equal(plain_again, plain)
        nn.init.zeros_(head.weight)
    nn.init.normal_(network.identity_heads[-1].weight, std=0.1)
    assert not torch.allclose(network(window, prior, identity), with_prior)
    assert torch.equal(network(window), plain)


def test_the_guides_are_trained() -> None:
    network = networks.create("fvd", **SMALL, prior_channels=7, identity_size=80)
    nn.init.normal_(network.tail.weight)
    network(torch.rand(1, 15, 16, 16), torch.rand(1, 7, 16, 16), torch.rand(1, 80)).square().sum().backward()
    assert network.prior_head.weight.grad.any()
    assert all(head.weight.grad.any() for head in network.identity_heads)


@torch.no_grad()
def test_a_network_without_guides_ignores_them(window: Tensor, guides: tuple[Tensor, Tensor]) -> None:
    network = stirred()
    assert torch.equal(network(window, *guides), network(window))


@pytest.mark.parametrize("channels", [4, 7])
@torch.no_grad()
def test_all_channels_of_the_rendered_face_are_seen(
    channels: int, window: Tensor, guides: tuple[Tensor, Tensor]
) -> None:
    network = stirred(prior_channels=channels)
    prior = guides[0][:, :channels]
    seen = network(window, prior)
    for channel in range(channels):
        changed = prior.clone()
        changed[:, channel] += 0.5
        assert not torch.allclose(network(window, changed), seen)


@torch.no_grad()
def test_an_identity_of_one_face_does_not_reach_another(window: Tensor) -> None:
    network = stirred(identity_size=80)
    one, other = torch.rand(2, 1, 80)
    both = network(window.expand(2, -1, -1, -1), identity=torch.cat([one, other]))
    torch.testing.assert_close(both[:1], network(window, identity=one))
    torch.testing.assert_close(both[1:], network(window, identity=other))
    assert not torch.allclose(both[0], both[1])


@torch.no_grad()
def test_guides_cost_three_percent() -> None:
    window, prior = torch.zeros(1, 15, 64, 64), torch.zeros(1, 7, 64, 64)
    plain = multiply_accumulates(networks.create("fvd"), window)
    guided = networks.create("fvd", prior_channels=7, identity_size=80)
    assert 1 < multiply_accumulates(guided, window, prior, torch.zeros(1, 80)) / plain < 1.03


@torch.no_grad()
def test_weights_carry_over_to_a_network_with_guides(window: Tensor) -> None:
    plain = stirred()
    guided = networks.create("fvd", **SMALL, prior_channels=7, identity_size=80).eval()
    result = guided.load_state_dict(plain.state_dict(), strict=False)
    assert not result.unexpected_keys
    assert {key.split(".")[0] for key in result.missing_keys} == {"prior_head", "identity_heads"}
    assert torch.equal(guided(window), plain(window))


@pytest.fixture
def flow() -> Tensor:
    """Flow of `window` from its central frame: the face moves left, 2 px a frame."""
    return torch.tensor([4.0, 0, 2, 0, -2, 0, -4, 0]).reshape(1, 8, 1, 1).expand(1, 8, 32, 32).contiguous()


def test_flow_moves_the_neighbours_onto_the_centre(window: Tensor, flow: Tensor) -> None:
    centre = window[:, 6:9].repeat(1, 4, 1, 1)
    aligned = aligned_neighbours(window, flow)
    assert aligned.shape == (1, 12, 128, 128)
    torch.testing.assert_close(aligned[..., 4:-4], centre[..., 4:-4], atol=1e-5, rtol=0)
    assert (aligned_neighbours(window, -flow) - centre).abs().mean() > 0.03
    # the edge is repeated: the first neighbour was moved by 4 px, so its last column stands four times more
    assert torch.equal(aligned[:, :3, :, -5:], aligned[:, :3, :, -1:].expand(-1, -1, -1, 5))
    pictures = [np.ascontiguousarray(part.permute(1, 2, 0) * 255, np.uint8) for part in window[0].split(3)]
    given = move_pictures(pictures[:2] + pictures[3:], flow[0].half().unflatten(0, (4, 2)).numpy())
    assert given.shape == (128, 128, 12)
    difference = torch.from_numpy(given).permute(2, 0, 1) - aligned[0] * 255
    assert difference.abs().max() <= 1.5
    down = flow.reshape(1, 4, 2, 32, 32).flip(2).reshape(1, 8, 32, 32)  # displacements in y now
    assert (aligned_neighbours(window, down) - centre).abs().mean() > 0.03


def test_flow_in_low_precision_moves_by_no_other_pixels(window: Tensor, flow: Tensor) -> None:
    exact = aligned_neighbours(window, flow + 0.3)
    low = aligned_neighbours(window.bfloat16(), (flow + 0.3).half())
    assert low.dtype == torch.float32
    assert (low - exact).abs().max() < 0.01


@torch.no_grad()
def test_flow_does_nothing_before_training_and_something_after(window: Tensor, flow: Tensor) -> None:
    plain = stirred()
    network = networks.create("fvd", **SMALL, takes_flow=True).eval()
    result = network.load_state_dict(plain.state_dict(), strict=False)
    assert set(result.missing_keys) == {"flow_head.weight", "flow_head.bias"}
    assert torch.equal(network(window, flow=flow), plain(window))
    nn.init.normal_(network.flow_head.weight, std=0.1)
    assert torch.equal(network(window), plain(window))
    assert not torch.allclose(network(window, flow=flow), plain(window))
    assert not torch.allclose(network(window, flow=flow), network(window, flow=2 * flow))
    assert torch.equal(plain(window, flow=flow), plain(window))


def test_the_flow_head_is_trained(window: Tensor, flow: Tensor) -> None:
    network = networks.create("fvd", **SMALL, takes_flow=True)
    nn.init.normal_(network.tail.weight)
    network(window, flow=flow).square().sum().backward()
    assert network.flow_head.weight.grad.any()


@torch.no_grad()
def test_bfloat16_stays_close(window: Tensor) -> None:
    network = stirred()
    nn.init.normal_(network.tail.weight, std=0.3)
    exact = network(window)
    low = network.bfloat16()(window.bfloat16()).float()
    assert exact.std() > 2 / 255  # a change worth comparing
    assert (low - exact).std() < 0.03 * exact.std()
    assert (low - exact).abs().max() < 0.1 * exact.abs().max()
