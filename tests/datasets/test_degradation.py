"""Noise and compression."""

from itertools import pairwise
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from face_material import photograph

from fvdeblur.datasets import degradation
from fvdeblur.datasets.codec import draw_encoding, encode_decode
from fvdeblur.datasets.degradation import Degradation, compress, degrade


class Loudest(np.random.Generator):
    """Every share is met or missed as told, and every range gives its upper end."""

    def __init__(self, choice: float, seed: int = 0) -> None:
        super().__init__(np.random.PCG64(seed))
        self._choice = choice

    def random(self, *_: object) -> float:  # type: ignore[override]
        return self._choice

    def uniform(self, low: float, high: float) -> float:  # type: ignore[override]
        return high


@pytest.fixture(scope="module")
def face() -> torch.Tensor:
    """float [2, 3, 90, 74], 0..1."""
    both = np.stack([photograph()[70:160, 180:254], photograph()[80:170, 190:264]])
    return torch.from_numpy(both).permute(0, 3, 1, 2).float() / 255


def luma(frames: torch.Tensor) -> torch.Tensor:
    return torch.einsum("i,tihw->thw", torch.tensor([0.299, 0.587, 0.114]), frames)


def error(frames: torch.Tensor, reference: torch.Tensor) -> float:
    return 255 * float((frames - reference).square().mean().sqrt())


def test_a_fine_step_changes_next_to_nothing(face: torch.Tensor) -> None:
    grey = luma(face)[:, None].expand(-1, 3, -1, -1)
    assert (compress(grey, 1e-3) - grey).abs().max() < 1e-4
    assert error(luma(compress(face, 1e-3)), luma(face)) < 0.1
    # what remains is the half resolution of the colours, as OpenCV makes it too
    pixels = (face[0].permute(1, 2, 0).numpy() * 255).astype(np.uint8)
    colours = cv2.cvtColor(pixels, cv2.COLOR_RGB2YCrCb)
    half = cv2.resize(colours[..., 1:], (37, 45), interpolation=cv2.INTER_AREA)
    colours[..., 1:] = cv2.resize(half, (74, 90), interpolation=cv2.INTER_LINEAR)
    expected = cv2.cvtColor(colours, cv2.COLOR_YCrCb2RGB)
    found = 255 * compress(face[:1], 1e-3)[0].permute(1, 2, 0).numpy()
    assert np.sqrt(np.mean((found - expected) ** 2)) < 1.0


def test_the_error_grows_with_the_step(face: torch.Tensor) -> None:
    errors = [error(luma(compress(face, step)), luma(face)) for step in (0.01, 1, 2, 4, 8, 16, 32)]
    assert all(b > a * 1.2 for a, b in pairwise(errors)), errors
    assert errors[1] < 1 < errors[4] < 8


@pytest.mark.parametrize("shift", [0, 3, 7])
def test_blocks_lie_where_they_were_asked_for(face: torch.Tensor, shift: int) -> None:
    for axis in (1, 2):
        frames = luma(compress(face, 40.0, *((shift, 0) if axis == 2 else (0, shift))))
        jumps = frames.diff(dim=axis).abs().mean(dim=(0, 3 - axis)).numpy()
        by_place = [jumps[(shift + np.arange(len(jumps)) + 1) % 8 == place].mean() for place in range(8)]
        assert np.argmax(by_place) == 0
        assert by_place[0] > 1.5 * np.median(by_place)


def test_any_size_comes_back_as_it_was(face: torch.Tensor) -> None:
    for height, width in ((16, 16), (17, 31), (1, 9), (90, 74)):
        part = face[..., :height, :width]
        assert compress(part, 2.0, 5, 3).shape == part.shape


def test_a_flat_picture_keeps_its_colour() -> None:
    flat = torch.tensor([0.6, 0.4, 0.3])[None, :, None, None].expand(1, 3, 32, 32)
    result = compress(flat, 8.0, 3, 5)
    assert result.std(dim=(2, 3)).max() < 1e-5
    assert (result - flat).abs().max() * 255 < 1.5  # half a step of the mean of 8x8 samples, in three planes


def test_noise_has_the_level_that_was_asked_for() -> None:
    for value, factor in ((0.25, 1.0), (0.09, 0.8), (0.5625, 1.25)):
        flat = torch.full((4, 3, 64, 64), value)
        noise = (degrade(flat, Loudest(0.5), Degradation(noise=3.0)) - flat) * 255
        assert noise.std() == pytest.approx(3.0 * factor, rel=0.04)
        assert abs(noise.mean()) < 0.1
        # most of it is common to the three colours: 0.64 of the variance
        pair = torch.corrcoef(torch.stack([noise[:, 0].flatten(), noise[:, 1].flatten()]))
        assert pair[0, 1] == pytest.approx(0.64, abs=0.05)
        assert abs(torch.corrcoef(torch.stack([noise[0, 0].flatten(), noise[1, 0].flatten()]))[0, 1]) < 0.08


def test_shares_of_none_and_all(face: torch.Tensor) -> None:
    assert torch.equal(degrade(face, np.random.default_rng(0), Degradation()), face)
    assert torch.equal(degrade(face, Loudest(0.9), Degradation(noise=9.0)), face)
    compressed = degrade(face, Loudest(0.9), Degradation(compression_share=1.0))
    assert 1 < error(compressed, face) < 8
    assert compressed.min() >= 0
    assert compressed.max() <= 1


def test_all_segments_are_encoded(face: torch.Tensor) -> None:
    """Without noise they are what the encoder that was drawn makes of them."""
    encoded = degrade(face, Loudest(0.5), Degradation(codec_share=1.0))
    steered = Loudest(0.5)
    steered.integers(2**62)
    given = (face * 255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
    expected = encode_decode(given, draw_encoding(steered, (15.0, 31.0)))
    assert encoded.shape == face.shape
    assert encoded.dtype == torch.float32
    assert np.array_equal((encoded * 255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy(), expected)
    assert 1 < error(encoded, face) < 20


@pytest.mark.parametrize(
    ("chance", "expected"),
    [(0.05, "encoded"), (0.29, "encoded"), (0.31, "compressed"), (0.49, "compressed"), (0.51, "")],
)
def test_a_segment_is_encoded_or_compressed_or_neither(
    face: torch.Tensor, monkeypatch: pytest.MonkeyPatch, chance: float, expected: str
) -> None:
    done = []
    monkeypatch.setattr(degradation, "encode_decode", lambda frames, _: (done.append("encoded"), frames)[1])
    monkeypatch.setattr(degradation, "compress", lambda frames, *_: (done.append("compressed"), frames)[1])
    result = degrade(face, Loudest(chance), Degradation(codec_share=0.3, compression_share=0.2))
    assert done == [expected] * bool(expected)
    assert (result - face).abs().max() <= 0.5 / 255 + 1e-6


def test_the_shares_are_kept(face: torch.Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    done = {"encoded": 0, "compressed": 0}

    def count(what: str, frames: Any) -> Any:
        done[what] += 1
        return frames

    monkeypatch.setattr(degradation, "encode_decode", lambda frames, _: count("encoded", frames))
    monkeypatch.setattr(degradation, "compress", lambda frames, *_: count("compressed", frames))
    rng = np.random.default_rng(0)
    for _ in range(400):
        degrade(face[:1, :, :8, :8], rng, Degradation(codec_share=0.3, compression_share=0.2))
    assert done["encoded"] / 400 == pytest.approx(0.3, abs=0.06)
    assert done["compressed"] / 400 == pytest.approx(0.2, abs=0.06)


def test_noise_comes_before_the_encoder(face: torch.Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    given = []
    monkeypatch.setattr(degradation, "encode_decode", lambda frames, _: (given.append(frames), frames)[1])
    degrade(face, Loudest(0.5), Degradation(codec_share=1.0, noise=8.0))
    assert given[0].dtype == np.uint8
    assert given[0].shape == (2, 90, 74, 3)
    sharp = (face * 255).permute(0, 2, 3, 1).numpy()
    assert 3 < np.square(given[0] - sharp).mean() ** 0.5 < 12


def test_one_seed_gives_one_result(face: torch.Tensor) -> None:
    shares = {"noise": 4.0, "compression_share": 0.5, "codec_share": 0.5}
    first, again, other = (
        degrade(face, np.random.default_rng(seed), Degradation(**shares)) for seed in (1, 1, 2)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
