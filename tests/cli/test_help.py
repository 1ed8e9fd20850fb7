"""What the program says of itself, and how quickly."""

import dataclasses
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import click
import pytest

from fvdeblur import __version__
from fvdeblur.cli import commands
from fvdeblur.restoration import Settings

Run = Callable[..., Any]


@pytest.mark.parametrize("setting", dataclasses.fields(Settings), ids=lambda setting: setting.name)
def test_the_defaults_are_those_of_the_python_interface(setting: Any) -> None:
    given = commands.commands["run"].make_context("run", ["clip.mp4"]).params
    assert given[setting.name] == setting.default
    assert type(given[setting.name]) is type(setting.default)


def test_every_option_is_a_setting_or_about_the_command_alone() -> None:
    options = {p.name for p in commands.commands["run"].params if isinstance(p, click.Option)}
    settings = {setting.name for setting in dataclasses.fields(Settings)}
    about_inputs = {"recursive", "sequence", "skip_existing", "fail_fast", "workers", "ray", "dry_run"}
    about_reports = {
        "quiet",
        "verbose",
        "debug",
        "progress",
        "as_json",
        "log",
        "report",
        "compare",
        "compare_output",
    }
    assert options - settings == {"output"} | about_inputs | about_reports


def test_help_tells_the_defaults(fvdeblur: Run) -> None:
    result = fvdeblur("run", "--help")
    assert (result.code, result.err) == (0, "")
    text = " ".join(result.out.split())
    for setting in dataclasses.fields(Settings):
        name = setting.name.replace("_", "-")
        assert f"--{name}" in text or f"--no-{name}" in text
        default = ", ".join(setting.default) if isinstance(setting.default, tuple) else setting.default
        if default not in {None, ""} and not isinstance(default, bool):
            assert f"[default: {default}]" in text, setting.name
    assert "[default: by codec, H.264 17]" in text


def test_help_loads_no_heavy_library() -> None:
    program = (
        "import sys\n"
        "from fvdeblur.cli import main\n"
        "try:\n    main(['run', '--help'])\n"
        "except SystemExit as error:\n    assert error.code == 0\n"
        "heavy = {'torch', 'av', 'cv2', 'numpy', 'scipy', 'onnxruntime', 'onnx', 'insightface'}\n"
        "print('LOADED', sorted(heavy & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "LOADED []"
    assert done.stderr == ""


def test_without_a_command_the_help_is_shown(fvdeblur: Run) -> None:
    result = fvdeblur()
    assert (result.code, result.out) == (2, "")
    assert result.err.startswith("Usage: fvdeblur [OPTIONS] ")
    assert len(result.err.splitlines()) > 8


def test_version(fvdeblur: Run) -> None:
    assert fvdeblur("--version").out == f"fvdeblur, version {__version__}\n"


def test_an_unknown_command(fvdeblur: Run) -> None:
    fvdeblur("deblur").failed(2, "deblur")
    fvdeblur("run").failed(2, "INPUT")


def test_train_needs_a_recipe(fvdeblur: Run, tmp_path: Any) -> None:
    fvdeblur("train", tmp_path / "none.toml", "-o", tmp_path / "out").failed(2, "none.toml")
    assert not (tmp_path / "out").exists()
