"""Changes blended into the planes: soft-edged, where the face is, and nowhere else."""

from collections.abc import Callable

import av
import cv2
import numpy as np
import pytest
import skimage.data
import torch
from pictures import Network, constant, run, stream, to_frame
from torch import Tensor
from torch.nn import functional

from fvdeblur.media import FramePlanes
from fvdeblur.restoration.crops import CropPlan, KeptPixels, _as_bytes, blend, cut, plan_crop, soft_mask

FACE = [188, 62, 272, 178]  # of the astronaut
FORMATS = ["yuv420p", "yuv422p", "yuv444p", "yuv420p10le", "nv12", "gbrp"]


def astronaut(pix_fmt: str = "yuv420p") -> av.VideoFrame:
    return to_frame(skimage.data.astronaut(), pix_fmt)


def pixels(frame: av.VideoFrame) -> np.ndarray:
    """R'G'B' in 0..255, float [H, W, 3]."""
    return FramePlanes(frame).read_rgb(0, 0, frame.width, frame.height) * 255


def planes(frame: av.VideoFrame) -> list[np.ndarray]:
    """The visible bytes of each plane."""
    views = []
    for index, plane in enumerate(frame.planes):
        rows = np.frombuffer(plane, np.uint8).reshape(-1, abs(plane.line_size))[: plane.height]
        wide = "10" in frame.format.name or (index and frame.format.name == "nv12")
        views.append(rows[:, : plane.width * (2 if wide else 1)].copy())
    return views


def sharpen(x: Tensor) -> Tensor:
    """A small unsharp mask of the central frame."""
    centre = x[:, 6:9]
    padded = functional.pad(centre, (2, 2, 2, 2), mode="replicate")
    return 0.6 * (centre - functional.avg_pool2d(padded, 5, stride=1))


def test_the_mask_is_whole_in_the_face_and_nothing_at_the_edge() -> None:
    for side in (32, 64, 224, 500):
        mask = soft_mask(side)
        assert mask.shape == (side, side)
        assert mask.dtype == np.float32
        edge = np.concatenate([mask[0], mask[-1], mask[:, 0], mask[:, -1]])
        assert edge.max() == 0
        # The face box is 1/1.8 of the crop; its sides' middles are whole, and so is all within a circle of them.
        reach = int(side / 1.8 / 2)
        middle = side // 2
        assert mask[middle, middle - reach + 1 : middle + reach - 1].min() == 1
        assert mask[middle - reach + 1 : middle + reach - 1, middle].min() == 1
        assert mask.min() >= 0
        assert mask.max() == 1
        np.testing.assert_array_equal(mask, mask[::-1])
        np.testing.assert_array_equal(mask, mask.T)
        assert np.abs(np.diff(mask, axis=0)).max() < 12 / side  # no visible step


@pytest.mark.parametrize("pix_fmt", FORMATS)
def test_pixels_outside_the_mask_are_bit_identical(pix_fmt: str) -> None:
    frame = astronaut(pix_fmt)
    before = planes(frame)
    colour = torch.tensor([0.3, 0.05, -0.2])[:, None, None]  # reaches luma and both of chroma
    run(Network(lambda x: colour.expand(len(x), 3, *x.shape[2:])), stream([frame], [FACE]))
    plan = plan_crop(np.asarray(FACE, np.float32), 16, 384)
    assert plan.side == 224
    for old, new in zip(before, planes(frame), strict=True):
        down = 512 // old.shape[0]
        step = old.shape[1] / 512
        changed = np.argwhere(old != new)
        assert len(changed)
        reach = 0.96 * plan.side / 2  # where the mask ends
        (x, y), slack = (plan.left + plan.side / 2, plan.top + plan.side / 2), 2
        assert changed[:, 0].min() * down >= y - reach - slack
        assert (changed[:, 0].max()) * down <= y + reach + slack
        assert changed[:, 1].min() / step >= x - reach - slack
        assert changed[:, 1].max() / step <= x + reach + slack


@pytest.mark.parametrize("pix_fmt", FORMATS)
def test_the_change_arrives_whole_in_the_face(pix_fmt: str) -> None:
    frame = astronaut(pix_fmt)
    before = pixels(frame)
    run(Network(constant(-0.1)), stream([frame], [FACE]))
    difference = (pixels(frame) - before)[80:160, 205:255]
    assert abs(difference.mean() + 25.5) < 1
    assert np.percentile(np.abs(difference + 25.5), 90) < 2.5


@pytest.mark.parametrize("strength", [0.25, 0.5, 1.0])
def test_strength_is_a_factor(strength: float) -> None:
    frame = astronaut("yuv444p")
    before = pixels(frame)
    run(Network(constant(0.2)), stream([frame], [FACE]), strength=strength)
    dark = before[80:160, 205:255] < 180
    difference = (pixels(frame) - before)[80:160, 205:255][dark]
    assert abs(np.median(difference) - 51 * strength) < 1.5


@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuv420p10le"])
def test_no_colour_shift_on_a_sharp_picture(pix_fmt: str) -> None:
    """A network that changes little: mean and spread of the crop stay within 1/255."""
    frame = astronaut(pix_fmt)
    before = pixels(frame)
    network = Network(lambda x: 0.1 * sharpen(x))
    stage = run(network, stream([frame], [FACE]))
    assert stage.tally.restored == 1
    after = pixels(frame)
    assert np.abs(after - before).max() > 1
    for area in ((slice(62, 178), slice(188, 272)), (slice(8, 232), slice(118, 342))):
        for channel in range(3):
            old, new = before[(*area, channel)], after[(*area, channel)]
            assert abs(new.mean() - old.mean()) < 0.25
            assert abs(new.std() - old.std()) < 1


def test_a_sharp_face_is_left_alone_and_counted() -> None:
    frame = astronaut()
    before = planes(frame)
    stage = run(Network(constant(0.2 / 255)), stream([frame], [FACE]))
    assert dict(stage.tally.left_alone) == {"already sharp": 1}
    assert stage.tally.restored == 0
    for old, new in zip(before, planes(frame), strict=True):
        np.testing.assert_array_equal(old, new)


def test_small_faces_are_left_alone_and_counted() -> None:
    frames = [astronaut() for _ in range(3)]
    network = Network(constant(0.2))
    stage = run(network, stream(frames, [FACE, [10, 10, 30, 34]]), min_face=24)
    assert dict(stage.tally.left_alone) == {"too small": 3}
    assert stage.tally.restored == 3
    assert {seen.shape[0] for seen in network.seen} == {224}
    assert stage.tally.tracks == {0, 1}


@pytest.mark.parametrize("offset", [0, 20, 60, 110])
def test_overlapping_faces_are_not_changed_twice(offset: int) -> None:
    frame = to_frame(np.full((512, 512, 3), 90, np.uint8))
    second = [FACE[0] + offset, FACE[1] + offset // 2, FACE[2] + offset, FACE[3] + offset // 2]
    run(Network(constant(0.2)), stream([frame], [FACE, second]))
    after = pixels(frame)
    assert after.max() < 90 + 51 + 1.6  # rounding, twice
    assert after[120, 230] == pytest.approx(141, abs=1.6)
    assert after[120 + offset // 2, 230 + offset] == pytest.approx(141, abs=1.6)
    assert after.min() > 89


def test_three_faces_in_one_place() -> None:
    frame = to_frame(np.full((512, 512, 3), 90, np.uint8))
    run(Network(constant(0.2)), stream([frame], [FACE, FACE, [200, 70, 280, 180]]))
    assert pixels(frame).max() < 90 + 51 + 2.1


@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuv444p10le"])
@pytest.mark.parametrize(
    "box",
    [
        [-40, -30, 44, 86],
        [470, 440, 554, 556],
        [-40, 200, 44, 316],
        [205, 450, 289, 566],
        [-100, -100, 612, 612],
        [-70, 100, 5, 200],
    ],
)
def test_faces_that_leave_the_picture(pix_fmt: str, box: list[int]) -> None:
    frame = astronaut(pix_fmt)
    before = pixels(frame)
    inside = [max(box[0], 0), max(box[1], 0), min(box[2], 512), min(box[3], 512)]
    part = (slice(inside[1], inside[3]), slice(inside[0], inside[2]))
    change = 0.1 if np.median(before[part]) < 128 else -0.1  # away from black and white
    network = Network(constant(change))
    stage = run(network, stream([frame, astronaut(pix_fmt)], [box]))
    assert stage.tally.restored == 2
    difference = np.median((pixels(frame) - before)[part])
    assert difference == pytest.approx(change * 255, abs=2)
    # What the network sees beyond the edge is the edge repeated, not black.
    plan = plan_crop(np.asarray(box, np.float32), 16, 384)
    above, before_it = max(-plan.top, 0), max(-plan.left, 0)
    for seen in network.seen if plan.size == plan.side else []:
        np.testing.assert_array_equal(seen[:above], np.broadcast_to(seen[above], seen[:above].shape))
        first = seen[:, before_it : before_it + 1]
        np.testing.assert_array_equal(seen[:, :before_it], np.broadcast_to(first, seen[:, :before_it].shape))


def test_a_face_out_of_sight_changes_nothing() -> None:
    frame = astronaut()
    before = planes(frame)
    network = Network(constant(0.2))
    stage = run(network, stream([frame], [[-400, -400, -320, -310]]))
    assert network.seen == []
    assert stage.tally.restored == 0
    for old, new in zip(before, planes(frame), strict=True):
        np.testing.assert_array_equal(old, new)


@pytest.fixture(scope="module")
def large() -> Callable[[], av.VideoFrame]:
    """A face of 464 pixels with fine detail: noise down to the single pixel."""
    picture = cv2.resize(skimage.data.astronaut(), (1024, 1024), interpolation=cv2.INTER_CUBIC)
    noise = np.random.default_rng(0).normal(0, 12, picture.shape)
    detailed = np.clip(picture * 0.7 + 40 + noise, 0, 255).astype(np.uint8)
    return lambda: to_frame(detailed, "yuv444p")


LARGE_FACE = [2 * v for v in FACE]


def test_a_face_larger_than_the_networks_limit_is_reduced_for_it(large: Callable[[], av.VideoFrame]) -> None:
    network = Network(constant(0.1))
    run(network, stream([large()], [LARGE_FACE]), largest_side=192)
    assert {seen.shape for seen in network.seen} == {(192, 192, 15)}


def test_a_large_face_is_not_softened(large: Callable[[], av.VideoFrame]) -> None:
    """Its own pixels stay; what is added is the upsampled change alone."""
    frame = large()
    before = pixels(frame)
    run(Network(constant(0.08)), stream([frame], [LARGE_FACE]), largest_side=192)
    difference = (pixels(frame) - before)[160:320, 410:510]
    assert np.percentile(np.abs(difference - 0.08 * 255), 99.9) < 2.5  # but for a few near white

    untouched = large()
    old = planes(untouched)
    run(Network(constant(0.0)), stream([untouched], [LARGE_FACE]), largest_side=192)
    for one, other in zip(old, planes(untouched), strict=True):
        np.testing.assert_array_equal(one, other)


def test_the_upsampled_change_lies_where_it_belongs() -> None:
    """A change on the left half of the reduced crop arrives on the left half of the large one."""

    def left_half(x: Tensor) -> Tensor:
        change = torch.zeros_like(x[:, :3])
        change[..., : x.shape[-1] // 2] = 0.2
        return change

    frame = to_frame(np.full((1024, 1024, 3), 90, np.uint8))
    run(Network(left_half), stream([frame], [LARGE_FACE]), largest_side=192)
    after = pixels(frame)
    row = after[240, :, 1]
    middle = 460
    assert row[middle - 60 : middle - 8] == pytest.approx(141, abs=4)
    assert row[middle + 8 : middle + 60] == pytest.approx(90, abs=4)
    assert abs(np.argmin(np.abs(row[middle - 8 : middle + 8] - 115)) - 8) <= 1


def test_crops_are_planned_around_the_face_in_steps() -> None:
    plan = plan_crop(np.array([100.0, 100, 160, 180], np.float32), 16, 384)
    assert plan == CropPlan(left=50, top=60, side=160, size=160)
    sides = {
        plan_crop(np.array([0, 0, 50 + k / 10, 80 + k / 10], np.float32), 16, 384).side for k in range(90)
    }
    assert sides == {160, 192}
    assert plan_crop(np.array([0.0, 0, 1000, 1000], np.float32), 16, 384).size == 384
    assert plan_crop(np.array([5.0, 5, 5, 5], np.float32), 16, 384).side == 32


def test_cutting_and_blending_nothing_keep_the_frame() -> None:
    frame = astronaut()
    before = planes(frame)
    target = FramePlanes(frame)
    plan = plan_crop(np.asarray(FACE, np.float32), 16, 384)
    crop = cut(target, plan)
    assert (crop.shape, crop.dtype) == ((224, 224, 3), np.float32)
    assert crop.min() >= 0
    assert crop.max() <= 1
    expected = skimage.data.astronaut()[plan.top : plan.top + 224, plan.left : plan.left + 224] / 255
    assert np.abs(crop - expected).mean() < 0.02
    blend(target, [], 1.0)
    blend(target, [(plan, np.zeros_like(crop))], 1.0)
    for old, new in zip(before, planes(frame), strict=True):
        np.testing.assert_array_equal(old, new)


def test_kept_pixels_are_what_is_cut_anew() -> None:
    """Whatever was cut before, to the bit: a run that is taken up again has cut other things."""
    frame = astronaut()
    target, kept = FramePlanes(frame), KeptPixels(FramePlanes(frame))
    reads = []
    planes_of_kept = kept._planes
    read = planes_of_kept.read_rgb
    planes_of_kept.read_rgb = lambda *box: reads.append(box) or read(*box)  # type: ignore[method-assign]
    plans = [CropPlan(100 + 3 * k, 61 + 2 * k, 192, 192) for k in range(5)]
    plans += [CropPlan(-20, 400, 160, 160), CropPlan(-17, 396, 160, 160)]  # beyond the edge
    plans += [CropPlan(30, 30, 449, 384), CropPlan(120, 70, 160, 96)]  # large, and reduced
    for plan in plans:
        crop = kept.cut(plan)
        assert (crop.shape, crop.dtype) == ((plan.size, plan.size, 3), np.uint8)
        np.testing.assert_array_equal(crop, KeptPixels(FramePlanes(frame)).cut(plan))
        difference = np.abs(crop - 255 * cut(target, plan))
        # Where a kept square is reduced, what is beyond black and white was clipped before and not afterwards.
        assert difference.max() <= 0.51 or (plan.size != plan.side and difference.mean() < 0.4)
    assert len(reads) == 3


def test_bytes_are_clipped_and_rounded() -> None:
    values = np.array([[[-0.2, 0.0, 0.499 / 255], [0.501 / 255, 254.6 / 255, 1.3]]], np.float32)
    np.testing.assert_array_equal(_as_bytes(values), [[[0, 0, 0], [1, 255, 255]]])
