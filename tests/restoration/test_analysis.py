"""What is said of a clip of two people who change sides at a cut, and that edits of it are obeyed."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from media_samples import make_video, moving_photograph
from two_people import COUNT, CUT, clip, is_astronaut, reader

from fvdeblur.errors import InputError, UsageError
from fvdeblur.faces import create_detector
from fvdeblur.media import VideoReader, probe
from fvdeblur.restoration import Progress
from fvdeblur.restoration.analysis import AnalysisSummary, FaceAnalyzer, analysis_output
from fvdeblur.restoration.stream import track
from fvdeblur.restoration.track_file import check_source, follow_tracks, read_tracks

pytestmark = pytest.mark.usefixtures("nothing_is_left")


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return clip(tmp_path_factory.mktemp("two") / "two people.mp4")


@pytest.fixture(scope="module")
def done(video: Path) -> AnalysisSummary:
    """By dlib's embedding; and how far it was is told after every frame."""
    told: list[Progress] = []
    analyzer = FaceAnalyzer(reader=reader(), embedder="dlib", threads=1)
    summary = analyzer.run(video, progress=told.append)
    assert [each.frames for each in told] == list(range(1, COUNT + 1))
    assert told[-1] == Progress(COUNT, COUNT, 2 * COUNT)
    return summary


@pytest.fixture
def values(done: AnalysisSummary) -> dict[str, Any]:
    read: dict[str, Any] = json.loads(done.output.read_text())
    return read


def test_the_summary(done: AnalysisSummary, video: Path) -> None:
    assert done.output == analysis_output(video) == video.with_name("two people.tracks.json")
    counts = (done.frames, done.shots, done.tracks, done.people, done.faces)
    assert counts == (COUNT, 2, 4, 2, 2 * COUNT)
    assert done.identity.startswith("dlib")
    assert done.damage == []


def test_each_person_is_one_across_the_cut(values: dict[str, Any]) -> None:
    person = {row["id"]: row["person"] for row in values["tracks"]}
    seen = {
        (person[face["track"]], is_astronaut(frame["frame"], face["box"]))
        for frame in values["frames"]
        for face in frame["faces"]
    }
    assert len(seen) == 2
    assert {who for who, _ in seen} == {1, 2}
    assert [row["tracks"] for row in values["persons"]] == [
        [number for number in sorted(person) if person[number] == who] for who in (1, 2)
    ]
    assert [(shot["frame"], shot["time"]) for shot in values["shots"]] == [(0, 0.0), (CUT, CUT / 25)]


def test_what_is_said_of_the_source_and_the_faces(values: dict[str, Any], video: Path) -> None:
    assert values["source"] == {
        "file": "two people.mp4",
        "bytes": video.stat().st_size,
        "width": 320,
        "height": 240,
        "rotation": 0,
        "fps": 25.0,
        "time_base": str(probe(video).time_base),
        "frames": COUNT,
        "start": None,
        "end": None,
    }
    found: Counter[str] = Counter()
    sharpness: dict[bool, list[float]] = {True: [], False: []}
    for number, frame in enumerate(values["frames"]):
        assert (frame["frame"], frame["time"]) == (number, number / 25)
        assert len(frame["faces"]) == 2
        for face in frame["faces"]:
            found[face["found"]] += 1
            assert face["doubt"] < 8
            assert abs(face["yaw"]) < 45
            left, top, right, bottom = face["box"]
            assert all(left < x < right and top < y < bottom for x, y in face["landmarks"])
            assert face["leave"] == (face["remark"] == "already sharp")
            assert "coefficients" not in face
            sharpness[number % 7 > 3].append(face["sharpness"])
    assert found["detected"] >= 8
    assert found["followed"] >= 8
    assert max(sharpness[True]) < min(sharpness[False])


def test_followed_as_it_was_tracked(done: AnalysisSummary, video: Path) -> None:
    tracks = read_tracks(done.output)
    edited = done.output.with_name("all.json")
    edited.write_text(done.output.read_text().replace('"leave": true', '"leave": false'))
    with VideoReader(video) as frames:
        check_source(tracks, frames.info)
        expected = list(track(frames, 0, create_detector("centerface", threads=1)))
    with VideoReader(video) as frames:
        followed = list(follow_tracks(frames, read_tracks(edited)))
    assert len(followed) == COUNT
    for one, other in zip(expected, followed, strict=True):
        assert (one.tracked.shot, one.tracked.starts_shot) == (other.tracked.shot, other.tracked.starts_shot)
        assert [face.track for face in one.tracked.faces] == [face.track for face in other.tracked.faces]
        for face, again in zip(one.tracked.faces, other.tracked.faces, strict=True):
            assert again.box == pytest.approx(face.box, abs=0.01)
            assert again.landmarks == pytest.approx(face.landmarks, abs=0.01)
            assert again.detected == face.detected


def test_another_video_is_refused(done: AnalysisSummary, short_clip: Path, tmp_path: Path) -> None:
    tracks = read_tracks(done.output)
    with pytest.raises(InputError, match=r"source\.bytes: is of a file of \d+ bytes"):
        check_source(tracks, probe(short_clip))
    other = make_video(tmp_path / "other.mp4", [picture[:64, :64] for picture in moving_photograph(2)])
    with pytest.raises(InputError, match=r"is of a video of 320x240, but .* has 64x64"):
        check_source(tracks, probe(other))


def test_by_shape_and_colour_and_with_coefficients(video: Path, tmp_path: Path) -> None:
    target = tmp_path / "tracks.json"
    analyzer = FaceAnalyzer(reader=reader(), embedder=None, threads=1, min_face=500.0, start=0.2, end=0.36)
    summary = analyzer.run(video, target, coefficients=True)
    assert summary.identity == "3D shape, texture and colours"
    assert summary.remarks == {"too small": 2 * summary.frames}
    values = json.loads(target.read_text())
    face = values["frames"][0]["faces"][0]
    assert (face["leave"], face["remark"], face["coefficients"], face["yaw"]) == (
        True,
        "too small",
        None,
        None,
    )
    with pytest.raises(UsageError, match="exists; use --overwrite"):
        analyzer.run(video, target)
    whole = FaceAnalyzer(reader=reader(), embedder=None, threads=1, overwrite=True)
    summary = whole.run(video, target, coefficients=True)
    assert (summary.tracks, summary.people) == (4, 2)
    face = json.loads(target.read_text())["frames"][3]["faces"][1]
    assert len(face["coefficients"]) == 239
    assert read_tracks(target).dropped == 0


def test_a_video_without_faces(faceless_clip: Path, tmp_path: Path) -> None:
    target = tmp_path / "tracks.json"
    summary = FaceAnalyzer(reader=reader(), embedder=None, threads=1).run(faceless_clip, target)
    assert (summary.tracks, summary.people, summary.faces) == (0, 0, 0)
    assert read_tracks(target).tracks == {}


def test_an_interrupt_leaves_nothing(video: Path, tmp_path: Path) -> None:
    def stop(progress: Progress) -> None:
        if progress.frames == 2:
            raise KeyboardInterrupt

    analyzer = FaceAnalyzer(reader=reader(), embedder=None, threads=1)
    with pytest.raises(KeyboardInterrupt):
        analyzer.run(video, tmp_path / "tracks.json", progress=stop)
    assert list(tmp_path.iterdir()) == []
