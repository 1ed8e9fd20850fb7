"""The comparison of precisions and runtimes: it compares the same network on the same pictures."""

import numpy as np
import torch
from skimage import data

from benchmarks.precisions import OtherRuntime, quality, runtimes
from fvdeblur.datasets import Clip
from fvdeblur.restoration import Restorer


def test_another_runtime_gives_the_same_changes() -> None:
    exact = Restorer("fvd-fast", "cpu", "fp32")
    compute = runtimes("fvd-fast", 1)["onnxruntime fp32"]
    other = OtherRuntime("fvd-fast", compute)
    picture = data.astronaut()
    window = np.stack([picture[: 13 * 16, 110 + 3 * k : 110 + 3 * k + 12 * 16] for k in range(5)])
    [wanted], [got] = exact.changes([window]), other.changes([window])
    assert wanted is not None
    assert got is not None
    assert got.shape == wanted.shape == (13 * 16, 12 * 16, 3)
    assert np.abs(wanted).max() > 8 / 255
    assert np.abs(got - wanted).max() < 1 / 255

    def halved(inputs: dict[str, torch.Tensor]) -> np.ndarray:
        return compute(inputs) / 2

    [less] = OtherRuntime("fvd-fast", halved).changes([window])
    assert less is not None
    assert np.abs(2 * less - wanted).max() < 1 / 255


def test_what_is_lost_is_told() -> None:
    def nothing(inputs: dict[str, torch.Tensor]) -> np.ndarray:
        return np.zeros_like(inputs["frames"][:, :3].numpy())

    picture = data.astronaut()[:270, 90:360]
    clip = Clip("moving", "someone", np.stack([np.roll(picture, 2 * k, axis=1) for k in range(90)]), 25.0)
    ways = {"torch fp32": Restorer("fvd-fast", "cpu", "fp32"), "nothing": OtherRuntime("fvd-fast", nothing)}
    with torch.inference_mode():
        told = quality(ways, [clip], 7)
    assert told["torch fp32"]["lost_db"] == told["torch fp32"]["most_difference"] == 0
    assert told["nothing"]["lost_db"] > 0.3
    assert told["nothing"]["most_difference"] > 8
