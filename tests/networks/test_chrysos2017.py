"""The network of Chrysos & Zafeiriou 2017: its layers, its normalisation, its first weights, and that it learns."""

import pytest
import skimage.data
import torch
from torch import Tensor, nn

from fvdeblur import networks
from fvdeblur.networks import Chrysos2017, WindowShape, multiply_accumulates
from fvdeblur.networks.chrysos2017 import Bottleneck, MovingNorm


@pytest.fixture(scope="module")
def face() -> Tensor:
    """float [1, 3, 64, 64], 0..1."""
    return torch.from_numpy(skimage.data.astronaut()[86:150, 190:254]).permute(2, 0, 1)[None].float() / 255


@pytest.fixture(scope="module")
def fresh() -> Chrysos2017:
    torch.manual_seed(0)
    network = networks.create("chrysos2017").eval()
    assert isinstance(network, Chrysos2017)
    return network


@pytest.fixture
def stirred(fresh: Chrysos2017) -> Chrysos2017:
    """A copy whose image listens to all features, as after training."""
    network = Chrysos2017().eval()
    network.load_state_dict(fresh.state_dict())
    for mapping in network.mappings:
        nn.init.normal_(mapping.weight, std=0.1)
    return network


def shapes_of(network: nn.Module, given: Tensor) -> dict[str, tuple[int, ...]]:
    """What comes out of every layer."""
    shapes: dict[str, tuple[int, ...]] = {}
    hooks = [
        module.register_forward_hook(
            lambda _, __, out, name=name: shapes.__setitem__(name, tuple(out.shape[1:]))
        )
        for name, module in network.named_modules()
        if name
    ]
    with torch.no_grad():
        network(given)
    for hook in hooks:
        hook.remove()
    return shapes


def test_the_layers_are_those_of_resnet_50_without_pooling(fresh: Chrysos2017, face: Tensor) -> None:
    assert not [m for m in fresh.modules() if "Pool" in type(m).__name__]
    assert fresh.head.weight.shape == (64, 3, 7, 7)
    assert [len(block) for block in fresh.blocks] == [3, 4, 6]
    for block, width, inputs in zip(fresh.blocks, (64, 128, 256), (64, 256, 512), strict=True):
        for number, unit in enumerate(block):
            assert isinstance(unit, Bottleneck)
            before = 4 * width if number else inputs
            assert unit.reduce.weight.shape == (width, before, 1, 1)
            assert unit.middle.weight.shape == (width, width, 3, 3)
            assert unit.expand.weight.shape == (4 * width, width, 1, 1)
            assert (unit.projection is not None) == (number == 0)
    shapes = shapes_of(fresh, face)
    assert shapes["head"] == (64, 32, 32)
    assert shapes["blocks.0"] == (256, 32, 32)  # 1/2 and not 1/4, as there is no pooling
    assert shapes["blocks.1"] == shapes["skip_norms.0"] == (512, 16, 16)
    assert shapes["blocks.2"] == shapes["skip_norms.1"] == (1024, 8, 8)
    assert shapes["mappings.0"] == (
        3 * 16,
        16,
        16,
    )  # 4x4 pixels of three colours at each of 1/4 of the places
    assert shapes["mappings.1"] == (3 * 64, 8, 8)
    assert WindowShape.of(fresh) == WindowShape(1, 8, takes_flow=False)


def test_the_parameters_counted_by_hand(fresh: Chrysos2017) -> None:
    head = 7 * 7 * 3 * 64 + 2 * 64
    # Units: 1x1 down, 3x3, 1x1 up, and two numbers a channel for the normalisations behind them.
    first = 64 * 64 + 9 * 64 * 64 + 64 * 256 + 2 * (64 + 64 + 256) + (64 * 256 + 2 * 256)
    first += 2 * (256 * 64 + 9 * 64 * 64 + 64 * 256 + 2 * (64 + 64 + 256))
    second = 256 * 128 + 9 * 128 * 128 + 128 * 512 + 2 * (128 + 128 + 512) + (256 * 512 + 2 * 512)
    second += 3 * (512 * 128 + 9 * 128 * 128 + 128 * 512 + 2 * (128 + 128 + 512))
    third = 512 * 256 + 9 * 256 * 256 + 256 * 1024 + 2 * (256 + 256 + 1024) + (512 * 1024 + 2 * 1024)
    third += 5 * (1024 * 256 + 9 * 256 * 256 + 256 * 1024 + 2 * (256 + 256 + 1024))
    # As the usual program of the original network counts them.
    assert (head, first, second, third) == (9408 + 128, 215_808, 1_219_584, 7_098_368)
    skips = 2 * 512 + 2 * 1024
    mappings = 512 * 48 + 48 + 1024 * 192
    total = sum(parameter.numel() for parameter in fresh.parameters())
    assert total == head + first + second + third + skips + mappings == 8_767_600
    stored = sum(value.numel() for value in fresh.state_dict().values()) * 2
    assert stored < 18e6  # bytes in half precision
    assert all(value.is_floating_point() for value in fresh.state_dict().values())


@torch.no_grad()
def test_it_begins_with_the_frame_in_every_corner_of_the_cube(fresh: Chrysos2017, face: Tensor) -> None:
    corners = torch.cartesian_prod(*[torch.tensor([0.0, 1.0])] * 3).T.reshape(1, 3, 2, 4)
    corners = corners.repeat_interleave(8, 2).repeat_interleave(4, 3)
    for frame in (face, corners, torch.rand(2, 3, 24, 40)):
        assert fresh(frame).abs().max() < 1e-5


@torch.no_grad()
def test_the_last_layer_gives_an_image_and_not_a_residual(stirred: Chrysos2017, face: Tensor) -> None:
    for mapping in stirred.mappings:
        nn.init.zeros_(mapping.weight)
    restored = face + stirred(face)
    means = torch.tensor([140, 123, 116])[:, None, None] / 255  # zero on the network's own scale
    torch.testing.assert_close(restored, means.expand_as(restored[0])[None], atol=1e-6, rtol=0)


@torch.no_grad()
def test_both_connections_lead_to_the_image_linearly(stirred: Chrysos2017, face: Tensor) -> None:
    whole = face + stirred(face)
    weights = [mapping.weight.clone() for mapping in stirred.mappings]
    parts = []
    for number in (0, 1):
        for i, mapping in enumerate(stirred.mappings):
            mapping.weight.copy_(weights[i] * (i == number))
        parts.append(face + stirred(face))
    for mapping in stirred.mappings:
        mapping.weight.zero_()
    nothing = face + stirred(face)
    torch.testing.assert_close(parts[0] + parts[1] - nothing, whole, atol=1e-4, rtol=1e-4)
    assert all((part - nothing).std() > 0.01 for part in parts)


@torch.no_grad()
def test_sides_that_do_not_fit_are_named(fresh: Chrysos2017, face: Tensor) -> None:
    assert fresh(face[..., :16, :40]).shape == (1, 3, 16, 40)
    with pytest.raises(ValueError, match="44x64: both sides must be multiples of 8"):
        fresh(face[..., :44])


def test_everything_is_trained(stirred: Chrysos2017, face: Tensor) -> None:
    stirred.requires_grad_().train()
    stirred(face[..., :32, :32]).square().sum().backward()
    idle = [name for name, parameter in stirred.named_parameters() if not parameter.grad.any()]
    assert idle == []


def test_statistics_move_and_are_used_in_training_as_afterwards() -> None:
    torch.manual_seed(0)
    norm, x = MovingNorm(2), torch.randn(4, 2, 5, 5) * 3 + 1
    nn.init.uniform_(norm.weight)
    nn.init.uniform_(norm.bias)
    assert torch.equal(norm.mean, torch.zeros(2))
    own = nn.functional.batch_norm(x, None, None, norm.weight, norm.bias, training=True)
    torch.testing.assert_close(norm.train()(x), own)  # the first batch: there are no others yet
    torch.testing.assert_close(norm.mean, x.mean((0, 2, 3)))
    torch.testing.assert_close(norm.variance, x.var((0, 2, 3), correction=0))
    before = norm.eval()(x + 3)
    assert torch.equal(norm.train()(x + 3), before)
    torch.testing.assert_close(norm.mean, x.mean((0, 2, 3)) + 1.5)  # the mean of both
    norm.momentum = 0.1
    for _ in range(100):
        norm(x)
    torch.testing.assert_close(norm.mean, x.mean((0, 2, 3)), atol=1e-3, rtol=0)
    assert norm.batches == 10
    settled = norm.eval()(x)
    expected = nn.functional.batch_norm(x, None, None, norm.weight, norm.bias, training=True)
    torch.testing.assert_close(settled, expected, atol=1e-3, rtol=1e-3)


def test_statistics_of_a_large_batch_are_those_of_evenly_spread_places() -> None:
    torch.manual_seed(0)
    norm, x = MovingNorm(2), torch.randn(8, 2, 64, 48) * 2 + torch.linspace(0, 3, 64)[:, None]
    norm.momentum = 1.0
    norm.train()(x)
    step = 3  # 24,576 places, of which 2,048 are enough
    torch.testing.assert_close(norm.mean, x[..., ::step, ::step].mean((0, 2, 3)))
    torch.testing.assert_close(norm.mean, x.mean((0, 2, 3)), atol=0.15, rtol=0)
    torch.testing.assert_close(norm.variance, x.var((0, 2, 3)), atol=0.3, rtol=0)


@torch.no_grad()
def test_a_batch_that_is_not_finite_leaves_the_statistics() -> None:
    norm = MovingNorm(2)
    x = torch.randn(1, 2, 4, 4)
    x[0, 1, 0, 0] = torch.nan
    norm(x)
    assert torch.isfinite(norm.mean).all()
    assert torch.isfinite(norm.variance).all()
    assert norm.mean[0] != 0
    assert norm.mean[1] == 0


def test_a_few_steps_sharpen(face: Tensor) -> None:
    """Gradient descent with momentum on one face under a Gaussian blur."""
    axis = torch.exp(-(torch.arange(-3.0, 4) ** 2) / (2 * 1.2**2))
    kernel = (axis[:, None] * axis / axis.sum() ** 2).expand(3, 1, 7, 7)
    padded = nn.functional.pad(face, (3, 3, 3, 3), mode="reflect")
    blurred = nn.functional.conv2d(padded, kernel, groups=3)[..., 16:48, 16:48]
    sharp = face[..., 16:48, 16:48]
    torch.manual_seed(0)
    network = Chrysos2017()
    optimiser = torch.optim.SGD(network.parameters(), lr=3e-4, momentum=0.9)
    errors = []
    for _ in range(16):
        difference = (blurred + network(blurred) - sharp) * 255
        error = nn.functional.huber_loss(difference, torch.zeros_like(difference))
        optimiser.zero_grad()
        error.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 5.0)
        optimiser.step()
        errors.append(error.item())
    assert errors[-1] < errors[8] < 0.95 * errors[0]


def test_the_cost(fresh: Chrysos2017) -> None:
    assert multiply_accumulates(fresh, torch.zeros(1, 3, 64, 64)) * 16 == pytest.approx(17e9, rel=0.02)


@torch.no_grad()
def test_bfloat16_stays_close(stirred: Chrysos2017, face: Tensor) -> None:
    exact = stirred(face)
    low = stirred.bfloat16()(face.bfloat16()).float()
    assert exact.std() > 2 / 255  # a change worth comparing
    assert (low - exact).std() < 0.03 * exact.std()
