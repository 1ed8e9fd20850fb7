"""Crops of a clip of two people who change sides at a cut: each in a folder of their own."""

import csv
import json
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
from two_people import COUNT, CUT, clip, crowd, frames, is_astronaut, reader

from fvdeblur.errors import InputError, UsageError
from fvdeblur.faces import TrackedFace
from fvdeblur.faces.identity import ARCFACE_POINTS
from fvdeblur.media import FramePlanes
from fvdeblur.restoration import Progress
from fvdeblur.restoration.alignment import Aligner
from fvdeblur.restoration.crop_folder import check_template
from fvdeblur.restoration.extraction import CropExtractor, CropSummary

pytestmark = pytest.mark.usefixtures("nothing_is_left", "small_model")


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return clip(tmp_path_factory.mktemp("two") / "two.mp4")


@pytest.fixture(scope="module")
def done(video: Path, small_models: Path) -> CropSummary:
    with pytest.MonkeyPatch.context() as patch:
        known = reader()
        patch.setattr("fvdeblur.released.models_folder", lambda: small_models)
        extractor = CropExtractor(reader=known, embedder="dlib", threads=1)
        return extractor.run(video, aligner=Aligner(size=96))


def rows(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "index.jsonl").read_text().splitlines()]


def picture(path: Path) -> np.ndarray:
    found = cv2.imread(str(path))
    assert found is not None, path
    return found[..., ::-1]


def test_two_folders_and_no_crop_in_the_wrong_one(done: CropSummary, video: Path) -> None:
    folder = video.with_name("two.crops")
    assert done.output == folder
    assert done.people == {1: COUNT, 2: COUNT}
    assert (done.tracks, done.restored, done.left_alone) == (4, 2 * COUNT, {})
    assert done.sharpness is not None
    names = sorted(path.name for path in folder.iterdir())
    assert names == ["best", "contact-sheet.png", "index.csv", "index.jsonl", "person-01", "person-02"]
    seen: dict[str, set[bool]] = {}
    for row in rows(folder):
        seen.setdefault(row["file"].split("/")[0], set()).add(is_astronaut(row["frame"], row["box"]))
    assert sorted(seen) == ["person-01", "person-02"]
    assert sorted(map(sorted, seen.values())) == [[False], [True]]
    for number in (1, 2):
        files = sorted(path.name for path in (folder / f"person-{number:02d}").iterdir())
        assert files == [f"{k:06d}.png" for k in range(COUNT)]


def test_a_crop_shows_what_its_row_says(done: CropSummary) -> None:
    """The network of these tests changes what it sees, but not so far that the face would be another one."""
    for row in rows(done.output):
        landmarks = np.array(row["landmarks"], np.float32)
        face = TrackedFace(0, np.array(row["box"], np.float32), 1.0, landmarks)
        planes = FramePlanes(av.VideoFrame.from_ndarray(frames()[row["frame"]], format="rgb24"))
        expected = Aligner(size=96).crop(planes, face)
        found = picture(done.output / row["file"])
        assert found.shape == (96, 96, 3)
        assert np.corrcoef(found.ravel(), expected.ravel())[0, 1] > 0.85
        assert row["person"] == int(row["file"][7:9])
        assert (row["shot"], row["time"]) == (int(row["frame"] >= CUT), row["frame"] / 25)
        assert 0 < row["sharpness_after"] <= 1
        assert 0 < row["sharpness_before"] <= 1


def test_the_indices_agree_and_the_best_is_one_of_the_crops(done: CropSummary) -> None:
    with (done.output / "index.csv").open(newline="") as file:
        table = list(csv.DictReader(file))
    lines = rows(done.output)
    assert len(table) == len(lines) == 2 * COUNT
    for cells, row in zip(table, lines, strict=True):
        assert cells["file"] == row["file"]
        assert [float(cells[key]) for key in ("left", "top", "right", "bottom")] == row["box"]
        assert float(cells["yaw"]) == row["yaw"]
        assert float(cells["nose_x"]) == row["landmarks"][2][0]
    for number in (1, 2):
        best = picture(done.output / "best" / f"person-{number:02d}.png")
        own = [row for row in lines if row["person"] == number]
        same = [row for row in own if np.array_equal(picture(done.output / row["file"]), best)]
        assert len(same) == 1
        assert same[0]["sharpness_after"] >= np.median([row["sharpness_after"] for row in own])
    assert picture(done.output / "contact-sheet.png").shape[1] == 8 * 160


@pytest.mark.parametrize("which", ["like", "unlike"])
def test_people_by_photograph(
    which: str, video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A picture of the group: its largest face is another one; cut to the man, it is him."""
    photo = tmp_path / "photo.png"
    from fvdeblur.faces import create_detector

    group = crowd()
    boxes = sorted(
        (found.box for found in create_detector("centerface").detect(group)), key=lambda box: box[0]
    )
    left, top, right, bottom = (int(value) for value in boxes[3] + np.array([-50, -60, 50, 60]))
    cv2.imwrite(str(photo), group[top:bottom, left:right, ::-1])
    extractor = CropExtractor(reader=reader(), embedder="dlib", threads=1, strength=0.0)
    target = tmp_path / "crops"
    summary = extractor.run(video, target, faces=f"{which}:{photo}", kind="jpg", template="p{person}-{frame}")
    assert list(summary.people.values()) == [COUNT]
    for row in rows(target):
        assert is_astronaut(row["frame"], row["box"]) == (which == "unlike")
        assert row["file"] == f"person-{row['person']:02d}/p{row['person']}-{row['frame']}.jpg"
        assert (target / row["file"]).is_file()


def test_videos_and_the_largest_face(video: Path, tmp_path: Path) -> None:
    target = tmp_path / "deep" / "crops"
    extractor = CropExtractor(reader=reader(), embedder=None, threads=1, strength=0.0, overwrite=True)
    summary = extractor.run(video, target, faces="largest", kind="video", aligner=Aligner("upright", 64))
    assert sum(summary.people.values()) == COUNT
    files = {row["file"] for row in rows(target)}
    assert all(name.endswith(".mp4") for name in files)
    total = 0
    for name in files:
        with av.open(str(target / name)) as container:
            shown = list(container.decode(video=0))
            assert {(frame.width, frame.height) for frame in shown} == {(64, 64)}
            assert [round(frame.time * 25) for frame in shown] == list(range(len(shown)))
            total += len(shown)
    assert total == COUNT
    # Once more, over what is there.
    again = extractor.run(video, target, faces="track:99")
    assert again.people == {}
    assert sorted(path.name for path in target.iterdir()) == ["best", "index.csv", "index.jsonl"]
    assert [path.name for path in target.parent.iterdir()] == ["crops"]


def test_nothing_is_left_or_overwritten(video: Path, tmp_path: Path) -> None:
    def stop(progress: Progress) -> None:
        if progress.frames == 2:
            raise KeyboardInterrupt

    extractor = CropExtractor(reader=reader(), embedder=None, threads=1, strength=0.0)
    with pytest.raises(KeyboardInterrupt):
        extractor.run(video, tmp_path / "crops", progress=stop)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("dear")
    for overwrite in (False, True):
        careless = CropExtractor(reader=reader(), embedder=None, threads=1, overwrite=overwrite)
        with pytest.raises(UsageError, match="mine is not empty and holds other things; choose another -o"):
            careless.run(video, tmp_path / "mine")
    (tmp_path / "photo.png").write_text("no picture")
    with pytest.raises(InputError, match=r"photo\.png: is no picture"):
        extractor.run(video, tmp_path / "crops", faces=f"like:{tmp_path / 'photo.png'}")
    with pytest.raises(UsageError, match="raw crops differ in size"):
        extractor.run(video, tmp_path / "crops", aligner=Aligner("raw"), kind="video")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine", "photo.png"]


def test_alignment() -> None:
    """The points of an aligned face lie where they should, turned and scaled as it may be; raw crops are the pixels."""
    source = frames()[0]
    planes = FramePlanes(av.VideoFrame.from_ndarray(source, format="rgb24"))
    angle = np.radians(25)
    turn = 0.7 * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    points = ((ARCFACE_POINTS - 56) @ turn.T + (90, 120)).astype(np.float32)
    face = TrackedFace(0, np.array([60, 80, 110, 150], np.float32), 1.0, points)
    aligner = Aligner("aligned", 200, 0.5)
    matrix = aligner.matrix(face)
    placed = points @ matrix[:, :2].T + matrix[:, 2]
    np.testing.assert_allclose(placed, (ARCFACE_POINTS - 56) / 112 * 100 + 100, atol=0.01)
    assert aligner.crop(planes, face).shape == (200, 200, 3)
    upright = Aligner("upright", 100, 0.0).matrix(face)
    eyes = points[:2] @ upright[:, :2].T
    assert eyes[0, 1] == pytest.approx(eyes[1, 1], abs=0.01)
    np.testing.assert_allclose(np.array([85, 115]) @ upright[:, :2].T + upright[:, 2], [50, 50], atol=0.01)
    raw = Aligner("raw", 100, 0.0).crop(planes, face)
    np.testing.assert_array_equal(raw, source[80:150, 50:120])


@pytest.mark.parametrize(
    ("template", "kind", "words"),
    [
        ("{name}", "png", "cannot be filled; its fields are person, track, frame, time, shot"),
        ("{frame!", "png", "cannot be filled"),
        ("{}", "png", "cannot be filled"),
        ("{person}", "png", "gives several files one name"),
        ("{frame}", "video", "put {track} into it"),
        ("a/{frame}", "png", "leave out folders"),
        ("{frame}", "tiff", "unknown format 'tiff'"),
    ],
)
def test_templates_that_cannot_be(template: str, kind: str, words: str) -> None:
    with pytest.raises(UsageError) as caught:
        check_template(template, kind)
    assert words in str(caught.value)
    assert check_template(None, "png") == "{frame:06d}"


@pytest.mark.parametrize(
    ("values", "words"),
    [(("round",), "unknown kind"), (("raw", 8), "size of crops"), (("raw", 64, -1.0), "margin")],
)
def test_crops_that_cannot_be(values: tuple[Any, ...], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        Aligner(*values)
