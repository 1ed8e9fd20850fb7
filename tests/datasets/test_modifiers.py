"""What follows the blur: defocus, loss of resolution, noise, compression."""

import numpy as np
import pytest
import torch
from face_material import moving_frames
from scipy import ndimage

from fvdeblur.datasets.codec import encode_decode
from fvdeblur.datasets.protocols import Modifiers, apply, modifiers, stream
from fvdeblur.datasets.protocols.kernels import disc_kernel
from fvdeblur.errors import UsageError


def tensor(frames: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(frames).permute(0, 3, 1, 2).contiguous()


def modified(frames: np.ndarray, seed: int = 1, **values: tuple[float, float]) -> np.ndarray:
    result = apply("sharp", tensor(frames), seed, modifiers=Modifiers(**values))
    return result.blurred.permute(0, 2, 3, 1).numpy()


def test_nothing_changes_nothing() -> None:
    frames = moving_frames(3)
    assert np.array_equal(modified(frames), frames)
    assert Modifiers().draw(3).record() == {}


def test_defocus_is_a_disc() -> None:
    frames = moving_frames(2)
    kernel = disc_kernel(2.6)
    expected = np.stack(
        [ndimage.convolve(frames[0, ..., c].astype(float), kernel, mode="nearest") for c in range(3)], axis=-1
    )
    assert np.abs(modified(frames, defocus=(2.6, 2.6))[0] - expected).max() <= 0.51


@pytest.mark.parametrize("factor", [2.0, 3.3])
def test_scaling_takes_fine_detail_away(factor: float) -> None:
    frames = np.ascontiguousarray(moving_frames(1)[:, :71, :95])
    result = modified(frames, scale=(factor, factor))
    assert result.shape == frames.shape

    def power(picture: np.ndarray, low: float, high: float) -> float:
        spectrum = np.abs(np.fft.fft2(picture[..., 1] - picture[..., 1].mean())) ** 2
        radius = np.hypot(np.fft.fftfreq(71)[:, None], np.fft.fftfreq(95)[None])
        return float(spectrum[(radius > low) & (radius < high)].sum())

    nyquist = 0.5 / factor
    assert power(result[0], 1.4 * nyquist, 0.5) < 0.35 * power(frames[0], 1.4 * nyquist, 0.5)
    assert power(result[0], 0, 0.3 * nyquist) == pytest.approx(power(frames[0], 0, 0.3 * nyquist), rel=0.1)


def test_noise_has_its_level_in_every_frame() -> None:
    flat = np.full((4, 64, 64, 3), 64, np.uint8)  # about a quarter of full brightness
    noise = modified(flat, noise=(4.0, 4.0)).astype(float) - 64
    assert noise.std() == pytest.approx(4.0, rel=0.05)
    assert abs(noise.mean()) < 0.15
    assert np.abs(np.corrcoef(noise.reshape(4, -1)) - np.eye(4)).max() < 0.06
    assert np.array_equal(modified(flat, noise=(4.0, 4.0)), modified(flat, noise=(4.0, 4.0)))
    assert not np.array_equal(modified(flat, noise=(4.0, 4.0)), modified(flat, seed=2, noise=(4.0, 4.0)))


def test_compression_grows_with_the_step() -> None:
    frames = moving_frames(2)
    errors = [
        np.square(modified(frames, compression=(step, step)).astype(float) - frames).mean()
        for step in (1.0, 6.0, 20.0)
    ]
    assert errors[0] < 0.5 * errors[1] < 0.25 * errors[2]


def test_a_real_encoder_is_given_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    """Batches of 3 frames reach it as groups of 5, and the frames come back in their places."""
    frames = np.ascontiguousarray(moving_frames(12)[:, :63, :66])
    monkeypatch.setattr(stream, "MOST_FRAMES", 3)
    monkeypatch.setattr(stream, "GROUP", 5)
    result = apply("sharp", tensor(frames), 4, modifiers=Modifiers(codec=(30.0, 30.0)))
    encoding = Modifiers(codec=(30.0, 30.0)).draw(4).encoding
    assert encoding is not None
    expected = np.concatenate([encode_decode(frames[k : k + 5], encoding) for k in (0, 5, 10)])
    assert np.array_equal(result.blurred.permute(0, 2, 3, 1).numpy(), expected)
    assert not np.array_equal(expected, frames)
    assert result.frames == list(range(12))
    assert torch.equal(result.sharp, tensor(frames))
    assert result.record["drawn"]["encoding"]["codec"] == encoding.codec


def test_values_are_drawn_from_their_ranges() -> None:
    ranges = Modifiers(defocus=(1, 3), scale=(1, 4), noise=(0, 2), compression=(2, 8), codec=(18, 30))
    drawn = [ranges.draw(seed) for seed in range(200)]
    for name, low, high in (("defocus", 1, 3), ("scale", 1, 4), ("noise", 0, 2), ("compression", 2, 8)):
        values = [getattr(one, name) for one in drawn]
        assert low <= min(values) < low + 0.1 * (high - low)
        assert high - 0.1 * (high - low) < max(values) <= high
    assert {one.encoding.codec for one in drawn if one.encoding} == {"h264", "hevc", "mpeg4"}
    assert {one.blocks[0] for one in drawn} == set(range(8))
    assert ranges.draw(5) == ranges.draw(5)


def test_all_together() -> None:
    every = Modifiers(defocus=(1, 2), scale=(1.5, 2), noise=(1, 2), compression=(2, 4), codec=(20, 28))
    result = apply("gaussian", tensor(moving_frames(4)), 2, modifiers=every)
    assert set(result.record["drawn"]) == {
        "defocus_radius",
        "scale",
        "noise",
        "compression_step",
        "block_offset",
        "encoding",
    }
    assert (result.blurred != result.sharp).float().mean() > 0.5
    assert modifiers.NONE == (0.0, 0.0)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"scale": (0.5, 1.0)}, "scale must be two numbers, the smaller first, between 1 and 32"),
        ({"noise": (2.0, 1.0)}, "noise must be two numbers"),
        ({"codec": (20.0, 60.0)}, "codec must be two numbers, the smaller first, between 0 and 51"),
        ({"defocus": 2.0}, "defocus must be two numbers"),
    ],
)
def test_ranges_that_are_none(values: dict[str, tuple[float, float]], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        Modifiers(**values)
