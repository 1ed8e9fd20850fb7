"""Blur that differs over the picture."""

import numpy as np
import pytest
import torch
from face_material import moving_frames

from fvdeblur.datasets.protocols import apply
from fvdeblur.datasets.protocols.mixtures import COMPONENTS, face_weights, field_weights


def tensor(frames: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(frames).permute(0, 3, 1, 2).contiguous()


def test_the_face_has_one_blur_and_the_rest_the_other() -> None:
    weights = face_weights(np.array([40, 20, 80, 70.0]), 100, 120)
    assert weights.shape == (100, 120)
    assert weights[45, 60] == 1
    inside = weights[21:69, 41:79]
    y, x = np.mgrid[21:69, 41:79]
    assert (inside[np.hypot((x - 60) / 20, (y - 45) / 25) < 1] == 1).all()
    assert weights[:, 0].max() == weights[:, -1].max() == weights[-1].max() == 0
    assert 0 <= weights.min() <= weights.max() <= 1


@pytest.mark.parametrize("seed", range(6))
def test_weights_are_continuous(seed: int) -> None:
    """Twice as many samples halve the largest step, as they do of no edge."""
    rng = np.random.default_rng(seed)
    box = np.array([0.2, 0.3, 0.6, 0.8]) + rng.uniform(-0.1, 0.1, 4)
    for make in (
        lambda side: face_weights(box * side, side, side),
        lambda side: field_weights(np.random.default_rng(seed), side, side),
    ):
        steps = []
        for side in (100, 200, 400):
            weights = make(side)
            assert 0 <= weights.min() <= weights.max() <= 1
            steps.append(max(np.abs(np.diff(weights, axis=axis)).max() for axis in (0, 1)))
        assert steps[0] < 0.2
        assert steps[1] < 0.6 * steps[0]
        assert steps[2] < 0.6 * steps[1]


def test_fields_hold_much_of_both() -> None:
    shares = [field_weights(np.random.default_rng(seed), 60, 80) for seed in range(30)]
    assert all(0.25 < weights.mean() < 0.75 for weights in shares)
    assert np.mean([weights.max() - weights.min() for weights in shares]) > 0.7
    assert not np.array_equal(shares[0], shares[1])


def test_a_mixture_is_made_of_its_parts() -> None:
    """Sharp on the face and Gaussian around it, or the other way round, by the box that was given."""
    frames = moving_frames(4)
    boxes = np.array([[30, 24, 66, 72.0]] * 4)
    settings = {"components": ("sharp", "gaussian"), "layouts": ("face",)}
    found = set()
    for seed in range(6):
        result = apply("mixed", tensor(frames), seed, settings=settings, boxes=boxes)
        difference = (result.blurred.int() - result.sharp.int()).abs().amax(dim=1)
        inside, outside = difference[:, 40:56, 42:54], difference[:, :, :3]
        parts = tuple(part["protocol"] for part in result.record["drawn"]["parts"])
        found.add(parts)
        same, other = (inside, outside) if parts[0] == "sharp" else (outside, inside)
        assert same.max() == 0
        assert other.max() > 3
        assert result.record["drawn"]["layout"] == "face"
        deviation = [part for part in result.record["frames"][0]["parts"] if part]
        assert len(deviation) == 1
        assert "deviation" in deviation[0]
    assert found == {("sharp", "gaussian"), ("gaussian", "sharp")}


def test_the_box_moves_the_mixture() -> None:
    frames = moving_frames(2, step=(0, 0))
    boxes = np.array([[0, 0, 20, 20.0], [70, 70, 90, 90.0]])
    settings = {"components": ("sharp", "jung"), "layouts": ("face",)}
    result = apply("mixed", tensor(frames), 1, settings=settings, boxes=boxes)
    sharp_inside = result.record["drawn"]["parts"][0]["protocol"] == "sharp"
    difference = (result.blurred.int() - result.sharp.int()).abs().float().mean(dim=1)
    corners = [(slice(4, 16), slice(4, 16)), (slice(74, 86), slice(74, 86))]
    for frame, (own, other) in enumerate((corners, corners[::-1])):
        unblurred, blurred = (own, other) if sharp_inside else (other, own)
        assert difference[frame][unblurred].max() == 0
        assert difference[frame][blurred].max() > 0


@pytest.mark.parametrize("first", sorted(COMPONENTS))
def test_every_component_can_be_mixed(first: str) -> None:
    second = "jung" if first != "jung" else "sharp"
    frames = np.ascontiguousarray(moving_frames(7)[:, :48, :51])
    result = apply("mixed", tensor(frames), 2, settings={"components": (first, second)})
    names = {part["protocol"] for part in result.record["drawn"]["parts"]}
    assert names == {first, second}
    assert result.frames[0] == result.record["neighbours"]
    assert (result.blurred != result.sharp).any()
