"""``fvdeblur analyze``, ``crops`` and ``compare``: what they write, what they say, and how they fail."""

import dataclasses
import inspect
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import click
import pytest
from mean_face import MeanFace
from media_samples import make_video, moving_photograph
from running import Result, finished

from fvdeblur.cli import commands
from fvdeblur.cli.analyze import analyze
from fvdeblur.cli.compare import compare
from fvdeblur.cli.crops import crops
from fvdeblur.morphable import model
from fvdeblur.restoration import Settings
from fvdeblur.restoration.track_file import read_tracks

Run = Callable[..., Result]
Start = Callable[..., subprocess.Popen[str]]
MODELS = model.models_folder()


@pytest.fixture(autouse=True)
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    for command in (analyze, crops, compare):
        monkeypatch.setitem(commands.commands, command.name or "", command)
    monkeypatch.setattr("fvdeblur.morphable.reader.load_regressor", MeanFace)


def names(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_analyze(fvdeblur: Run, short_clip: Path, tmp_path: Path) -> None:
    source = tmp_path / "clip.mp4"
    source.write_bytes(short_clip.read_bytes())
    result = fvdeblur("analyze", source, "--identity", "shape", "--coefficients", "--threads", "1")
    assert (result.code, result.err) == (0, "")
    target = tmp_path / "clip.tracks.json"
    lines = result.out.splitlines()
    assert lines[:2] == [str(target), "  6 frames, 1 shot, 1 face track of 1 person"]
    assert lines[2].startswith("  6 faces")
    assert lines[3] == "  people told apart by 3D shape, texture and colours"
    assert lines[4].endswith(" frames/s) on CPU")
    assert len(json.loads(target.read_text())["frames"][0]["faces"][0]["coefficients"]) == 239
    assert list(read_tracks(target).tracks) == [0]
    fvdeblur("analyze", source).failed(2, "clip.tracks.json exists; use --overwrite")
    again = fvdeblur("analyze", source, "--overwrite", "-q", "--identity", "shape", "--end", "0.1")
    assert again == Result(0, "", "")
    assert len(json.loads(target.read_text())["frames"]) == 3
    assert names(tmp_path) == {"clip.mp4", "clip.tracks.json"}


def test_crops(fvdeblur: Run, short_clip: Path, tmp_path: Path) -> None:
    target = tmp_path / "faces"
    quick = ["--threads", "1", "--identity", "shape", "--format", "jpg", "--raw", "--margin", "0"]
    result = fvdeblur("crops", short_clip, "-o", target, *quick, "--template", "{track}-{time:.2f}")
    assert (result.code, result.err) == (0, "")
    lines = result.out.splitlines()
    assert lines[:3] == [
        str(target),
        "  6 frames, 6 crops of 1 person in 1 face track",
        "  6 faces deblurred",
    ]
    assert {f"person-01/0-0.{k:02d}.jpg" for k in range(0, 24, 4)} <= names(target)
    assert names(target) >= {"best/person-01.png", "contact-sheet.png", "index.csv", "index.jsonl"}
    fvdeblur("crops", short_clip, "-o", target, *quick).failed(
        2, "faces exists; use --overwrite or another -o"
    )
    again = fvdeblur("crops", short_clip, "-o", target, *quick, "--overwrite", "-q", "--strength", "0")
    assert again == Result(0, "", "")
    assert names(target) >= {f"person-01/{k:06d}.jpg" for k in range(6)}


def test_compare(fvdeblur: Run, short_clip: Path, tmp_path: Path) -> None:
    target = tmp_path / "sheet.png"
    result = fvdeblur("compare", short_clip, short_clip, "-o", target, "--reference", "A", "--mode", "split")
    assert (result.code, result.err) == (0, "")
    lines = result.out.splitlines()
    assert lines[:3] == [str(target), "  6 frames compared", "  B against A: PSNR inf dB, SSIM 1.0000"]
    quiet = fvdeblur("compare", short_clip, short_clip, "-o", tmp_path / "v.mp4", "-q", "--reference", "B")
    assert quiet == Result(0, "  A against B: PSNR inf dB, SSIM 1.0000\n", "")
    assert names(tmp_path) == {"sheet.png", "v.mp4"}


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["analyze", "missing.mp4"], 2, "missing.mp4: there is no such file"),
        (["analyze", "text.mp4"], 1, "text.mp4: is not a video"),
        (["analyze", "a.mp4", "-o", "a.mp4"], 2, "a.mp4: the output would replace the input"),
        (["analyze", "a.mp4", "--identity", "eyes"], 2, "unknown embedder 'eyes'"),
        (["analyze", "a.mp4", "--codec", "hevc"], 2, "--codec"),
        (
            ["analyze", "a.mp4", "--start", "9", "--identity", "shape"],
            1,
            "no frame lies between 9 s and the end",
        ),
        (["crops", "missing.mp4"], 2, "missing.mp4: there is no such file"),
        (["crops", "a.mp4", "--faces", "nice"], 2, "no faces are called 'nice'"),
        (["crops", "a.mp4", "--faces", "like:text.mp4"], 1, "text.mp4: is no picture"),
        (["crops", "a.mp4", "--faces", "like:no.png"], 1, "no.png: cannot be read"),
        (["crops", "a.mp4", "--size", "4"], 2, "size of crops must be between 16 and 4096"),
        (["crops", "a.mp4", "--format", "tiff"], 2, "unknown format 'tiff'"),
        (["crops", "a.mp4", "--template", "{x}"], 2, "the template '{x}' cannot be filled"),
        (["crops", "a.mp4", "-o", "text.mp4"], 2, "text.mp4: is no folder"),
        (["crops", "a.mp4", "-o", "."], 2, "is not empty and holds other things"),
        (["compare", "a.mp4", "text.mp4", "-o", "x.png"], 1, "text.mp4: is not a video"),
        (["compare", "a.mp4", "a.mp4"], 2, "-o"),
        (["compare", "a.mp4", "a.mp4", "-o", "x.png", "--mode", "blend"], 2, "blend"),
        (["compare", "a.mp4", "a.mp4", "-o", "no/x.png"], 1, "x.png: cannot be written"),
    ],
)
def test_what_cannot_be_done(
    fvdeblur: Run,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    code: int,
    words: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    make_video(tmp_path / "a.mp4", moving_photograph(2, 64, 48))
    Path("text.mp4").write_text("no video")
    before = {name: Path(name).read_bytes() for name in names(tmp_path)}
    fvdeblur(*arguments).failed(code, words)
    assert {name: Path(name).read_bytes() for name in names(tmp_path)} == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.mp4", "text.mp4"]


@pytest.mark.parametrize("command", [analyze, crops])
def test_the_defaults_are_those_of_the_settings(command: click.Command) -> None:
    given = command.make_context("x", ["clip.mp4"]).params
    settings = {setting.name: setting.default for setting in dataclasses.fields(Settings)}
    for name in ("device", "min_face", "detector", "threads", "overwrite", "start", "end"):
        assert given[name] == settings[name]
    for option in command.params:
        if isinstance(option, click.Option):
            assert option.help


def test_help_loads_no_heavy_library() -> None:
    program = (
        "import sys\n"
        "for name in ('analyze', 'crops', 'compare'):\n"
        "    module = __import__(f'fvdeblur.cli.{name}', fromlist=[name])\n"
        "    getattr(module, name).main(['--help'], standalone_mode=False)\n"
        "heavy = {'torch', 'av', 'cv2', 'numpy', 'scipy', 'onnxruntime', 'onnx', 'insightface', 'dlib'}\n"
        "print('LOADED', sorted(heavy & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "LOADED []"


def test_crops_stopped_at_work(start: Start, clip: Path, tmp_path: Path) -> None:
    slow = f"""
import math, time, torch
from torch import nn
import fvdeblur.morphable.model as model, fvdeblur.morphable.reader as reader
from fvdeblur.cli import commands
from fvdeblur.cli.crops import crops
from fvdeblur.morphable import Coefficients
from fvdeblur.morphable.regressor import USUAL_SCALE, Regressor
from fvdeblur.restoration.crop_folder import CropFolder
{inspect.getsource(MeanFace)}
torch.set_num_threads(1)
commands.add_command(crops)
model.models_folder = lambda: Path({str(MODELS)!r})
reader.load_regressor = MeanFace
add = CropFolder.add
CropFolder.add = lambda *given: (time.sleep(0.4), add(*given))[1]
"""
    target = tmp_path / "faces"
    process = start("crops", clip, "-o", target, "--identity", "shape", more=slow)
    until = time.monotonic() + 240
    while not list(tmp_path.rglob("*.png")) and time.monotonic() < until:
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    finished(process).failed(130, "interrupted", "nothing was left half-written")
    assert list(tmp_path.iterdir()) == []
