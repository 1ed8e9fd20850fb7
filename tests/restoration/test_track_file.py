"""The file of tracks: written as the frames come, read strictly, and followed as a person has edited it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fvdeblur.errors import InputError, OutputError, UsageError
from fvdeblur.media import DecodedFrame
from fvdeblur.restoration import json_stream
from fvdeblur.restoration.track_file import LEFT_BY_HAND, TracksWriter, follow_tracks, read_tracks

pytestmark = pytest.mark.usefixtures("nothing_is_left")


def face(track: int, **more: Any) -> dict[str, Any]:
    return {"track": track, "box": [10.0 * track, 1.5, 10.0 * track + 8, 9.5], **more}


def write(path: Path, frames: int = 6, overwrite: bool = False) -> Path:
    """Two people, each in two tracks; the second shot begins at frame 3."""
    with TracksWriter(path, path.with_name("clip.mp4"), overwrite) as writer:
        for k in range(frames):
            numbers = (0, 1) if k < 3 else (2, 3)
            writer.add(k, k / 25, [face(number, score=0.5, leave=False) for number in numbers])
        writer.finish(
            {"source": {"file": "clip.mp4", "bytes": 9, "width": 64, "height": 48}, "analysis": {}},
            {
                "persons": [{"id": 1, "leave": False}, {"id": 2}],
                "tracks": [{"id": n, "person": 1 + n % 2, "leave": False} for n in range(4)],
                "shots": [{"id": 0, "time": 0.0}, {"id": 1, "time": 0.12}],
            },
        )
    return path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return write(tmp_path / "tracks.json")


def edited(path: Path, change: Callable[[dict[str, Any]], Any], indent: int | None = 1) -> Path:
    values = json.loads(path.read_text())
    change(values)
    path.write_text(json.dumps(values, indent=indent))
    return path


def followed(path: Path, times: list[float] | None = None) -> tuple[list[tuple[int, bool, list[int]]], int]:
    """Shot, whether it starts there, and tracks of every frame that are not left alone; and how many are."""
    times = [k / 25 for k in range(6)] if times is None else times
    frames = [DecodedFrame(k, seconds, None) for k, seconds in enumerate(times)]  # type: ignore[arg-type]
    out = list(follow_tracks(iter(frames), read_tracks(path)))
    assert [picture.decoded for picture in out] == frames
    assert [picture.tracked.index for picture in out] == list(range(len(frames)))
    reasons = [why for picture in out for why in picture.left.values()]
    assert set(reasons) <= {LEFT_BY_HAND}
    rows = [
        (
            each.tracked.shot,
            each.tracked.starts_shot,
            [face.track for face in each.without_left().tracked.faces],
        )
        for each in out
    ]
    return rows, len(reasons)


AS_WRITTEN = [
    (0, True, [0, 1]),
    (0, False, [0, 1]),
    (0, False, [0, 1]),
    (1, True, [2, 3]),
    (1, False, [2, 3]),
    (1, False, [2, 3]),
]


def test_what_was_written_is_read(path: Path) -> None:
    tracks = read_tracks(path)
    assert (tracks.source.file, tracks.source.bytes, tracks.source.width) == ("clip.mp4", 9, 64)
    assert [shot.time for shot in tracks.shots] == [0, 0.12]
    assert {number: row.person for number, row in tracks.tracks.items()} == {0: 1, 1: 2, 2: 1, 3: 2}
    assert tracks.dropped == 0
    first = next(tracks.frames())
    np.testing.assert_array_equal(first.faces[1].face.box, np.float32([10, 1.5, 18, 9.5]))
    assert first.faces[1].face.score == 0.5
    assert followed(path) == (AS_WRITTEN, 0)


def test_it_can_be_read_by_a_person(path: Path) -> None:
    lines = path.read_text().splitlines()
    assert '{"id": 1, "person": 2, "leave": false},' in lines
    assert sum(line.startswith('  {"track": ') for line in lines) == 12
    assert max(len(line) for line in lines) < 120


@pytest.mark.parametrize("indent", [None, 4])
def test_any_layout_and_order_is_read(
    path: Path, indent: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(json_stream, "CHUNK", 7)  # every number and every key is cut somewhere
    values = json.loads(path.read_text())
    path.write_text(json.dumps(dict(reversed(values.items())), indent=indent))
    assert followed(path) == (AS_WRITTEN, 0)


def test_edits_are_obeyed(path: Path) -> None:
    edited(path, lambda v: v["frames"][1]["faces"][0].update(leave=True))
    edited(path, lambda v: v["tracks"][3].update(leave=True))
    edited(path, lambda v: v["frames"].pop(2))
    rows, left = followed(path)
    assert [tracks for _, _, tracks in rows] == [[0, 1], [1], [], [2], [2], [2]]
    assert left == 4
    edited(path, lambda v: v["persons"][0].update(leave=True))
    rows, left = followed(path)
    assert [tracks for _, _, tracks in rows] == [[1], [1], [], [], [], []]
    edited(path, lambda v: v["frames"][0]["faces"][1].update(box=[1, 2, 3, 4]))
    np.testing.assert_array_equal(next(read_tracks(path).frames()).faces[1].face.box, [1, 2, 3, 4])


def test_deleted_tracks_and_persons(path: Path) -> None:
    edited(path, lambda v: v["tracks"].pop(0))
    rows, left = followed(path)
    assert ([tracks for _, _, tracks in rows][:3], left) == ([[1]] * 3, 0)
    assert read_tracks(path).dropped == 3
    edited(path, lambda v: v["persons"].pop(1))
    assert [tracks for _, _, tracks in followed(path)[0]] == [[], [], [], [2], [2], [2]]


def test_strengths_and_why_faces_are_left_alone(path: Path) -> None:
    edited(path, lambda v: v["persons"][1].update(strength=0.25))
    edited(path, lambda v: v["tracks"][3].update(strength=1))
    edited(path, lambda v: v["tracks"][0].update(leave=True, remark="not chosen"))
    edited(path, lambda v: v["frames"][0]["faces"][1].update(leave=True, remark="outside the region"))
    edited(path, lambda v: v["frames"][1]["faces"][1].update(leave=True, remark="too small"))
    tracks = read_tracks(path)
    assert tracks.strengths == {1: 0.25, 3: 1.0}
    frames = [DecodedFrame(k, k / 25, None) for k in range(6)]  # type: ignore[arg-type]
    out = list(follow_tracks(iter(frames), tracks))
    assert [dict(picture.left) for picture in out[:4]] == [
        {0: "not chosen", 1: "outside the region"},
        {0: "not chosen", 1: LEFT_BY_HAND},
        {0: "not chosen"},
        {},
    ]
    assert all(picture.strengths == {1: 0.25, 3: 1.0} for picture in out)


def test_cuts_can_be_moved(path: Path) -> None:
    edited(path, lambda v: v["shots"].pop())
    assert [start for _, start, _ in followed(path)[0]] == [True] + [False] * 5
    edited(path, lambda v: v["shots"].extend([{"id": 7, "time": 0.04}, {"id": 8, "time": 0.08}]))
    assert [start for _, start, _ in followed(path)[0]] == [True, True, True, False, False, False]


def test_a_part_of_the_video(path: Path) -> None:
    rows, _ = followed(path, [0.12, 0.16, 0.18, 0.2, 9.0])
    assert rows == [(1, True, [2, 3]), (1, False, [2, 3]), (1, False, []), (1, False, [2, 3]), (1, False, [])]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda v: v.update(format="other"), "format: is not 'fvdeblur-tracks'"),
        (lambda v: v.pop("format"), "format: is not"),
        (lambda v: v.update(version=2), "version: is 2, but this program knows 1"),
        (lambda v: v.update(version=True), "version: is True"),
        (lambda v: v.pop("shots"), "the key 'shots' is missing"),
        (lambda v: v.pop("frames"), "the key 'frames' is missing"),
        (lambda v: v.update(frames={}), "frames: must be a list"),
        (lambda v: v.update(tracks=3), "tracks: must be a list"),
        (lambda v: v.update(colour="red"), "the key 'colour' is not known"),
        (
            lambda v: v["source"].update(width="64"),
            "source.width: must be a whole number from 0 on, not '64'",
        ),
        (lambda v: v["source"].pop("file"), "source: the key 'file' is missing"),
        (lambda v: v["tracks"][1].update(id=0), "tracks[1].id: 0 stands there already"),
        (lambda v: v["tracks"][1].update(leave=1), "tracks[1].leave: must be true or false, not 1"),
        (
            lambda v: v["tracks"][1].update(strength=1.5),
            "tracks[1].strength: must be between 0 and 1, not 1.5",
        ),
        (
            lambda v: v["persons"][0].update(strength="all"),
            "persons[0].strength: must be a number, not 'all'",
        ),
        (lambda v: v["tracks"][1].update(remark=3), "tracks[1].remark: must be a text or null"),
        (lambda v: v["tracks"][1].pop("person"), "tracks[1]: the key 'person' is missing"),
        (lambda v: v["persons"].append(4), "persons[2]: must be an object"),
        (lambda v: v["shots"][1].update(time=0.0), "shots[1].time: must be after"),
        (lambda v: v["frames"].append(v["frames"][0]), "frames[6].time: 0 must be after that of the frame"),
        (lambda v: v["frames"][2].update(time="now"), "frames[2].time: must be a number, not 'now'"),
        (lambda v: v["frames"][2].update(faces=None), "frames[2].faces: must be a list"),
        (lambda v: v["frames"][2].update(leave=True), "frames[2]: the key 'leave' is not known"),
        (
            lambda v: v["frames"][2]["faces"][0].update(box=[1, 2, 3]),
            "frames[2].faces[0].box: must be a list of 4",
        ),
        (
            lambda v: v["frames"][2]["faces"][1].update(box=[3, 2, 1, 4]),
            "frames[2].faces[1].box: must be left, top",
        ),
        (lambda v: v["frames"][2]["faces"][1].update(box=[3, 2, 1e9, 4]), "faces[1].box: must be between"),
        (lambda v: v["frames"][2]["faces"][1].update(track=0), "faces[1].track: 0 stands there already"),
        (lambda v: v["frames"][2]["faces"][1].update(leaves=True), "faces[1]: the key 'leaves' is not known"),
        (
            lambda v: v["frames"][2]["faces"][1].update(landmarks=[[1, 2]]),
            "landmarks: must be five points or null",
        ),
        (
            lambda v: v["frames"][2]["faces"][1].update(score=2),
            "faces[1].score: must be between 0 and 1, not 2",
        ),
        (
            lambda v: v["frames"][2]["faces"][1].update(coefficients=[1]),
            "coefficients: must be a list of 239",
        ),
        (
            lambda v: v["frames"][2]["faces"][1].update(found="guessed"),
            "found: must be 'detected' or 'followed'",
        ),
    ],
)
def test_what_does_not_fit_is_named(path: Path, change: Callable[[dict[str, Any]], Any], words: str) -> None:
    edited(path, change)
    with pytest.raises(InputError) as caught:
        read_tracks(path)
    text = str(caught.value)
    assert text.startswith(f"{path}: ")
    assert words in text
    assert "\n" not in text


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        ('"frames": [', '"frames": [,', "line 20: "),
        ('"frame": 3,', '"frame": 3', "',' delimiter"),
        ('"time": 0.16', '"time": NaN', "NaN is no number"),
        ('"version": 1', '"version": 1, "version": 1', "'version' stands twice"),
        ('"frame": 5', '"frame": 5, "frame": 5', "the key 'frame' stands twice"),
        ('{\n"format"', '[\n"format"', "line 1: '{' is wanted, not '['"),
        ("\n]\n}\n", "\n]\n", "'}' is wanted, not the end of the file"),
        ("\n]\n}\n", "\n]\n} }", "something follows the object"),
        ("\n]\n}\n", "\n", "is wanted, not the end of the file"),
    ],
)
def test_broken_text_is_named_by_line(path: Path, before: str, after: str, words: str) -> None:
    text = path.read_text()
    assert before in text
    path.write_text(text.replace(before, after, 1))
    with pytest.raises(InputError) as caught:
        read_tracks(path)
    assert str(caught.value).startswith(f"{path}, line ")
    assert words in str(caught.value)


def test_no_text_and_no_file(tmp_path: Path) -> None:
    (tmp_path / "picture.json").write_bytes(bytes(range(256)))
    for name in ("picture.json", "missing.json", "."):
        with pytest.raises(InputError, match="cannot be read"):
            read_tracks(tmp_path / name)
    (tmp_path / "empty.json").write_text("")
    with pytest.raises(InputError, match=r"line 1: .* is wanted, not the end of the file"):
        read_tracks(tmp_path / "empty.json")


def test_reading_holds_one_frame_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The text held never grows far beyond a chunk, however long the file, even where it is broken."""
    path = write(tmp_path / "long.json", frames=3000)
    monkeypatch.setattr(json_stream, "CHUNK", 4096)
    monkeypatch.setattr(json_stream, "FAR", 2048)
    held = []
    read = json_stream._Walk._read

    def spy(walk: json_stream._Walk) -> bool:
        more = read(walk)
        held.append(len(walk._text))
        return more

    monkeypatch.setattr(json_stream._Walk, "_read", spy)
    assert len(list(read_tracks(path).frames())) == 3000
    path.write_text(path.read_text().replace('"frame": 7,', '"frame": 7;', 1))
    with pytest.raises(InputError, match="line"):
        read_tracks(path)
    assert max(held) < 3 * 4096


def interrupted(path: Path) -> None:
    with TracksWriter(path, path.with_name("clip.mp4"), True) as writer:
        writer.add(0, 0.0, [])
        raise KeyboardInterrupt


def test_nothing_is_overwritten_unasked(path: Path, tmp_path: Path) -> None:
    before = path.read_bytes()
    with pytest.raises(UsageError, match="exists; use --overwrite"):
        write(path)
    with pytest.raises(UsageError, match="would replace the input"):
        TracksWriter(path, path, True)
    with pytest.raises(UsageError, match="is a folder"):
        TracksWriter(tmp_path, tmp_path / "clip.mp4", True)
    with pytest.raises(OutputError, match="cannot be written"):
        TracksWriter(tmp_path / "no" / "tracks.json", tmp_path / "clip.mp4", True)
    with pytest.raises(KeyboardInterrupt):
        interrupted(path)
    assert path.read_bytes() == before
    assert [each.name for each in tmp_path.iterdir()] == ["tracks.json"]
    write(path, frames=4, overwrite=True)
    assert len(list(read_tracks(path).frames())) == 4
