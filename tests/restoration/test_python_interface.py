"""The Python interface: frames and pictures in memory, several threads on one Deblurrer, and being cancelled."""

import itertools
import threading
import types
import typing
import weakref
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
import skimage.data
from media_samples import make_video, moving_photograph
from two_people import reader

from fvdeblur import Deblurrer, Progress, Settings, released
from fvdeblur.errors import CancelledError, InputError, UsageError
from fvdeblur.restoration import resuming
from fvdeblur.restoration.settings import SettingValues

pytestmark = pytest.mark.usefixtures("small_model")

MODELS = released.models_folder
LOSSLESS = {"codec": "libx264", "crf": 0.0, "preset": "ultrafast"}
AHEAD = 20
"""What the documentation of `Deblurrer.frames` promises."""


def decoded(path: Path) -> list[np.ndarray]:
    """The frames of a video, uint8 [H, W, 3], R'G'B'."""
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


@pytest.fixture
def known_reader(monkeypatch: pytest.MonkeyPatch) -> None:
    """The released regressor, which does not lie beside the small model."""
    with monkeypatch.context() as patch:
        patch.setattr("fvdeblur.released.models_folder", MODELS)
        known = reader()
    monkeypatch.setattr("fvdeblur.restoration.extraction.FaceReader", lambda device: known)


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two shots of one face, 30 frames each."""
    first = moving_photograph(30)
    second = [cv2.convertScaleAbs(np.roll(frame[:, ::-1], 5, axis=0), alpha=0.6, beta=60) for frame in first]
    return make_video(tmp_path_factory.mktemp("film") / "film.mp4", first + second, options={"crf": "10"})


def test_frames_are_those_of_the_video(tmp_path: Path) -> None:
    """Up to the rounding between Y'CbCr and R'G'B', where chroma has full resolution: within a code in the mean."""
    clip = make_video(tmp_path / "clip.mp4", moving_photograph(12), pix_fmt="yuv444p", options={"crf": "10"})
    source = decoded(clip)
    target = tmp_path / "out.mp4"
    worker = Deblurrer(threads=1)
    told: list[Progress] = []
    worker.with_settings(Settings(threads=1, **LOSSLESS)).video(clip, target, progress=told.append)
    given = [frame.copy() for frame in source]
    seen: list[Progress] = []
    restored = list(worker.frames(iter(given), progress=seen.append))
    assert len(restored) == len(source) == 12
    assert [p.frames for p in seen] == list(range(1, 13))
    for progress in (seen, told):  # a face in every frame: none is counted before its frame is out
        assert [p.faces for p in progress] == list(range(1, 13))
    for before, untouched, array, file in zip(given, source, restored, decoded(target), strict=True):
        assert np.array_equal(before, untouched)
        assert array.dtype == np.uint8
        assert array.shape == before.shape
        face = np.abs(array.astype(int) - before).max(axis=2) > 0
        apart, changed = (np.abs(array.astype(int) - other)[face] for other in (file, before))
        assert face.mean() > 0.1
        assert changed.mean() > 3  # the small model does change the face
        assert apart.mean() < 1, (apart.mean(), changed.mean())
        assert (apart > 4).mean() < 0.05


def test_frames_without_faces_come_out_as_they_went_in(faceless_clip: Path) -> None:
    source = decoded(faceless_clip)
    for before, after in zip(source, Deblurrer(threads=1).frames(source), strict=True):
        assert np.array_equal(before, after)
        assert not np.shares_memory(before, after)


def test_an_endless_stream_is_taken_as_it_is_needed() -> None:
    """Never more frames ahead than promised, and none of those that are done is kept."""
    pictures = moving_photograph(25)
    taken = alive = most = 0

    def gone() -> None:
        nonlocal alive
        alive -= 1

    def counted(picture: np.ndarray) -> None:
        nonlocal alive
        alive += 1
        weakref.finalize(picture, gone)

    def endless() -> Iterator[np.ndarray]:
        nonlocal taken
        for k in itertools.count():
            turn = k % 48
            frame = pictures[turn if turn < 25 else 48 - turn].copy()
            taken += 1
            counted(frame)
            yield frame

    stream = Deblurrer(threads=1).frames(endless())
    for count, picture in enumerate(itertools.islice(stream, 40), 1):
        counted(picture)
        assert taken - count <= AHEAD
        most = max(most, alive)
    stream.close()
    assert most <= AHEAD + 2
    before = taken
    assert next(stream, None) is None
    assert taken == before


def test_frames_that_do_not_fit_are_refused(clip: Path) -> None:
    worker = Deblurrer(threads=1)
    frame = np.zeros((48, 64, 3), np.uint8)
    with pytest.raises(InputError, match=r"^frame 1: is 32x48, but the first is 64x48; .*$"):
        list(worker.frames([frame, frame[:, :32]]))
    for wrong, text in (
        (frame.astype(np.float32), "not float32"),
        (frame[..., 0], r"not uint8 \[48, 64\]"),
        (frame[:0], "not uint8"),
        (frame.repeat(2, 2)[..., :4], "not 4"),
        ("picture.png", "not str"),
    ):
        with pytest.raises(UsageError, match=text):
            list(worker.frames([wrong]))  # type: ignore[list-item]
    for values in (
        {"crf": 20.0},
        {"end": 1.0},
        {"encoder_option": {"tune": "film"}},
        {"tracks": Path("tracks.json")},
    ):
        chosen = worker.with_settings(Settings(threads=1, **values))
        with pytest.raises(UsageError, match="frames in memory"):
            chosen.frames([frame])  # at once, not with the first frame


def test_one_picture_from_memory_and_from_a_file(tmp_path: Path) -> None:
    """A PNG and its pixels give the same."""
    picture = np.ascontiguousarray(skimage.data.astronaut()[:256, 96:352])
    path = tmp_path / "portrait.png"
    cv2.imwrite(str(path), picture[..., ::-1])
    worker = Deblurrer(threads=1)
    restored = worker.image(picture)
    summary = worker.image(path)
    assert summary.restored == 1
    file = cv2.imread(str(summary.output))[..., ::-1]
    assert np.array_equal(restored, file)
    assert np.abs(restored.astype(int) - picture).mean() > 1.0
    with pytest.raises(UsageError, match="leave out the output"):
        worker.image(picture, tmp_path / "x.png")  # type: ignore[call-overload]


def test_two_threads_on_one_deblurrer(clip: Path, film: Path, tmp_path: Path) -> None:
    """A video and a stream of frames at the same time give what they give alone."""
    worker = Deblurrer(threads=1, **LOSSLESS)
    in_memory = worker.with_settings(Settings(threads=1))
    pictures = decoded(film)[20:50]
    alone = list(in_memory.frames(pictures))
    worker.video(clip, tmp_path / "alone.mp4")
    begin = threading.Barrier(3)

    def stream() -> list[np.ndarray]:
        begin.wait()
        return list(in_memory.frames(pictures))

    def video(name: str) -> Path:
        begin.wait()
        return worker.video(clip, tmp_path / name).output

    with ThreadPoolExecutor(3) as pool:
        jobs = pool.submit(stream), pool.submit(video, "one.mp4"), pool.submit(video, "two.mp4")
        together, *outputs = (job.result() for job in jobs)
    assert all(np.array_equal(a, b) for a, b in zip(together, alone, strict=True))
    for output in outputs:
        assert output.read_bytes() == (tmp_path / "alone.mp4").read_bytes()


@pytest.mark.usefixtures("nothing_is_left")
def test_cancelled_in_the_middle_and_taken_up(
    film: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resuming, "LONGEST", 20)
    worker = Deblurrer(threads=1, preset="ultrafast")
    target = tmp_path / "out.mp4"
    asked = threading.Event()
    seen: list[int] = []

    def told(progress: Progress) -> None:
        seen.append(progress.frames)
        if progress.frames == 48:
            asked.set()

    with pytest.raises(
        CancelledError, match=r"^[^\n]*film\.mp4: cancelled at frame 48; the work so far"
    ) as stop:
        worker.video(film, target, progress=told, cancelled=asked.is_set)
    assert stop.value.exit_code == 130
    assert seen == list(range(1, 49))
    assert not target.exists()
    assert (tmp_path / "out.mp4.partial").is_dir()
    summary = worker.video(film, target)
    assert summary.reused == 2
    whole = worker.video(film, tmp_path / "whole.mp4")
    assert (summary.frames, summary.restored) == (whole.frames, whole.restored) == (60, 60)
    assert target.read_bytes() == whole.output.read_bytes()


@pytest.mark.usefixtures("nothing_is_left", "known_reader")
def test_cancelled_before_anything_is_worth_keeping(clip: Path, tmp_path: Path) -> None:
    worker = Deblurrer(threads=1, identity="shape")
    with pytest.raises(CancelledError, match=r"cancelled at frame 1$"):
        worker.video(clip, tmp_path / "out.mp4", cancelled=lambda: True)
    pictures = [tmp_path / f"{k}.png" for k in range(3)]
    for path, picture in zip(pictures, moving_photograph(3), strict=True):
        cv2.imwrite(str(path), picture[..., ::-1])
    with pytest.raises(CancelledError, match=r"cancelled at frame 1$"):
        worker.sequence(pictures, tmp_path / "out", cancelled=lambda: True)
    with pytest.raises(CancelledError, match=r"cancelled at frame 1$"):
        worker.crops(clip, tmp_path / "faces", cancelled=lambda: True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0.png", "1.png", "2.png"]


@pytest.mark.usefixtures("known_reader")
def test_crops_share_the_model(short_clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    worker = Deblurrer(threads=1, identity="shape")
    monkeypatch.setattr("fvdeblur.restoration.restorer.load_model", None)  # nothing may be loaded again
    seen: list[Progress] = []
    summary = worker.crops(short_clip, tmp_path / "faces", progress=seen.append)
    assert summary.people == {1: 6}
    assert summary.restored == 6
    assert [p.frames for p in seen] == list(range(1, 7))
    assert len(list((tmp_path / "faces" / "person-01").glob("*.png"))) == 6


def test_every_setting_can_be_given_by_name() -> None:
    """The names that a type checker knows are those of the settings, and it allows every value that they hold."""
    known, held = typing.get_type_hints(SettingValues), typing.get_type_hints(Settings)
    assert list(known) == list(held)
    for name, kind in held.items():
        allowed = typing.get_args(known[name]) if isinstance(known[name], types.UnionType) else (known[name],)
        assert kind == known[name] or kind in allowed, name
