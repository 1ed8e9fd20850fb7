"""Kernels, the convolution with them, and the protocols made of them."""

import numpy as np
import pytest
import torch
from face_material import photograph
from scipy import ndimage
from skimage.registration import phase_cross_correlation

from fvdeblur.datasets.protocols import apply, create
from fvdeblur.datasets.protocols.convolutions import Convolution
from fvdeblur.datasets.protocols.kernels import (
    convolve,
    disc_kernel,
    draw_stroke,
    gaussian_kernel,
    linear_stroke,
    random_stroke,
)
from fvdeblur.datasets.protocols.protocol import generator


def face(side: int = 96) -> np.ndarray:
    return photograph()[70 : 70 + side, 177 : 177 + side]


def centroid(kernel: np.ndarray) -> tuple[float, float]:
    """x and y from the middle in pixels."""
    place = np.arange(len(kernel)) - len(kernel) // 2
    return float((kernel * place).sum()), float((kernel * place[:, None]).sum())


def drawn(name: str, count: int, **settings: object) -> list[tuple[np.ndarray, dict]]:
    protocol = create(name, settings)
    assert isinstance(protocol, Convolution)
    return [protocol.kernel(generator(seed, "test")) for seed in range(count)]


@pytest.mark.parametrize("name", ["gaussian", "motion-kernel", "jung"])
def test_kernels_are_weights_around_their_middle(name: str) -> None:
    low, high = {"gaussian": (7, 31), "motion-kernel": (5, 31), "jung": (13, 27)}[name]
    kernels = drawn(name, 150)
    for kernel, record in kernels:
        assert kernel.shape == (record["support"],) * 2
        assert low <= len(kernel) <= high
        assert len(kernel) % 2 == 1
        assert kernel.min() >= 0
        assert kernel.sum() == pytest.approx(1, abs=1e-9)
        assert np.abs(centroid(kernel)).max() < 0.5
    sides = {len(kernel) for kernel, _ in kernels}
    assert sides == set(range(low, high + 1, 2))
    distinct = {kernel.tobytes() for kernel, _ in kernels}
    assert len(distinct) == len(kernels)


def test_the_gaussian_is_that_of_scipy() -> None:
    impulse = np.zeros((25, 25))
    impulse[12, 12] = 1
    for deviation in (0.8, 1.7, 3.0):
        expected = ndimage.gaussian_filter(impulse, deviation, radius=12)
        assert np.abs(gaussian_kernel(deviation, 25) - expected).max() < 1e-9
    assert gaussian_kernel(0.0, 5)[2, 2] == 1
    for kernel, record in drawn("gaussian", 40):
        assert 0.8 <= record["deviation"] <= 4.0
        assert np.array_equal(kernel, kernel.T)


@pytest.mark.parametrize("radius", [0.0, 0.4, 1.0, 2.5, 7.3])
def test_the_disc_is_flat_and_as_wide_as_it_should_be(radius: float) -> None:
    kernel = disc_kernel(radius)
    assert kernel.sum() == pytest.approx(1)
    assert np.array_equal(kernel, kernel[::-1])
    assert np.array_equal(kernel, kernel.T)
    half = len(kernel) // 2
    assert radius - 0.5 <= half <= radius + 0.5 or half == 0
    if radius >= 1:
        assert kernel.max() == pytest.approx(1 / (np.pi * radius**2), rel=0.05)
    if radius >= 2:
        x = np.arange(-half, half + 1)
        # half of the mean square radius lies in each axis: r^2 / 4, and 1/12 of a pixel's own width
        assert (kernel * x**2).sum() == pytest.approx(radius**2 / 4 + 1 / 12, rel=0.05)


@pytest.mark.parametrize("angle", [0.0, 30.0, 45.0, 90.0, 135.0])
def test_a_straight_kernel_has_its_length_and_angle(angle: float) -> None:
    length, width = 16.0, 0.5
    kernel = draw_stroke(linear_stroke(length, np.radians(angle), width), 25)
    place = np.arange(25) - 12
    covariance = np.array(
        [
            [(kernel * place**2).sum(), (kernel * place[:, None] * place).sum()],
            [(kernel * place[:, None] * place).sum(), (kernel * place[:, None] ** 2).sum()],
        ]
    )
    values, vectors = np.linalg.eigh(covariance)
    assert values[1] == pytest.approx(length**2 / 12 + width**2, rel=0.03)
    assert values[0] == pytest.approx(width**2, abs=0.06)
    found = np.degrees(np.arctan2(vectors[1, 1], vectors[0, 1])) % 180
    assert min(abs(found - angle), 180 - abs(found - angle)) < 1


def test_random_strokes_turn_and_fill_their_extent() -> None:
    straightness = []
    for seed in range(60):
        stroke = random_stroke(np.random.default_rng(seed), 9.0, 0.5)
        assert np.abs(stroke.points).max() == pytest.approx(9)
        assert np.abs(stroke.points.mean(axis=0)).max() < 1e-9
        steps = np.hypot(*np.diff(stroke.points, axis=0).T)
        assert steps.max() < 1.0  # no gaps
        straightness.append(np.hypot(*(stroke.points[-1] - stroke.points[0])) / steps.sum())
    assert np.quantile(straightness, 0.1) < 0.6
    assert np.quantile(straightness, 0.9) > 0.9


def test_each_frame_is_convolved_with_its_own_kernel() -> None:
    """Against scipy, with kernels that are not symmetric and of different sizes."""
    rng = np.random.default_rng(0)
    kernels = [rng.random((side, side)) ** 3 for side in (3, 9, 15)]
    kernels = [kernel / kernel.sum() for kernel in kernels]
    frames = np.stack([face()[k : k + 61, k : k + 47] for k in range(3)]).transpose(0, 3, 1, 2) / 255.0
    result = convolve(torch.from_numpy(frames).float(), kernels).numpy()
    for k, kernel in enumerate(kernels):
        for c in range(3):
            expected = ndimage.convolve(frames[k, c], kernel, mode="nearest")
            assert np.abs(result[k, c] - expected).max() < 1e-5
    shared = convolve(torch.from_numpy(frames).float(), kernels[1:2]).numpy()
    assert np.abs(shared[1] - result[1]).max() < 1e-5
    assert np.abs(shared[0] - ndimage.convolve(frames[0], kernels[1][None], mode="nearest")).max() < 1e-5


@pytest.mark.parametrize("light", ["gamma", "linear"])
@pytest.mark.parametrize("name", ["gaussian", "motion-kernel", "jung"])
def test_a_protocol_is_the_convolution_with_its_kernel(name: str, light: str) -> None:
    frames = np.stack([face(72)] * 2)
    protocol = create(name)
    assert isinstance(protocol, Convolution)
    given = torch.from_numpy(frames).permute(0, 3, 1, 2)
    result = apply(name, given, 9, settings={"light": light})
    power = 2.2 if light == "linear" else 1.0
    for index in range(2):
        kernel, _ = protocol.kernel(generator(9, name, index + 1))
        bright = (frames[index] / 255.0) ** power
        expected = np.stack([ndimage.convolve(bright[..., c], kernel, mode="nearest") for c in range(3)])
        expected = 255 * expected ** (1 / power)
        assert np.abs(result.blurred[index].numpy() - expected).max() <= 0.52
    assert not torch.equal(result.blurred[0], result.blurred[1])


def test_one_kernel_for_the_clip() -> None:
    given = torch.from_numpy(np.stack([face(64)] * 3)).permute(0, 3, 1, 2)
    result = apply("motion-kernel", given, 2, settings={"each_frame": False})
    assert torch.equal(result.blurred[0], result.blurred[2])
    kinds = [{k: v for k, v in record.items() if k != "frame"} for record in result.record["frames"]]
    assert kinds[0] == kinds[1] == kinds[2]


def test_the_share_of_straight_kernels() -> None:
    for share, low, high in ((0.0, 0, 0), (0.5, 25, 55), (1.0, 80, 80)):
        records = [record for _, record in drawn("motion-kernel", 80, linear_share=share)]
        assert low <= sum("angle" in record for record in records) <= high


@pytest.mark.parametrize("name", ["gaussian", "motion-kernel"])
def test_the_sharp_frame_lies_where_the_blurred_one_does(name: str) -> None:
    """Sub-pixel phase correlation, with kernels that are symmetric about their middle."""
    settings = (
        {"linear_share": 1.0, "supports": (5, 15)} if name == "motion-kernel" else {"supports": (7, 15)}
    )
    given = torch.from_numpy(np.stack([face(128)] * 6)).permute(0, 3, 1, 2)
    result = apply(name, given, 4, settings=settings)
    for blurred, sharp in zip(result.blurred, result.sharp, strict=True):
        pair = [frame[:, 12:-12, 12:-12].float().mean(dim=0).numpy() for frame in (sharp, blurred)]
        window = np.hanning(104)[:, None] * np.hanning(104)
        pair = [(picture - picture.mean()) * window for picture in pair]
        shift = phase_cross_correlation(*pair, upsample_factor=20, normalization=None)[0]
        assert np.hypot(*shift) < 0.3
