"""Segments that named protocols blur for training."""

import dataclasses

import numpy as np
import pytest
import torch
from face_material import panned_clip, photograph, still

from fvdeblur.datasets import BlurSettings, Clip, Segment
from fvdeblur.datasets.protocol_segments import protocol_segment
from fvdeblur.datasets.protocols import PROTOCOLS

PLAIN = BlurSettings(size=64, length=5, scale=(1.0, 1.5), strides=(1, 2), noise=0, compression_share=0)


@pytest.fixture(scope="module")
def clip() -> Clip:
    return panned_clip(40, 2, size=112)


def drawn(name: str, clip: Clip, seed: int, settings: BlurSettings = PLAIN) -> Segment | None:
    return protocol_segment(name, clip, settings, np.random.default_rng(seed))


def decibels(segment: Segment) -> float:
    error = (segment.blurred.float() - segment.sharp.float()).square().mean()
    return float(20 * np.log10(255) - 10 * torch.log10(error))


@pytest.mark.parametrize("name", PROTOCOLS)
def test_every_protocol_makes_segments(clip: Clip, name: str) -> None:
    segment = drawn(name, clip, 0)
    assert segment is not None
    for pixels in (segment.blurred, segment.sharp):
        assert (pixels.shape, pixels.dtype) == ((5, 3, 64, 64), torch.uint8)
    assert segment.sharp.float().std() > 20
    if name == "sharp":
        assert torch.equal(segment.blurred, segment.sharp)
    else:
        assert decibels(segment) < 45
    again = drawn(name, clip, 0)
    assert again is not None
    assert torch.equal(again.blurred, segment.blurred)
    other = drawn(name, clip, 1)
    assert other is not None
    assert not torch.equal(other.sharp, segment.sharp)


def test_the_sharp_frames_are_the_clip_s_own(clip: Clip) -> None:
    """Region and frames: the mean over the region at the segment's size is that of the source's square."""
    for seed in range(4):
        segment = drawn("sharp", clip, seed)
        assert segment is not None
        x, y, side = segment.region
        left, top = round(x - side / 2), round(y - side / 2)
        for k in (0, 4):
            frame = clip.frames[segment.first + k * segment.stride]
            part = frame[top : top + round(side), left : left + round(side)]
            np.testing.assert_allclose(segment.sharp[k].float().mean((1, 2)), part.mean((0, 1)), atol=1.5)


def test_a_still_is_repeated() -> None:
    segment = drawn("sharp", still(), 0)
    assert segment is not None
    assert torch.equal(segment.sharp[0], segment.sharp[4])
    blurred = drawn("gaussian", still(), 0)
    assert blurred is not None
    assert not torch.equal(blurred.blurred[0], blurred.blurred[4])  # a kernel of its own for every frame


def test_noise_and_compression_are_those_of_the_recipe(clip: Clip) -> None:
    noisy = dataclasses.replace(PLAIN, noise=8.0)
    levels = [decibels(found) for seed in range(12) if (found := drawn("sharp", clip, seed, noisy))]
    assert len(levels) == 12
    assert min(levels) < 35  # most are noisy
    coarse = dataclasses.replace(PLAIN, compression_share=1.0, compression=(20.0, 20.0))
    segment = drawn("sharp", clip, 0, coarse)
    assert segment is not None
    assert decibels(segment) < 42


def test_a_clip_that_is_too_short_gives_none() -> None:
    assert drawn("average-5", panned_clip(8, 2, size=112), 0) is None
    assert drawn("gaussian", panned_clip(8, 2, size=112), 0) is not None


def test_a_clip_that_the_rules_reject_gives_none() -> None:
    """A person who does not move is no blurred video by averaging (Chrysos 2017, 5.3)."""
    frozen = Clip("frozen.mp4", "astronaut", np.repeat(photograph()[None, 40:152, 160:272], 60, axis=0), 25.0)
    assert drawn("average-7-11", frozen, 0) is None
