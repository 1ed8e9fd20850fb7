"""LPIPS and d_VGG: against a second way to compute them, with random weights, as no others may lie here."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import skimage.data
import torch
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from safetensors.torch import save_file

from fvdeblur.errors import InputError, UsageError
from fvdeblur.evaluation.perceptual import SIDE, measure_distances, read_distances

Array = NDArray[np.float64]
ALEXNET = {
    0: (64, 3, 11, 4, 2),
    3: (192, 64, 5, 1, 2),
    6: (384, 192, 3, 1, 1),
    8: (256, 384, 3, 1, 1),
    10: (256, 256, 3, 1, 1),
}
VGG = {1: (64, 2), 2: (128, 2), 3: (256, 3), 4: (512, 3), 5: (512, 3)}


def lpips_weights() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    weights = {}
    for number, (outputs, inputs, kernel, _, _) in ALEXNET.items():
        spread = (2 / (inputs * kernel**2)) ** 0.5
        weights[f"features.{number}.weight"] = (
            torch.randn(outputs, inputs, kernel, kernel, generator=generator) * spread
        )
        weights[f"features.{number}.bias"] = torch.randn(outputs, generator=generator) * 0.1
    for number, (outputs, *_) in enumerate(ALEXNET.values()):
        weights[f"lin{number}.model.1.weight"] = torch.rand(1, outputs, 1, 1, generator=generator)
    return weights


def vggface_weights() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(2)
    weights, inputs = {}, 3
    for block, (outputs, count) in VGG.items():
        for number in range(1, count + 1):
            name, spread = f"conv{block}_{number}", (2 / (9 * inputs)) ** 0.5
            weights[f"{name}.weight"] = torch.randn(outputs, inputs, 3, 3, generator=generator) * spread
            weights[f"{name}.bias"] = torch.randn(outputs, generator=generator) * 0.1
            inputs = outputs
    return weights


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("networks")
    save_file(lpips_weights(), path / "lpips.safetensors")
    save_file(vggface_weights(), path / "vggface.safetensors")
    return path


def convolved(x: Array, weight: torch.Tensor, bias: torch.Tensor, stride: int, padding: int) -> Array:
    """A convolution and a rectifier: [C, H, W] in and out."""
    size = weight.shape[-1]
    padded = np.pad(x, ((0, 0), (padding, padding), (padding, padding)))
    windows = sliding_window_view(padded, (size, size), axis=(1, 2))[:, ::stride, ::stride]
    made = np.tensordot(weight.double().numpy(), windows, axes=([1, 2, 3], [0, 3, 4]))
    return np.maximum(made + bias.double().numpy()[:, None, None], 0)


def pooled(x: Array, size: int) -> Array:
    return sliding_window_view(x, (size, size), axis=(1, 2))[:, ::2, ::2].max(axis=(3, 4))


def lpips(one: Array, other: Array) -> float:
    weights, total = lpips_weights(), 0.0
    features = []
    for picture in (one, other):
        x = (2 * picture - 1 - np.array([-0.030, -0.088, -0.188])[:, None, None]) / np.array(
            [0.458, 0.448, 0.450]
        )[:, None, None]
        found = []
        for number, (*_, stride, padding) in ALEXNET.items():
            x = pooled(x, 3) if number in (3, 6) else x
            x = convolved(
                x, weights[f"features.{number}.weight"], weights[f"features.{number}.bias"], stride, padding
            )
            found.append(x / np.sqrt((x**2).sum(0)))
        features.append(found)
    for number, (mine, theirs) in enumerate(zip(*features, strict=True)):
        linear = weights[f"lin{number}.model.1.weight"].double().numpy().ravel()
        total += float(np.tensordot(linear, (mine - theirs) ** 2, axes=(0, 0)).mean())
    return total


def d_vgg(one: Array, other: Array) -> float:
    weights = vggface_weights()
    ends = []
    for picture in (one, other):
        x = 255 * picture - np.array([129.1863, 104.7624, 93.5940])[:, None, None]
        for block, (_, count) in VGG.items():
            for number in range(1, count + 1):
                name = f"conv{block}_{number}"
                x = convolved(x, weights[f"{name}.weight"], weights[f"{name}.bias"], 1, 1)
            x = pooled(x, 2)
        ends.append(x)
    return float(np.sqrt(((ends[0] - ends[1]) ** 2).sum()))


def test_against_a_second_way(folder: Path) -> None:
    sharp = cv2.resize(skimage.data.astronaut()[:160, 150:310], (64, 64), interpolation=cv2.INTER_AREA) / 255
    soft = cv2.GaussianBlur(sharp, (0, 0), 1.5)
    pictures = [np.ascontiguousarray(each.transpose(2, 0, 1)) for each in (sharp, soft)]
    one, other = (torch.from_numpy(each).float()[None] for each in pictures)
    distances = read_distances(folder)
    assert list(distances) == ["lpips", "d_vgg"]
    assert float(distances["lpips"](one, other)) == pytest.approx(lpips(*pictures), rel=1e-4)
    assert float(distances["d_vgg"](one, other)) == pytest.approx(d_vgg(*pictures), rel=1e-4)
    for distance in distances.values():
        assert float(distance(one, one)) == 0


def test_faces_of_frames(folder: Path) -> None:
    """In the square around each box, whatever lies outside; more blur is further away; as many as there are frames."""
    sharp = np.stack([skimage.data.astronaut()[:300, 50:450]] * 9)
    frames = np.stack([cv2.GaussianBlur(frame, (0, 0), 0.5 + 0.5 * k) for k, frame in enumerate(sharp)])
    boxes = [(125, 60, 225, 200 + k) for k in range(9)]
    measured = measure_distances(read_distances(folder), frames, sharp, boxes)
    assert list(measured) == ["lpips", "d_vgg"]
    for values in measured.values():
        assert values.shape == (9,)
        assert (np.diff(values) > 0).all()
    elsewhere = frames.copy()
    elsewhere[:, :, 270:] = 0
    again = measure_distances(read_distances(folder), elsewhere, sharp, boxes)
    for name, values in again.items():
        np.testing.assert_allclose(values, measured[name])
    small = cv2.resize(frames[4][60:204, 103:247], (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    truth = cv2.resize(sharp[4][60:204, 103:247], (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    one, other = (torch.from_numpy(each).permute(2, 0, 1)[None] / 255 for each in (small, truth))
    assert measured["lpips"][4] == pytest.approx(float(read_distances(folder)["lpips"](one, other)), rel=1e-3)


def test_only_what_lies_there_is_measured(folder: Path, tmp_path: Path) -> None:
    assert read_distances(None) == {}
    assert read_distances(tmp_path) == {}
    (tmp_path / "vggface.safetensors").symlink_to(folder / "vggface.safetensors")
    assert list(read_distances(tmp_path)) == ["d_vgg"]
    with pytest.raises(UsageError, match=r"is no folder; --networks takes one with lpips\.safetensors"):
        read_distances(tmp_path / "none")
    weights = lpips_weights()
    del weights["lin3.model.1.weight"]
    save_file(weights, tmp_path / "lpips.safetensors")
    with pytest.raises(InputError, match=r"lpips\.safetensors: holds no 'lin3\.weight'; see "):
        read_distances(tmp_path)
    (tmp_path / "lpips.safetensors").write_bytes(b"nothing")
    with pytest.raises(InputError, match=r"lpips\.safetensors: cannot be read \(.*\)$"):
        read_distances(tmp_path)
