"""Losses against NumPy on real pixels."""

import cv2
import numpy as np
import pytest
import skimage.data
import torch

from fvdeblur.training import losses

LOSSES = [*losses.MAIN.values(), losses.frequency, losses.log_error]


@pytest.fixture(scope="module")
def pair() -> tuple[np.ndarray, np.ndarray]:
    """Blurred and sharp patches, float32 [2, 3, 40, 36]."""
    photograph = skimage.data.astronaut()
    sharp = np.stack([photograph[80:120, 200:236], photograph[100:140, 180:216]])
    blurred = np.stack([cv2.GaussianBlur(patch, (0, 0), 1 + i) for i, patch in enumerate(sharp)])
    return tuple(x.transpose(0, 3, 1, 2).astype(np.float32) / 255 for x in (blurred, sharp))


def tensors(pair: tuple[np.ndarray, np.ndarray]) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.from_numpy(pair[0]).requires_grad_(), torch.from_numpy(pair[1])


def test_charbonnier(pair: tuple[np.ndarray, np.ndarray]) -> None:
    difference = pair[0].astype(np.float64) - pair[1]
    for epsilon in (1e-3, 0.1):
        expected = np.sqrt(difference**2 + epsilon**2).mean()
        assert losses.charbonnier(*tensors(pair), epsilon).item() == pytest.approx(expected, rel=1e-5)
    assert losses.charbonnier(*tensors(pair)).item() == pytest.approx(np.abs(difference).mean(), rel=0.05)


def test_frequency(pair: tuple[np.ndarray, np.ndarray]) -> None:
    difference = pair[0].astype(np.float64) - pair[1]
    expected = np.abs(np.fft.fft2(difference, norm="ortho")[..., : 36 // 2 + 1]).mean()
    assert losses.frequency(*tensors(pair)).item() == pytest.approx(expected, rel=1e-5)


def test_log_error(pair: tuple[np.ndarray, np.ndarray]) -> None:
    errors = ((pair[0].astype(np.float64) - pair[1]) ** 2).mean(axis=(1, 2, 3))
    assert losses.log_error(*tensors(pair)).item() == pytest.approx(np.log(errors + 3e-5).mean(), rel=1e-5)
    # ten times the difference on either patch costs the same
    grown = [pair[1] + (pair[0] - pair[1]) * np.array(f)[:, None, None, None] for f in ([3, 1], [1, 3])]
    costs = [
        losses.log_error(torch.from_numpy(x), torch.from_numpy(pair[1]).double(), 0.0).item() for x in grown
    ]
    assert costs[0] == pytest.approx(costs[1], rel=1e-6)


def test_euclidean(pair: tuple[np.ndarray, np.ndarray]) -> None:
    """The norm of equation (4): of the whole patch, not squared, then the mean over the patches."""
    norms = np.linalg.norm((pair[0].astype(np.float64) - pair[1]).reshape(2, -1), axis=1)
    assert norms[0] != pytest.approx(norms[1], rel=0.1)
    assert losses.euclidean(*tensors(pair)).item() == pytest.approx(norms.mean(), rel=1e-5)


def test_absolute(pair: tuple[np.ndarray, np.ndarray]) -> None:
    expected = np.abs(pair[0].astype(np.float64) - pair[1]).mean()
    assert losses.absolute(*tensors(pair)).item() == pytest.approx(expected, rel=1e-5)


def test_huber_of_each_sample(pair: tuple[np.ndarray, np.ndarray]) -> None:
    """Equation (3) of Chrysos & Zafeiriou sample by sample, on a scale of 0..255."""
    size = np.abs(pair[0].astype(np.float64) - pair[1]) * 255
    assert 0.05 < (size > 1).mean() < 0.98  # both branches
    expected = np.where(size > 1, size - 0.5, 0.5 * size**2).mean()
    assert losses.huber(*tensors(pair)).item() == pytest.approx(expected, rel=1e-5)


def test_huber_of_the_norm(pair: tuple[np.ndarray, np.ndarray]) -> None:
    """The same as printed: one norm a patch; the second patch differs so little that the other branch is taken."""
    restored = np.stack([pair[0][0], pair[1][1]])
    restored[1, 0, :2, :3] += np.float32(0.1 / 255)
    difference = (restored.astype(np.float64) - pair[1]).reshape(2, -1) * 255
    sums = np.abs(difference).sum(axis=1)
    assert sums[1] < 1 < sums[0]
    expected = (sums[0] - 0.5 + 0.5 * (difference[1] ** 2).sum()) / 2
    value = losses.huber_norm(torch.from_numpy(restored), torch.from_numpy(pair[1]))
    assert value.item() == pytest.approx(expected, rel=1e-5)
    # where the two branches meet there is no step
    step = torch.zeros(1, 3, 4, 4)
    values = []
    for total in (0.999999, 1.000001):
        step[0, 0, 0, 0] = total / 255
        values.append(losses.huber_norm(step, torch.zeros_like(step)).item())
    assert values[0] == pytest.approx(values[1], abs=1e-4)


@pytest.mark.parametrize("loss", LOSSES)
def test_the_way_down_leads_to_the_sharp_patch(loss, pair) -> None:
    restored, sharp = tensors(pair)
    value = loss(restored, sharp)
    value.backward()
    assert torch.isfinite(restored.grad).all()
    assert loss(restored - 1e-3 * restored.grad / restored.grad.norm(), sharp) < value
    assert loss(sharp, sharp) < value


@pytest.mark.parametrize("loss", LOSSES)
def test_a_perfect_patch_gives_a_finite_gradient(loss, pair) -> None:
    sharp = torch.from_numpy(pair[1])
    restored = sharp.clone().requires_grad_()
    loss(restored, sharp).backward()
    assert torch.isfinite(restored.grad).all()
