"""Deconvolution as a baseline: right with the true kernel, wrong with another."""

import numpy as np
import pytest
import skimage.data
import torch

from fvdeblur.datasets.protocols import apply
from fvdeblur.datasets.protocols.convolutions import Jung
from fvdeblur.datasets.protocols.kernels import convolve, draw_stroke, linear_stroke
from fvdeblur.datasets.protocols.protocol import Light, decode_light, encode_light
from fvdeblur.errors import UsageError
from fvdeblur.evaluation.baselines import BASELINES, RICHARDSON_LUCY, WIENER, Frames, Kernels
from fvdeblur.evaluation.datasets import true_kernels
from fvdeblur.evaluation.metrics import psnr

KERNEL = draw_stroke(linear_stroke(9, 0.4, 0.6), 15)


def sharp() -> Frames:
    return np.ascontiguousarray(skimage.data.astronaut()[:200, 120:320])[None]


def blurred(light: Light) -> Frames:
    planes = torch.from_numpy(sharp()).permute(0, 3, 1, 2).float() / 255
    seen = encode_light(convolve(decode_light(planes, light), [KERNEL]), light)
    noise = np.random.default_rng(1).normal(0, 1, (1, 200, 200, 3))
    return np.clip(np.round(seen.permute(0, 2, 3, 1).numpy() * 255 + noise), 0, 255).astype(np.uint8)


@pytest.mark.parametrize("name", [WIENER, RICHARDSON_LUCY])
@pytest.mark.parametrize("light", ["linear", "gamma"])
def test_the_true_kernel_brings_the_face_back(name: str, light: Light) -> None:
    given = blurred(light)
    restored = BASELINES[name](given, Kernels([KERNEL], light))
    assert restored.shape == given.shape
    assert restored.dtype == np.uint8
    before = psnr(given, sharp())
    assert psnr(restored, sharp()) > before + 2
    turned = BASELINES[name](given, Kernels([np.ascontiguousarray(KERNEL.T)], light))
    assert psnr(turned, sharp()) < before


@pytest.mark.parametrize("name", [WIENER, RICHARDSON_LUCY])
def test_without_kernels(name: str) -> None:
    with pytest.raises(UsageError, match="needs a protocol with kernels"):
        BASELINES[name](sharp(), None)


def test_the_kernels_told_are_those_that_blurred() -> None:
    """Convolving with them again gives what the protocol gave."""
    planes = torch.from_numpy(sharp()).permute(0, 3, 1, 2).contiguous().expand(3, -1, -1, -1)
    protocol = Jung()
    result = apply("jung", planes, 11)
    told = true_kernels(protocol, 11, result.frames)
    assert told is not None
    light = decode_light(planes.float() / 255, told.light)
    again = (encode_light(convolve(light, told.kernels), told.light) * 255).round()
    assert (again - result.blurred).abs().max() <= 1
    assert not np.array_equal(told.kernels[0], told.kernels[1])
