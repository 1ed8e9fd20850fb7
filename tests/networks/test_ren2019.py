"""The network of Ren et al. 2019: its layers, where its guides enter, its options, and that it learns."""

import numpy as np
import pytest
import skimage.data
import torch
from torch import Tensor, nn

from fvdeblur import networks
from fvdeblur.errors import UsageError
from fvdeblur.networks import Ren2019, central_frame, multiply_accumulates
from fvdeblur.networks.ren2019 import identity_map

SMALL = {"width": 6}


@pytest.fixture(scope="module")
def window() -> Tensor:
    """Five frames of a face moving 2 px a frame: float [1, 15, 96, 96], 0..1."""
    photograph = torch.from_numpy(skimage.data.astronaut()).permute(2, 0, 1).float() / 255
    frames = [photograph[:, 70:166, 176 + 2 * i : 272 + 2 * i] for i in range(5)]
    return torch.cat(frames)[None]


@pytest.fixture(scope="module")
def rendered() -> Tensor:
    """A rendered face (here the photograph itself): float [1, 3, 96, 96], 0..1."""
    return torch.from_numpy(skimage.data.astronaut()[70:166, 180:276]).permute(2, 0, 1)[None].float() / 255


@pytest.fixture(scope="module")
def identity() -> Tensor:
    """An identity vector without a zero: float [1, 80]."""
    return torch.from_numpy(np.random.default_rng(0).uniform(0.5, 2, (1, 80))).float()


def stirred(**options: object) -> Ren2019:
    """A small network whose last layer listens to all features, as after training."""
    torch.manual_seed(0)
    network = networks.create("ren2019", **{**SMALL, **options}).eval()
    assert isinstance(network, Ren2019)
    nn.init.normal_(network.tail.weight, std=0.05)
    return network


def inputs_of(module: nn.Module) -> list[Tensor]:
    """A list that will hold every input of the layer."""
    seen: list[Tensor] = []
    module.register_forward_hook(lambda _, given, __: seen.append(given[0].detach()))
    return seen


def test_the_layers_are_those_of_the_paper() -> None:
    network = networks.create("ren2019")
    convolutions = [m for m in network.modules() if isinstance(m, nn.Conv2d)]
    assert {m.kernel_size for m in convolutions} == {(5, 5)}
    assert [m.out_channels for m in convolutions if m.stride == (2, 2)] == [64, 128]
    assert network.head.weight.shape == (32, 15, 5, 5)
    # The first level has the three colours of the rendered face beside its 32 features, the last one the identity.
    assert [[block.first.in_channels for block in blocks] for blocks in network.encoder] == [
        [35] * 3,
        [64] * 3,
        [128] * 3,
    ]
    assert [[block.first.in_channels for block in blocks] for blocks in network.decoder] == [
        [129] * 3,
        [64] * 3,
        [35] * 3,
    ]
    assert (network.frames, network.multiple, network.takes_flow) == (5, 4, False)
    assert (network.prior_channels, network.identity_size) == (3, 80)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"widths": (8, 16)}, "widths"),
        ({"frames": 4}, "frames must be odd and positive, got 4"),
        ({"frames": -1}, "frames must be odd and positive, got -1"),
        ({"width": 2}, "width must be at least 3, got 2"),
        ({"prior_channels": -1}, "prior_channels must not be negative, got -1"),
        ({"identity_size": 82}, "identity_size must be between 0 and 81, got 82"),
        ({"identity_size": -1}, "identity_size must be between 0 and 81, got -1"),
    ],
)
def test_a_bad_option_is_named(options: dict[str, object], text: str) -> None:
    with pytest.raises(UsageError, match=text) as caught:
        networks.create("ren2019", **options)
    assert "\n" not in str(caught.value)


# The rows of Table 2, with the mask as a fourth channel, and the single image of section 4.5.
CONFIGURATIONS = [
    {"prior_channels": 0, "identity_size": 0},
    {"prior_channels": 0, "identity_size": 80},
    {"prior_channels": 3, "identity_size": 0},
    {"prior_channels": 3, "identity_size": 80},
    {"prior_channels": 4, "identity_size": 80},
    {"prior_channels": 3, "identity_size": 80, "frames": 1},
]


@pytest.mark.parametrize("options", CONFIGURATIONS)
@torch.no_grad()
def test_every_configuration_begins_with_the_central_frame(
    options: dict[str, int], window: Tensor, rendered: Tensor, identity: Tensor
) -> None:
    prior = torch.cat([rendered, torch.ones(1, 1, 96, 96)], dim=1)[:, : options["prior_channels"] or 3]
    frames = window if options.get("frames", 5) == 5 else central_frame(window)
    network = networks.create("ren2019", **SMALL, **options).eval()
    change = network(frames, prior, identity)
    assert change.shape == (1, 3, 96, 96)
    assert change.abs().max() < 1e-6
    nn.init.normal_(network.tail.weight, std=0.05)
    assert network(frames, prior, identity).abs().mean() > 0.01


@torch.no_grad()
def test_the_last_layer_gives_an_image_and_not_a_residual(window: Tensor) -> None:
    network = networks.create("ren2019", **SMALL).eval()
    nn.init.zeros_(network.tail.weight)
    nn.init.constant_(network.tail.bias, 0.25)
    torch.testing.assert_close(network(window), 0.25 - window[:, 6:9])


@torch.no_grad()
def test_the_rendered_face_stands_beside_the_first_features(window: Tensor, rendered: Tensor) -> None:
    network = stirred()
    seen = inputs_of(network.encoder[0])
    network(window, rendered)
    assert seen[0].shape == (1, 9, 96, 96)
    assert torch.equal(seen[0][:, 6:], rendered)
    assert torch.equal(seen[0][:, :6], network.head(window).relu())


@torch.no_grad()
def test_the_identity_stands_in_the_centre_beside_the_last_features_of_the_encoder(
    window: Tensor, identity: Tensor
) -> None:
    network = stirred()
    features, seen = inputs_of(network.decoder[0]), []
    network.encoder[-1].register_forward_hook(lambda _, __, output: seen.append(output))
    large = torch.nn.functional.interpolate(window, (256, 256))
    network(large, identity=identity)
    assert features[0].shape == (1, 25, 64, 64)
    assert torch.equal(features[0][:, :24], seen[0])
    plane = features[0][0, 24]
    matrix = plane[27:36, 27:36]
    assert torch.equal(matrix.flatten()[:80], identity[0])
    assert matrix[8, 8] == 0
    assert plane.count_nonzero() == 80


def test_the_identity_map_is_padded_on_all_sides_and_never_cropped() -> None:
    vectors = torch.arange(1, 163).reshape(2, 81).float()
    exact = identity_map(vectors, 9, 9)
    assert torch.equal(exact.flatten(1), vectors)
    padded = identity_map(vectors, 12, 10)
    assert padded.shape == (2, 1, 12, 10)
    assert torch.equal(padded[:, :, 1:10, 0:9], exact)
    assert padded.sum() == vectors.sum()
    short = identity_map(vectors[:, :5], 9, 9).flatten(1)
    assert torch.equal(short[:, :5], vectors[:, :5])
    assert not short[:, 5:].any()


@torch.no_grad()
def test_what_is_left_out_is_zero(window: Tensor, rendered: Tensor, identity: Tensor) -> None:
    network = stirred()
    none, black, nobody = network(window), torch.zeros_like(rendered), torch.zeros_like(identity)
    assert torch.equal(network(window, black, nobody), none)
    with_prior, with_identity = network(window, rendered), network(window, identity=identity)
    assert not torch.allclose(with_prior, none)
    assert not torch.allclose(with_identity, none)
    assert not torch.allclose(network(window, rendered, identity), with_prior)
    assert torch.equal(network(window, rendered, nobody), with_prior)
    assert torch.equal(network(window, black, identity), with_identity)


@torch.no_grad()
def test_a_network_without_guides_ignores_them(window: Tensor, rendered: Tensor, identity: Tensor) -> None:
    network = stirred(prior_channels=0, identity_size=0)
    assert torch.equal(network(window, rendered, identity), network(window))


@torch.no_grad()
def test_every_multiple_of_four_fits_and_nothing_else(window: Tensor) -> None:
    network, plain = stirred(), stirred(prior_channels=0, identity_size=0)
    for height, width in ((36, 36), (36, 96), (76, 40)):
        assert network(window[..., :height, :width]).shape == (1, 3, height, width)
    assert plain(window[..., :4, :8]).shape == (1, 3, 4, 8)
    for height, width in ((38, 40), (40, 37)):
        with pytest.raises(ValueError, match=f"{width}x{height}: both sides must be multiples of 4"):
            network(window[..., :height, :width])
    with pytest.raises(ValueError, match="40x32: with an identity vector both sides must be at least 36"):
        network(window[..., :32, :40])


def test_everything_is_trained(window: Tensor, rendered: Tensor, identity: Tensor) -> None:
    network = stirred()
    network(window, rendered, identity).square().sum().backward()
    idle = [name for name, parameter in network.named_parameters() if not parameter.grad.any()]
    assert idle == []


@torch.no_grad()
def test_features_neither_grow_nor_fade_before_training(window: Tensor, rendered: Tensor) -> None:
    torch.manual_seed(0)
    network = networks.create("ren2019", width=16).eval()
    seen = [inputs_of(blocks) for blocks in (*network.encoder, *network.decoder)]
    ends = inputs_of(network.tail)
    network(window, rendered)
    sizes = [features[0].square().mean().sqrt().item() for features in (*seen, ends)]
    assert max(sizes) < 4 * min(sizes)
    assert 0.2 < sizes[0] < 2


def test_it_learns_and_the_rendered_face_helps(window: Tensor, rendered: Tensor, identity: Tensor) -> None:
    """A few steps on a window blurred by 11 px: the rendered face holds what its frames have lost."""
    padded = nn.functional.pad(window, (5, 5, 0, 0), mode="replicate")
    blurred = nn.functional.conv2d(padded, torch.full((15, 1, 1, 11), 1 / 11), groups=15)
    face = (..., slice(24, 72), slice(24, 72))
    sharp, given, prior = central_frame(window)[face], blurred[face], rendered[face]

    def error_after(steps: int, **options: int) -> float:
        torch.manual_seed(0)
        network = networks.create("ren2019", **SMALL, **options)
        optimiser = torch.optim.Adam(network.parameters())
        for step in range(steps):
            optimiser.param_groups[0]["lr"] = 5e-4 * min(1.0, (step + 1) / 20)
            restored = central_frame(given) + network(given, prior, identity)
            error = (restored - sharp).square().mean()
            optimiser.zero_grad()
            error.backward()
            optimiser.step()
        return error.item()

    before = (central_frame(given) - sharp).square().mean().item()
    guided, plain = error_after(60), error_after(60, prior_channels=0, identity_size=0)
    assert plain < 0.5 * before
    assert guided < 0.8 * plain


def test_the_cost_falls_with_the_square_of_the_width() -> None:
    window, prior, identity = torch.zeros(1, 15, 64, 64), torch.zeros(1, 3, 64, 64), torch.zeros(1, 80)
    full = multiply_accumulates(networks.create("ren2019"), window, prior, identity) * 16  # of 256x256
    assert full == pytest.approx(68e9, rel=0.02)
    plain = {"prior_channels": 0, "identity_size": 0}
    costs = [multiply_accumulates(networks.create("ren2019", width=w, **plain), window) for w in (32, 8)]
    assert 14 < costs[0] / costs[1] < 16


@torch.no_grad()
def test_bfloat16_stays_close(window: Tensor, rendered: Tensor, identity: Tensor) -> None:
    network = stirred()
    exact = network(window, rendered, identity)
    low = network.bfloat16()(window.bfloat16(), rendered.bfloat16(), identity.bfloat16()).float()
    assert exact.std() > 2 / 255  # a change worth comparing
    assert (low - exact).std() < 0.03 * exact.std()
    assert (low - exact).abs().max() < 0.1 * exact.abs().max()
