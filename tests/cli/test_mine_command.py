"""``fvdeblur mine``: faces mined by the command, in processes of its own."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest
from running import Result, finished

from fvdeblur.cli.mine import mine
from fvdeblur.datasets.checking import check_dataset
from fvdeblur.datasets.index import read_index
from fvdeblur.datasets.mining.settings import MiningSettings

sys.path.insert(0, str(Path(__file__).parents[1] / "datasets"))
from mining_material import face_frames, faceless_frames, write_video

Run = Callable[..., Result]
Start = Callable[..., subprocess.Popen[str]]

OPTIONS = ["--least-frames", "10", "--landmarks", "five", "--detector", "centerface"]


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A moving face, a photograph as a video, a cup of coffee, and what is no video."""
    folder = tmp_path_factory.mktemp("mine") / "videos"
    write_video(folder / "face.mp4", face_frames(16))
    write_video(folder / "photograph.mp4", face_frames(1) * 12, crf=26)
    write_video(folder / "coffee.mp4", faceless_frames(6))
    (folder / "text.mp4").write_text("this is no video\n" * 50)
    return folder


def reasons(dataset: Path) -> dict[str, str]:
    lines = [json.loads(line) for line in (dataset / "mining.jsonl").read_text().splitlines()]
    return {line["video"]: line["reason"] for line in lines}


def test_mining_a_folder_twice(fvdeblur: Run, videos: Path, tmp_path: Path) -> None:
    dataset = tmp_path / "dataset"
    result = fvdeblur(
        "mine", videos, "-o", dataset, "--processes", "2", "--licence", "public domain", *OPTIONS
    )
    assert result.code == 1  # one of them is no video; the others were mined
    assert reasons(dataset) == {
        "coffee.mp4": "no face",
        "face.mp4": "accepted",
        "photograph.mp4": "static",
        "text.mp4": "unreadable",
    }
    lines = result.err.splitlines()
    assert len(lines) == 2
    assert "text.mp4: is not a video" in lines[0]
    assert lines[1] == "fvdeblur: 1 of 4 videos could not be mined; the others were"
    rows = [[cell.strip() for cell in line.strip("│").split("│")] for line in result.out.splitlines()]
    for row in (
        ["accepted", "1", "16"],
        ["no face", "1", "0"],
        ["static", "1", "12"],
        ["unreadable", "1", "0"],
    ):
        assert row in rows
    assert f"{dataset}: 4 videos; 34 frames in " in result.out
    assert check_dataset(dataset).problems == []
    record = read_index(dataset)[0]
    assert (record.source.file, record.frames, record.licence) == ("face.mp4", 16, "public domain")

    (videos / "text.mp4").unlink()
    before = {path: path.read_bytes() for path in (dataset / "clips").iterdir()}
    result = fvdeblur("mine", videos, "-o", dataset, "--licence", "public domain", *OPTIONS)
    assert (result.code, result.err) == (0, "")
    assert f"{dataset}: 3 videos, 3 of them done before; 0 frames in " in result.out
    assert {path: path.read_bytes() for path in (dataset / "clips").iterdir()} == before


@pytest.mark.parametrize(
    ("number", "code", "word"), [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated")]
)
def test_stopped_at_work(start: Start, tmp_path: Path, number: signal.Signals, code: int, word: str) -> None:
    video = write_video(tmp_path / "videos" / "long.mp4", face_frames(20) * 60)
    dataset = tmp_path / "dataset"
    process = start("mine", video, "-o", dataset, *OPTIONS)
    until = time.monotonic() + 240
    while not list(dataset.glob(".mining/*.work")) and time.monotonic() < until:
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    process.send_signal(number)
    finished(process).failed(code, word, "nothing was left half-written")
    assert not list(dataset.glob(".mining/*.work"))
    assert not list(dataset.glob("clips/*"))
    assert read_index(dataset) == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], ["VIDEO|DIR"]),
        (["{videos}"], ["--output"]),
        (["{none}", "-o", "{dataset}"], ["none", "there is no such file or folder"]),
        (["{videos}", "-o", "{dataset}", "--least-frames", "1"], ["--least-frames is 1"]),
        (["{videos}", "-o", "{dataset}", "--processes", "-2"], ["--processes is -2"]),
        (["{videos}", "-o", "{dataset}", "--detector", "viola"], ["unknown detector 'viola'"]),
        (["{videos}", "-o", "{dataset}", "--landmarks", "seven"], ["unknown landmarker 'seven'"]),
        (["{videos}", "-o", "{dataset}", "--identity-from", "name"], ["--identity-from"]),
    ],
)
def test_wrong_use(
    fvdeblur: Run, videos: Path, tmp_path: Path, arguments: list[str], words: list[str]
) -> None:
    places = {"videos": videos, "none": tmp_path / "none", "dataset": tmp_path / "dataset"}
    fvdeblur("mine", *(text.format(**places) for text in arguments)).failed(2, *words)
    assert not list(tmp_path.iterdir())


def test_a_place_that_cannot_be_written(fvdeblur: Run, videos: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    fvdeblur("mine", videos, "-o", tmp_path / "file" / "dataset").failed(1, "cannot make this folder")


def test_options_are_the_settings() -> None:
    given = mine.make_context("mine", ["v.mp4", "-o", "d"]).params
    options = {name for name in given if name not in {"inputs", "output", "processes", "quiet", "debug"}}
    settings = MiningSettings()
    assert options == set(MiningSettings.__dataclass_fields__)
    for name in options:
        assert given[name] == getattr(settings, name)
    text = mine.get_help(click.Context(mine))
    for name in options:
        assert f"--{name.replace('_', '-')}" in text


def test_help_loads_no_heavy_library() -> None:
    program = (
        "import sys\nfrom fvdeblur.cli import main\n"
        "try:\n    main(['mine', '--help'])\n"
        "except SystemExit as error:\n    assert error.code == 0\n"
        "heavy = {'torch', 'av', 'cv2', 'numpy', 'scipy', 'onnxruntime', 'onnx', 'insightface'}\n"
        "print('LOADED', sorted(heavy & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "LOADED []"


def test_quiet_prints_nothing(fvdeblur: Run, videos: Path, tmp_path: Path) -> None:
    result: Any = fvdeblur("mine", videos / "coffee.mp4", "-o", tmp_path / "d", "--quiet", *OPTIONS)
    assert (result.code, result.out, result.err) == (0, "", "")
    assert reasons(tmp_path / "d") == {"coffee.mp4": "no face"}
