"""One video mined: what is kept, what is dropped and for which reason."""

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from mining_material import (
    RednessScorer,
    coin_parts,
    coins,
    custom_parts,
    face_frames,
    faceless_frames,
    sway,
    write_video,
)

from fvdeblur.datasets.clip_reader import ClipReader
from fvdeblur.datasets.index import ClipRecord
from fvdeblur.datasets.mining.crops import plan_crop, split_path
from fvdeblur.datasets.mining.following import Candidate
from fvdeblur.datasets.mining.judging import judge
from fvdeblur.datasets.mining.ledger import Video
from fvdeblur.datasets.mining.miner import mine_video
from fvdeblur.datasets.mining.parts import Parts, face_parts
from fvdeblur.datasets.mining.settings import MiningSettings
from fvdeblur.errors import InputError, UsageError

SETTINGS = MiningSettings(
    least_frames=12, most_frames=40, least_face=40, landmarks="five", detector="centerface"
)
SIZE = (320, 240)

Report = list[dict[str, Any]]


@pytest.fixture(autouse=True, scope="module")
def one_opencv_thread() -> Any:
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    yield
    cv2.setNumThreads(threads)


@pytest.fixture(scope="module")
def faces() -> Parts:
    return face_parts(SETTINGS)


def mine(
    tmp_path: Path,
    frames: list[np.ndarray],
    parts: Parts,
    settings: MiningSettings = SETTINGS,
    **options: Any,
) -> tuple[Report, list[ClipRecord], Path]:
    video = write_video(tmp_path / "video.mp4", frames, **options)
    folder = tmp_path / "work"
    folder.mkdir()
    mined = mine_video(Video(video, "video.mp4"), folder, parts, settings)
    report = [json.loads(line) for line in mined.candidates]
    return report, [ClipRecord.from_json(line) for line in mined.records], folder


def path_of_coins(number: int) -> tuple[float, float]:
    x, y = sway(number)
    return 160 + 2 * x, 120 + 2 * y


def test_a_moving_face_is_accepted(tmp_path: Path, faces: Parts) -> None:
    frames = face_frames(30)
    report, records, folder = mine(tmp_path, frames, faces)
    assert [(line["reason"], line["first"], line["last"]) for line in report] == [("accepted", 0, 29)]
    figures = report[0]["figures"]
    assert figures["overlap_share"] == 1
    assert figures["fitting_share"] == 1
    assert figures["moving_share"] > 0.9
    assert 1 < figures["mean_movement"] < 4
    record = records[0]
    assert record.file == report[0]["clip"]
    assert record.landmarks is not None
    assert record.landmarks.shape == (30, 5, 2)
    assert record.width == record.height
    assert record.width % 2 == 0
    assert record.source.crop is not None
    left, top, side, _ = record.source.crop
    # What was cut is what was shown, at its own resolution, and the eyes stand where the landmarks say.
    with ClipReader(folder / Path(record.file).name) as reader:
        assert len(reader) == 30
        clip = reader[:]
    truth = np.stack(frames)[:, top : top + side, left : left + side]
    assert np.abs(clip.astype(int) - truth).mean() < 5
    for number in (0, 11, 29):
        x, y = sway(number)
        eyes = record.landmarks[number, :2].mean(axis=0) + np.array([left, top])
        assert np.abs(eyes - [280 / 2 + x, 200 / 2 + y - 10]).max() < 14
        low, high = record.landmarks[number].min(axis=0), record.landmarks[number].max(axis=0)
        assert record.boxes is not None
        assert (record.boxes[number, :2] < low).all()
        assert (record.boxes[number, 2:] > high).all()


def test_a_still_photograph_is_static(tmp_path: Path, faces: Parts) -> None:
    report, records, folder = mine(tmp_path, face_frames(1) * 24, faces, crf=28)
    assert [line["reason"] for line in report] == ["static"]
    assert report[0]["figures"]["moving_share"] == 0
    assert report[0]["detail"].startswith("static: 0%")
    assert not records
    assert not list(folder.iterdir())


def test_without_a_face_there_is_one_line(tmp_path: Path, faces: Parts) -> None:
    report, records, _ = mine(tmp_path, faceless_frames(12), faces)
    assert [(line["reason"], line["accepted"], line["clip"]) for line in report] == [("no face", False, None)]
    assert report[0]["figures"] == {"frames": 12}
    assert not records


def test_a_blurred_face_is_no_target(tmp_path: Path, faces: Parts) -> None:
    frames = [cv2.GaussianBlur(frame, (0, 0), 4) for frame in face_frames(20)]
    report, records, _ = mine(tmp_path, frames, faces)
    assert [line["reason"] for line in report] == ["blurred"]
    assert not records


def test_another_kind_of_object(tmp_path: Path) -> None:
    """Nothing of the miner itself knows of faces; the tracker follows whatever it is."""
    report, records, _ = mine(tmp_path, coins([[path_of_coins(i)] for i in range(30)]), coin_parts())
    assert [(line["reason"], line["first"], line["last"]) for line in report] == [("accepted", 0, 29)]
    assert records[0].boxes is not None
    centres = (records[0].boxes[:, :2] + records[0].boxes[:, 2:]) / 2
    assert records[0].source.crop is not None
    truth = np.array([path_of_coins(i) for i in range(30)]) - records[0].source.crop[:2]
    assert np.abs(centres - truth).max() < 4


def test_a_tracker_that_drifts_is_rejected_by_the_overlap_rule(tmp_path: Path) -> None:
    """The coins move away from where the tracker stays: at a poster that looks like it."""

    class Poster:
        def __init__(self, image: np.ndarray, box: np.ndarray) -> None:
            self._box = box

        def update(self, image: np.ndarray) -> tuple[np.ndarray, float]:
            return self._box, 0.9

    frames = coins([[(60 + 6.5 * i, 120)] for i in range(30)])
    report, records, _ = mine(tmp_path, frames, custom_parts(Poster))
    assert [(line["reason"], line["first"], line["last"]) for line in report] == [("overlap", 0, 29)]
    assert 0 < report[0]["figures"]["overlap_share"] < 0.25
    assert "tracker and detector overlap" in report[0]["detail"]
    assert not records


def test_the_object_vanishes_and_the_tracker_stays(tmp_path: Path) -> None:
    """The real tracker goes on with what stands where the coins were; the detector finds nothing there."""
    frames = coins([[path_of_coins(i)] if i < 10 else [None] for i in range(36)])
    report, _, _ = mine(tmp_path, frames, coin_parts())
    assert [line["reason"] for line in report] == ["overlap"]
    assert report[0]["figures"]["overlap_share"] < 0.35


def test_a_tracker_that_follows_another_object(tmp_path: Path) -> None:
    """Of two trackers at one object, one has no partner: its candidate is dropped, and no clip is there twice."""

    class Crosser:
        """Goes to the coins at the top, wherever it began."""

        def __init__(self, image: np.ndarray, box: np.ndarray) -> None:
            self._box, self._number = box.copy(), 0

        def update(self, image: np.ndarray) -> tuple[np.ndarray, float]:
            self._number += 1
            x, y = 100 + 2 * sway(self._number)[0], 60
            return np.array([x - 40, y - 40, x + 40, y + 40], np.float32), 0.9

    frames = coins([[(100 + 2 * sway(i)[0], 60), (230, 180 + 2 * sway(i)[1])] for i in range(20)])
    report, records, _ = mine(tmp_path, frames, custom_parts(Crosser))
    assert sorted(line["reason"] for line in report) == ["accepted", "overlap"]
    assert len(records) == 1


def test_two_objects_give_two_clips(tmp_path: Path) -> None:
    frames = coins([[(80 + sway(i)[0], 70), (240, 170 + 2 * sway(i)[1])] for i in range(20)])
    report, records, folder = mine(tmp_path, frames, coin_parts())
    assert [line["reason"] for line in report] == ["accepted", "accepted"]
    assert {line["track"] for line in report} == {0, 1}
    assert sorted(path.name for path in folder.iterdir()) == [Path(one.file).name for one in records]
    crops = [one.source.crop for one in records]
    assert crops[0] is not None
    assert crops[1] is not None
    assert abs(crops[0][0] - crops[1][0]) > 60
    alone = MiningSettings(least_frames=12, most_frames=40, least_face=40, most_faces=1)
    (tmp_path / "alone").mkdir()
    assert len(mine(tmp_path / "alone", frames, coin_parts(), alone)[1]) == 1


def test_two_shots_give_two_clips(tmp_path: Path) -> None:
    first = coins([[path_of_coins(i)] for i in range(16)])
    second = [255 - frame[::-1] for frame in faceless_frames(7, SIZE)]
    third = [frame[:, ::-1] for frame in coins([[path_of_coins(i)] for i in range(18)])]
    report, records, _ = mine(tmp_path, [*first, *second, *third], coin_parts())
    places = [(line["reason"], line["shot"], line["first"], line["last"]) for line in report]
    assert places == [("accepted", 0, 0, 15), ("accepted", 2, 23, 40)]
    assert [(one.source.first, one.source.last, one.frames) for one in records] == [(0, 15, 16), (23, 40, 18)]


def test_a_late_object_is_found(tmp_path: Path) -> None:
    frames = coins([[None] if i < 8 else [path_of_coins(i)] for i in range(30)])
    report, _, _ = mine(tmp_path, frames, coin_parts())
    assert [line["reason"] for line in report] == ["accepted"]
    assert 8 <= report[0]["first"] <= 12


def test_a_long_shot_is_taken_in_parts(tmp_path: Path) -> None:
    settings = MiningSettings(least_frames=12, most_frames=16, least_face=40)
    frames = coins([[path_of_coins(i)] for i in range(40)])
    report, records, _ = mine(tmp_path, frames, coin_parts(), settings)
    places = [(line["reason"], line["first"], line["last"]) for line in report]
    assert places == [("accepted", 0, 15), ("accepted", 16, 31), ("too short", 32, 39)]
    assert [one.file for one in records] == [line["clip"] for line in report[:2]]


class BlinkingScorer(RednessScorer):
    """Refuses the fittings of some frames."""

    def __init__(self, refused: range) -> None:
        self._refused, self._frame = refused, -1

    def score(self, image: np.ndarray, landmarks: np.ndarray) -> float:
        self._frame += 1
        return -1.0 if self._frame in self._refused else super().score(image, landmarks)


@pytest.mark.parametrize(
    ("refused", "expected"),
    [
        (range(14, 16), [("accepted", 0, 13), ("accepted", 16, 29)]),
        (range(4, 6), [("accepted", 6, 29)]),
        (range(0, 30), [("wrong fitting", 0, 29)]),
        (range(10, 20), [("wrong fitting", 0, 29)]),
    ],
)
def test_runs_of_good_frames_are_kept(tmp_path: Path, refused: range, expected: list[Any]) -> None:
    frames = coins([[path_of_coins(i)] for i in range(30)])
    report, records, _ = mine(tmp_path, frames, custom_parts(scorer=BlinkingScorer(refused)))
    assert [(line["reason"], line["first"], line["last"]) for line in report] == expected
    for record, line in zip(records, report, strict=False):
        assert (record.source.first, record.source.last) == (line["first"], line["last"])


def candidate(boxes: np.ndarray, **changes: Any) -> Candidate:
    count = len(boxes)
    values: dict[str, Any] = {
        "tracked": list(boxes),
        "detected": list(boxes),
        "confidence": [0.8] * count,
        "landmarks": [np.zeros((5, 2), np.float32)] * count,
        "fitting": [1.0] * count,
        "movement": [(2.0, 1.0)] * count,
        "sharpness": [0.3] * count,
        "blockiness": [0.0] * count,
    }
    return Candidate(0, 0, 0, **{**values, **changes})


def boxes_at(x: float, y: float, count: int = 20, size: float = 50) -> np.ndarray:
    return np.tile(np.array([x, y, x + size, y + size], np.float32), (count, 1))


@pytest.mark.parametrize(
    ("made", "reason"),
    [
        (candidate(boxes_at(50, 50)), "accepted"),
        (candidate(boxes_at(50, 50, count=11)), "too short"),
        (candidate(boxes_at(50, 50, size=35)), "too small"),
        (candidate(boxes_at(-10, 50)), "cut off by the edge"),
        (candidate(boxes_at(50, 50), sharpness=[0.3] * 11 + [0.01] + [0.3] * 8), "blurred"),
        (candidate(boxes_at(50, 50), sharpness=[0.12] * 20), "blurred"),
        (candidate(boxes_at(50, 50), blockiness=[0.4] * 20), "compressed"),
        (candidate(boxes_at(50, 50), movement=[(0.2, 0.1)] * 20), "static"),
        (candidate(boxes_at(50, 50), movement=[(60.0, 30.0)] * 20), "too much movement"),
        (candidate(boxes_at(50, 50), fitting=[-0.1] * 20), "wrong fitting"),
        (candidate(boxes_at(50, 50), detected=[np.full(4, np.nan, np.float32)] * 20), "overlap"),
        (candidate(boxes_at(50, 50), landmarks=[None] * 10 + [np.zeros((5, 2))] * 10), "not detected"),
    ],
)
def test_each_rule_has_its_reason(made: Candidate, reason: str) -> None:
    judged = judge(made, SIZE, SETTINGS)
    assert [one.reason for one in judged] == [reason]
    assert judged[0].accepted == (reason == "accepted")
    assert (judged[0].first, judged[0].stop) == (0, len(made))
    assert "\n" not in judged[0].detail


def test_a_first_frame_moves_from_nowhere() -> None:
    """The movement into a run's first frame is not the run's."""
    moved = [(0.0, 0.0)] * 20
    moved[0] = (50.0, 50.0)
    assert judge(candidate(boxes_at(50, 50), movement=moved), SIZE, SETTINGS)[0].reason == "static"


def test_the_crop_is_around_the_path() -> None:
    path = np.array([[100 + i, 90, 150 + i, 150] for i in range(21)], float)
    left, top, side = plan_crop(path, 640, 360)
    assert side == int((70 + 2 * 0.4 * 60) / 2) * 2
    assert left + side / 2 == pytest.approx(135, abs=1)
    assert top + side / 2 == pytest.approx(120, abs=1)
    assert plan_crop(path, 100, 360)[2] == 100
    for corner in ([0, 0], [600, 320]):
        box = np.array([[*corner, corner[0] + 39, corner[1] + 39]], float)
        left, top, side = plan_crop(box, 640, 360)
        assert (left, top) >= (0, 0)
        assert left + side <= 640
        assert top + side <= 360


def test_a_long_path_is_cut() -> None:
    path = np.array([[4 * i, 100, 4 * i + 60, 160] for i in range(100)], float)
    pieces = split_path(path, 640, 360)
    assert pieces[0][0] == 0
    assert pieces[-1][1] == 100
    assert all(a[1] == b[0] for a, b in pairwise(pieces))
    for first, stop in pieces:
        hull = path[first:stop, 2].max() - path[first:stop, 0].min()
        assert hull <= 120
        assert stop == 100 or path[first : stop + 1, 2].max() - path[first : stop + 1, 0].min() > 120
    assert split_path(path[:1], 640, 360) == [(0, 1)]


def test_what_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "video.mp4").write_bytes(b"no video " * 100)
    with pytest.raises(InputError, match=r"video\.mp4"):
        mine_video(Video(tmp_path / "video.mp4", "video.mp4"), tmp_path, coin_parts(), SETTINGS)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"least_frames": 1}, "--least-frames is 1"),
        ({"most_frames": 10}, "--most-frames"),
        ({"least_face": float("nan")}, "--least-face is nan"),
        ({"most_faces": 0}, "--most-faces is 0"),
        ({"identity_from": "name"}, "--identity-from is 'name'"),
    ],
)
def test_settings_out_of_range(values: dict[str, Any], expected: str) -> None:
    with pytest.raises(UsageError, match=expected):
        MiningSettings(**values)
