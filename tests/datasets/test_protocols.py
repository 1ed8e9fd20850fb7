"""Every blur protocol: one seed, one result, on every device, whole or as it is read; and the averages."""

import itertools
import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from face_material import panned_clip, photograph

from fvdeblur.datasets.protocols import PROTOCOLS, BlurStream, Modifiers, apply, averages, create, stream
from fvdeblur.datasets.protocols.values import parse_settings
from fvdeblur.errors import InputError, UsageError
from fvdeblur.evaluation import psnr

NEIGHBOURS = {"average-5": 2, "average-7-11": 5, "exposure": 2, "mixed": 2}
"""Frames that a protocol loses at each end of a clip, at most."""

SETTINGS: dict[str, dict[str, Any]] = {"average-7-11": {"least_psnr": 5.0}}
"""What keeps the rules from rejecting the moving photograph."""


def tensor(frames: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(frames).permute(0, 3, 1, 2).contiguous()


def pictures(frames: torch.Tensor) -> np.ndarray:
    return frames.permute(0, 2, 3, 1).numpy()


@pytest.fixture(scope="module")
def frames() -> np.ndarray:
    """uint8 [15, 65, 59, 3]: odd sizes."""
    return np.ascontiguousarray(panned_clip(15, step=3, size=65).frames[:, :, :59])


@pytest.mark.parametrize("name", PROTOCOLS)
def test_one_seed_gives_one_result(name: str, frames: np.ndarray) -> None:
    before = frames.copy()
    first, again, other = (
        apply(name, tensor(frames), seed, settings=SETTINGS.get(name)) for seed in (3, 3, 4)
    )
    assert torch.equal(first.blurred, again.blurred)
    assert torch.equal(first.sharp, again.sharp)
    assert first.record == again.record
    assert np.array_equal(frames, before)
    if name not in ("sharp", "average-5"):
        assert first.blurred.shape != other.blurred.shape or not torch.equal(first.blurred, other.blurred)


@pytest.mark.parametrize("name", PROTOCOLS)
def test_blurred_and_sharp_belong_together(name: str, frames: np.ndarray) -> None:
    result = apply(name, tensor(frames), 5, settings=SETTINGS.get(name))
    assert result.blurred.dtype == result.sharp.dtype == torch.uint8
    assert result.blurred.shape == result.sharp.shape == (len(result.frames), 3, 65, 59)
    lost = NEIGHBOURS.get(name, 0)
    middle = list(range(lost, 15 - lost))
    assert set(middle) <= set(result.frames) <= set(range(15))
    for blurred, sharp, index in zip(
        pictures(result.blurred), pictures(result.sharp), result.frames, strict=True
    ):
        if not PROTOCOLS[name].moves_picture:
            assert np.array_equal(sharp, frames[index])
        quality = psnr(blurred[8:-8, 8:-8], sharp[8:-8, 8:-8])
        assert quality > 12
        if index in middle:
            strangers = [
                abs(k - index) for k in range(15) if psnr(blurred, frames[k]) > psnr(blurred, sharp) + 0.01
            ]
            # A frame beside may be as near where all of them are averaged, but none far away.
            assert all(distance <= 2 for distance in strangers)
    difference = (result.blurred.float() - result.sharp.float()).square().mean().sqrt()
    assert (difference == 0) if name == "sharp" else (difference > 1)


@pytest.mark.parametrize("name", PROTOCOLS)
def test_the_record_is_json_and_repeats_the_result(name: str, frames: np.ndarray) -> None:
    result = apply(
        name, tensor(frames), 6, settings=SETTINGS.get(name), modifiers=Modifiers(noise=(1.0, 2.0))
    )
    record = json.loads(json.dumps(result.record))
    assert record["protocol"] == name
    assert [frame["frame"] for frame in record["frames"]] == result.frames
    assert record["rejected"] == []
    assert 1 <= record["drawn"]["noise"] <= 2
    tuples = {
        key: tuple(value) if isinstance(value, list) else value for key, value in record["settings"].items()
    }
    after = {
        key: tuple(value) if isinstance(value, list) else value for key, value in record["modifiers"].items()
    }
    again = apply(name, tensor(frames), record["seed"], settings=tuples, modifiers=Modifiers(**after))
    assert torch.equal(again.blurred, result.blurred)


@pytest.mark.parametrize("name", ["average-7-11", "motion-kernel", "exposure", "shake", "mixed"])
def test_a_clip_that_is_read_frame_by_frame(
    name: str, frames: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Batches of 2 frames, each read only when it is needed, give what the whole clip gives."""
    whole = apply(name, tensor(frames), 8, settings=SETTINGS.get(name))
    monkeypatch.setattr(stream, "MOST_FRAMES", 2)
    taken = 0

    def read() -> Iterator[torch.Tensor]:
        nonlocal taken
        for frame in tensor(frames):
            taken += 1
            yield frame

    given = BlurStream(create(name, SETTINGS.get(name)), 8)
    position = 0
    for piece in given.blur(read()):
        count = len(piece.frames)
        assert taken <= position + count + 2 * given.record["neighbours"]
        part = slice(position, position + count)
        difference = (piece.blurred.int() - whole.blurred[part].int()).abs()
        assert difference.max() <= 1
        assert difference.float().mean() < 1e-3
        assert torch.equal(piece.sharp, whole.sharp[part])
        assert piece.frames == whole.record["frames"][part]
        position += count
    assert position == len(whole.frames)


def test_blur_does_not_reach_across_a_cut(frames: np.ndarray) -> None:
    dark = frames // 4
    both = np.concatenate([frames[:7], dark[7:]])
    starts = iter([True, *[False] * 6, True, *[False] * 7])
    given = BlurStream(create("average-5"), 0, cut=lambda _: next(starts))
    pieces = list(given.blur(tensor(both)))
    assert [record["frame"] for piece in pieces for record in piece.frames] == [2, 3, 4, 9, 10, 11, 12]
    alone = apply("average-5", tensor(dark[7:]), 0)
    assert torch.equal(pieces[1].blurred, alone.blurred)


@pytest.mark.parametrize("name", PROTOCOLS)
def test_everything_is_made_on_the_device_of_the_frames(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The meta device refuses tensors of another one, as a GPU does, and needs no GPU."""
    monkeypatch.setattr(averages, "_quality", lambda blurred, _: [30.0] * len(blurred))
    clip = panned_clip(12 if name == "average-7-11" else 5, step=2, size=48)
    modifiers = Modifiers(defocus=(1, 2), scale=(1.5, 2), noise=(1, 2), compression=(2, 4))
    settings: dict[str, Any] = {"exposure": (1.0, 1.0)} if name in ("exposure", "shake") else {}
    settings |= {"speed": (1.0, 1.0), "moving_scene": True} if name == "shake" else {}
    result = apply(
        name, tensor(clip.frames).to("meta"), 1, flow=clip.flow, modifiers=modifiers, settings=settings
    )
    assert result.blurred.is_meta
    assert result.sharp.is_meta
    assert result.blurred.shape == result.sharp.shape == (len(result.frames), 3, 48, 48)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("name", PROTOCOLS)
def test_a_gpu_gives_the_same(name: str) -> None:
    clip = panned_clip(20, step=3)
    modifiers = Modifiers(defocus=(1, 2), scale=(1.5, 2), noise=(1, 2))
    for seed in range(4):
        here, there = (
            apply(
                name,
                tensor(clip.frames).to(device),
                seed,
                flow=clip.flow,
                modifiers=modifiers,
                settings=SETTINGS.get(name),
            )
            for device in ("cpu", "cuda")
        )
        assert there.blurred.is_cuda
        assert here.frames == there.frames
        assert (here.blurred.int() - there.blurred.cpu().int()).abs().max() <= 1
        assert (here.sharp.int() - there.sharp.cpu().int()).abs().max() <= 1


@pytest.mark.parametrize("light", ["gamma", "linear"])
def test_average_5_is_the_mean_of_five_frames(frames: np.ndarray, light: str) -> None:
    result = apply("average-5", tensor(frames), 0, settings={"light": light})
    assert result.frames == list(range(2, 13))
    power = 2.2 if light == "linear" else 1.0
    for k, blurred in enumerate(pictures(result.blurred)):
        mean = ((frames[k : k + 5] / 255.0) ** power).mean(axis=0) ** (1 / power)
        expected = np.round(255 * mean)
        assert np.abs(blurred - expected).max() <= (light == "linear")
        assert (blurred != expected).mean() < 1e-3


def test_light_makes_a_difference_where_bright_meets_dark(frames: np.ndarray) -> None:
    """Light adds up: what is bright for a fifth of the time is far brighter than a fifth of its R'G'B' value."""
    flash = np.zeros((5, 8, 8, 3), np.uint8)
    flash[3] = 200
    displayed, linear = (
        apply("average-5", tensor(flash), 0, settings={"light": light}).blurred
        for light in ("gamma", "linear")
    )
    assert (displayed == 40).all()
    assert (linear == round(200 * 0.2 ** (1 / 2.2))).all()
    for name in ("gaussian", "jung", "mixed"):
        results = [
            apply(name, tensor(frames), 1, settings={"light": light}).blurred for light in ("gamma", "linear")
        ]
        assert results[1].float().mean() > results[0].float().mean()


def test_average_7_11_draws_one_number_for_a_clip(frames: np.ndarray) -> None:
    numbers = set()
    for seed in range(12):
        result = apply(
            "average-7-11", tensor(frames), seed, settings={"least_psnr": 0.0, "least_movement": 0.0}
        )
        count = result.record["drawn"]["frames_averaged"]
        numbers.add(count)
        assert len(result.frames) == 15 - (count - 1)
        expected = frames[2 : 2 + count].mean(axis=0)
        blurred = pictures(result.blurred)[2]
        assert result.frames[2] == 2 + count // 2
        assert np.abs(blurred - expected).max() <= 0.51
    assert numbers == {7, 9, 11}


def test_frames_without_movement_are_reported() -> None:
    """The picture stands still up to frame 12 and moves by 3 pixels a frame from there on."""
    places = [0] * 12 + [3 * k for k in range(1, 14)]
    frames = np.stack([photograph()[60:140, 180 + x : 260 + x] for x in places])
    result = apply("average-7-11", tensor(frames), 0, settings={"counts": (7,), "least_psnr": 0.0})
    assert result.frames == list(range(14, 22))  # every pair of frames from 11 on moves
    rejected = result.record["rejected"]
    assert [record["frame"] for record in rejected] == list(range(3, 14))
    assert all(record["rejected"].startswith("no movement (0.") for record in rejected)
    assert all(record["movement"] > 2 for record in result.record["frames"])
    with pytest.raises(InputError, match="all 6 frames were rejected, the first for no movement"):
        apply("average-7-11", tensor(frames[:12]), 0, settings={"counts": (7,)})


def test_frames_that_became_too_noisy_are_reported() -> None:
    frames = np.stack([photograph()[60:140, 180 + x : 260 + x] for x in 12 * np.arange(11)])
    given = {"counts": (7,), "least_movement": 0.0}
    quality = [psnr(frames[k : k + 7].mean(axis=0).round().astype(np.uint8), frames[k + 3]) for k in range(5)]
    limit = float(np.median(quality)) + 0.01
    result = apply("average-7-11", tensor(frames), 0, settings={**given, "least_psnr": limit})
    assert result.frames == [k + 3 for k in range(5) if quality[k] >= limit]
    rejected = result.record["rejected"]
    assert [record["frame"] for record in rejected] == [k + 3 for k in range(5) if quality[k] < limit]
    assert len(rejected) == 3
    for record in itertools.chain(rejected, result.record["frames"]):
        assert record["psnr"] == pytest.approx(quality[record["frame"] - 3], abs=0.02)
    assert all("too noisy" in record["rejected"] for record in rejected)
    with pytest.raises(InputError, match="too noisy"):
        apply("average-7-11", tensor(frames), 0, settings={**given, "least_psnr": 60.0})


@pytest.mark.parametrize("name", PROTOCOLS)
def test_a_clip_of_one_frame(name: str, frames: np.ndarray) -> None:
    one = tensor(frames[:1])
    if create(name, SETTINGS.get(name)).reach(0):
        with pytest.raises(InputError, match=f"consecutive frames, which {name} needs"):
            apply(name, one, 0)
        return
    result = apply(name, one, 0)
    assert result.frames == [0]
    assert result.blurred.shape == (1, 3, 65, 59)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (2, 7), (5, 3)])
@pytest.mark.parametrize("name", PROTOCOLS)
def test_tiny_pictures(name: str, height: int, width: int, frames: np.ndarray) -> None:
    tiny = np.ascontiguousarray(frames[:, 30 : 30 + height, 30 : 30 + width])
    settings = {"least_psnr": 0.0, "least_movement": 0.0} if name == "average-7-11" else None
    result = apply(name, tensor(tiny), 1, settings=settings)
    assert result.blurred.shape[1:] == (3, height, width)


@pytest.mark.parametrize(
    ("name", "settings", "words"),
    [
        ("gausian", {}, "unknown protocol 'gausian'; use one of average-5, "),
        ("gaussian", {"sigma": 1.0}, "gaussian has no setting 'sigma'; its settings are light, supports"),
        ("gaussian", {"light": "log"}, "light must be linear or gamma"),
        ("gaussian", {"deviations": (3.0, 1.0)}, "deviations must be two numbers, the smaller first"),
        ("jung", {"supports": (13, 28)}, "supports must be odd"),
        ("average-7-11", {"counts": (8,)}, "counts must be odd"),
        ("exposure", {"exposure": (-1.0, 1.0)}, "exposure must be two numbers"),
        ("exposure", {"sharp_share": 1.5}, "sharp_share must lie in 0..1"),
        ("shake", {"degrees": ("tilt",)}, "unknown degree of freedom 'tilt'"),
        ("shake", {"focal": 0.0}, "focal must be above 0"),
        ("mixed", {"components": ("sharp", "shake")}, "'shake' cannot be mixed"),
        ("mixed", {"components": ("sharp",)}, "two different components"),
        ("mixed", {"layouts": ("ring",)}, "layouts are face and field"),
    ],
)
def test_settings_that_do_not_fit(name: str, settings: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError) as caught:
        create(name, settings)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_frames_and_seeds_that_do_not_fit(frames: np.ndarray) -> None:
    with pytest.raises(UsageError, match="seed must be 0 or more"):
        apply("gaussian", tensor(frames), -1)
    with pytest.raises(ValueError, match="uint8"):
        apply("gaussian", tensor(frames).float(), 0)


def test_settings_from_text() -> None:
    protocol, modifiers = parse_settings(
        "shake",
        ["exposure=0.5, 1", "light=gamma", "degrees=roll,z", "moving_scene=true", "noise=2", "focal=2"],
    )
    expected = {
        "exposure": (0.5, 1.0),
        "light": "gamma",
        "degrees": ("roll", "z"),
        "moving_scene": True,
        "focal": 2.0,
    }
    assert protocol == create("shake", expected)
    assert modifiers == Modifiers(noise=(2.0, 2.0))
    assert parse_settings("jung", ["supports=13,15", "codec=20,30"])[1].codec == (20.0, 30.0)
    assert parse_settings("average-7-11", ["counts=9"])[0] == create("average-7-11", {"counts": (9,)})


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("noise", "'noise' is no setting; write name=value"),
        (
            "nose=2",
            "gaussian has no setting 'nose'; there are light, supports, each_frame, deviations, defocus",
        ),
        ("deviations=a,b", "deviations must be numbers separated by commas, not 'a,b'"),
        ("supports=1.5", "supports must be whole numbers"),
        ("each_frame=1", "each_frame must be true or false, not '1'"),
        ("noise=3,2", "noise must be two numbers, the smaller first"),
    ],
)
def test_text_that_is_no_setting(text: str, words: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_settings("gaussian", [text])
    assert words in str(caught.value)
