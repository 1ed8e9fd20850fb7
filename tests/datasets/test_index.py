"""The index of a dataset: written, read again, spoilt, and cut off by a kill."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from face_material import moving_frames, write_clip, write_material

from fvdeblur.datasets import is_validation, load_clips, load_stills
from fvdeblur.datasets.conversion import convert
from fvdeblur.datasets.index import (
    ClipRecord,
    Source,
    append_lines,
    read_index,
    split_of,
    write_index,
)
from fvdeblur.errors import InputError, UsageError


def record(number: int = 1, **changes: Any) -> ClipRecord:
    frames = changes.get("frames", 3)
    boxes = np.array([[1.25, 2, 30.5, 40]] * frames, np.float32)
    landmarks = np.arange(frames * 10, dtype=np.float32).reshape(frames, 5, 2) / 4
    values: dict[str, Any] = {
        "file": f"clips/a-{number}.mp4",
        "identity": "Zoë",
        "split": "train",
        "frames": frames,
        "fps": 29.97,
        "width": 64,
        "height": 66,
        "boxes": boxes,
        "landmarks": landmarks,
        "sharpness": 12.5,
        "motion": 1.5,
        "source": Source("a/b.mov", 10, 12, (4, 5, 64, 66)),
        "sha256": "0f" * 32,
        "licence": "CC BY 4.0\n(consented)",
    }
    return ClipRecord(**{**values, **changes})


def spoilt(**changes: Any) -> str:
    return json.dumps({**json.loads(record().to_json()), **changes})


def test_what_was_written_is_read(tmp_path: Path) -> None:
    bare = record(2, identity=None, boxes=None, landmarks=None, sharpness=None, motion=None, licence=None)
    still = record(3, file="portraits/é.jpg", frames=1, fps=0.0, source=Source("é.jpg"))
    write_index(tmp_path, [record(), bare, still])
    text = (tmp_path / "index.jsonl").read_text(encoding="utf-8")
    assert text.count("\n") == 3
    found = read_index(tmp_path)
    assert [one.to_json() for one in found] == text.splitlines()
    assert found[0].boxes is not None
    assert found[0].boxes.shape == (3, 4)
    assert found[0].boxes.dtype == np.float32
    assert np.abs(found[0].boxes - [1.25, 2, 30.5, 40]).max() <= 0.0501  # kept to a tenth of a pixel
    assert found[0].landmarks is not None
    assert found[0].landmarks.shape == (3, 5, 2)
    assert np.abs(found[0].landmarks.ravel() - np.arange(30) / 4).max() <= 0.0501
    assert found[0].source == Source("a/b.mov", 10, 12, (4, 5, 64, 66))
    assert (found[0].person, found[1].person) == ("Zoë", "a/b.mov")
    assert [one.is_still for one in found] == [False, False, True]
    assert not (tmp_path / "index.jsonl.partial").exists()


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("{", "is not JSON"),
        ("[1]", "is not a JSON object"),
        (spoilt(file=None), "file is null, not text"),
        ("{}", "lacks source"),
        (spoilt(file="../x.mp4"), "no path below the dataset's folder"),
        (spoilt(file="/x.mp4"), "no path below the dataset's folder"),
        (spoilt(split="test"), "split is 'test', not one of train, validation"),
        (spoilt(frames=True), "frames is true, not a whole number"),
        (spoilt(frames=0), "frames is 0; it must be at least 1"),
        (spoilt(frames=4), "boxes holds 3 entries for 4 frames"),
        (spoilt(fps="25"), 'fps is "25"; it must be a number from 0 on'),
        (spoilt(fps=0), "fps is 0, which is for stills of one frame"),
        (spoilt(sharpness=-1), "sharpness is -1; it must be a number from 0 on"),
        (spoilt(boxes=[[1, 2, 3]] * 3), "boxes is not a list of finite x, y"),
        (spoilt(landmarks=[[1, 2, 3]] * 3), "landmarks is not a list of finite x, y"),
        (spoilt(landmarks=[[1, 2], [1, 2], [1]]), "landmarks is not a table of numbers"),
        (spoilt(source={"file": "x", "crop": [1, 2]}), "crop is [1, 2], not four whole numbers"),
        (spoilt(sha256="abc"), "sha256 is 'abc', not 64 hexadecimal digits"),
        (record(1).to_json(), "names clips/a-1.mp4, as line 1 does"),
    ],
)
def test_a_spoilt_line_is_named(tmp_path: Path, line: str, expected: str) -> None:
    (tmp_path / "index.jsonl").write_text(f"{record().to_json()}\n{line}\n", encoding="utf-8")
    with pytest.raises(InputError) as caught:
        read_index(tmp_path)
    text = str(caught.value)
    assert text.startswith(f"{tmp_path / 'index.jsonl'}: line 2 ")
    assert expected in text
    assert "\n" not in text


def test_a_missing_index_and_one_that_is_no_text(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"index\.jsonl: the index of the dataset cannot be read"):
        read_index(tmp_path)
    (tmp_path / "index.jsonl").write_bytes(b"\xff\xfe\n")
    with pytest.raises(InputError, match=r"index\.jsonl: is not text in UTF-8"):
        read_index(tmp_path)


@pytest.mark.parametrize("torn", ["", '{"file":"cl', "x" * 200_000])
def test_a_torn_last_line_is_passed_over_and_then_removed(tmp_path: Path, torn: str) -> None:
    index = tmp_path / "index.jsonl"
    index.write_text(record(1).to_json() + "\n" + torn, encoding="utf-8")
    assert len(read_index(tmp_path)) == 1
    append_lines(index, [record(2).to_json(), record(3).to_json()])
    assert [one.file for one in read_index(tmp_path)] == [f"clips/a-{i}.mp4" for i in (1, 2, 3)]
    assert "x" * 100 not in index.read_text()


def test_nothing_but_a_torn_line(tmp_path: Path) -> None:
    (tmp_path / "index.jsonl").write_text("{torn")
    append_lines(tmp_path / "index.jsonl", [record().to_json()])
    assert len(read_index(tmp_path)) == 1


def test_appending_survives_a_kill(tmp_path: Path) -> None:
    """Lines written before a SIGKILL are there, and the index can be read and added to."""
    program = (
        "import sys; from pathlib import Path; sys.path.insert(0, sys.argv[2])\n"
        "from test_index import append_lines, record\n"
        "for i in range(100000):\n"
        "    append_lines(Path(sys.argv[1]), [record(i).to_json()])\n"
        "    print(i, flush=True)\n"
    )
    arguments = [sys.executable, "-c", program, str(tmp_path / "index.jsonl"), str(Path(__file__).parent)]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        written = [int(process.stdout.readline()) for _ in range(20)]
        os.kill(process.pid, signal.SIGKILL)
    assert written[-1] == 19
    before = [one.file for one in read_index(tmp_path)]
    assert before[:20] == [f"clips/a-{i}.mp4" for i in range(20)]
    append_lines(tmp_path / "index.jsonl", [record(200000).to_json()])
    assert [one.file for one in read_index(tmp_path)] == [*before, "clips/a-200000.mp4"]


def test_the_split_goes_by_identity_and_else_by_file() -> None:
    names = [f"person{i}" for i in range(60)]
    assert {split_of(name, "same.mp4") for name in names} == {"train", "validation"}
    for name in names:
        expected = "validation" if is_validation(name) else "train"
        assert split_of(name, "a.mp4") == split_of(None, name) == expected


@pytest.fixture(scope="module")
def material(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_material(tmp_path_factory.mktemp("index") / "material", frames=8)


def test_a_converted_dataset_gives_what_the_tables_gave(material: Path, tmp_path: Path) -> None:
    convert(material, tmp_path / "dataset")
    for load in (load_clips, load_stills):
        for split in ("train", "validation", "all"):
            ours, theirs = load(tmp_path / "dataset", split), load(material, split)
            assert len(ours) == len(theirs) > 0
            for one, other in zip(ours, theirs, strict=True):
                assert (one.name, one.identity, one.fps) == (other.name, other.identity, other.fps)
                assert np.array_equal(one.frames, other.frames)
    assert [len(clip.frames) for clip in load_clips(tmp_path / "dataset", "all", limit=2)] == [2, 2, 2]
    with pytest.raises(UsageError, match="unknown split 'test'"):
        load_clips(tmp_path / "dataset", "test")


def test_conversion_links_and_measures(material: Path, tmp_path: Path) -> None:
    convert(material, tmp_path)
    records = read_index(tmp_path)
    assert [one.file for one in records[:3]] == ["clips/clip0.mp4", "clips/clip1.mp4", "clips/clip2.mp4"]
    assert (tmp_path / "clips/clip0.mp4").samefile(material / "clips/clip0.mp4")
    assert [(one.frames, one.fps, one.width, one.height) for one in records[:3]] == [(8, 25.0, 96, 96)] * 3
    assert {one.split for one in records} == {"train", "validation"}
    for number, one in enumerate(records[:3]):
        assert one.sharpness is not None
        assert one.sharpness > 0
        assert one.motion == pytest.approx(np.hypot(number - 1, 1 + number % 2), abs=0.75)
    assert records[3].is_still
    assert records[3].motion is None
    assert (records[3].width, records[3].height) == (196, 196)


def test_conversion_in_place_and_not_twice(tmp_path: Path) -> None:
    folder = write_material(tmp_path / "m", frames=3)
    files = {path: path.read_bytes() for path in folder.rglob("*.mp4")}
    convert(folder, folder)
    assert len(read_index(folder)) == 6
    assert {path: path.read_bytes() for path in folder.rglob("*.mp4")} == files
    with pytest.raises(UsageError, match=r"index\.jsonl: exists already"):
        convert(folder, folder)


def test_conversion_of_spoilt_material(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"neither clips\.tsv nor portraits\.tsv"):
        convert(tmp_path, tmp_path / "d")
    write_clip(tmp_path / "secret.mp4", moving_frames(3))
    (tmp_path / "m" / "clips").mkdir(parents=True)
    (tmp_path / "m" / "clips.tsv").write_text("file\tidentity\tfps\n../../secret.mp4\tx\t25\n")
    with pytest.raises(UsageError, match=r"clips\.tsv: '\.\./\.\./secret\.mp4' is no path below"):
        convert(tmp_path / "m", tmp_path / "d")
    (tmp_path / "m" / "clips.tsv").write_text("file\tidentity\tfps\nnone.mp4\tx\t25\n")
    with pytest.raises(InputError, match=r"none\.mp4"):
        convert(tmp_path / "m", tmp_path / "d")
    assert not (tmp_path / "d" / "index.jsonl").exists()
