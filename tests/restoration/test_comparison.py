"""Two videos beside each other, split, or subtracted; and the figures."""

from collections.abc import Callable
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from media_samples import make_video, moving_photograph, packets

from fvdeblur.errors import InputError, UsageError
from fvdeblur.evaluation import psnr, ssim
from fvdeblur.faces import create_detector
from fvdeblur.media import probe
from fvdeblur.restoration import Progress
from fvdeblur.restoration.comparison import compare
from fvdeblur.restoration.comparison_outputs import CLOSE_UP, GAIN

pytestmark = pytest.mark.usefixtures("nothing_is_left")

LOSSLESS = {"options": {"crf": "0", "preset": "ultrafast"}, "pix_fmt": "yuv444p"}
COUNT = 8


def soft(picture: np.ndarray) -> np.ndarray:
    return cv2.GaussianBlur(picture, (0, 0), 2)


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("compared")
    frames = moving_photograph(COUNT, 160, 120)
    return (
        make_video(folder / "a.mp4", frames, audio=0.3, **LOSSLESS),
        make_video(folder / "b.mp4", [soft(frame) for frame in frames], **LOSSLESS),
    )


def decoded(path: Path) -> list[np.ndarray]:
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def close(one: np.ndarray, other: np.ndarray, least: float = 30.0) -> bool:
    return psnr(one, other) > least


def test_side_by_side(videos: tuple[Path, Path], tmp_path: Path) -> None:
    target = tmp_path / "side.mp4"
    told: list[Progress] = []
    summary = compare(*videos, target, progress=told.append)
    assert (summary.frames, summary.psnr, summary.ssim) == (COUNT, None, None)
    assert [each.frames for each in told] == list(range(1, COUNT + 1))
    assert (probe(target).width, probe(target).height, probe(target).pix_fmt) == (320, 120, "yuv420p")
    assert packets(target)[1] == packets(videos[0])[1]
    for shown, one, other in zip(decoded(target), *map(decoded, videos), strict=True):
        assert close(shown[:, :160], one, 27)
        assert close(shown[:, 160:], other)


def test_split_by_a_line_that_moves(videos: tuple[Path, Path], tmp_path: Path) -> None:
    target = tmp_path / "split.mkv"
    assert compare(*videos, target, mode="split").frames == COUNT
    places = []
    for shown, one, other in zip(decoded(target), *map(decoded, videos), strict=True):
        line = int(np.argmax(shown.astype(int).min(axis=2).mean(axis=0)))
        places.append(line)
        assert close(shown[:, line + 4 :], other[:, line + 4 :])
        assert close(shown[:, : max(1, line - 4)], one[:, : max(1, line - 4)], 24)
    assert places == sorted(places)
    assert places[-1] > places[0] >= 6


def test_difference(videos: tuple[Path, Path], tmp_path: Path) -> None:
    """On a sheet of six of the eight frames, exactly."""
    target = tmp_path / "difference.png"
    compare(*videos, target, mode="difference")
    sheet = cv2.imread(str(target))[..., ::-1]
    assert sheet.shape == (6 * CLOSE_UP, 160 + CLOSE_UP, 3)
    one, other = (decoded(path)[0].astype(int) for path in videos)
    expected = np.clip(128 + GAIN * (other - one), 0, 255)
    # The decoders' conversions are rounded otherwise.
    assert np.abs(sheet[40:120, :160] - expected[40:]).mean() < 2.5
    compare(videos[0], videos[0], target, mode="difference", overwrite=True)
    same = cv2.imread(str(target))
    assert np.all(same[40:120, :160] == 128)
    assert np.all(same[:CLOSE_UP, 160:] == 128)


@pytest.mark.parametrize(("side", "close_up"), [(120, True), (480, False)])
def test_a_small_face_is_shown_close_up(tmp_path: Path, side: int, close_up: bool) -> None:
    """B's face is painted over: so is its close-up, beside A's, and only where the face is not large already."""
    pictures = [cv2.resize(frame, (side * 4 // 3, side)) for frame in moving_photograph(3, 640, 480)]
    frames = [cv2.copyMakeBorder(each, 0, 480 - side, 0, 640 - side * 4 // 3, 0) for each in pictures]
    frames[1][:] = 0
    boxes = [each.box.astype(int) for frame in frames for each in create_detector().detect(frame)]
    assert len(boxes) == 2
    painted = [frame.copy() for frame in frames]
    for frame, (left, top, right, bottom) in zip(painted[::2], boxes, strict=True):
        frame[top:bottom, left:right] = 0, 200, 0
    left, top, right, bottom = boxes[0]
    videos = [
        make_video(tmp_path / f"{name}.mp4", each, **LOSSLESS)
        for name, each in (("a", frames), ("b", painted))
    ]
    compare(*videos, tmp_path / "sheet.png")
    sheet = cv2.imread(str(tmp_path / "sheet.png"))[..., ::-1].reshape(3, 480, -1, 3)
    assert sheet.shape[2] == (1280 + 2 * 480 if close_up else 1280)
    if close_up:
        one, other = sheet[:, :, 1280:1760], sheet[:, :, 1760:]
        assert not one[1].any()
        assert not other[1].any()
        skin = frames[0][top:bottom, left:right].mean(axis=(0, 1))
        assert np.abs(one[0, 160:320, 160:320].mean(axis=(0, 1)) - skin).max() < 60
        green = (other.astype(int) @ [-1, 2, -1] > 200).mean(axis=(1, 2))
        assert green[[0, 2]] == pytest.approx((1 / 1.6) ** 2, abs=0.12)


def test_figures(videos: tuple[Path, Path], tmp_path: Path) -> None:
    pairs = list(zip(*map(decoded, videos), strict=True))
    error = np.mean([np.mean((one.astype(float) - other) ** 2) for one, other in pairs])
    grey = [[cv2.cvtColor(each, cv2.COLOR_RGB2GRAY) for each in pair] for pair in pairs]
    for reference in ("A", "B"):
        summary = compare(*videos, tmp_path / f"{reference}.jpg", reference=reference)
        assert summary.psnr == pytest.approx(10 * np.log10(255**2 / error), abs=0.1)
        assert summary.ssim == pytest.approx(np.mean([ssim(*pair) for pair in grey]), abs=0.005)
    same = compare(videos[0], videos[0], tmp_path / "same.png", reference="A")
    assert (same.psnr, same.ssim) == (float("inf"), pytest.approx(1))


def test_a_long_video_is_shown_evenly(tmp_path: Path) -> None:
    """Grey frames that tell their number: a sheet of 40 frames shows first, late and middle ones."""
    frames = [np.full((64, 64, 3), 5 * k, np.uint8) for k in range(40)]
    video = make_video(tmp_path / "grey.mp4", frames, **LOSSLESS)
    compare(video, video, tmp_path / "sheet.png")
    sheet = cv2.imread(str(tmp_path / "sheet.png"))
    shown = [round(float(sheet[64 * row + 50, 100].mean()) / 5) for row in range(6)]
    assert shown[0] == 0
    assert shown[-1] >= 35
    steps = np.diff(shown)
    assert steps.min() >= 4
    assert steps.max() <= 12


def test_frames_without_a_partner(videos: tuple[Path, Path], tmp_path: Path) -> None:
    short = make_video(tmp_path / "short.mp4", decoded(videos[1])[:5], **LOSSLESS)
    summary = compare(videos[0], short, tmp_path / "out.png", reference="A")
    assert summary.frames == 5
    assert summary.notes == [f"3 frames of {videos[0]} have no partner in the other"]
    part = compare(*videos, tmp_path / "part.png", start=0.08, end=0.2)
    assert part.frames == 3


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda a, b, out: ((a, b, out / "x.png"), {"mode": "blend"}), "unknown comparison 'blend'"),
        (lambda a, b, out: ((a, b, out / "x.png"), {"reference": "C"}), "unknown reference 'C'"),
        (lambda a, b, out: ((a, out / "no.mp4", out / "x.png"), {}), r"no\.mp4: "),
        (lambda a, b, out: ((a, b, out / "x.txt"), {}), "the suffix names no video container"),
        (lambda a, b, out: ((a, b, a), {"overwrite": True}), "would replace"),
        (lambda a, b, out: ((a, b, b), {"overwrite": True}), "would replace an input"),
        (
            lambda a, b, out: ((a, out / "small.mp4", out / "x.png"), {}),
            "are of 160x120 and 64x48; only videos of one",
        ),
        (lambda a, b, out: ((a, b, out / "there.png"), {}), r"there\.png exists; use --overwrite"),
    ],
)
def test_what_cannot_be_compared(
    videos: tuple[Path, Path], tmp_path: Path, change: Callable[..., tuple], words: str
) -> None:
    make_video(tmp_path / "small.mp4", moving_photograph(2, 64, 48))
    (tmp_path / "there.png").write_text("here")
    before = {path: path.read_bytes() for path in [*tmp_path.iterdir(), *videos]}
    given, options = change(*videos, tmp_path)
    with pytest.raises((UsageError, InputError), match=words):
        compare(*given, **options)
    assert {path: path.read_bytes() for path in [*tmp_path.iterdir(), *videos]} == before


@pytest.mark.parametrize("name", ["out.png", "out.mp4"])
def test_an_interrupt_leaves_nothing(videos: tuple[Path, Path], tmp_path: Path, name: str) -> None:
    def stop(_: Progress) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        compare(*videos, tmp_path / name, progress=stop)
    assert list(tmp_path.iterdir()) == []
