"""``fvdeblur render``: what it writes, what it says, and what it leaves behind when it is stopped."""

import dataclasses
import inspect
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import click
import pytest
from mean_face import MeanFace
from media_samples import frame_times, make_video, moving_photograph, packets
from running import Result, finished

from fvdeblur.cli import commands
from fvdeblur.cli.render import render, render_summary_lines
from fvdeblur.media import probe
from fvdeblur.morphable import model
from fvdeblur.restoration import Settings
from fvdeblur.restoration.rendering import RenderSummary

Run = Callable[..., Result]
Start = Callable[..., subprocess.Popen[str]]

QUICK = ("--preset", "ultrafast", "--threads", "1")
MODELS = model.models_folder()


@pytest.fixture(autouse=True)
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(commands.commands, "render", render)


@pytest.fixture
def mean_face(monkeypatch: pytest.MonkeyPatch) -> None:
    """Release a regressor whose answer is known."""
    monkeypatch.setattr("fvdeblur.morphable.reader.load_regressor", MeanFace)


def names(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


@pytest.mark.usefixtures("mean_face")
def test_a_clip_is_rendered_beside_the_input(fvdeblur: Run, short_clip: Path, tmp_path: Path) -> None:
    source = tmp_path / "clip.mp4"
    source.write_bytes(short_clip.read_bytes())
    rows = tmp_path / "rows.jsonl"
    result = fvdeblur("render", source, "--json", rows, *QUICK)
    assert (result.code, result.err) == (0, "")
    target = tmp_path / "clip.rendered.mp4"
    lines = result.out.splitlines()
    assert lines[:3] == [str(target), str(rows), "  6 frames, 1 face track, 6 faces drawn"]
    assert lines[3].endswith(" frames/s) on CPU")
    assert len(lines) == 4
    assert names(tmp_path) == {"clip.mp4", "clip.rendered.mp4", "rows.jsonl"}
    assert source.read_bytes() == short_clip.read_bytes()
    assert frame_times(target) == frame_times(source)
    assert packets(target)[1] == packets(source)[1]
    assert (probe(target).width, probe(target).height, probe(target).codec) == (640, 240, "h264")
    found = [json.loads(line) for line in rows.read_text().splitlines()]
    assert [(row["frame"], row["track"], len(row["coefficients"])) for row in found] == [
        (k, 0, 239) for k in range(6)
    ]
    # Once more: nothing is overwritten unasked.
    fvdeblur("render", source).failed(2, "clip.rendered.mp4 exists; use --overwrite")
    fvdeblur("render", source, "-o", tmp_path / "b.mp4", "--json", rows).failed(2, "rows.jsonl exists; use")
    assert fvdeblur("render", source, "--overwrite", "--quiet", *QUICK) == Result(0, "", "")


@pytest.mark.usefixtures("mean_face")
def test_options_reach_the_work(fvdeblur: Run, clip: Path, tmp_path: Path) -> None:
    target = tmp_path / "out.mkv"
    options = ["--start", "0.2", "--end", "0:00.4", "--codec", "hevc", "--crf", "40", "--min-face", "500"]
    result = fvdeblur("render", clip, "-o", target, *options, "--detector", "centerface", *QUICK)
    assert (result.code, result.err) == (0, "")
    assert "5 frames, 1 face track, 0 faces drawn" in result.out
    assert "  not drawn: 5 too small" in result.out
    assert probe(target).codec == "hevc"
    assert len(frame_times(target)) == 5


def test_the_defaults_are_those_of_run() -> None:
    given = render.make_context("render", ["clip.mp4"]).params
    settings = {setting.name: setting.default for setting in dataclasses.fields(Settings)}
    shared = settings.keys() & given.keys()
    of_restoring = {"model", "precision", "strength", "resume", "tracks"}
    of_choosing = {"faces", "region", "exclude", "face_strength", "identity"}
    assert settings.keys() - shared == of_restoring | of_choosing
    assert {name: given[name] for name in shared} == {name: settings[name] for name in shared}
    assert given.keys() - shared == {"input", "output", "rows", "quiet", "debug"}
    for option in render.params:
        if isinstance(option, click.Option):
            assert option.help


@pytest.mark.usefixtures("mean_face")
def test_a_folder_of_videos(fvdeblur: Run, short_clip: Path, faceless_clip: Path, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "a.mp4").write_bytes(short_clip.read_bytes())
    (folder / "b.mp4").write_bytes(faceless_clip.read_bytes())
    (folder / "c.mp4").write_text("no video")
    (folder / "d.rendered.mp4").write_bytes(short_clip.read_bytes())
    out, rows = tmp_path / "out", tmp_path / "rows"
    result = fvdeblur("render", folder, "-o", out, "--json", rows, "--end", "0.1", *QUICK)
    assert result.code == 1
    lines = result.err.splitlines()
    assert lines[0].startswith(f"fvdeblur: {folder / 'c.mp4'}: ")
    assert lines[1:] == ["fvdeblur: 1 of 3 videos failed"]
    assert names(out) == {"a.mp4", "b.mp4"}
    assert names(rows) == {"a.mp4.jsonl", "b.mp4.jsonl"}
    assert len((rows / "a.mp4.jsonl").read_text().splitlines()) == 3
    assert (rows / "b.mp4.jsonl").read_text() == ""
    assert "no faces found in 3 frames" in result.out
    (folder / "c.mp4").unlink()
    assert fvdeblur("render", folder, "--end", "0.1", *QUICK).code == 0
    assert names(folder) == {"a.mp4", "b.mp4", "a.rendered.mp4", "b.rendered.mp4", "d.rendered.mp4"}


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["missing.mp4"], 2, "missing.mp4: there is no such file or folder"),
        (["text.mp4"], 1, "text.mp4: is not a video"),
        (["empty"], 2, "empty: holds no videos"),
        (["done"], 2, "done: holds no videos"),
        (["videos", "-o", "text.mp4"], 2, "text.mp4: is not a folder"),
        (["videos", "--json", "text.mp4"], 2, "text.mp4: is not a folder"),
        (["videos", "-o", "text.mp4/out"], 1, "text.mp4/out: cannot make this folder"),
        (["a.mp4", "-o", "a.mp4"], 2, "a.mp4: the output would replace the input"),
        (["a.mp4", "-o", "out.txt"], 2, "out.txt: the suffix names no video container"),
        (["a.mp4", "--json", "a.mp4"], 2, "a.mp4: is the input or the output"),
        (["a.mp4", "--device", "tpu"], 2, "unknown device 'tpu'"),
        (["a.mp4", "--detector", "eyes"], 2, "unknown detector 'eyes'"),
        (["a.mp4", "--crf", "99"], 2, "--crf 99 is out of range"),
        (["a.mp4", "--min-face", "-1"], 2, "must not be negative"),
        (["a.mp4", "--threads", "-1"], 2, "must not be negative"),
        (["a.mp4", "--start", "9"], 1, "no frame lies between 9 s and the end"),
        (["a.mp4", "--start", "soon"], 2, "soon"),
        (["a.mp4", "--colour", "blue"], 2, "--colour"),
        ([], 2, "INPUT"),
    ],
)
@pytest.mark.usefixtures("mean_face")
def test_what_cannot_be_done(
    fvdeblur: Run,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    code: int,
    words: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    for folder in ("empty", "done", "videos"):
        Path(folder).mkdir()
    for path in ("a.mp4", "done/a.rendered.mp4", "done/a.deblurred.mp4", "videos/a.mp4"):
        if path == "a.mp4":
            make_video(tmp_path / path, moving_photograph(2, 64, 48))
        else:
            Path(path).write_bytes(Path("a.mp4").read_bytes())
    Path("text.mp4").write_text("no video")
    before = {name: Path(name).read_bytes() for name in names(tmp_path)}
    fvdeblur("render", *arguments).failed(code, words)
    assert {name: Path(name).read_bytes() for name in names(tmp_path)} == before


def test_a_missing_regressor(fvdeblur: Run, short_clip: Path, tmp_path: Path) -> None:
    """The folder of models of these tests holds none."""
    result = fvdeblur("render", short_clip, "-o", tmp_path / "out.mp4")
    result.failed(1, os.path.join("regressor", "config.json"), "reinstall fvdeblur")
    assert names(tmp_path) == set()


def test_the_summary_says_what_was_left_out() -> None:
    summary = RenderSummary(
        input=Path("a.mp4"),
        output=Path("b\n.mp4"),
        rows=None,
        frames=1,
        people=2,
        drawn=1,
        left_out={"too small": 3, "too doubtful": 2},
        device="CPU",
        detector="d",
        seconds=0.0,
        damage=["3 packets could not be decoded (first at 1.00 s)"],
        notes=["a note"],
    )
    assert render_summary_lines(summary) == [
        r"b\n.mp4",
        "  1 frame, 2 face tracks, 1 face drawn",
        "  not drawn: 2 too doubtful, 3 too small",
        "  damaged input: 3 packets could not be decoded (first at 1.00 s)",
        "  note: a note",
        "  0.0 s (0.0 frames/s) on CPU",
    ]


def test_help_loads_no_heavy_library() -> None:
    program = (
        "import sys\n"
        "from fvdeblur.cli.render import render\n"
        "render.main(['--help'], standalone_mode=False)\n"
        "heavy = {'torch', 'av', 'cv2', 'numpy', 'scipy', 'onnxruntime', 'onnx', 'insightface'}\n"
        "print('LOADED', sorted(heavy & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "LOADED []"


@pytest.mark.parametrize(
    ("number", "code", "word"), [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated")]
)
def test_stopped_at_work(
    start: Start, clip: Path, tmp_path: Path, number: signal.Signals, code: int, word: str
) -> None:
    slow = f"""
import math, time, torch
from torch import nn
import fvdeblur.morphable.model as model, fvdeblur.morphable.reader as reader
from fvdeblur.cli import commands
from fvdeblur.cli.render import render
from fvdeblur.media import VideoWriter
from fvdeblur.morphable import Coefficients
from fvdeblur.morphable.regressor import USUAL_SCALE, Regressor
{inspect.getsource(MeanFace)}
torch.set_num_threads(1)
commands.add_command(render)
model.models_folder = lambda: Path({str(MODELS)!r})
reader.load_regressor = MeanFace
write = VideoWriter.write
VideoWriter.write = lambda *given: (time.sleep(0.4), write(*given))[1]
"""
    target, rows = tmp_path / "out.mp4", tmp_path / "rows.jsonl"
    process = start("render", clip, "-o", target, "--json", rows, more=slow)
    until = time.monotonic() + 240
    partial = tmp_path / "out.mp4.partial"
    while not partial.exists() and time.monotonic() < until:
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    time.sleep(0.5)
    process.send_signal(number)
    finished(process).failed(code, word, "nothing was left half-written")
    assert names(tmp_path) == set()
