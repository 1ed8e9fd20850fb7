"""A video from end to end: everything but the faces as it was, and memory that does not grow."""

import dataclasses
import subprocess
import sys
import threading
from collections.abc import Callable, Generator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
from media_samples import frame_times, make_video, moving_photograph, packets

from fvdeblur import Deblurrer
from fvdeblur.errors import InputError, OutputError, UsageError
from fvdeblur.media import VideoReader, probe
from fvdeblur.restoration import Progress, Settings, default_output, find_videos, segmented, stages
from fvdeblur.restoration.stream import FaceRestorer
from fvdeblur.restoration.summary import expected_frames

pytestmark = pytest.mark.usefixtures("small_model", "nothing_is_left")

LOSSLESS = {"codec": "libx264", "crf": 0.0, "preset": "ultrafast"}


def luma_changes(source: Path, target: Path) -> list[np.ndarray]:
    """Differences of luma codes, int [H, W] a frame, of a lossless output."""
    with VideoReader(source) as one, VideoReader(target) as other:
        changes = []
        for before, after in zip(one, other, strict=True):
            height = before.frame.height
            planes = [f.frame.to_ndarray()[:height].astype(int) for f in (before, after)]
            changes.append(planes[1] - planes[0])
    return changes


def face_region(change: np.ndarray) -> tuple[float, float]:
    """Centre x, y of what was changed."""
    rows, columns = np.nonzero(change)
    return (columns.min() + columns.max()) / 2, (rows.min() + rows.max()) / 2


def test_long_work_names_the_faster_model(
    short_clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deblurrer = Deblurrer(preset="ultrafast", overwrite=True, device="cpu")
    assert deblurrer.video(short_clip, tmp_path / "a.mp4").notes == []
    monkeypatch.setattr("fvdeblur.restoration.deblurrer.LONG_WORK", 0.0)
    assert deblurrer.video(short_clip, tmp_path / "a.mp4").notes == []  # the card names none
    card = dataclasses.replace(deblurrer._restorer.card, faster="swift")
    monkeypatch.setattr(deblurrer._restorer, "card", card)
    note = "it took 0 minutes; --model swift takes less, but sharpens less"
    assert deblurrer.video(short_clip, tmp_path / "a.mp4").notes == [note]
    unchanged = deblurrer.with_settings(dataclasses.replace(deblurrer.settings, min_face=5000))
    assert unchanged.video(short_clip, tmp_path / "a.mp4").notes == []


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".mov", ".ts"])
def test_audio_and_times_are_identical(clip: Path, tmp_path: Path, suffix: str) -> None:
    source = clip
    if suffix != ".mp4":
        source = make_video(tmp_path / f"clip{suffix}", audio=1.0)
    target = tmp_path / f"out{suffix}"
    summary = Deblurrer(preset="ultrafast").video(source, target)
    assert (summary.frames, summary.restored, summary.people) == (25, 25, 1)
    assert (summary.damage, summary.copied) == ([], False)
    assert frame_times(target) == frame_times(source)
    before, after = packets(source)[1], packets(target)[1]
    assert [data for _, data in after] == [data for _, data in before]
    assert [time for time, _ in after] == [time for time, _ in before]


def test_variable_frame_rate(tmp_path: Path) -> None:
    steps = np.random.default_rng(5).integers(11, 90, 24)
    times = [0, *np.cumsum(steps).tolist()]
    source = make_video(
        tmp_path / "vfr.mkv",
        times=times,
        time_base=Fraction(1, 1000),
        audio=1.2,
    )
    summary = Deblurrer(preset="ultrafast").video(source)
    assert summary.restored == 25
    assert summary.output == tmp_path / "vfr.deblurred.mkv"
    assert frame_times(summary.output) == [Fraction(t, 1000) for t in times]
    assert packets(summary.output)[1] == packets(source)[1]


@pytest.mark.parametrize(("codec", "suffix"), [("libx264", ".mp4"), ("libx265", ".mkv")])
def test_10_bits(tmp_path: Path, codec: str, suffix: str) -> None:
    source = make_video(
        tmp_path / f"deep{suffix}",
        moving_photograph(8),
        codec=codec,
        pix_fmt="yuv420p10le",
        time_base=Fraction(1, 1000),
        audio=0.3,
    )
    target = tmp_path / f"out{suffix}"
    assert Deblurrer(preset="ultrafast", crf=0.0).video(source, target).restored == 8
    info = probe(target)
    assert (info.bit_depth, info.pix_fmt, info.codec) == (10, "yuv420p10le", probe(source).codec)
    assert frame_times(target) == frame_times(source)
    assert packets(target)[1] == packets(source)[1]


def test_the_face_moves_and_the_change_with_it(clip: Path, tmp_path: Path) -> None:
    target = tmp_path / "out.mp4"
    Deblurrer(**LOSSLESS).video(clip, target)
    first = [np.nonzero(change.any(axis=0))[0].min() for change in luma_changes(clip, target)]
    assert first[0] - first[24] == pytest.approx(72, abs=10)  # panned by 3 pixels a frame
    assert np.abs(np.diff(first) + 3).max() <= 12  # in steps as small, but for a larger crop now and then


@pytest.mark.parametrize("rotation", [90, 180, 270])
def test_a_rotated_clip_is_restored_upright(tmp_path: Path, rotation: int) -> None:
    """The coded picture lies on its side; the face is found all the same, and changed where it is."""
    turn = {90: cv2.ROTATE_90_COUNTERCLOCKWISE, 180: cv2.ROTATE_180, 270: cv2.ROTATE_90_CLOCKWISE}[rotation]
    upright = moving_photograph(6)
    source = make_video(
        tmp_path / "phone.mp4",
        [cv2.rotate(frame, turn) for frame in upright],
        prepare=lambda _, stream: stream.set_display_rotation(360 - rotation),
    )
    assert probe(source).rotation == rotation
    target, plain = tmp_path / "out.mp4", tmp_path / "plain.mp4"
    assert Deblurrer(**LOSSLESS).video(source, target).restored == 6
    assert probe(target).rotation == rotation
    make_video(plain, upright)
    Deblurrer(**LOSSLESS).video(plain, tmp_path / "plain out.mp4")
    back = np.rot90(luma_changes(source, target)[3], -rotation // 90)
    expected = face_region(luma_changes(plain, tmp_path / "plain out.mp4")[3])
    assert face_region(back) == pytest.approx(expected, abs=8)


def test_two_shots_are_two_tracks(tmp_path: Path) -> None:
    """After the cut the face stands elsewhere; it is a new track from its first frame on."""
    first = moving_photograph(8)
    second = [cv2.convertScaleAbs(np.roll(frame[:, ::-1], 5, axis=0), alpha=0.6, beta=60) for frame in first]
    source = make_video(tmp_path / "cut.mp4", first + second, options={"crf": "10"})
    target = tmp_path / "out.mp4"
    summary = Deblurrer(**LOSSLESS).video(source, target)
    assert summary.people == 2
    assert summary.restored == 16
    changes = luma_changes(source, target)
    assert face_region(changes[7])[0] > 200
    assert face_region(changes[8])[0] < 120


def test_a_trim_counts_from_its_own_beginning(clip: Path, tmp_path: Path) -> None:
    seen: list[Progress] = []
    target = tmp_path / "out.mp4"
    summary = Deblurrer(start=0.2, end=0.6, preset="ultrafast").video(clip, target, progress=seen.append)
    assert summary.frames == 10
    assert frame_times(target) == [Fraction(k, 25) for k in range(10)]
    assert [p.frames for p in seen] == list(range(1, 11))
    assert {p.total for p in seen} == {10}
    assert [p.faces for p in seen] == sorted(p.faces for p in seen)


def test_one_deblurrer_serves_many_files(short_clip: Path, faceless_clip: Path, tmp_path: Path) -> None:
    worker = Deblurrer(preset=None)
    one = worker.video(short_clip, tmp_path / "one.mp4")
    none = worker.video(faceless_clip, tmp_path / "none.mp4")
    again = worker.video(short_clip, tmp_path / "again.mp4")
    assert (one.restored, none.restored, again.restored) == (6, 0, 6)
    assert (one.copied, none.copied) == (False, True)
    assert packets(tmp_path / "one.mp4") == packets(tmp_path / "again.mp4")


def test_settings() -> None:
    assert Settings() == Settings(strength=1.0, model="fvd")
    assert Deblurrer(Settings(min_face=30), strength=0.5).settings == Settings(min_face=30, strength=0.5)
    with pytest.raises(UsageError, match="sharpness"):
        Deblurrer(sharpness=3)
    for values in ({"strength": 2}, {"min_face": -1}, {"threads": -1}):
        with pytest.raises(UsageError):
            Deblurrer(**values)


def test_outputs_of_this_program_are_no_inputs(tmp_path: Path) -> None:
    for name in ("b.mp4", "a.MKV", "a.deblurred.mkv", "c.txt", "d.mp4.partial"):
        (tmp_path / name).touch()
    (tmp_path / "folder.mp4").mkdir()
    assert [path.name for path in find_videos(tmp_path)] == ["a.MKV", "b.mp4"]
    (tmp_path / "d.mp4.partial").unlink()
    assert default_output(tmp_path / "a.b.MKV").name == "a.b.deblurred.MKV"


def test_expected_frames(clip: Path) -> None:
    info = probe(clip)
    assert expected_frames(info, None, None) == 25
    assert expected_frames(info, 0.2, None) == 20
    assert expected_frames(info, None, 0.4) == 10
    assert expected_frames(info, 0.2, 9.0) == 20
    assert expected_frames(info, 3.0, None) == 0


class Stage(FaceRestorer):
    """A stage that fails at its fourth frame."""

    def __call__(self, pictures: Any) -> Generator[Any, None, None]:
        for number, decoded in enumerate(super().__call__(pictures)):
            if number == 3:
                raise RuntimeError("the network fails")
            yield decoded


class Closed(VideoReader):
    """A reader that notes which threads still run when it is closed."""

    running: list[str]

    def __exit__(self, *_: Any) -> None:
        type(self).running = [t.name for t in threading.enumerate() if t.name == "fvdeblur-stage"]
        super().__exit__(None, None, None)


def fail_in_network(monkeypatch: pytest.MonkeyPatch) -> type[Exception]:
    monkeypatch.setattr(segmented, "FaceRestorer", Stage)
    return RuntimeError


def fail_in_detector(monkeypatch: pytest.MonkeyPatch) -> type[Exception]:
    def broken(*_: Any) -> None:
        raise RuntimeError("the detector fails")

    monkeypatch.setattr("fvdeblur.faces.centerface.CenterFaceDetector.detect", broken)
    return RuntimeError


def fail_in_writer(monkeypatch: pytest.MonkeyPatch) -> type[Exception]:
    def full(*_: Any) -> None:
        raise OutputError("the disk is full")

    monkeypatch.setattr("fvdeblur.media.segments.SegmentWriter.write", full)
    return OutputError


def fail_in_progress(monkeypatch: pytest.MonkeyPatch) -> type[BaseException]:
    return KeyboardInterrupt


@pytest.mark.parametrize("fail", [fail_in_network, fail_in_detector, fail_in_writer, fail_in_progress])
def test_an_error_anywhere_stops_everything(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fail: Callable[..., type[BaseException]]
) -> None:
    """It is raised once; the threads are gone before the file that they read from is closed."""
    kind = fail(monkeypatch)
    monkeypatch.setattr(stages, "VideoReader", Closed)

    def interrupted(progress: Progress) -> None:
        if kind is KeyboardInterrupt and progress.frames == 5:
            raise KeyboardInterrupt

    with pytest.raises(kind):
        Deblurrer().video(clip, tmp_path / "out.mp4", progress=interrupted)
    assert Closed.running == []
    assert not list(tmp_path.iterdir())


def test_an_error_of_the_reader_is_its_own(tmp_path: Path) -> None:
    """A picture that changes its size in the middle: everything before was fine, nothing is kept."""
    parts = [moving_photograph(20), moving_photograph(10, 240, 160)]
    source = tmp_path / "two.ts"
    with source.open("wb") as joined:
        for number, frames in enumerate(parts):
            part = make_video(tmp_path / f"{number}.ts", frames)
            joined.write(part.read_bytes())
            part.unlink()
    with pytest.raises(InputError, match="size changes from 320x240 to 240x160"):
        Deblurrer().video(source)
    assert [path.name for path in tmp_path.iterdir()] == ["two.ts"]


def test_few_frames_are_in_memory_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the decoder and the encoder lie the tracker's look-ahead, the window and the queues, no more."""
    source = make_video(tmp_path / "long.mp4", moving_photograph(25) * 4)
    decoded = 0

    class Counting(VideoReader):
        def __iter__(self) -> Generator[Any, None, None]:
            nonlocal decoded
            for frame in super().__iter__():
                decoded += 1
                yield frame

    monkeypatch.setattr(stages, "VideoReader", Counting)
    waiting = []
    Deblurrer(preset="ultrafast").video(
        source, tmp_path / "out.mp4", progress=lambda progress: waiting.append(decoded - progress.frames)
    )
    assert len(waiting) == 100
    assert max(waiting) <= 14 + 2 + 3 * (stages.QUEUE_LENGTH + 2)


MEMORY = """
import resource, sys
from pathlib import Path
import fvdeblur.released as released
released.models_folder = lambda: Path(sys.argv[1])
from fvdeblur import Deblurrer
summary = Deblurrer(preset="ultrafast").video(sys.argv[2], sys.argv[3])
print(summary.frames, summary.restored, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.mark.slow
def test_memory_does_not_grow_with_the_clip(tmp_path: Path, small_models: Path) -> None:
    """Ten times the frames, less than 10 % more memory; held in memory, they would be 40 %."""
    from benchmarks.clips import MovingPhotograph, write_clip

    peaks = []
    for repeat in (1, 10):
        source = tmp_path / f"{repeat}.mp4"
        write_clip(source, MovingPhotograph(width=640, height=480, seconds=2.0), repeat=repeat)
        arguments = [str(small_models), str(source), str(tmp_path / f"{repeat} out.mp4")]
        done = subprocess.run(
            [sys.executable, "-c", MEMORY, *arguments], capture_output=True, text=True, check=True
        )
        frames, restored, peak = map(int, done.stdout.split())
        assert frames == restored == 50 * repeat
        peaks.append(peak)
    assert peaks[1] < 1.1 * peaks[0]


def test_the_output_plays_from_the_beginning(clip: Path, tmp_path: Path) -> None:
    """The header stands before the data, as players of unfinished downloads want it."""
    target = tmp_path / "out.mp4"
    Deblurrer().video(clip, target)
    data = target.read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")
    with av.open(str(target)) as output:
        assert [stream.type for stream in output.streams] == ["video", "audio"]
