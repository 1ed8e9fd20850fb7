"""Deep features of face recognition networks, against plain sequences of torch's own layers."""

from collections.abc import Callable
from pathlib import Path

import pytest
import skimage.data
import torch
from recognition_material import weights_of
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional

from fvdeblur.errors import InputError, UsageError
from fvdeblur.networks.recognition import MobileFaceNet, VGGFace, check_channels, open_recogniser


@pytest.fixture(scope="module")
def faces() -> Tensor:
    """float [2, 3, 32, 48], 0..1."""
    photograph = torch.from_numpy(skimage.data.astronaut()).permute(2, 0, 1).float() / 255
    return torch.stack([photograph[:, 90:122, 190:238], photograph[:, 130:162, 200:248]])


def assert_of_one_size(features: list[Tensor], expected: list[Tensor]) -> None:
    """Each picture's features must be those expected, divided by their root mean square."""
    for part, whole in zip(features, expected, strict=True):
        size = whole.flatten(1).square().mean(dim=1).sqrt()
        torch.testing.assert_close(part, whole / size[:, None, None, None], atol=1e-4, rtol=1e-3)


def test_vggface(faces: Tensor, tmp_path: Path) -> None:
    weights = weights_of(VGGFace())
    save_file({**weights, "fc8.weight": torch.zeros(2, 2)}, tmp_path / "vggface.safetensors")
    network = open_recogniser(tmp_path / "vggface.safetensors")
    assert network.channels == (64, 128, 256)
    assert [tuple(part.shape) for part in network(faces)] == [
        (2, 64, 32, 48),
        (2, 128, 16, 24),
        (2, 256, 8, 12),
    ]

    def convolved(x: Tensor, name: str) -> Tensor:
        return functional.conv2d(x, weights[f"{name}.weight"], weights[f"{name}.bias"], padding=1).relu()

    x = (faces * 255).clone()
    for channel, mean in enumerate((129.1863, 104.7624, 93.5940)):
        x[:, channel] -= mean
    relu1_2 = convolved(convolved(x, "conv1_1"), "conv1_2")
    relu2_2 = convolved(convolved(functional.max_pool2d(relu1_2, 2), "conv2_1"), "conv2_2")
    x = convolved(convolved(functional.max_pool2d(relu2_2, 2), "conv3_1"), "conv3_2")
    assert_of_one_size(network(faces), [relu1_2, relu2_2, convolved(x, "conv3_3")])


def test_mobilefacenet(faces: Tensor, tmp_path: Path) -> None:
    weights = weights_of(MobileFaceNet())
    state = {"epoch": 3, "net_state_dict": {**weights, "linear1.conv.weight": torch.zeros(2, 2)}}
    torch.save(state, tmp_path / "mobile.ckpt")
    network = open_recogniser(tmp_path / "mobile.ckpt")
    assert network.channels == (64, 64, 128)
    x = functional.interpolate((faces * 255 - 127.5) / 128, (64, 96), mode="bilinear", align_corners=False)

    def normalised(x: Tensor, name: str) -> Tensor:
        values = (weights[f"{name}.{key}"] for key in ("running_mean", "running_var", "weight", "bias"))
        return functional.batch_norm(x, *values)

    def layer(x: Tensor, names: tuple[str, str, str], stride: int = 1) -> Tensor:
        kernel = weights[f"{names[0]}.weight"]
        groups = len(kernel) if kernel.shape[1] == 1 else 1
        x = functional.conv2d(x, kernel, stride=stride, padding=kernel.shape[-1] // 2, groups=groups)
        return functional.prelu(normalised(x, names[1]), weights[f"{names[2]}.weight"])

    for name, stride in (("conv1", 2), ("dw_conv1", 1)):
        x = layer(x, (f"{name}.conv", f"{name}.bn", f"{name}.prelu"), stride)
    expected = [x]
    for number in range(12):
        at = f"blocks.{number}.conv"
        stride = 2 if number in (0, 5) else 1
        y = layer(x, (f"{at}.0", f"{at}.1", f"{at}.2"))
        y = layer(y, (f"{at}.3", f"{at}.4", f"{at}.5"), stride)
        y = normalised(functional.conv2d(y, weights[f"{at}.6.weight"]), f"{at}.7")
        x = x + y if stride == 1 else y
        expected += [x] if number in (4, 11) else []
    features = network(faces)
    assert [tuple(part.shape) for part in features] == [(2, 64, 32, 48), (2, 64, 16, 24), (2, 128, 8, 12)]
    assert_of_one_size(features, expected)


def test_it_is_frozen(faces: Tensor, tmp_path: Path) -> None:
    save_file(weights_of(MobileFaceNet()), tmp_path / "mobile.safetensors")
    network = open_recogniser(tmp_path / "mobile.safetensors")
    before = {name: value.clone() for name, value in network.state_dict().items()}
    assert not any(part.requires_grad for part in network(faces))
    assert all(part.requires_grad for part in network(faces.clone().requires_grad_()))
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert not any(parameter.requires_grad for parameter in network.parameters())
    assert not any(module.training for module in network.modules() if isinstance(module, nn.BatchNorm2d))


def a_pickle(path: Path) -> None:
    """A checkpoint that would run something when it is read as any pickle is."""

    class Evil:
        def __reduce__(self) -> tuple[Callable[..., object], tuple[str]]:
            return Path.touch, (path.with_name("touched"),)

    torch.save({"net_state_dict": {"conv1": Evil()}}, path)


@pytest.mark.parametrize(
    ("name", "write", "text"),
    [
        ("none.ckpt", lambda path: None, r"none\.ckpt: no weights .* recogniser = PATH"),
        (
            "text.safetensors",
            lambda path: path.write_text("no tensors"),
            r"text\.safetensors: cannot be read",
        ),
        ("text.ckpt", lambda path: path.write_text("no tensors"), r"text\.ckpt: cannot be read"),
        ("evil.ckpt", a_pickle, r"evil\.ckpt: cannot be read"),
        (
            "other.safetensors",
            lambda path: save_file({"fc.weight": torch.zeros(2)}, path),
            r"neither weights of VGGFace nor of MobileFaceNet \(without 'conv1\.conv\.weight'\)",
        ),
        (
            "wrong.safetensors",
            lambda path: save_file({**weights_of(VGGFace()), "conv2_1.weight": torch.zeros(3, 3)}, path),
            "neither weights of VGGFace nor of MobileFaceNet",
        ),
        ("list.ckpt", lambda path: torch.save([1, 2], path), "neither weights of VGGFace"),
    ],
)
def test_files_that_do_not_fit(tmp_path: Path, name: str, write: Callable[[Path], object], text: str) -> None:
    write(tmp_path / name)
    with pytest.raises(InputError, match=text) as caught:
        open_recogniser(tmp_path / name)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "touched").exists()


def test_channels_must_be_those_of_the_network() -> None:
    check_channels(VGGFace(), [64, 128, 256], "there")
    with pytest.raises(
        UsageError, match=r"there: has features of \[64, 64, 128\] channels; .*not \[64, 128, 256\]"
    ):
        check_channels(MobileFaceNet(), [64, 128, 256], "there")
