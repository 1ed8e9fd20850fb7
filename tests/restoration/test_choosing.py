"""``run`` on a clip of two people who change sides at a cut: the chosen one is changed, and nothing of the other."""

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from media_samples import everything, packets
from two_people import COUNT, CUT, HEIGHT, WIDTH, clip, crowd, frames, is_astronaut, reader

from fvdeblur import Deblurrer
from fvdeblur.errors import InputError, UsageError
from fvdeblur.faces import create_detector
from fvdeblur.media import VideoReader
from fvdeblur.restoration import FaceAnalyzer, Progress, Summary, first_pass, read_tracks, resuming

pytestmark = pytest.mark.usefixtures("small_model", "nothing_is_left")

LOSSLESS: dict[str, Any] = {"codec": "libx264", "crf": 0.0, "preset": "ultrafast", "threads": 1}


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return clip(tmp_path_factory.mktemp("two") / "two.mp4")


@pytest.fixture(scope="module")
def analyzed(video: Path) -> Path:
    """Where the faces are."""
    path = video.with_name("tracks.json")
    FaceAnalyzer(reader=reader(), embedder=None, threads=1).run(video, path)
    return path


@pytest.fixture(scope="module")
def man(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A photograph of the one who is not the astronaut."""
    group = crowd()
    boxes = sorted(
        (found.box for found in create_detector("centerface").detect(group)), key=lambda box: box[0]
    )
    left, top, right, bottom = (int(value) for value in boxes[3] + np.array([-50, -60, 50, 60]))
    path = tmp_path_factory.mktemp("photo") / "him, in a row.png"
    cv2.imwrite(str(path), group[top:bottom, left:right, ::-1])
    return path


@pytest.fixture(autouse=True)
def known_reader(monkeypatch: pytest.MonkeyPatch, analyzed: Path) -> None:
    """The released reader of 3D faces, which was loaded before the small model was put in the place of all models."""
    monkeypatch.setattr(first_pass, "FaceReader", lambda device: reader())


def changed(video: Path, analyzed: Path, output: Path) -> list[dict[bool, float]]:
    """The share of the pixels of each face that are not as they were, a frame; by whether it is the astronaut."""
    rows, columns = np.mgrid[0:HEIGHT, 0:WIDTH] + 0.5
    shares = []
    places = [entry["faces"] for entry in json.loads(analyzed.read_text())["frames"]]
    with VideoReader(video) as one, VideoReader(output) as other:
        for index, (before, after) in enumerate(zip(one, other, strict=True)):
            differs = (before.frame.to_ndarray() != after.frame.to_ndarray())[:HEIGHT]
            shares.append({})
            for face in places[index]:
                left, top, right, bottom = face["box"]
                x, y = (
                    (columns - (left + right) / 2) / (right - left),
                    (rows - (top + bottom) / 2) / (bottom - top),
                )
                inside = np.hypot(x, y) < 0.5
                shares[-1][is_astronaut(index, face["box"])] = float(differs[inside].mean())
    return shares


def run(video: Path, output: Path, **values: Any) -> Summary:
    return Deblurrer(**LOSSLESS, **values).video(video, output)


@pytest.mark.parametrize(("faces", "astronaut"), [("like:{man}", False), ("unlike:{man}", True)])
def test_by_photograph(
    video: Path, analyzed: Path, man: Path, tmp_path: Path, faces: str, astronaut: bool
) -> None:
    told: list[Progress] = []
    worker = Deblurrer(**LOSSLESS, faces=faces.format(man=man), identity="dlib")
    summary = worker.video(video, tmp_path / "out.mp4", progress=told.append)
    assert (summary.people, summary.restored, summary.left_alone) == (4, COUNT, {"not chosen": COUNT})
    for shares in changed(video, analyzed, tmp_path / "out.mp4"):
        assert shares[astronaut] > 0.5
        assert shares[not astronaut] == 0
    assert "people told apart by dlib" in summary.notes[0]
    assert summary.notes[0].endswith("like a photograph from a cosine of 0.92 on")
    assert [(each.first_pass, each.frames) for each in told] == [
        (looking, k) for looking in (True, False) for k in range(1, COUNT + 1)
    ]


@pytest.mark.parametrize("faces", ["largest", "center"])
def test_one_face_a_shot(video: Path, analyzed: Path, tmp_path: Path, faces: str) -> None:
    """It does not flip, though both are of about one size and equally far from the middle."""
    summary = run(video, tmp_path / "out.mp4", faces=faces, identity="shape")
    assert summary.restored == COUNT
    shares = changed(video, analyzed, tmp_path / "out.mp4")
    for shot in (shares[:CUT], shares[CUT:]):
        (one,) = {frozenset(who for who, share in frame.items() if share > 0) for frame in shot}
        assert len(one) == 1


def test_by_place_and_by_track(video: Path, analyzed: Path, tmp_path: Path) -> None:
    summary = run(video, tmp_path / "a.mp4", region=f"0,0,{WIDTH // 2},{HEIGHT}")
    assert (summary.restored, summary.left_alone) == (COUNT, {"outside the region": COUNT})
    for index, shares in enumerate(changed(video, analyzed, tmp_path / "a.mp4")):
        assert shares[index < CUT] > 0.5
        assert shares[index >= CUT] == 0
    summary = run(
        video,
        tmp_path / "b.mp4",
        exclude="0%,0%,50%,100%",
        faces="track:0,track:1",
        face_strength="track:1=0",
    )
    left = (
        json.loads(analyzed.read_text())["frames"][0]["faces"][0]["box"][0] < WIDTH / 2
    )  # whether track 0 is there
    assert summary.left_alone == {
        "outside the region": COUNT,
        "not chosen": COUNT - CUT,
        **({"strength 0": CUT} if left else {}),
    }
    assert summary.restored == (0 if left else CUT)
    with pytest.raises(
        UsageError, match=r"--exclude '300,0,30,9': reaches outside of the picture, which has 320x240"
    ):
        run(video, tmp_path / "c.mp4", exclude="300,0,30,9")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.mp4", "b.mp4"]


def test_a_strength_of_its_own(video: Path, analyzed: Path, tmp_path: Path) -> None:
    """In a tracks file for a person, and on the command line for a track; a half is a half of the change."""
    values = json.loads(analyzed.read_text().replace('"leave": true', '"leave": false'))
    first = values["persons"][0]
    first["strength"] = 0.5
    edited = tmp_path / "edited.json"
    edited.write_text(json.dumps(values))
    run(video, tmp_path / "full.mp4")
    run(video, tmp_path / "half.mp4", tracks=edited)
    run(video, tmp_path / "track.mp4", face_strength=tuple(f"track:{n}=0.5" for n in first["tracks"]))
    with VideoReader(video) as source:
        before = [each.frame.to_ndarray()[:HEIGHT].astype(int) for each in source]
    change = {}
    for name in ("full", "half", "track"):
        with VideoReader(tmp_path / f"{name}.mp4") as reading:
            change[name] = [
                each.frame.to_ndarray()[:HEIGHT] - old for each, old in zip(reading, before, strict=True)
            ]
    for index, entry in enumerate(values["frames"]):
        for face in entry["faces"]:
            left, top, right, bottom = (round(value) for value in face["box"])
            place = np.s_[top:bottom, left:right]
            full = change["full"][index][place].ravel()
            expected = 0.5 if face["track"] in first["tracks"] else 1.0
            for name in ("half", "track"):
                assert full @ change[name][index][place].ravel() / (full @ full) == pytest.approx(
                    expected, abs=0.05
                )


def test_nobody_is_chosen(video: Path, tmp_path: Path) -> None:
    """A photograph of someone else: the video is copied as it is."""
    import skimage.data

    photo = tmp_path / "photo.png"
    group = crowd()
    boxes = sorted(
        (found.box for found in create_detector("centerface").detect(group)), key=lambda box: box[0]
    )
    left, top, right, bottom = (int(value) for value in boxes[0] + np.array([-40, -50, 40, 50]))
    cv2.imwrite(str(photo), group[max(top, 0) : bottom, max(left, 0) : right, ::-1])
    summary = Deblurrer(threads=1, faces=f"like:{photo}", identity="dlib").video(video, tmp_path / "out.mp4")
    assert (summary.restored, summary.copied) == (0, True)
    assert summary.notes[1] == f"no face of it is one of like:{photo}"
    assert packets(tmp_path / "out.mp4") == packets(video)
    cv2.imwrite(str(photo), skimage.data.coffee())
    with pytest.raises(InputError, match=r"photo\.png: shows no face"):
        Deblurrer(threads=1, faces=f"like:{photo}", identity="dlib").video(video, tmp_path / "again.mp4")


def test_stopped_and_gone_on_with(
    video: Path, man: Path, analyzed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first pass is not done again, and the result is the same; so with a tracks file."""
    monkeypatch.setattr(resuming, "LONGEST", 5)
    monkeypatch.setattr(resuming, "SHORTEST", 3)
    photo = tmp_path / "photo.png"
    photo.write_bytes(man.read_bytes())
    edited = tmp_path / "edited.json"
    edited.write_text(analyzed.read_text().replace('"leave": true', '"leave": false'))
    choices: tuple[dict[str, Any], ...] = ({"faces": f"like:{photo}", "identity": "dlib"}, {"tracks": edited})
    for number, choice in enumerate(choices):
        worker = Deblurrer(**LOSSLESS, **choice)
        whole, target = tmp_path / f"whole{number}.mp4", tmp_path / f"out{number}.mp4"
        expected = worker.video(video, whole)
        assert expected.segments == 3

        def stop(progress: Progress) -> None:
            if not progress.first_pass and progress.frames == 12:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            worker.video(video, target, progress=stop)
        told: list[Progress] = []
        again = worker.video(video, target, progress=told.append)
        assert again.reused == 2
        assert not any(each.first_pass for each in told)
        assert (again.restored, again.left_alone) == (expected.restored, expected.left_alone)
        assert everything(target) == everything(whole)
    # Another photograph under the same name is another choice.
    worker = Deblurrer(**LOSSLESS, **choices[0], overwrite=True)
    with pytest.raises(KeyboardInterrupt):
        worker.video(video, tmp_path / "out0.mp4", progress=stop)
    cv2.imwrite(str(photo), frames()[0][:, : WIDTH // 2, ::-1])
    other = worker.video(video, tmp_path / "out0.mp4")
    assert other.reused == 0
    assert any("choice.photos" in note for note in other.notes)
    for shares in changed(video, analyzed, tmp_path / "out0.mp4"):
        assert shares[True] > 0.5
        assert shares[False] == 0


def test_analyze_writes_the_choice_down(video: Path, man: Path, tmp_path: Path) -> None:
    analyzer = FaceAnalyzer(
        reader=reader(), embedder="dlib", threads=1, faces=f"like:{man}", exclude=f"0,0,{WIDTH // 2},{HEIGHT}"
    )
    analyzer.run(video, tmp_path / "tracks.json")
    values = json.loads((tmp_path / "tracks.json").read_text())
    astronaut = {
        face["track"]
        for entry in values["frames"]
        for face in entry["faces"]
        if is_astronaut(entry["frame"], face["box"])
    }
    for row in values["tracks"]:
        assert (row["leave"], row["remark"]) == (
            (True, "not chosen") if row["id"] in astronaut else (False, None)
        )
    for entry in values["frames"]:
        for face in entry["faces"]:
            outside = face["box"][0] + face["box"][2] < WIDTH
            assert (face["remark"] == "outside the region") == outside
            assert face["leave"] or not outside
    assert len(read_tracks(tmp_path / "tracks.json").tracks) == 4


def test_what_does_not_go_together(video: Path, analyzed: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--faces does not go with --tracks"):
        run(video, tmp_path / "out.mp4", faces="largest", tracks=analyzed)
    with pytest.raises(UsageError, match="unknown identity 'eyes'"):
        run(video, tmp_path / "out.mp4", identity="eyes")
    with pytest.raises(
        UsageError, match="--faces largest is for videos and does not apply to frames in memory"
    ):
        list(Deblurrer(threads=1, faces="largest").frames([frames()[0]]))
    picture = frames()[0]
    only = Deblurrer(threads=1, region="0,0,50%,100%").image(picture)
    differs = (only != picture).any(axis=(0, 2))
    assert differs[20 : WIDTH // 4].any()
    assert not differs[WIDTH // 2 + 40 :].any()
