"""``models``, ``doctor``, ``config`` and ``completion``: what is installed, and with which defaults."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fvdeblur import released

Run = Callable[..., Any]


@pytest.fixture
def plain(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    """The command line in an empty folder, with the models that are really released and no settings of a user."""
    from fvdeblur.cli import main

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "home"))

    def run(*arguments: object) -> Any:
        from running import Result

        capsys.readouterr()
        with pytest.raises(SystemExit) as caught:
            main([str(argument) for argument in arguments])
        return Result(int(str(caught.value.code)), *capsys.readouterr())

    return run


@pytest.fixture
def damaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of all models in which one bit is wrong and one file is missing."""
    folder = tmp_path / "models"
    shutil.copytree(released.models_folder(), folder)
    weights = folder / "fvd" / "weights.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    (folder / "fitting" / "fitting68.safetensors").unlink()
    monkeypatch.setattr("fvdeblur.released.models_folder", lambda: folder)
    return folder


def test_models_are_listed_found_and_whole(plain: Run) -> None:
    entries = json.loads(plain("models", "list", "--json").out)
    by_name = {entry["name"]: entry for entry in entries}
    assert by_name.keys() >= {"fvd", "regressor", "fitting", "face3d"}
    assert by_name["fvd"]["network"] == "fvd"
    assert by_name["face3d"]["network"] is None
    assert (
        by_name["fvd"]["bytes"] == (released.models_folder() / "fvd" / "weights.safetensors").stat().st_size
    )
    assert [line.split()[0] for line in plain("models").out.splitlines()] == sorted(by_name)
    assert plain("models", "path", "fvd").out == f"{released.models_folder() / 'fvd'}\n"
    assert plain("models", "card", "fvd").out.startswith("# fvd\n")
    result = plain("models", "verify")
    assert result.code == 0
    assert result.out.count("  ok\n") == len(result.out.splitlines()) == len(by_name) + 1  # fitting has two
    plain("models", "path", "none").failed(2, "unknown model 'none'", "face3d")


def test_damage_is_found(plain: Run, damaged: Path) -> None:
    result = plain("models", "verify", "--json")
    assert result.code == 1
    states = {row["file"]: row["ok"] for row in json.loads(result.out)}
    assert states == {
        "model.safetensors": True,
        "fitting5.safetensors": True,
        "fitting68.safetensors": False,
        "weights.safetensors": states["weights.safetensors"],
    }
    assert "fvd/weights.safetensors" in plain("models", "verify", "fvd").out
    assert "DAMAGED" in plain("models", "verify", "fvd").out
    assert plain("models", "verify", "regressor").code == 0
    doctor = plain("doctor")
    assert doctor.code == 1
    assert "damaged or missing: fitting/fitting68.safetensors, fvd/weights.safetensors" in doctor.out


def test_the_doctor_finds_nothing_wrong_here(plain: Run) -> None:
    result = plain("doctor", "--json")
    assert result.code == 0, result.out
    report = json.loads(result.out)
    subjects = {finding["subject"]: finding for finding in report["findings"]}
    assert {"Python", "PyTorch", "device", "codecs", "detector", "models", "threads"} <= subjects.keys()
    assert not [f for f in report["findings"] if f["state"] == "problem"]
    assert all(f["remedy"] for f in report["findings"] if f["state"] == "note")
    assert "H.264" in subjects["codecs"]["text"]
    assert report["versions"]["av"] in subjects["codecs"]["text"]
    text = plain("doctor").out
    assert all(finding["text"] in text for finding in report["findings"] if "free" not in finding["text"])


def test_the_doctor_survives_what_is_broken(plain: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("libcuda.so.1: cannot open shared object file\nmore")

    monkeypatch.setattr("fvdeblur.faces.create_detector", broken)
    result = plain("doctor")
    assert result.code == 1
    assert "problem  detector" in result.out
    assert "libcuda.so.1: cannot open shared object file\n" in result.out


def rows(result: Any) -> dict[str, tuple[Any, str]]:
    return {row["option"]: (row["value"], row["from"]) for row in json.loads(result.out)}


def test_where_defaults_come_from(plain: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    user = tmp_path / "home" / "fvdeblur" / "fvdeblur.toml"
    user.parent.mkdir(parents=True)
    user.write_text("[run]\ncrf = 20\nmin-face = 30\nstrength = 0.5\noverwrite = true\n")
    Path("fvdeblur.toml").write_text("[run]\nmin_face = 48\n")
    monkeypatch.setenv("FVDEBLUR_RUN_STRENGTH", "0.25")
    found = rows(plain("config", "show", "--json"))
    assert found["crf"] == (20, str(user))
    assert found["min-face"] == (48, "fvdeblur.toml")
    assert found["strength"] == ("0.25", "$FVDEBLUR_RUN_STRENGTH")
    assert found["overwrite"] == (True, str(user))
    assert found["model"] == ("fvd", "the default")
    Path("other.toml").write_text("[render]\ncodec = 'hevc'\n")
    found = rows(plain("--config", "other.toml", "config", "show", "render", "--json"))
    assert found["codec"] == ("hevc", "other.toml")
    assert "crf" in found
    assert found["crf"] == (None, "the default")
    assert "codec  " in plain("--config", "other.toml", "config", "show", "render").out


def test_defaults_hold_and_what_is_typed_counts_more(
    fvdeblur: Run, short_clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("fvdeblur.toml").write_text("[run]\nmin-face = 500\n")
    assert "left alone: 6 too small" in fvdeblur("run", short_clip, "-o", "a.mp4").out
    assert "6 faces deblurred" in fvdeblur("run", short_clip, "-o", "b.mp4", "--min-face", "20").out
    monkeypatch.setenv("FVDEBLUR_RUN_MIN_FACE", "20")
    assert "6 faces deblurred" in fvdeblur("run", short_clip, "-o", "c.mp4").out
    monkeypatch.setenv("FVDEBLUR_RUN_STRENGTH", "5")
    fvdeblur("run", short_clip, "-o", "d.mp4").failed(2, "strength must be between 0 and 1")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[run]\ncrff = 3\n", "'crff', which is no option"),
        ("[walk]\ncrf = 3\n", "a table [walk]"),
        ("crf = 3\n", "a table [crf]"),
        ("[run\n", "not valid TOML"),
    ],
)
def test_mistakes_in_the_file(plain: Run, text: str, words: str) -> None:
    Path("fvdeblur.toml").write_text(text)
    plain("run", "x.mp4").failed(2, "fvdeblur.toml", words)
    plain("--config", "none.toml", "run", "x.mp4").failed(2, "none.toml", "cannot be read")
    plain("config", "show", "walk").failed(2)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts(plain: Run, shell: str) -> None:
    result = plain("completion", shell)
    assert result.code == 0
    assert "_FVDEBLUR_COMPLETE" in result.out
    if shutil.which(shell):
        done = subprocess.run([shell, "-n"], input=result.out, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, "")


def test_completion_completes(tmp_path: Path) -> None:
    environment = {**os.environ, "COMP_WORDS": "fvdeblur run --str", "COMP_CWORD": "2"}
    environment["_FVDEBLUR_COMPLETE"] = "bash_complete"
    program = Path(sys.executable).with_name("fvdeblur")
    done = subprocess.run(
        [program], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.stdout.splitlines() == ["plain,--strength"]
