"""The pool gives the same batches for the same seed and step."""

import dataclasses

import numpy as np
import pytest
import torch
from face_material import panned_clip, photograph, still

from fvdeblur.datasets import Clip, Segment, load_clips, load_stills
from fvdeblur.networks import WindowShape, window_table
from fvdeblur.networks.fvd import aligned_neighbours
from fvdeblur.training import TrainConfig
from fvdeblur.training.guides import Guide, windows_flow
from fvdeblur.training.pool import Batch, Drawn, Pool, Segments

Batches = list[Batch]
MADE = Segment(torch.zeros(0), torch.zeros(0), torch.zeros(0), 0.0, (0.0, 0.0, 0.0), 0, 1)


def batches(config: TrainConfig, first: int, last: int, frames: int = 5) -> Batches:
    segments = Segments(config, load_clips(config.data, "train"), load_stills(config.data, "train"), "cpu")
    pool = Pool(segments, config, window_table(config.blur.length, frames), first)
    return [pool.batch(step) for step in range(first, last)]


def equal(first: Batches, second: Batches) -> bool:
    return len(first) == len(second) and all(
        torch.equal(a.windows, b.windows) and torch.equal(a.sharp, b.sharp)
        for a, b in zip(first, second, strict=True)
    )


def test_batches_have_the_shape_of_the_recipe(config: TrainConfig) -> None:
    windows, sharp, guides = batches(config, 0, 1)[0]
    assert guides == {}
    assert windows.shape == (2, 15, 32, 32)
    assert sharp.shape == (2, 3, 32, 32)
    assert windows.dtype == sharp.dtype == torch.float32
    assert windows.min() >= 0
    assert 0.5 < windows.max() <= 1
    assert batches(config, 0, 1, frames=3)[0][0].shape == (2, 9, 32, 32)


def test_one_seed_gives_one_sequence_with_and_without_workers(config: TrainConfig) -> None:
    first = batches(config, 0, 9)
    assert equal(first, batches(config, 0, 9))
    assert equal(first, batches(dataclasses.replace(config, workers=1), 0, 9))
    assert not equal(first[:1], batches(dataclasses.replace(config, seed=1), 0, 1))
    assert not equal(first[:1], first[1:2])


@pytest.mark.parametrize(("begin", "workers"), [(1, 0), (6, 0), (8, 0), (6, 2)])
def test_a_pool_begun_later_goes_on_alike(config: TrainConfig, begin: int, workers: int) -> None:
    config = dataclasses.replace(config, workers=workers)
    assert equal(batches(config, 0, 10)[begin:], batches(config, begin, 10))


def test_segments_are_replaced_as_patches_are_drawn(config: TrainConfig) -> None:
    segments = Segments(config, load_clips(config.data, "train"), [], "cpu")
    made = []

    class Counted(Segments):
        def __getitem__(self, index: int):
            made.append(index)
            return segments[index]

    pool = Pool(Counted(config, [], [], "cpu"), config, window_table(config.blur.length, 5), 0)
    for step in range(9):
        pool.batch(step)
    assert made == [0, 1, 2, 3, 4]  # three held at first, one more after each 8 patches


def test_the_truth_is_the_central_frame(config: TrainConfig) -> None:
    """Without blur the central frame of every window is its truth, whichever way it was turned."""
    blur = dataclasses.replace(config.blur, exposure=(0.0, 0.0), noise=0, compression_share=0)
    for windows, sharp, _ in batches(dataclasses.replace(config, blur=blur, batch=4), 0, 4):
        assert (windows[:, 6:9] - sharp).abs().max() < 1.01 / 255
        assert (windows[:, 0:3] - sharp).abs().max() > 0.05


def test_blurred_patches_are_likelier(config: TrainConfig) -> None:
    config = dataclasses.replace(config, batch=100, patches_per_segment=10**6, pool=1)
    sharp = torch.from_numpy(photograph()[70:118, 200:248]).permute(2, 0, 1).repeat(6, 1, 1, 1) // 2
    blurred = sharp.clone()
    blurred[::2] += 40
    segment = Segment(blurred, sharp, torch.zeros(6), 0.0, (0.0, 0.0, 0.0), 0, 1)

    class Made(Segments):
        def __getitem__(self, index: int) -> Drawn:
            return Drawn(segment, {})

    pool = Pool(Made(config, [], [], "cpu"), config, window_table(config.blur.length, 1), 0)
    drawn = torch.cat(
        [(batch.windows - batch.sharp).mean((1, 2, 3)) > 0.1 for batch in map(pool.batch, range(8))]
    )
    # of three candidates one is taken by weights 13 (blurred) and 3 (sharp): 3/8 * 13/19 + 3/8 * 26/29 + 1/8
    assert float(drawn.float().mean()) == pytest.approx(0.718, abs=0.05)


def test_the_blur_of_a_patch_is_its_difference_from_the_truth(config: TrainConfig) -> None:
    config = dataclasses.replace(config, patch=16, pool=3)
    segments = Segments(config, load_clips(config.data, "train"), [], "cpu")
    pool = Pool(segments, config, window_table(config.blur.length, 5), 0)
    pool.batch(0)
    rng = np.random.default_rng(0)
    places = np.stack([rng.integers(limit, size=40) for limit in (3, 6, 5, 5)])
    places[2:] *= 8
    found = pool._blur_of(*places)
    for (number, k, y, x), value in zip(places.T, found, strict=True):
        segment = segments[number].segment
        part = (slice(None), slice(y, y + 16), slice(x, x + 16))
        difference = segment.blurred[k][part].float() - segment.sharp[k][part].float()
        assert value == pytest.approx(float(difference.square().mean().sqrt()), abs=0.02)
    assert np.ptp(found) > 1


def test_processes_share_the_segments_and_draw_apart(config: TrainConfig) -> None:
    made: list[int] = []
    real = Segments(config, load_clips(config.data, "train"), [], "cpu")

    class Counted(Segments):
        def __getitem__(self, index: int) -> Drawn:
            made.append(index)
            return real[index]

    drawn = []
    for rank in range(2):
        pool = Pool(Counted(config, [], [], "cpu"), config, window_table(config.blur.length, 5), 0, rank, 2)
        drawn.append([pool.batch(step) for step in range(5)])
    assert made == [0, 2, 4, 6, 1, 3, 5, 7]
    assert not equal(*drawn)


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_material_is_chosen_by_its_share(
    config: TrainConfig, share: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fvdeblur.training.pool.synthesise", lambda clip, *_, **__: clip)
    long, short = panned_clip(25, 1, size=32), panned_clip(4, 1, size=32)
    segments = Segments(dataclasses.replace(config, stills_share=share), [long, short], [still()], "cpu")
    drawn = [segments[i].segment for i in range(600)]
    assert np.mean([clip.is_still for clip in drawn]) == pytest.approx(
        share, abs=0.06 if 0 < share < 1 else 0
    )
    if share < 1:  # by the square root of the length, 5 to 2
        moving = [len(clip.frames) == 25 for clip in drawn if not clip.is_still]
        assert np.mean(moving) == pytest.approx(5 / 7, abs=0.06)


@pytest.mark.parametrize("workers", [0, 1])
def test_the_flow_of_a_patch_moves_its_neighbours_onto_it(config: TrainConfig, workers: int) -> None:
    """Whether mirrored, turned back in time or between two vectors."""
    blur = dataclasses.replace(config.blur, size=96, exposure=(0.0, 0.0), noise=0, compression_share=0)
    config = dataclasses.replace(config, blur=blur, patch=64, batch=40, workers=workers, stills_share=0.0)
    guide = Guide(WindowShape(5, 4, takes_flow=True))
    segments = Segments(config, [panned_clip(25, 3, size=160)], [], "cpu", guide)
    batch = Pool(segments, config, window_table(config.blur.length, 5), 0).batch(0)
    flow = batch.guides["flow"]
    assert set(batch.guides) == {"flow"}
    assert flow.shape == (40, 8, 16, 16)
    centre = batch.sharp.repeat(1, 4, 1, 1)
    neighbours = torch.cat([batch.windows[:, :6], batch.windows[:, 9:]], dim=1)
    inner = (..., slice(16, -16), slice(16, -16))
    apart = (neighbours - centre)[inner].abs().mean(dim=(1, 2, 3))
    left = (aligned_neighbours(batch.windows, flow) - centre)[inner].abs().mean(dim=(1, 2, 3))
    assert (left < 0.5 * apart).float().mean() > 0.9
    across = flow[:, 0].mean(dim=(1, 2))
    assert across.min() < -2
    assert across.max() > 2


def test_window_flow_points_from_the_centre(config: TrainConfig) -> None:
    frames = torch.from_numpy(panned_clip(5, 3, size=64).frames).permute(0, 3, 1, 2)
    flow = windows_flow(frames, window_table(5, 3))
    assert flow.shape == (5, 2, 2, 16, 16)
    middle = flow[:, :, 0, 4:12, 4:12].float().mean(dim=(2, 3))
    assert middle[2].tolist() == pytest.approx([-float(middle[2, 1]), float(middle[2, 1])], abs=0.3)
    assert middle[0].tolist() == pytest.approx([float(middle[0, 0])] * 2)  # reflected at the ends
    assert abs(float(middle[2, 1])) == pytest.approx(3, abs=0.3)


def test_named_protocols_make_their_share(config: TrainConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def segment(name: str, clip: Clip, *_: object, **__: object) -> Segment | None:
        asked.append(name)
        return None if name == "jung" else MADE

    monkeypatch.setattr("fvdeblur.training.pool.protocol_segment", segment)
    monkeypatch.setattr("fvdeblur.training.pool.synthesise", lambda *_, **__: "by motion")
    shares = {"gaussian": 0.3, "jung": 0.2}
    segments = Segments(dataclasses.replace(config, protocols=shares), [panned_clip(25, 1)], [], "cpu")
    drawn = [segments[i].segment for i in range(1000)]
    assert asked.count("gaussian") == pytest.approx(300, abs=50)
    assert asked.count("jung") == pytest.approx(200, abs=50)
    assert sum(made is MADE for made in drawn) == asked.count("gaussian")
    assert sum(made == "by motion" for made in drawn) == 1000 - asked.count("gaussian")
