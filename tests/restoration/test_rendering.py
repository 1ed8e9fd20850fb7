"""Frames beside their rendered faces: the left half is the source, and each face is drawn where it is tracked."""

import dataclasses
import functools
import json
import math
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import skimage.data
import torch
from media_samples import frame_times, make_video, moving_photograph, packets
from pictures import stream, to_frame
from torch import nn

from fvdeblur.errors import FvdeblurError, InputError, OutputError, UsageError
from fvdeblur.faces import TrackedFace, create_detector
from fvdeblur.media import FramePlanes, VideoReader, VideoWriter, probe
from fvdeblur.morphable import Coefficients, load_default, render
from fvdeblur.morphable.guidance import LOST, SURE
from fvdeblur.morphable.reader import REACH, FaceReader, Reading
from fvdeblur.morphable.regressor import USUAL_SCALE, Regressor
from fvdeblur.morphable.squares import box_square
from fvdeblur.restoration import Progress, opening, rendering, row_file
from fvdeblur.restoration.rendering import (
    FaceOverlay,
    FaceRenderer,
    RenderSummary,
    draw_face,
    face_row,
    rendered_output,
)
from fvdeblur.restoration.side_by_side import DARK, side_by_side
from fvdeblur.restoration.stream import TrackedPicture

LOSSLESS = {"codec": "libx264", "crf": 0.0, "preset": "ultrafast"}
QUICK = {"preset": "ultrafast", "threads": 1}
MODEL = load_default()


class Known(Regressor):
    """Says that every crop holds the mean face, as large as a face is in the crops of detected boxes.

    ``change`` may add something to the answer, float [B, 239], depending on the crops.
    """

    def __init__(self, change: Callable[[torch.Tensor], torch.Tensor] | None = None) -> None:
        super().__init__(nn.Identity(), 1, 32)
        self._change = change

    def forward(self, crops: torch.Tensor) -> Coefficients:
        answer = torch.zeros(len(crops), 239)
        answer[:, -1] = math.log(USUAL_SCALE)
        return Coefficients.split(answer if self._change is None else answer + self._change(crops))


def adding(number: int, value: Callable[[torch.Tensor], Any]) -> Callable[[torch.Tensor], torch.Tensor]:
    """A change of one of the 239 numbers, which may depend on the crops."""

    def change(crops: torch.Tensor) -> torch.Tensor:
        answer = torch.zeros(len(crops), 239)
        answer[:, number] = value(crops)
        return answer

    return change


PITCH, YAW = 233, 234


pytestmark = pytest.mark.usefixtures("nothing_is_left")


@functools.cache
def known_reader(change: Callable[[torch.Tensor], torch.Tensor] | None = None) -> FaceReader:
    return FaceReader(Known(change), MODEL)


@pytest.fixture(scope="module", autouse=True)
def one_detector() -> Iterator[None]:
    """Its weights are loaded once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(opening, "create_detector", functools.cache(create_detector))
        yield


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight frames of 320x240 with sound; the whole face is in the picture and moves by 3 pixels a frame."""
    return make_video(tmp_path_factory.mktemp("source") / "a.mp4", moving_photograph(20)[12:], audio=0.32)


@pytest.fixture(scope="module")
def summary(source: Path) -> RenderSummary:
    """The same rendered without loss, with its rows."""
    return FaceRenderer(reader=known_reader(), threads=1, **LOSSLESS).run(
        source, source.parent / "out.mp4", rows=source.parent / "out.jsonl"
    )


def planes_of(path: Path) -> list[list[np.ndarray]]:
    """The planes of every frame, int [rows, columns]."""
    with VideoReader(path) as reader:
        return [
            [np.frombuffer(plane, np.uint8).reshape(plane.height, -1)[:, : plane.width].astype(int)
             for plane in decoded.frame.planes]
            for decoded in reader
        ]  # fmt: skip


def rows_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def whole(frame: Any, rotation: int = 0) -> np.ndarray:
    """The upright picture as float R'G'B'."""
    planes = FramePlanes(frame, rotation)
    return planes.read_rgb(0, 0, planes.width, planes.height)


def timed(picture: np.ndarray, pix_fmt: str = "yuv444p") -> Any:
    """A frame that stands at tick 7 of 25 a second."""
    frame = to_frame(picture, pix_fmt)
    frame.pts, frame.time_base = 7, Fraction(1, 25)
    return frame


def extent(changed: np.ndarray) -> tuple[int, int, int, int]:
    """Left, top, right and bottom of what is true."""
    rows, columns = np.nonzero(changed)
    return columns.min(), rows.min(), columns.max() + 1, rows.max() + 1


def expected_extent(box: list[float]) -> tuple[float, float, float, float]:
    """Where the mean face of a detected box is."""
    x, y, side = box_square((box[0], box[1], box[2], box[3]))
    unit = USUAL_SCALE * side / 2
    low, high = MODEL.mean_shape.amin(0), MODEL.mean_shape.amax(0)
    return (
        x + unit * float(low[0]),
        y - unit * float(high[1]),
        x + unit * float(high[0]),
        y - unit * float(low[1]),
    )


def test_the_left_half_is_the_source(source: Path, summary: RenderSummary) -> None:
    """Without loss in coding it is the source, sample by sample."""
    pairs = list(zip(planes_of(source), planes_of(summary.output), strict=True))
    assert len(pairs) == summary.frames == 8
    for before, after in pairs:
        for one, other in zip(before, after, strict=True):
            assert other.shape == (one.shape[0], 2 * one.shape[1])
            assert np.array_equal(one, other[:, : one.shape[1]])


def test_faces_are_drawn_where_they_are_tracked(source: Path, summary: RenderSummary) -> None:
    assert summary.rows is not None
    rows = rows_of(summary.rows)
    assert (summary.people, summary.drawn, summary.left_out) == (1, 8, {})
    assert [row["frame"] for row in rows] == list(range(8))
    for number, (row, before, after) in enumerate(
        zip(rows, planes_of(source), planes_of(summary.output), strict=True)
    ):
        # The face of the photograph, which was enlarged by 1.25 and 0.9375.
        x0, y0, x1, y1 = row["box"]
        assert (x0 + x1) / 2 == pytest.approx(281 - 3 * (number + 12), abs=12)
        assert (y0 + y1) / 2 == pytest.approx(110 - 10 - (number + 12) % 7, abs=14)
        luma, right = before[0], after[0][:, 320:]
        drawn = np.abs(right - (16 + DARK * (luma - 16))) > 2
        assert extent(drawn) == pytest.approx(expected_extent(row["box"]), abs=4)
        # Everywhere else it is grey and darker, and the face is brighter and in colour.
        left, top, right_edge, bottom = extent(drawn)
        chroma = np.abs(np.stack([plane[:, 160:] for plane in after[1:]]) - 128)
        outside = np.ones(chroma.shape[1:], bool)
        outside[top // 2 - 1 : bottom // 2 + 2, left // 2 - 1 : right_edge // 2 + 2] = False
        assert chroma[:, outside].max() == 0
        middle = np.s_[(top + bottom) // 2, (left + right_edge) // 2]
        assert right[middle] > 16 + DARK * (luma[middle] - 16) + 20
        assert chroma[:, middle[0] // 2, middle[1] // 2].max() > 10


def test_times_and_sound_are_kept(source: Path, summary: RenderSummary) -> None:
    assert frame_times(summary.output) == frame_times(source)
    assert packets(summary.output)[1] == packets(source)[1]
    info = probe(summary.output)
    assert (info.width, info.height, info.pix_fmt, info.codec) == (640, 240, "yuv420p", "h264")
    assert (summary.device, summary.damage) == ("CPU", [])
    assert summary.detector.startswith("CenterFace")
    assert {path.name for path in source.parent.iterdir()} == {"a.mp4", "out.mp4", "out.jsonl"}


def test_rows_hold_what_was_read(summary: RenderSummary) -> None:
    assert summary.rows is not None
    for number, row in enumerate(rows_of(summary.rows)):
        assert list(row) == [
            *("frame", "time", "track", "box", "doubt", "trust", "pitch", "yaw", "roll", "coefficients")
        ]
        assert (row["frame"], row["track"], row["trust"], row["doubt"]) == (number, 0, 1.0, 0.5)
        assert row["time"] == pytest.approx(number / 25)
        assert (row["pitch"], row["yaw"], row["roll"]) == (0, 0, 0)
        assert len(row["coefficients"]) == 239
        assert not any(row["coefficients"][:236])
        x, y, side = box_square(tuple(row["box"]))  # type: ignore[arg-type]
        assert row["coefficients"][236:238] == pytest.approx([x, y], abs=3.5)
        assert row["coefficients"][238] == pytest.approx(math.log(USUAL_SCALE * side / 2), abs=0.03)


def test_a_row_is_rounded() -> None:
    vector = torch.arange(239)[None] / 7
    box = np.array([1.23456, 2, 3, 4], np.float32)
    row = face_row(
        3,
        0.12345678,
        TrackedFace(2, box, 0.9, None),
        Reading(Coefficients.split(vector), torch.tensor([SURE + (LOST - SURE) / 3])),
    )
    assert (row["frame"], row["time"], row["track"], row["box"]) == (3, 0.123457, 2, [1.23, 2, 3, 4])
    assert row["coefficients"] == [round(value, 5) for value in vector[0].tolist()]
    assert (row["doubt"], row["trust"]) == (round(SURE + (LOST - SURE) / 3, 3), 0.6667)
    assert row["pitch"] == pytest.approx(math.degrees(233 / 7), abs=2e-3)
    assert row["roll"] == pytest.approx(math.degrees(235 / 7), abs=2e-3)
    assert json.loads(json.dumps(row)) == row


FORMATS = [
    *("yuv420p", "yuvj420p", "nv12", "yuv422p", "yuv440p", "yuv444p", "yuv420p10le", "yuv422p12le", "p010le"),
    *("yuva420p", "yuva444p10le", "gray", "gray10le", "bgr24", "rgba", "gbrp12le"),
]


@pytest.mark.parametrize("rotation", [0, 90, 180, 270])
@pytest.mark.parametrize("pix_fmt", FORMATS)
def test_frames_of_all_kinds(pix_fmt: str, rotation: int) -> None:
    check_frame(pix_fmt, rotation, 96, 64)
    check_frame(pix_fmt, rotation, 95, 61)


def check_frame(pix_fmt: str, rotation: int, width: int, height: int) -> None:
    picture = cv2.resize(skimage.data.astronaut(), (width, height), interpolation=cv2.INTER_AREA)
    frame = timed(picture, pix_fmt)
    wide = side_by_side(frame, rotation)
    assert (wide.pts, wide.time_base) == (7, Fraction(1, 25))
    before, after = whole(frame, rotation), whole(wide)
    left, right = np.split(after, 2, axis=1)
    assert left.shape == before.shape
    codes = (1 << max(component.bits for component in frame.format.components)) - 1
    if not rotation:
        # where the halves meet, chroma is interpolated between them
        assert np.abs(left - before)[:, :-2].max() < 0.6 / codes
    else:  # chroma is sited elsewhere after a turn
        assert np.abs(left - before).mean() < 0.012
        assert np.abs(left.mean((0, 1)) - before.mean((0, 1))).max() < 0.003
    is_rgb = pix_fmt in ("bgr24", "rgba", "gbrp12le")
    weights = (0.2126, 0.7152, 0.0722) if is_rgb else (0.299, 0.587, 0.114)
    assert np.abs(right - DARK * (before @ np.float32(weights))[..., None])[:, 2:].max() < 1.7 / codes
    assert np.abs(right - right[..., :1])[:, 2:].max() < 0.1 / codes


def test_a_turned_picture_keeps_its_colours() -> None:
    """Untagged video goes by its coded height: 480 rows are BT.601, 854 would be BT.709."""
    picture = np.full((480, 854, 3), (200, 40, 60), np.uint8)
    frame = timed(picture, "yuv420p")
    assert np.abs(whole(side_by_side(frame, 90))[:, :478] - np.array([200, 40, 60]) / 255).max() < 0.02


@pytest.mark.parametrize("rotation", [90, 180, 270])
def test_a_phone_clip_comes_out_upright(tmp_path: Path, rotation: int) -> None:
    turn = {90: cv2.ROTATE_90_COUNTERCLOCKWISE, 180: cv2.ROTATE_180, 270: cv2.ROTATE_90_CLOCKWISE}[rotation]
    frames = moving_photograph(15)[12:]
    source = make_video(
        tmp_path / "phone.mp4",
        [cv2.rotate(frame, turn) for frame in frames],
        prepare=lambda _, video: video.set_display_rotation(360 - rotation),
    )
    assert probe(source).rotation == rotation
    target, rows = tmp_path / "out.mp4", tmp_path / "out.jsonl"
    assert FaceRenderer(reader=known_reader(), **LOSSLESS).run(source, target, rows=rows).drawn == 3
    info = probe(target)
    assert (info.width, info.height, info.rotation, info.display_matrix) == (640, 240, 0, None)
    with VideoReader(source) as one, VideoReader(target) as other:
        for row, before, after in zip(rows_of(rows), one, other, strict=True):
            picture, upright = whole(after.frame), whole(before.frame, rotation)
            assert np.abs(picture[:, :320] - upright).mean() < 0.006
            grey = DARK * (upright @ np.float32([0.299, 0.587, 0.114]))
            drawn = np.abs(picture[:, 320:].mean(2) - grey) > 0.02
            assert extent(drawn) == pytest.approx(expected_extent(row["box"]), abs=5)


@pytest.mark.parametrize(("width", "height"), [(321, 240), (320, 241), (321, 241)])
def test_odd_sizes(tmp_path: Path, width: int, height: int) -> None:
    frames = moving_photograph(14, width, height)[12:]
    source = make_video(tmp_path / "odd.mkv", frames, codec="ffv1", time_base=Fraction(1, 1000))
    summary = FaceRenderer(reader=known_reader(), codec="h264", **QUICK).run(source)
    assert summary.output == tmp_path / "odd.rendered.mkv"
    assert summary.drawn == 2
    info = probe(summary.output)
    assert (info.width, info.height) == (2 * width, height)
    with VideoReader(source) as one, VideoReader(summary.output) as other:
        for before, after in zip(one, other, strict=True):
            assert np.abs(whole(after.frame)[:, :width] - whole(before.frame)).mean() < 0.015


def test_depth_and_tags_and_uneven_times_are_kept(tmp_path: Path) -> None:
    times = [0, 40, 90, 100, 180]

    def tag(_: Any, video: Any) -> None:
        context = video.codec_context
        context.color_primaries, context.color_trc, context.colorspace, context.color_range = 9, 16, 9, 1

    source = make_video(
        tmp_path / "deep.mkv",
        moving_photograph(17)[12:],
        pix_fmt="yuv420p10le",
        times=times,
        time_base=Fraction(1, 1000),
        audio=0.3,
        prepare=tag,
    )
    target = tmp_path / "out.mkv"
    assert FaceRenderer(reader=known_reader(), **QUICK).run(source, target).drawn == 5
    assert frame_times(target) == [Fraction(time, 1000) for time in times]
    assert packets(target)[1] == packets(source)[1]
    before, after = probe(source), probe(target)
    for name in ("pix_fmt", "bit_depth", "color_primaries", "color_trc", "color_space", "color_range"):
        assert getattr(after, name) == getattr(before, name)
    assert (after.bit_depth, after.color_space) == (10, 9)


def test_a_part_is_kept(clip: Path, tmp_path: Path) -> None:
    target, rows = tmp_path / "out.mp4", tmp_path / "out.jsonl"
    seen: list[Progress] = []
    FaceRenderer(reader=known_reader(), start=0.4, end=0.6, **QUICK).run(
        clip, target, rows=rows, progress=seen.append
    )
    assert frame_times(target) == [Fraction(k, 25) for k in range(5)]
    assert [(row["frame"], row["time"]) for row in rows_of(rows)] == [
        (k, pytest.approx(0.4 + k / 25)) for k in range(5)
    ]
    assert seen[-1] == Progress(frames=5, total=5, faces=5)


def test_a_clip_without_faces(faceless_clip: Path, tmp_path: Path) -> None:
    target, rows = tmp_path / "out.mp4", tmp_path / "out.jsonl"
    summary = FaceRenderer(reader=known_reader(), **LOSSLESS).run(faceless_clip, target, rows=rows)
    assert (summary.frames, summary.people, summary.drawn) == (10, 0, 0)
    assert rows.read_text() == ""
    for before, after in zip(planes_of(faceless_clip), planes_of(target), strict=True):
        assert np.abs(after[0][:, 320:] - (16 + DARK * (before[0] - 16))).max() <= 0.5
        assert (after[1][:, 160:] == 128).all()


def test_small_faces_are_not_read(source: Path, tmp_path: Path) -> None:
    rows = tmp_path / "out.jsonl"
    settings = {"min_face": 500.0, **QUICK}
    summary = FaceRenderer(reader=known_reader(), **settings).run(source, tmp_path / "out.mp4", rows=rows)
    assert (summary.people, summary.drawn, summary.left_out) == (1, 0, {"too small": 8})
    assert rows.read_text() == ""


def flat(level: int, width: int = 160, height: int = 120) -> Any:
    return timed(np.full((height, width, 3), level, np.uint8))


def test_doubtful_faces_are_not_drawn() -> None:
    """A face that looks to its left in the picture, and to its left again in the mirror image, was not read."""
    overlay = FaceOverlay(known_reader(adding(YAW, lambda _: 0.4)), 0, 0)
    (only,) = overlay(stream([flat(120)], [[60, 40, 100, 90]]))
    assert whole(only.frame)[:, 160:] == pytest.approx(DARK * 120 / 255, abs=0.004)
    assert only.rows[0]["doubt"] > LOST
    assert only.rows[0]["trust"] == 0
    assert (overlay.drawn, overlay.left_out) == (0, {"too doubtful": 1})


def test_a_face_fades_as_far_as_it_is_doubted() -> None:
    pose = torch.tensor([[0, 0, 0, 80.0, 60.0, math.log(25)]])
    coefficients = Coefficients.split(torch.zeros(1, 239))._replace(pose=pose)
    changes = []
    for doubt in (SURE, (SURE + LOST) / 2, LOST):
        frame = flat(80)
        draw_face(FramePlanes(frame), 0, MODEL, Reading(coefficients, torch.tensor([doubt])))
        changes.append(whole(frame) - whole(flat(80)))
    assert changes[0].max() > 0.2
    assert np.abs(changes[1] - changes[0] / 2).max() < 1.5 / 219
    assert not changes[2].any()


def test_a_face_is_drawn_pixel_for_pixel() -> None:
    """Drawn in a square of its own or in the whole picture, it is the same: rgb + (1 - mask) * background."""
    pose = torch.tensor([[0.2, 0.3, 0.1, 70.3, 51.8, math.log(25)]])
    coefficients = Coefficients.split(torch.zeros(1, 239))._replace(pose=pose)
    picture = skimage.data.astronaut()[:128, 200:328]
    frame, background = timed(picture), whole(timed(picture))
    draw_face(FramePlanes(frame), 0, MODEL, Reading(coefficients, torch.tensor([0.5])))
    inside = pose - torch.tensor([0, 0, 0, 64, 64, math.log(64)])
    inside[:, 3:5] /= 64
    drawn = render(MODEL, coefficients._replace(pose=inside), 128)
    expected = drawn.rgb[0].permute(1, 2, 0).numpy() + (1 - drawn.mask[0, 0, :, :, None].numpy()) * background
    assert np.abs(whole(frame) - expected).max() < 2 / 219


@pytest.mark.parametrize("place", [(0.0, 0.0), (150.0, 118.0), (80.0, -20.0), (80.0, 60.0), (400.0, 60.0)])
@pytest.mark.parametrize("unit", [3.0, 25.0, 2000.0])
def test_a_face_is_cut_off_at_the_edges(place: tuple[float, float], unit: float) -> None:
    """Drawn in a larger picture, what lies in this one is the same."""
    pose = torch.tensor([[0.2, 0.3, 0.1, *place, math.log(unit)]])
    coefficients = Coefficients.split(torch.zeros(1, 239))._replace(pose=pose)
    frame = flat(80, 360, 120)
    draw_face(FramePlanes(frame), 200, MODEL, Reading(coefficients, torch.tensor([0.5])))
    assert np.abs(whole(frame)[:, :200] - whole(flat(80, 200))).max() < 1e-6
    larger, moved = flat(80, 560, 360), pose + torch.tensor([0, 0, 0, 200.0, 120.0, 0])
    inside = Reading(coefficients._replace(pose=moved), torch.tensor([0.5]))
    draw_face(FramePlanes(larger), 0, MODEL, inside)
    if unit < 2000:
        apart = np.abs(whole(larger)[120:240, 200:360] - whole(frame)[:, 200:])
        assert apart.max() < 3 / 255
    elif place == (80.0, 60.0):  # a cheek that fills the picture
        assert np.abs(whole(frame)[:, 200:] - whole(flat(80))).mean() > 0.1


def test_large_faces_are_enlarged(monkeypatch: pytest.MonkeyPatch) -> None:
    pose = torch.tensor([[0.1, 0.2, 0.1, 420.0, 450.0, math.log(230)]])
    reading = Reading(Coefficients.split(torch.zeros(1, 239))._replace(pose=pose), torch.tensor([0.5]))
    pictures = []
    for largest in (rendering.LARGEST_SIDE, 4096):
        monkeypatch.setattr(rendering, "LARGEST_SIDE", largest)
        frame = flat(20, 860, 900)
        draw_face(FramePlanes(frame), 0, MODEL, reading)
        pictures.append(whole(frame))
    assert extent(pictures[0].mean(2) > 0.15) == pytest.approx(extent(pictures[1].mean(2) > 0.15), abs=2)
    assert 0 < np.abs(pictures[0] - pictures[1]).mean() < 2 / 255


def test_the_nearer_face_is_in_front() -> None:
    large, small = [20, 10, 100, 110], [70, 30, 110, 80]

    def drawn(*boxes: list[int]) -> np.ndarray:
        (only,) = FaceOverlay(known_reader(), 0, 0)(stream([flat(40)], boxes))
        return whole(only.frame)[:, 160:]

    alone = drawn(large)
    covered = np.abs(alone - alone[0, 0]).max(2) > 0.05
    for both in (drawn(large, small), drawn(small, large)):
        inside = cv2.erode(covered.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
        assert np.abs(both - alone)[inside].max() < 2 / 255
        assert np.abs(both - alone)[~covered].max() > 0.2


def test_nothing_reaches_across_a_cut() -> None:
    """How far a face looks down is read off its brightness here; the same tracks go on after the cut."""
    reader = known_reader(adding(PITCH, lambda crops: crops.mean((1, 2, 3))))
    levels = [50] * 4 + [200] * 5
    pictures = stream([flat(level) for level in levels], [[60, 40, 100, 90]], cuts=[4])
    rendered = list(FaceOverlay(reader, 0, 0)(pictures))
    found = [frame.rows[0]["pitch"] for frame in rendered]
    assert found == pytest.approx([math.degrees(level / 255) for level in levels], abs=0.3)
    assert [frame.rows[0]["frame"] for frame in rendered] == list(range(9))


def test_readings_are_steadied_along_a_track() -> None:
    reader = known_reader(adding(PITCH, lambda crops: crops.mean((1, 2, 3))))
    pictures = stream([flat(level) for level in (50, 50, 50, 200, 50, 50, 50)], [[60, 40, 100, 90]])
    found = [frame.rows[0]["pitch"] for frame in FaceOverlay(reader, 0, 0)(pictures)]
    low, high = math.degrees(50 / 255), math.degrees(200 / 255)
    assert found[0] == pytest.approx(low, abs=0.3)
    assert low + 0.1 * (high - low) < found[2] < found[3] < high - 0.3 * (high - low)


def test_few_frames_are_held() -> None:
    taken = 0

    def pictures() -> Iterator[Any]:
        nonlocal taken
        for picture in stream([flat(90, 64, 48) for _ in range(30)], [[20, 10, 40, 34]]):
            taken += 1
            yield picture

    overlay = FaceOverlay(known_reader(), 0, 0)
    for number, _ in enumerate(overlay(pictures())):
        assert taken <= number + 1 + REACH
        held = [len(person.readings) for person in overlay._tracks._people.values()]
        assert max(held, default=0) <= 2 * REACH + 1
    assert (taken, number) == (30, 29)


def test_albedos_of_those_who_left_are_forgotten() -> None:
    pictures = stream([flat(90, 64, 48) for _ in range(12)], [[20, 10, 40, 34]])
    for number, picture in enumerate(pictures):
        faces = tuple(dataclasses.replace(face, track=number // 3) for face in picture.tracked.faces)
        pictures[number] = TrackedPicture(picture.decoded, dataclasses.replace(picture.tracked, faces=faces))
    overlay = FaceOverlay(known_reader(), 0, 0)
    for number, frame in enumerate(overlay(pictures)):
        assert [row["track"] for row in frame.rows] == list(overlay._albedos) == [number // 3]
    assert (number, overlay.people) == (11, {0, 1, 2, 3})


def test_the_albedo_is_that_of_the_texture_read() -> None:
    """Two tracks of different textures, and a texture that changes, each with a colour of its own."""
    reader = known_reader(adding(144, lambda crops: 4 * crops.mean((1, 2, 3)) - 2))
    frames = [timed(np.concatenate([np.full((120, 80, 3), a, np.uint8), np.full((120, 80, 3), b, np.uint8)], 1))
              for a, b in ((20, 230), (230, 20))]  # fmt: skip
    boxes = [[28, 40, 52, 72], [108, 40, 132, 72]]
    first, second = FaceOverlay(reader, 0, 0)(stream(frames, boxes, cuts=[1]))

    def skin(frame: Any, x: int) -> np.ndarray:
        return whole(frame)[50:60, 160 + x - 3 : 160 + x + 3].mean((0, 1))

    assert np.abs(skin(first.frame, 40) - skin(first.frame, 120)).max() > 0.02
    assert skin(first.frame, 40) == pytest.approx(skin(second.frame, 120), abs=0.01)
    assert skin(first.frame, 120) == pytest.approx(skin(second.frame, 40), abs=0.01)


@pytest.mark.parametrize(
    ("rows", "error", "words"),
    [
        ("there.jsonl", UsageError, "there.jsonl exists; use --overwrite"),
        ("folder", UsageError, "folder: is a folder"),
        ("a.mp4", UsageError, "a.mp4: is the input or the output"),
        ("./a.mp4", UsageError, "is the input or the output"),
        ("out.mp4", UsageError, "out.mp4: is the input or the output"),
        ("out.mp4.partial", UsageError, "is the input or the output"),
        ("none/rows.jsonl", OutputError, "create the folder first"),
    ],
)
def test_where_rows_cannot_be_written(
    source: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    rows: str,
    error: type[FvdeblurError],
    words: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a.mp4").write_bytes(source.read_bytes())
    Path("there.jsonl").write_text("kept")
    Path("folder").mkdir()
    with pytest.raises(error, match=words) as caught:
        FaceRenderer(reader=known_reader(), **QUICK).run("a.mp4", "out.mp4", rows=rows)
    assert "\n" not in str(caught.value)
    assert {path.name for path in tmp_path.iterdir()} == {"a.mp4", "there.jsonl", "folder"}
    assert Path("a.mp4").read_bytes() == source.read_bytes()
    assert Path("there.jsonl").read_text() == "kept"


def test_the_output_is_replaced_only_when_asked(source: Path, tmp_path: Path) -> None:
    target, rows = tmp_path / "out.mp4", tmp_path / "rows.jsonl"
    target.write_text("kept")
    with pytest.raises(UsageError, match=r"out\.mp4 exists"):
        FaceRenderer(reader=known_reader(), **QUICK).run(source, target, rows=rows)
    assert target.read_text() == "kept"
    assert not rows.exists()
    rows.write_text("old")
    renderer = FaceRenderer(reader=known_reader(), overwrite=True, end=0.1, **QUICK)
    assert renderer.run(source, target, rows=rows).frames == 3
    assert len(frame_times(target)) == len(rows_of(rows)) == 3


@pytest.mark.parametrize("stage", ["write", "read", "draw", "row", "finish", "name"])
def test_an_error_leaves_nothing(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stage: str
) -> None:
    """Wherever it happens: neither file stands under its name, and no thread goes on (see the fixture)."""

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    def failing(*_: Any) -> None:
        raise OutputError("full")

    if stage == "row":
        monkeypatch.setattr(row_file.json, "dumps", full)
    elif stage == "name":
        replace = Path.replace
        monkeypatch.setattr(
            Path, "replace", lambda self, to: full() if to.suffix == ".jsonl" else replace(self, to)
        )
    else:
        place: dict[str, tuple[Any, str]] = {
            "write": (VideoWriter, "write"),
            "read": (rendering.FaceTracks, "see"),
            "draw": (rendering, "draw_face"),
            "finish": (VideoWriter, "finish"),
        }
        monkeypatch.setattr(*place[stage], failing)
    with pytest.raises(OutputError):
        FaceRenderer(reader=known_reader(), **QUICK).run(
            source, tmp_path / "o.mp4", rows=tmp_path / "o.jsonl"
        )
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_clip_is_reported(tmp_path: Path) -> None:
    source = make_video(
        tmp_path / "a.mp4", moving_photograph(12), container_options={"movflags": "faststart"}
    )
    source.write_bytes(source.read_bytes()[: source.stat().st_size * 2 // 3])
    summary = FaceRenderer(reader=known_reader(), **QUICK).run(source)
    assert summary.damage
    assert 0 < summary.frames < 12


def test_what_cannot_be_made(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="unknown setting"):
        FaceRenderer(reader=known_reader(), colour="blue")
    with pytest.raises(UsageError, match="unknown device 'tpu'"):
        FaceRenderer(device="tpu")
    monkeypatch.setattr("fvdeblur.released.models_folder", lambda: tmp_path)
    with pytest.raises(InputError, match="regressor"):
        FaceRenderer()


def test_the_output_is_named_after_the_input() -> None:
    assert rendered_output("a/b.c.mkv") == Path("a/b.c.rendered.mkv")
