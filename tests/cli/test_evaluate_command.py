"""``fvdeblur evaluate`` on a small dataset and on videos made here."""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from media_samples import make_video, moving_photograph
from safetensors.torch import save_file

from fvdeblur.evaluation.perceptual import LearnedSimilarity

Run = Callable[..., Any]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two clips of one face as a folder with a table."""
    root = tmp_path_factory.mktemp("material")
    (root / "clips").mkdir()
    frames = [np.ascontiguousarray(f[:240, 80:320]) for f in moving_photograph(14)]
    make_video(root / "clips" / "one.mp4", frames, options={"crf": "12"})
    make_video(
        root / "clips" / "two.mp4", [np.ascontiguousarray(f[:, ::-1]) for f in frames], options={"crf": "12"}
    )
    (root / "clips.tsv").write_text("file\tidentity\tfps\none.mp4\tanna\t25\ntwo.mp4\tben\t25\n")
    return root


def test_a_dataset_by_protocols(fvdeblur: Run, dataset: Path, tmp_path: Path) -> None:
    options = (
        "--split",
        "all",
        "--protocol",
        "average-5",
        "--model",
        "fvd",
        "--model",
        "unsharp",
        "--embedder",
        "none",
    )
    files = ("--json", tmp_path / "e.json", "--csv", tmp_path / "e.csv")
    result = fvdeblur(
        "evaluate", dataset, *options, *files, "--format", "markdown", "--measure", "psnr", "-q"
    )
    assert (result.code, result.err) == (0, "")
    lines = result.out.splitlines()
    assert lines[0] == "| protocol | model | people | psnr (dB) |"
    assert lines[2].startswith("| average-5 | fvd | 2 | ")
    assert lines[3].startswith("| average-5 | unsharp | 2 | ")
    report = json.loads((tmp_path / "e.json").read_text())
    assert {row["person"] for row in report["rows"]} == {"anna", "ben"}
    by_model = {entry["model"]: entry for entry in report["summary"]}
    # The same blurred frames for both models, and unsharp masking makes them sharper by any measure of that.
    assert by_model["fvd"]["psnr"]["before"] == by_model["unsharp"]["psnr"]["before"]
    assert by_model["unsharp"]["sharpness"]["change"]["low"] > 0
    assert report["about"]["seed"] == 7
    assert (tmp_path / "e.csv").read_text().count("\n") == 5
    fvdeblur("evaluate", dataset, *options, *files).failed(2, "e.json exists")


def test_the_same_seed_gives_the_same_figures(fvdeblur: Run, dataset: Path) -> None:
    options = (
        "--split",
        "all",
        "--protocol",
        "jung",
        "--clips",
        "1",
        "--no-detection",
        "--embedder",
        "none",
        "-q",
    )
    one, again, other = (
        list(
            csv.DictReader(
                fvdeblur("evaluate", dataset, *options, "--format", "csv", "--seed", seed).out.splitlines()
            )
        )
        for seed in ("1", "1", "2")
    )
    times = [float(row.pop("seconds_after")) for rows in (one, again, other) for row in rows]
    assert len(times) == 3
    assert all(0 < seconds < 60 for seconds in times)
    assert "psnr_after" in one[0]
    assert one == again
    assert one != other


def test_deconvolution_is_told_the_kernels(fvdeblur: Run, dataset: Path) -> None:
    options = ("--split", "all", "--clips", "1", "--no-detection", "--embedder", "none", "-q")
    models = ("--model", "wiener", "--model", "richardson-lucy")
    protocols = ("--protocol", "jung", "--protocol", "average-5")
    result = fvdeblur("evaluate", dataset, *options, *models, *protocols, "--format", "json")
    report = json.loads(result.out)
    assert [(entry["protocol"], entry["model"]) for entry in report["summary"]] == [
        ("jung", "wiener"),
        ("jung", "richardson-lucy"),
    ]
    assert all(entry["psnr"]["change"]["mean"] > 2 for entry in report["summary"])
    assert [(each["protocol"], each["model"]) for each in report["left_out"]] == [
        ("average-5", "wiener"),
        ("average-5", "richardson-lucy"),
    ]


def test_two_videos(fvdeblur: Run, tmp_path: Path) -> None:
    frames = moving_photograph(5)
    kernel = np.full((1, 9), 1 / 9, np.float32)
    strong = [cv2.filter2D(f, -1, kernel) for f in frames]
    weak = [cv2.filter2D(f, -1, kernel[:, :3] * 3) for f in frames]
    for name, pictures in (("sharp", frames), ("weak", weak), ("strong", strong)):
        make_video(tmp_path / f"{name}.mkv", pictures, options={"crf": "4"})
    paths = [tmp_path / f"{name}.mkv" for name in ("weak", "sharp", "strong")]
    result = fvdeblur(
        "evaluate", paths[0], paths[1], "--blurred", paths[2], "--format", "json", "--embedder", "none", "-q"
    )
    assert result.code == 0
    (row,) = json.loads(result.out)["rows"]
    assert row["frames"] == 5
    assert row["after"]["psnr"] > row["before"]["psnr"] + 3
    assert row["after"]["temporal_error"] < row["before"]["temporal_error"]
    with torch.random.fork_rng():
        torch.manual_seed(3)
        network = LearnedSimilarity().state_dict()
    weights = {name.replace("features_", "features."): network[name] for name in network if "lin" not in name}
    for number in range(5):
        weights[f"lin{number}.model.1.weight"] = network[f"lin{number}.weight"].abs()
    save_file(weights, tmp_path / "lpips.safetensors")
    result = fvdeblur(
        *("evaluate", paths[0], paths[1], "--blurred", paths[2], "--networks", tmp_path, "--no-detection"),
        *("--embedder", "none", "--format", "json", "-q"),
    )
    (told,) = json.loads(result.out)["rows"]
    assert 0 < told["after"]["lpips"] < told["before"]["lpips"]
    assert "d_vgg" not in told["after"]
    alone = fvdeblur("evaluate", paths[0], paths[1], "--embedder", "none", "--people", "-q")
    assert alone.code == 0
    assert f"{row['after']['psnr']:.2f}" in alone.out


def test_what_cannot_be_measured(fvdeblur: Run, dataset: Path, tmp_path: Path, faceless_clip: Path) -> None:
    short = make_video(tmp_path / "short.mkv", moving_photograph(2))
    longer = make_video(tmp_path / "longer.mkv", moving_photograph(3))
    fvdeblur("evaluate", short, longer, "-q", "--embedder", "none").failed(2, "short.mkv", "has 2 frames")
    fvdeblur("evaluate", faceless_clip, faceless_clip, "-q").failed(1, "no face was found")
    fvdeblur("evaluate", short).failed(2, "name two")
    fvdeblur("evaluate", dataset, "--protocol", "none", "-q").failed(2, "unknown protocol")
    fvdeblur("evaluate", dataset, "--blurred", short).failed(2, "--blurred goes with two videos")
    fvdeblur("evaluate", short, longer, "--protocol", "jung").failed(2, "--protocol goes with a dataset")
    fvdeblur("evaluate", dataset, short, longer).failed(2, "name a dataset")
