"""A run that is stopped anywhere and started again: the same packets, times, faces and counts."""

import json
import os
import shutil
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
from media_samples import everything, make_video, moving_photograph
from pictures import restorer
from test_priors import Filling, Told
from torch import Tensor

from fvdeblur import Deblurrer
from fvdeblur.errors import FvdeblurError
from fvdeblur.faces import FaceTracker, create_detector
from fvdeblur.media import FramePlanes, VideoReader, journal
from fvdeblur.media.reader import Place
from fvdeblur.morphable.reader import FaceReader
from fvdeblur.restoration import Progress, Summary, manifest, resuming

pytestmark = pytest.mark.usefixtures("small_model")

FAST: dict[str, Any] = {"preset": "ultrafast"}


@pytest.fixture(autouse=True)
def short_segments(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 16 frames, from 5 on up to a cut."""
    monkeypatch.setattr(resuming, "LONGEST", 16)
    monkeypatch.setattr(resuming, "SHORTEST", 5)


def two_shots(path: Path, **more: Any) -> Path:
    """A face that is panned for 24 frames; a cut; another place of it for 12."""
    first = moving_photograph(24)
    second = [cv2.convertScaleAbs(np.roll(f[:, ::-1], 5, axis=0), alpha=0.6, beta=60) for f in first[:12]]
    return make_video(path, first + second, audio=1.4, **more)


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return two_shots(tmp_path_factory.mktemp("film") / "film.mp4")


def counts(summary: Summary) -> tuple[Any, ...]:
    return (
        summary.frames,
        summary.people,
        summary.restored,
        summary.left_alone,
        summary.segments,
        summary.damage,
    )


def stop_at(frame: int, worker: Deblurrer, source: Path, target: Path) -> list[str]:
    """Interrupt a run when so many frames are written; return the notes of the interrupt."""

    def told(progress: Progress) -> None:
        if progress.frames == frame:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt) as caught:
        worker.video(source, target, progress=told)
    assert not target.exists()
    return getattr(caught.value, "__notes__", [])


def test_stopped_anywhere_and_gone_on_with(film: Path, tmp_path: Path) -> None:
    """In the first segment, behind a joint inside a shot, behind the cut, and twice."""
    worker = Deblurrer(**FAST)
    whole = tmp_path / "whole.mp4"
    summary = worker.video(film, whole)
    assert (summary.frames, summary.people, summary.restored) == (36, 2, 36)
    assert (summary.segments, summary.reused) == (3, 0)
    for stops, reused in (((3,), 0), ((18,), 1), ((34,), 2), ((18, 26), 2)):
        target = tmp_path / f"{stops}.mp4"
        for stop in stops:
            notes = stop_at(stop, worker, film, target)
            assert len(notes) == (stop > 16)
        seen: list[Progress] = []
        again = worker.video(film, target, progress=seen.append)
        assert again.reused == reused
        assert counts(again) == counts(summary)
        assert again.notes == summary.notes == []
        assert everything(target) == everything(whole)
        assert seen[-1] == Progress(36, 36, 36, seen[0].reused)
        assert seen[0].frames == max(1, seen[0].reused)
    assert not list(tmp_path.glob("*.partial"))


@pytest.mark.parametrize("suffix", [".mkv", ".ts"])
def test_without_an_index_and_with_uneven_times(tmp_path: Path, suffix: str) -> None:
    times = np.cumsum([0, *np.random.default_rng(1).integers(7, 120, 35)]).tolist()
    scale = 90 if suffix == ".ts" else 1
    source = two_shots(
        tmp_path / f"film{suffix}",
        times=[scale * time for time in times],
        time_base=Fraction(1, 1000 * scale),
        options={"g": "300", "keyint_min": "300", "sc_threshold": "0"},
    )
    worker = Deblurrer(**FAST)
    worker.video(source, tmp_path / f"whole{suffix}")
    stop_at(34, worker, source, tmp_path / f"out{suffix}")
    assert worker.video(source, tmp_path / f"out{suffix}").reused == 2
    assert everything(tmp_path / f"out{suffix}") == everything(tmp_path / f"whole{suffix}")


def test_going_on_reads_little_of_what_is_done(
    film: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A key frame every 10 frames: behind the cut at 24, decoding begins at 0 or 10, not with the whole again."""
    worker = Deblurrer(**FAST)
    stop_at(34, worker, film, tmp_path / "out.mp4")
    decoded: list[int] = []
    original = VideoReader._decode

    def counting(self: VideoReader, *arguments: Any) -> Any:
        for frame in original(self, *arguments):
            decoded.append(int(frame.pts))
            yield frame

    monkeypatch.setattr(VideoReader, "_decode", counting)
    worker.video(film, tmp_path / "out.mp4")
    assert decoded[0] == 10 * 512
    assert len(decoded) == 26


def test_reading_goes_on_at_a_place(film: Path) -> None:
    with VideoReader(film) as reader:
        frames = list(reader)
    place = Place.of(frames[14:18])
    with VideoReader(film) as reader:
        for seek in (True, False):
            found = reader.frames_from(place, seek=seek)
            assert found is not None
            held, rest = found
            got = [*held, *rest]
            assert [(one.index, one.time) for one in got] == [(one.index, one.time) for one in frames[14:]]
            for one, other in zip(got, frames[14:], strict=True):
                np.testing.assert_array_equal(one.frame.to_ndarray(), other.frame.to_ndarray())
        assert reader.frames_from(place._replace(digests=("0" * 24,) * 4)) is None
        assert reader.frames_from(place._replace(times=tuple(t + 1 for t in place.times))) is None


def test_a_tracker_goes_on_from_its_state(film: Path) -> None:
    """Wherever it is stopped: state written as JSON, frames that were held back shown again."""
    detector = create_detector("centerface", threads=1)
    with VideoReader(film) as reader:
        previews = [FramePlanes(one.frame).preview(320) for one in reader]
    tracker = FaceTracker(detector, lookahead=6)
    expected, states = [], {}
    for number, preview in enumerate(previews):
        if number in {1, 5, 17, 24, 25}:
            starts = tracker.cuts(preview)
            assert starts == (number == 24)
            states[number] = json.dumps(tracker.state())
        expected += tracker.push(preview, 2.0)
    expected += tracker.flush()
    assert {face.track for frame in expected for face in frame.faces} == {0, 1}
    for number, text in states.items():
        state = json.loads(text)
        held = len(state["scales"])
        again = FaceTracker(detector, lookahead=6)
        again.restore(state, previews[number - held : number])
        got = [frame for preview in previews[number:] for frame in again.push(preview, 2.0)] + again.flush()
        assert [frame.index for frame in got] == list(range(number - held, 36))
        for one, other in zip(got, expected[number - held :], strict=True):
            assert (one.shot, one.starts_shot, len(one.faces)) == (
                other.shot,
                other.starts_shot,
                len(other.faces),
            )
            for face, same in zip(one.faces, other.faces, strict=True):
                assert (face.track, face.score) == (same.track, same.score)
                np.testing.assert_array_equal(face.box, same.box)
                np.testing.assert_array_equal(face.landmarks, same.landmarks)
        with pytest.raises(ValueError, match="were held back"):
            again.restore(state, [])


def test_a_tracker_goes_on_where_nobody_was(film: Path) -> None:
    """Frames that were passed over before a stop are made up for after it as without it."""
    detector = create_detector("centerface", threads=1)
    with VideoReader(film) as reader:
        faces = [FramePlanes(one.frame).preview(320) for one in reader][:12]
    (box,) = (np.round(found.box).astype(int) for found in detector.detect(faces[0]))
    hidden = faces[0].copy()
    hidden[box[1] : box[3], box[0] : box[2]] = hidden[box[1] : box[3], box[0] : box[2]].mean(axis=(0, 1))
    previews = [*[hidden] * 19, *faces]
    tracker = FaceTracker(detector)
    expected, states = [], {}
    for number, preview in enumerate(previews):
        if number in {2, 5, 12, 13, 18, 20}:
            states[number] = json.dumps(tracker.state())
        expected += tracker.push(preview, 2.0)
    expected += tracker.flush()
    assert [len(frame.faces) for frame in expected] == [0] * 19 + [1] * 12
    assert [json.loads(state)["passed"] for state in states.values()] == [1, 4, 11, 0, 5, 7]
    for number, text in states.items():
        state = json.loads(text)
        held = len(state["scales"])
        again = FaceTracker(detector)
        again.restore(state, previews[number - held : number])
        got = [frame for preview in previews[number:] for frame in again.push(preview, 2.0)] + again.flush()
        for one, other in zip(got, expected[number - held :], strict=True):
            for face, same in zip(one.faces, other.faces, strict=True):
                np.testing.assert_array_equal(face.box, same.box)


class Guided(Told):
    """Changes a face by what it is told of it, its identity above all."""

    def forward(self, frames: Tensor, prior: Tensor, identity: Tensor) -> Tensor:
        return 0.1 * prior[:, 3:].expand(-1, 3, -1, -1) + identity.mean(dim=1)[:, None, None, None]


def test_a_network_that_is_told_of_the_face_goes_on_too(
    film: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Readings are steadied over frames, and a person's identity over all before: both must be known again."""
    worker = Deblurrer(**FAST)
    guided = restorer(Guided())
    guided.reader = FaceReader(Filling())  # type: ignore[misc]
    monkeypatch.setattr(worker, "_restorer", guided)
    monkeypatch.setattr(manifest.released, "read_config", lambda _: {"sha256": "0"})
    whole, target = tmp_path / "whole.mp4", tmp_path / "out.mp4"
    summary = worker.video(film, whole)
    assert summary.restored == 36
    stop_at(22, worker, film, target)
    again = worker.video(film, target)
    assert again.reused == 1
    assert counts(again) == counts(summary)
    assert everything(target) == everything(whole)


def test_another_input_or_setting_begins_afresh_and_says_so(film: Path, tmp_path: Path) -> None:
    source, target = tmp_path / "film.mp4", tmp_path / "out.mp4"
    shutil.copy(film, source)
    stop_at(20, Deblurrer(**FAST), source, target)
    summary = Deblurrer(**FAST, strength=0.5).video(source, target)
    assert summary.reused == 0
    assert summary.notes == ["begun afresh: since the unfinished run these changed: settings.strength"]
    target.unlink()
    stop_at(20, Deblurrer(**FAST), source, target)
    before = source.stat()
    data = bytearray(source.read_bytes())
    data[data.index(b"Lavf") + 4] ^= 1  # a letter of a tag: same size, same time
    source.write_bytes(data)
    os.utime(source, ns=(before.st_atime_ns, before.st_mtime_ns))
    summary = Deblurrer(**FAST).video(source, target)
    assert (summary.reused, summary.segments) == (0, 3)
    assert summary.notes == ["begun afresh: since the unfinished run these changed: input.sha256"]
    target.unlink()
    stop_at(20, Deblurrer(**FAST), source, target)
    summary = Deblurrer(**FAST, resume=False).video(source, target)
    assert (summary.reused, summary.notes) == (0, [])


def test_overwrite_is_about_finished_outputs(film: Path, tmp_path: Path) -> None:
    target = tmp_path / "out.mp4"
    stop_at(20, Deblurrer(**FAST), film, target)
    target.write_text("an older output")
    assert Deblurrer(**FAST, overwrite=True).video(film, target).reused == 1
    assert target.stat().st_size > 1000


def test_what_only_has_to_be_put_together_is_not_done_again(
    film: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = Deblurrer(**FAST)
    summary = worker.video(film, tmp_path / "whole.mp4")

    def full(*_: Any) -> None:
        raise FvdeblurError("the disk is full")

    with monkeypatch.context() as patched:
        patched.setattr("fvdeblur.media.muxer.Muxer.begin", full)
        with pytest.raises(
            FvdeblurError, match=r"is full; the work so far \(36 frames\) is kept in .*partial; "
        ):
            worker.video(film, tmp_path / "out.mp4")
    monkeypatch.setattr(VideoReader, "__iter__", lambda *_: pytest.fail("the video was read again"))
    again = worker.video(film, tmp_path / "out.mp4")
    assert again.reused == again.segments == 3
    assert counts(again) == counts(summary)
    assert everything(tmp_path / "out.mp4") == everything(tmp_path / "whole.mp4")


def test_nothing_changed_is_copied_after_a_stop_too(film: Path, tmp_path: Path) -> None:
    worker = Deblurrer(strength=0.0)
    stop_at(20, worker, film, tmp_path / "out.mp4")
    summary = worker.video(film, tmp_path / "out.mp4")
    assert summary.copied
    assert summary.reused == 1
    assert summary.left_alone == {"strength 0": 36}
    assert everything(tmp_path / "out.mp4") == everything(film)
    assert not list(tmp_path.glob("*.partial"))


def test_damage_of_the_input_is_told_after_a_stop_too(film: Path, tmp_path: Path) -> None:
    """It lies in what is done already: that is decoded again to find it."""
    source = tmp_path / "flawed.mp4"
    data = bytearray(film.read_bytes())
    with av.open(str(film)) as opened:
        packet = [p for p in opened.demux(video=0) if p.size][6]
        at, size = packet.pos, packet.size
    data[at + 4 : at + size] = bytes(size - 4)
    source.write_bytes(data)
    worker = Deblurrer(**FAST)
    summary = worker.video(source, tmp_path / "whole.mp4")
    assert summary.damage
    stop_at(30, worker, source, tmp_path / "out.mp4")
    again = worker.video(source, tmp_path / "out.mp4")
    assert again.reused >= 1
    assert counts(again) == counts(summary)
    assert everything(tmp_path / "out.mp4") == everything(tmp_path / "whole.mp4")


def lose_tracker(state: dict[str, Any]) -> None:
    del state["tracker"]["tracks"]


def spoil_array(state: dict[str, Any]) -> None:
    state["tracker"]["tracks"][0]["motion"]["data"] = "no base64"


def make_object(state: dict[str, Any]) -> None:
    state["tracker"]["tracks"][0]["velocity"] = {"dtype": "|O", "shape": [1], "data": "gAROLg=="}


def move_place(state: dict[str, Any]) -> None:
    state["place"]["times"][0] += 1


def lose_position(state: dict[str, Any]) -> None:
    state["restorer"] = None


@pytest.mark.parametrize("spoil", [lose_tracker, spoil_array, make_object, move_place, lose_position])
def test_a_state_that_is_not_ours_is_never_trusted(
    film: Path, tmp_path: Path, spoil: Callable[[dict[str, Any]], None]
) -> None:
    """Even where somebody has made the checksums right again."""
    worker, target = Deblurrer(**FAST), tmp_path / "out.mp4"
    stop_at(20, worker, film, target)
    path = tmp_path / "out.mp4.partial" / "000000.json"
    content = json.loads(path.read_text())["content"]
    spoil(content["facts"]["more"]["next"])
    path.write_text(json.dumps({"content": content, "sha256": journal._digest(content)}))
    summary = worker.video(film, target)
    assert summary.reused == 0
    assert summary.notes == ["segment 1 of the unfinished run was damaged; it was done anew"]
    assert (summary.frames, summary.restored, summary.people) == (36, 36, 2)
