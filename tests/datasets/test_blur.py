"""Blur by motion against blur that is computed another way."""

import dataclasses
from itertools import pairwise

import cv2
import numpy as np
import pytest
import torch
from face_material import FACE, panned_clip, photograph, still

from fvdeblur.datasets import BlurSettings, Clip, Segment, blur, degradation, synthesise
from fvdeblur.datasets.blur import CameraPath, draw_exposures, draw_region, hold
from fvdeblur.datasets.degradation import compress
from fvdeblur.evaluation import psnr

CLEAN = BlurSettings(
    size=96, length=6, scale=(1.0, 1.0), exposure=(0.0, 4.0), strides=(1,), noise=0, compression_share=0
)
REGION = (*map(float, FACE), 96.0)

LINEAR, DISPLAYED, AVERAGED = 0.4, 0.6, 0.9
"""What a steered generator returns: sub-frames averaged in linear light; as displayed; whole frames as displayed."""


class Steered(np.random.Generator):
    """Random numbers, but every choice by share comes out as told."""

    def __init__(self, choice: float, seed: int = 0) -> None:
        super().__init__(np.random.PCG64(seed))
        self._choice = choice

    def random(self, *_: object) -> float:  # type: ignore[override]
        return self._choice


@pytest.fixture
def straight(monkeypatch: pytest.MonkeyPatch) -> None:
    """The camera moves to the right by ``speed`` pixels a frame interval."""

    def start(self: CameraPath, _: np.random.Generator, speed: float, size: int) -> None:
        self.speed = speed  # type: ignore[attr-defined]

    def at(self: CameraPath, time: np.ndarray) -> np.ndarray:
        return np.stack([self.speed * time, 0 * time, 0 * time, 0 * time], axis=1)  # type: ignore[attr-defined]

    monkeypatch.setattr(CameraPath, "__init__", start)
    monkeypatch.setattr(CameraPath, "at", at)


def pictures(frames: torch.Tensor) -> np.ndarray:
    """uint8 [T, H, W, 3]."""
    return frames.permute(0, 2, 3, 1).numpy()


def mean_psnr(segment: Segment) -> float:
    pairs = zip(pictures(segment.blurred), pictures(segment.sharp), strict=True)
    return float(np.mean([psnr(a, b) for a, b in pairs]))


def box_blurred(picture: np.ndarray, length: int) -> np.ndarray:
    """Motion over an even number of pixels along x, of a picture interpolated linearly between its samples."""
    kernel = np.ones((1, length + 1), np.float64)
    kernel[0, [0, -1]] = 0.5
    return cv2.filter2D(picture.astype(np.float64), -1, kernel / length)


@pytest.mark.parametrize("clip", [still(), panned_clip(30, step=2)], ids=["still", "clip"])
def test_one_seed_gives_one_segment(clip: Clip) -> None:
    settings = BlurSettings(size=64, length=5)
    first, again, other = (synthesise(clip, settings, np.random.default_rng(seed)) for seed in (3, 3, 4))
    assert torch.equal(first.blurred, again.blurred)
    assert torch.equal(first.sharp, again.sharp)
    assert torch.equal(first.exposure, again.exposure)
    assert first[3:] == again[3:]
    assert not torch.equal(first.sharp, other.sharp)
    assert first.blurred.shape == first.sharp.shape == (5, 3, 64, 64)
    assert first.blurred.dtype == first.sharp.dtype == torch.uint8
    assert first.exposure.shape == (5,)
    assert first.exposure.dtype == torch.float32


@pytest.mark.parametrize("choice", [LINEAR, DISPLAYED, AVERAGED])
@pytest.mark.parametrize("clip", [still(), panned_clip(30, step=2)], ids=["still", "clip"])
def test_no_exposure_is_no_blur(clip: Clip, choice: float) -> None:
    segment = synthesise(clip, CLEAN, Steered(choice), speed=3.0, exposure=np.zeros(6))
    difference = (segment.blurred.int() - segment.sharp.int()).abs()
    assert difference.max() <= (
        choice == LINEAR
    )  # on the way to linear light and back a sample may round differently
    assert difference.float().mean() < 1e-4
    assert segment.sharp.float().std() > 20


def test_noise_is_all_that_remains_without_exposure() -> None:
    settings = dataclasses.replace(CLEAN, noise=4.0)
    segment = synthesise(still(), settings, Steered(LINEAR), exposure=np.zeros(6), speed=1.0)
    difference = segment.blurred.float() - segment.sharp.float()
    assert 0.2 < difference.std() < 6
    assert abs(difference.mean()) < 0.3


def test_blur_grows_with_exposure_and_with_speed() -> None:
    def quality(exposure: float, speed: float) -> float:
        return mean_psnr(
            synthesise(
                still(), CLEAN, Steered(LINEAR), region=REGION, speed=speed, exposure=np.full(6, exposure)
            )
        )

    by_exposure = [quality(exposure, 3.0) for exposure in (0.25, 0.5, 1.0, 2.0, 4.0)]
    by_speed = [quality(1.0, speed) for speed in (0.5, 1.0, 2.0, 4.0, 8.0)]
    for values in (by_exposure, by_speed):
        assert all(a > b + 0.5 for a, b in pairwise(values)), values


@pytest.mark.parametrize(("choice", "gamma"), [(LINEAR, 2.2), (DISPLAYED, 1.0)])
@pytest.mark.usefixtures("straight")
def test_a_straight_path_is_a_box_blur(choice: float, gamma: float) -> None:
    segment = synthesise(
        still(),
        CLEAN,
        Steered(choice),
        region=REGION,
        speed=10.0,
        exposure=np.array([0, 0.4, 0.8, 1, 2, 0.2]),
    )
    left, top = 225 - 48, 118 - 48
    light = (photograph() / 255.0) ** gamma
    for k, length in enumerate((0, 4, 8, 10, 20, 2)):
        columns = slice(left + 10 * k, left + 10 * k + 96)
        truth = photograph()[top : top + 96, columns]
        assert np.array_equal(pictures(segment.sharp)[k], truth)
        blurred = box_blurred(light, length) if length else light
        expected = 255 * blurred[top : top + 96, columns] ** (1 / gamma)
        assert psnr(pictures(segment.blurred)[k], expected) > 46
        if length > 2:
            assert psnr(truth, expected) < 33


@pytest.mark.usefixtures("straight")
def test_exposure_may_change_from_frame_to_frame() -> None:
    exposure = np.array([0, 2, 0, 1, 0, 4.0])
    segment = synthesise(still(), CLEAN, Steered(LINEAR), region=REGION, speed=5.0, exposure=exposure)
    assert segment.exposure.tolist() == exposure.tolist()
    same = [torch.equal(a, b) for a, b in zip(segment.blurred, segment.sharp, strict=True)]
    assert same == [True, False, True, False, True, False]


@pytest.mark.parametrize("clip", [still(), panned_clip(30, step=3)], ids=["still", "clip"])
def test_blur_keeps_the_light(clip: Clip) -> None:
    region = REGION if clip.is_still else (80.0, 80.0, 96.0)
    segment = synthesise(clip, CLEAN, Steered(LINEAR), region=region, speed=2.0, exposure=np.full(6, 1.5))
    assert mean_psnr(segment) < 40
    for blurred, sharp in zip(segment.blurred, segment.sharp, strict=True):
        light = [(frame[:, 8:-8, 8:-8] / 255.0) ** 2.2 for frame in (blurred, sharp)]
        assert float(light[0].mean()) == pytest.approx(
            float(light[1].mean()), rel=0.04
        )  # what moves in and out at the rim


def test_flow_fills_in_the_motion_between_frames() -> None:
    clip = panned_clip(30, step=4)
    segment = synthesise(
        clip, CLEAN, Steered(DISPLAYED), region=(80.0, 80.0, 96.0), speed=0.0, exposure=np.ones(6)
    )
    assert segment.stride == 1
    for k in range(6):
        x = 100 + 4 * (segment.first + k) + 32
        truth = photograph()[72:168, x : x + 96]
        assert np.array_equal(pictures(segment.sharp)[k], truth)
        expected = box_blurred(photograph(), 4)[72:168, x : x + 96]
        blurred = psnr(pictures(segment.blurred)[k], expected)
        unblurred = psnr(truth, expected)
        assert blurred > 38
        assert blurred > unblurred + 8


@pytest.mark.parametrize("stride", [1, 2])
def test_the_stride_passes_over_frames(stride: int) -> None:
    clip = panned_clip(40, step=3)
    settings = dataclasses.replace(CLEAN, strides=(stride,))
    segment = synthesise(
        clip, settings, Steered(AVERAGED), region=(80.0, 80.0, 96.0), speed=0.0, exposure=np.zeros(6)
    )
    assert segment.stride == stride
    for k, sharp in enumerate(pictures(segment.sharp)):
        assert np.array_equal(sharp, clip.frames[segment.first + k * stride, 32:128, 32:128])


@pytest.mark.parametrize(("exposure", "reach"), [(5.0, 2), (3.0, 1), (1.5, 0)])
def test_whole_frames_are_averaged_plainly(exposure: float, reach: int) -> None:
    clip = panned_clip(30, step=3)
    settings = dataclasses.replace(CLEAN, exposure=(0.0, 5.0))
    segment = synthesise(
        clip, settings, Steered(AVERAGED), region=(80.0, 80.0, 96.0), speed=0.0, exposure=np.full(6, exposure)
    )
    for k, picture in enumerate(pictures(segment.blurred)):
        centre = segment.first + k
        expected = clip.frames[centre - reach : centre + reach + 1, 32:128, 32:128].mean(axis=0)
        assert np.abs(picture - expected).max() <= 1


def test_an_exposure_above_the_settings_range_reads_the_right_frames() -> None:
    clip = panned_clip(30, step=3)
    settings = dataclasses.replace(CLEAN, exposure=(0.0, 1.0))
    segment = synthesise(
        clip, settings, Steered(AVERAGED), region=(80.0, 80.0, 96.0), speed=0.0, exposure=np.full(6, 9.0)
    )
    for k, picture in enumerate(pictures(segment.blurred)):
        centre = segment.first + k
        expected = clip.frames[centre - 4 : centre + 5, 32:128, 32:128].mean(axis=0)
        assert np.abs(picture - expected).max() <= 1


@pytest.mark.parametrize("count", [2, 3, 7])
@pytest.mark.parametrize("choice", [LINEAR, AVERAGED])
def test_clips_shorter_than_a_segment(count: int, choice: float) -> None:
    clip = panned_clip(count, step=3)
    segment = synthesise(
        clip, CLEAN, Steered(choice), region=(80.0, 80.0, 96.0), speed=0.0, exposure=np.full(6, 2.0)
    )
    assert segment.sharp.shape == segment.blurred.shape == (6, 3, 96, 96)
    for sharp in pictures(segment.sharp):
        assert any(np.array_equal(sharp, frame[32:128, 32:128]) for frame in clip.frames)
    assert mean_psnr(segment) > 20  # blurred and sharp belong together


@pytest.mark.parametrize("shape", [(300, 200), (60, 400), (512, 512)])
def test_the_region_stays_within_the_source(shape: tuple[int, int]) -> None:
    height, width = shape
    clip = Clip("cut", "cut", photograph()[None, :height, :width], 0.0)
    settings = BlurSettings(size=48, length=1, scale=(0.8, 2.5), exposure=(0, 0))
    rng = np.random.default_rng(0)
    regions = [draw_region(rng, clip, settings) for _ in range(100)]
    regions.append(synthesise(clip, settings, rng).region)
    sides, places = [], []
    for x, y, side in regions:
        assert side / 2 - 1e-6 <= x <= width - side / 2 + 1e-6
        assert side / 2 - 1e-6 <= y <= height - side / 2 + 1e-6
        assert 0.8 * 48 - 1e-6 <= side <= min(2.5 * 48, height, width) + 1e-6
        sides.append(side)
        places.append(x)
    assert np.ptp(sides) > 0.9 * (min(2.5 * 48, height, width) - 0.8 * 48)
    assert np.ptp(places) > 0.7 * (width - min(2.5 * 48, height, width))


def test_a_source_smaller_than_the_segment_is_enlarged() -> None:
    small = cv2.resize(photograph()[70:166, 177:273], (40, 40), interpolation=cv2.INTER_AREA)
    segment = synthesise(
        Clip("s", "s", small[None], 0.0), CLEAN, Steered(LINEAR), speed=1e-6, exposure=np.zeros(6)
    )
    assert segment.region == (20.0, 20.0, 40.0)
    expected = cv2.resize(small, (96, 96), interpolation=cv2.INTER_CUBIC)
    inner = slice(6, -6)
    assert psnr(pictures(segment.sharp)[0][inner, inner], expected[inner, inner]) > 33


def test_a_large_source_is_reduced_without_aliasing() -> None:
    segment = synthesise(
        still(), CLEAN, Steered(LINEAR), region=(256.0, 256.0, 384.0), speed=1e-6, exposure=np.zeros(6)
    )
    expected = cv2.resize(photograph()[64:448, 64:448], (96, 96), interpolation=cv2.INTER_AREA)
    assert psnr(pictures(segment.sharp)[0], expected) > 28
    aliased = photograph()[64:448:4, 64:448:4]
    assert psnr(pictures(segment.sharp)[0], expected) > psnr(aliased, expected) + 4


def test_stills_always_move_and_clips_by_their_share() -> None:
    settings = dataclasses.replace(CLEAN, shake_share=0.0)
    moved = synthesise(still(), settings, np.random.default_rng(0))
    assert settings.speed[0] <= moved.speed <= settings.speed[1]
    assert not torch.equal(moved.sharp[0], moved.sharp[-1])
    clip = panned_clip(30, step=0)
    assert synthesise(clip, settings, np.random.default_rng(0)).speed == 0
    always = dataclasses.replace(settings, shake_share=1.0)
    assert synthesise(clip, always, np.random.default_rng(0)).speed > 0


@pytest.mark.parametrize("speed", [0.5, 4.0])
def test_the_path_has_the_speed_that_was_asked_for(speed: float) -> None:
    time = np.arange(0, 2000, 0.05)
    found = []
    for seed in range(12):
        poses = CameraPath(np.random.default_rng(seed), speed, 192).at(time)
        velocity = np.diff(poses, axis=0) / 0.05
        found.append(np.sqrt((velocity[:, :2] ** 2).sum(axis=1).mean()))
        # at the segment's edge, rotation and zoom move points more slowly than the translation does
        assert np.sqrt((velocity[:, 2:] ** 2).mean(axis=0)).max() * 96 < speed
    assert np.mean(found) == pytest.approx(speed, rel=0.35)  # pauses on the way raise it a little


def test_exposures_stay_in_their_range() -> None:
    settings = BlurSettings(length=40, exposure=(0.5, 3.0), varying_share=0.5, sharp_share=0.2)
    drawn = [draw_exposures(np.random.default_rng(seed), settings) for seed in range(60)]
    assert all(exposure.shape == (40,) for exposure in drawn)
    assert all(exposure.min() >= 0.5 and exposure.max() <= 3.0 for exposure in drawn)
    constant = sum(np.ptp(exposure) == 0 for exposure in drawn)
    assert 15 <= constant <= 45
    steady = dataclasses.replace(settings, varying_share=0.0)
    assert all(np.ptp(draw_exposures(np.random.default_rng(seed), steady)) == 0 for seed in range(10))
    sharp = dataclasses.replace(settings, varying_share=1.0, sharp_share=1.0, exposure=(0.0, 3.0))
    assert not draw_exposures(np.random.default_rng(0), sharp).any()


@pytest.mark.parametrize("clip", [still(), panned_clip(30, step=2)], ids=["still", "clip"])
def test_segments_can_go_through_real_encoders(clip: Clip, monkeypatch: pytest.MonkeyPatch) -> None:
    """The share and the quality of the settings reach them; exposure and sharp frames stay what they are."""
    given: list[tuple[float, float]] = []
    draw = degradation.draw_encoding
    monkeypatch.setattr(
        degradation, "draw_encoding", lambda rng, quality: (given.append(quality), draw(rng, quality))[1]
    )
    settings = dataclasses.replace(CLEAN, codec_share=1.0, codec_quality=(24.0, 26.0))
    encoded, plain = (
        synthesise(clip, one, np.random.default_rng(2), speed=2.0, exposure=np.ones(6))
        for one in (settings, CLEAN)
    )
    assert given == [(24.0, 26.0)]
    assert torch.equal(encoded.sharp, plain.sharp)
    assert torch.equal(encoded.exposure, plain.exposure)
    assert 25 < psnr(pictures(encoded.blurred), pictures(plain.blurred)) < 48


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("clip", [still(), panned_clip(30, step=2)], ids=["still", "clip"])
def test_a_gpu_makes_the_same_blur(clip: Clip) -> None:
    settings = dataclasses.replace(CLEAN, compression_share=1.0)
    here, there = (
        synthesise(clip, settings, np.random.default_rng(1), device=device) for device in ("cpu", "cuda")
    )
    assert there.blurred.is_cuda
    assert there.sharp.is_cuda
    for name in ("blurred", "sharp"):
        assert psnr(pictures(getattr(there, name).cpu()), pictures(getattr(here, name))) > 45


@pytest.mark.parametrize("clip", [still(), panned_clip(30, step=2)], ids=["still", "clip"])
def test_everything_is_made_on_the_device_that_was_asked_for(
    clip: Clip, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The meta device refuses tensors of another one, as a GPU does, and needs no GPU."""
    monkeypatch.setattr(blur, "degrade", lambda frames, *_, **__: compress(frames, 2.0, 3, 5))
    segment = synthesise(clip, CLEAN, Steered(LINEAR), device="meta", speed=2.0)
    assert segment.blurred.is_meta
    assert segment.sharp.is_meta
    assert segment.blurred.shape == (6, 3, 96, 96)


@pytest.mark.parametrize("clip", [still(), panned_clip(30, step=2)], ids=["still", "clip"])
def test_frames_held_on_the_device_give_the_same_blur(clip: Clip, monkeypatch: pytest.MonkeyPatch) -> None:
    held = Clip(clip.name, clip.identity, clip.frames.copy(), clip.fps)
    assert hold([held], "cpu")
    held.frames = np.zeros_like(clip.frames)  # no longer looked at
    first, second = (synthesise(c, CLEAN, np.random.default_rng(3), speed=2.0) for c in (clip, held))
    assert torch.equal(first.sharp, second.sharp)
    if clip.is_still:  # the flow of a clip is that of what the processor holds
        assert torch.equal(first.blurred, second.blurred)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (2 * clip.frames.nbytes - 1, 0))
    assert not hold([clip], "cuda")
    assert clip.held is None


def test_frames_that_the_stride_passes_over_are_seen_in_the_blur() -> None:
    """An object that shows in the frames between alone leaves a trace in the mean, and none in the sharp frames."""
    clip = panned_clip(40, step=0)
    clip.frames[1::2, 30:60, 30:60] = 255 - clip.frames[1::2, 30:60, 30:60]
    settings = dataclasses.replace(CLEAN, strides=(2,))
    region = (clip.frames.shape[2] / 2, clip.frames.shape[1] / 2, 96.0)
    exposure = np.full(6, 2.0)
    segment = synthesise(clip, settings, Steered(LINEAR), region=region, speed=0.0, exposure=exposure)
    assert torch.equal(segment.sharp[0], segment.sharp[3])
    difference = (segment.blurred.float() - segment.sharp.float()).abs().mean()
    assert float(difference) > 1
