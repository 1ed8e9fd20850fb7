"""``fvdeblur train``: exit codes, one-line errors, and what it imports."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from fvdeblur.cli import main

RECIPE = """
stills_share = 0
steps = 3
batch = 1
patch = 16
pool = 1
workers = 0
log_every = 2
[network_options]
widths = [4]
encoder_blocks = [1]
decoder_blocks = []
[blur]
size = 32
length = 3
strides = [1]
"""


def run(*arguments: str | Path) -> int:
    with pytest.raises(SystemExit) as caught:
        main([str(argument) for argument in arguments])
    return int(caught.value.code or 0)


def test_the_command_line(material: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe, folder = tmp_path / "my recipe.toml", tmp_path / "run"
    recipe.write_text(RECIPE)
    assert run("train", recipe, "-o", folder, "--data", material) == 0
    printed = capsys.readouterr()
    assert "2 clips, 0 stills, from step 0 to 3" in printed.out
    assert printed.err == ""
    assert [json.loads(line)["step"] for line in (folder / "log.jsonl").read_text().splitlines()] == [2, 3]
    assert run("train", recipe, "-o", folder, "--data", material, "--steps", "4") == 0
    assert "from step 3 to 4" in capsys.readouterr().out
    assert torch.load(folder / "checkpoint.pt", weights_only=True)["step"] == 4


@pytest.mark.parametrize(
    ("change", "options", "code", "text"),
    [
        (None, [], 2, "recipe.toml: cannot be read"),
        ("stepz = 1", [], 2, "unknown key 'stepz'"),
        ("", ["--steps", "0"], 2, "steps must be at least 1"),
        ("", ["--data", "/nowhere at all"], 2, "/nowhere at all/clips.tsv"),
        ("", ["--device", "cuda:99"], 2, "cuda:99"),
        ("", ["--initial", "none.safetensors"], 2, "none.safetensors"),
        ("", ["--surprise"], 2, "--surprise"),
    ],
)
def test_mistakes_on_the_command_line(
    material: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    change: str | None,
    options: list[str],
    code: int,
    text: str,
) -> None:
    recipe = tmp_path / "recipe.toml"
    if change is not None:
        recipe.write_text(f"{change}\n{RECIPE}")
    options = options if "--data" in options else [*options, "--data", str(material)]
    assert run("train", recipe, "-o", tmp_path / "run", *options) == code
    error = capsys.readouterr().err
    assert text in error
    assert error.count("\n") == 1


def test_a_broken_clip_fails_with_exit_code_1(
    material: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe, data = tmp_path / "recipe.toml", tmp_path / "data"
    recipe.write_text(RECIPE)
    (data / "clips").mkdir(parents=True)
    (data / "clips.tsv").write_text((material / "clips.tsv").read_text())
    for path in (material / "clips").iterdir():
        (data / "clips" / path.name).write_bytes(path.read_bytes()[:200])
    assert run("train", recipe, "-o", tmp_path / "run", "--data", data) == 1
    assert "clip0.mp4: no frame could be read" in capsys.readouterr().err


def test_training_needs_no_video_library(material: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(RECIPE)
    script = (
        "import sys\n"
        "from fvdeblur.training import load_config, train\n"
        "train(load_config(sys.argv[1], data=sys.argv[2], steps=1), sys.argv[3])\n"
        "heavy = ('av', 'decord', 'insightface', 'scipy', 'onnxruntime', 'onnx', 'skimage', 'rich', 'click')\n"
        "print('imported:', [name for name in heavy if name in sys.modules])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, recipe, material, tmp_path / "run"],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "imported: []" in done.stdout
