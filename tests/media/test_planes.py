"""Reading and changing parts of frames in their own planes."""

from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from media_samples import moving_photograph

from fvdeblur.media import FramePlanes, supported

YUV = [
    *("yuv420p", "yuv422p", "yuv444p", "yuv440p", "yuvj420p", "yuvj422p", "yuvj444p"),
    *("yuv420p10le", "yuv422p10le", "yuv444p10le", "yuv420p12le", "yuv422p12le", "yuv444p12le"),
    *("nv12", "nv16", "p010le", "yuva420p"),
]
RGB = ["rgb24", "bgr24", "bgra", "gbrp", "gbrp10le"]
GRAY = ["gray", "gray10le"]


def make_frame(
    pix_fmt: str, width: int = 321, height: int = 243, space: int = 1, full: bool = False
) -> av.VideoFrame:
    """A photograph in a pixel format, with its matrix and range tagged."""
    pixels = moving_photograph(1, width, height)[0]
    source = av.VideoFrame.from_ndarray(pixels, format="rgb24")
    full = full or pix_fmt.startswith("yuvj") or pix_fmt in RGB + GRAY
    frame = source.reformat(
        format=pix_fmt,
        dst_colorspace=space,
        src_color_range=2,
        dst_color_range=2 if full else 1,
        interpolation="AREA",
    )
    frame.colorspace, frame.color_range = space if pix_fmt in YUV else 2, 2 if full else 1
    return frame


def raw(frame: av.VideoFrame) -> list[np.ndarray]:
    """All samples of a frame, plane by plane, without the padding of lines: uint8 [rows, bytes]."""
    components = frame.format.components
    planes = []
    for index, plane in enumerate(frame.planes):
        rows = np.frombuffer(plane, np.uint8).reshape(plane.height, plane.line_size)
        pixel = sum(c.plane == index for c in components) * (1 if components[0].bits == 8 else 2)
        planes.append(rows[:, : plane.width * pixel].copy())
    return planes


def reference_rgb(frame: av.VideoFrame, space: int) -> np.ndarray:
    """What swscale makes of a frame: float32 [h, w, 3] in 0..1."""
    full = frame.color_range == 2
    deep = frame.reformat(
        format="gbrp16le" if frame.format.name not in GRAY else "rgb24",
        src_colorspace=space,
        src_color_range=2 if full else 1,
        dst_color_range=2,
        interpolation="BILINEAR",
    )
    if frame.format.name in GRAY:
        return deep.to_ndarray().astype(np.float32) / 255
    return deep.to_ndarray().astype(np.float32) / 65535


@pytest.mark.parametrize("pix_fmt", YUV + RGB + GRAY)
@pytest.mark.parametrize("space", [1, 5, 9])
def test_read_rgb_agrees_with_swscale(pix_fmt: str, space: int) -> None:
    frame = make_frame(pix_fmt, space=space)
    picture = FramePlanes(frame).read_rgb(0, 0, 321, 243)
    error = np.abs(picture.clip(0, 1) - reference_rgb(frame, space))
    assert picture.dtype == np.float32
    # swscale interpolates chroma with another siting at the edges of colours; elsewhere the figures agree.
    assert error.mean() < 1.5 / 255
    assert np.median(error) < 1 / 255


@pytest.mark.parametrize(
    ("space", "height", "expected"), [(2, 720, 1), (2, 480, 5), (1, 480, 1), (5, 720, 5)]
)
def test_untagged_frames_are_judged_by_height(space: int, height: int, expected: int) -> None:
    frame = make_frame("yuv444p", 64, height, space=1)
    frame.colorspace = space
    tagged = make_frame("yuv444p", 64, height, space=1)
    tagged.colorspace = expected
    box = (0, 0, 64, height)
    np.testing.assert_array_equal(FramePlanes(frame).read_rgb(*box), FramePlanes(tagged).read_rgb(*box))


def test_limited_white_and_black_are_one_and_zero_and_beyond_is_not_clipped() -> None:
    frame = av.VideoFrame(16, 16, "yuv420p")
    for plane, value in zip(frame.planes, (235, 128, 128), strict=True):
        plane.update(bytes([value]) * plane.buffer_size)
    np.testing.assert_allclose(FramePlanes(frame).read_rgb(3, 3, 9, 9), 1, atol=1e-6)
    frame.planes[0].update(bytes([255]) * frame.planes[0].buffer_size)
    assert FramePlanes(frame).read_rgb(3, 3, 9, 9).min() > 1.08


def test_chroma_is_sited_left_and_between_rows() -> None:
    frame = av.VideoFrame(64, 64, "yuv420p")
    frame.colorspace = 1
    columns, rows = np.meshgrid(np.arange(32), np.arange(32))
    for plane, values in zip(
        frame.planes, (np.full((64, 64), 128), 64 + 2 * columns, 64 + 2 * rows), strict=True
    ):
        line = np.zeros((plane.height, plane.line_size), np.uint8)
        line[:, : plane.width] = values
        plane.update(line.tobytes())
    picture = FramePlanes(frame).read_rgb(10, 10, 50, 50)
    blue = picture[20, :, 2]
    luma = (128 - 16) / 219
    cb = (blue - luma) / (2 * (1 - 0.0722)) * 224 + 128
    np.testing.assert_allclose(cb, 64 + 2 * (np.arange(10, 50) / 2), atol=0.1)
    cr = (picture[:, 20, 0] - luma) / (2 * (1 - 0.2126)) * 224 + 128
    np.testing.assert_allclose(cr, 64 + 2 * ((np.arange(10, 50) - 0.5) / 2), atol=0.1)


@pytest.mark.parametrize("rotation", [0, 90, 180, 270])
def test_boxes_are_in_upright_coordinates(rotation: int) -> None:
    planes = FramePlanes(make_frame("yuv420p"), rotation)
    whole = planes.read_rgb(0, 0, planes.width, planes.height)
    coded = FramePlanes(make_frame("yuv420p")).read_rgb(0, 0, 321, 243)
    np.testing.assert_array_equal(whole, np.rot90(coded, -rotation // 90))
    np.testing.assert_allclose(planes.read_rgb(13, 40, 77, 101), whole[40:101, 13:77], atol=1e-5)


@pytest.mark.parametrize("pix_fmt", YUV + RGB + GRAY)
def test_no_change_leaves_every_sample(pix_fmt: str) -> None:
    frame = make_frame(pix_fmt)
    before = raw(frame)
    FramePlanes(frame).add_rgb(31, 21, np.zeros((100, 101, 3), np.float32))
    for a, b in zip(before, raw(frame), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("pix_fmt", YUV + RGB)
@pytest.mark.parametrize("rotation", [0, 90, 180, 270])
def test_a_change_is_read_back_and_stays_in_its_box(pix_fmt: str, rotation: int) -> None:
    frame = make_frame(pix_fmt)
    planes = FramePlanes(frame, rotation)
    before = planes.read_rgb(0, 0, planes.width, planes.height)
    x0, y0, height, width = 31, 22, 121, 98
    bump = np.hanning(height)[:, None] * np.hanning(width)
    change = (bump[..., None] * np.array([0.10, -0.06, 0.05])).astype(np.float32)
    inside = before[y0 : y0 + height, x0 : x0 + width]
    roomy = ((inside > 0.15) & (inside < 0.85)).all(-1)
    planes.add_rgb(x0, y0, change)
    after = planes.read_rgb(0, 0, planes.width, planes.height)
    got = after[y0 : y0 + height, x0 : x0 + width] - inside
    step = 1 / 219 if frame.format.components[0].bits == 8 else 1 / 876
    assert roomy.mean() > 0.3
    assert np.abs(got - change)[roomy].max() < 2.6 * step + 0.003
    assert np.abs((got - change)[roomy].mean()) < 0.3 * step
    after[y0 - 3 : y0 + height + 3, x0 - 3 : x0 + width + 3] = 0
    before[y0 - 3 : y0 + height + 3, x0 - 3 : x0 + width + 3] = 0
    np.testing.assert_array_equal(after, before)


@pytest.mark.parametrize("pix_fmt", ["yuv420p", "nv12", "yuv420p10le", "yuva420p"])
def test_samples_outside_the_box_stay_bit_identical(pix_fmt: str) -> None:
    frame = make_frame(pix_fmt)
    before = raw(frame)
    FramePlanes(frame).add_rgb(41, 31, np.full((60, 80, 3), 0.2, np.float32))
    changed = [np.argwhere(a != b) for a, b in zip(before, raw(frame), strict=True)]
    size = 2 if "10" in pix_fmt else 1
    rows, columns = changed[0].min(0), changed[0].max(0)
    assert (rows[0], columns[0]) == (31, 90)
    assert (rows[1] // size, columns[1] // size) == (41, 120)
    if pix_fmt == "yuva420p":
        assert len(changed[3]) == 0


def test_gray_takes_the_luma_of_a_change() -> None:
    frame = make_frame("gray")
    planes = FramePlanes(frame)
    before = planes.read_rgb(10, 10, 60, 60)
    planes.add_rgb(10, 10, np.full((50, 50, 3), [0.1, 0.0, 0.0], np.float32))
    got = planes.read_rgb(10, 10, 60, 60) - before
    room = before < 0.95
    np.testing.assert_allclose(got[room], 0.1 * 0.299, atol=0.5 / 255 + 1e-6)  # BT.601 below 720 lines


def test_clipping_keeps_legal_codes_and_never_pulls_back_what_exceeded_them() -> None:
    frame = av.VideoFrame(32, 32, "yuv444p")
    frame.color_range = 1
    for plane, value in zip(frame.planes, (230, 128, 128), strict=True):
        plane.update(bytes([value]) * plane.buffer_size)
    planes = FramePlanes(frame)
    planes.add_rgb(0, 0, np.full((16, 32, 3), 0.5, np.float32))
    luma = np.frombuffer(frame.planes[0], np.uint8).reshape(32, -1)[:, :32]
    assert (luma[:16] == 235).all()
    assert (luma[16:] == 230).all()
    frame.planes[0].update(bytes([250]) * frame.planes[0].buffer_size)
    FramePlanes(frame).add_rgb(0, 0, np.full((16, 32, 3), 0.1, np.float32))
    luma = np.frombuffer(frame.planes[0], np.uint8).reshape(32, -1)[:, :32]
    assert (luma == 250).all()


def test_writing_does_not_disturb_the_decoder(clip: Path) -> None:
    with av.open(str(clip)) as source:
        clean = [frame.to_ndarray() for frame in source.decode(video=0)]
    with av.open(str(clip)) as source:
        for frame, reference in zip(source.decode(video=0), clean, strict=True):
            np.testing.assert_array_equal(frame.to_ndarray(), reference)
            FramePlanes(frame).add_rgb(50, 50, np.full((100, 100, 3), 0.3, np.float32))


@pytest.mark.parametrize("rotation", [0, 90, 180, 270])
def test_preview_is_the_upright_picture_reduced(rotation: int) -> None:
    frame = make_frame("yuv420p", 640, 360)
    planes = FramePlanes(frame, rotation)
    preview = planes.preview(320)
    whole = planes.read_rgb(0, 0, planes.width, planes.height)
    expected = cv2.resize(whole, (preview.shape[1], preview.shape[0]), interpolation=cv2.INTER_AREA)
    assert max(preview.shape[:2]) == 320
    assert preview.dtype == np.uint8
    assert preview.flags.c_contiguous
    assert np.abs(preview / 255 - expected).mean() < 0.02
    assert FramePlanes(frame).preview(10_000).shape == (360, 640, 3)


def test_boxes_outside_the_frame_and_foreign_formats_are_refused() -> None:
    planes = FramePlanes(make_frame("yuv420p"))
    for box in [(-1, 0, 5, 5), (0, 0, 322, 5), (5, 5, 5, 9)]:
        with pytest.raises(ValueError, match="not inside"):
            planes.read_rgb(*box)
    assert not supported("pal8")
    assert not supported("yuv420p10be")
    with pytest.raises(ValueError, match="cannot be edited"):
        FramePlanes(av.VideoFrame(16, 16, "yuv411p"))
