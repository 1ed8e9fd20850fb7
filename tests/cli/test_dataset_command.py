"""``fvdeblur dataset``: totals, verification, contact sheets and conversion of a small dataset."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "datasets"))
from face_material import moving_frames, write_clip, write_material

Run = Callable[..., Any]


@pytest.fixture(scope="module")
def material(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_material(tmp_path_factory.mktemp("material") / "m", frames=10)


@pytest.fixture
def dataset(material: Path, tmp_path: Path, fvdeblur: Run) -> Path:
    """Three clips and three stills, copied, so that a test may spoil them."""
    target = tmp_path / "dataset"
    result = fvdeblur("dataset", "convert", material, "-o", target)
    assert (result.code, result.err) == (0, "")
    assert result.out == f"{target}: 3 clips, 3 stills\n"
    for path in [*target.glob("*/*")]:
        if path.stat().st_nlink > 1:
            data = path.read_bytes()
            path.unlink()
            path.write_bytes(data)
    return target


def test_totals_as_json(fvdeblur: Run, dataset: Path) -> None:
    result = fvdeblur("dataset", "info", dataset, "--json")
    assert (result.code, result.err) == (0, "")
    found = json.loads(result.out)
    size = sum(
        path.stat().st_size for folder in ("clips", "portraits") for path in (dataset / folder).iterdir()
    )
    assert found["total"] == {
        "clips": 3,
        "stills": 3,
        "identities": 3,
        "sources": 6,
        "frames": 33,
        "hours": pytest.approx(30 / 25 / 3600),
        "bytes": size,
    }
    assert {split: part["clips"] for split, part in found["splits"].items()} == {"train": 2, "validation": 1}
    assert found["figures"]["side"] == {"least": 96, "median": 96, "largest": 96}
    assert found["figures"]["frames"]["median"] == 10
    assert found["figures"]["motion"]["largest"] > 1
    assert found["shared_identities"] == []


def test_totals_as_a_table(fvdeblur: Run, dataset: Path) -> None:
    result = fvdeblur("dataset", "info", dataset)
    assert result.code == 0
    rows = [[cell.strip() for cell in line.strip("│").split("│")] for line in result.out.splitlines()]
    assert ["clips", "2", "1", "3"] in rows
    assert ["frames", "22", "11", "33"] in rows
    assert ["side", "96 px", "96 px", "96 px"] in rows


def test_a_sound_dataset(fvdeblur: Run, dataset: Path) -> None:
    result = fvdeblur("dataset", "check", dataset, "--threads", "2")
    assert (result.code, result.out, result.err) == (0, f"{dataset}: 6 files are in order\n", "")


def test_a_person_in_both_splits(fvdeblur: Run, dataset: Path) -> None:
    lines = [json.loads(line) for line in (dataset / "index.jsonl").read_text().splitlines()]
    clip = next(line for line in lines if line["split"] == "train" and line["fps"])
    clip["split"] = "validation"
    lines.append({**clip, "file": "clips/x.mp4", "split": "train"})
    (dataset / "index.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert f"{clip['identity']} stands in both splits" in fvdeblur("dataset", "info", dataset).err
    result = fvdeblur("dataset", "check", dataset)
    assert result.code == 1
    assert f"{clip['file']}: stands in the split validation, but the rule puts" in result.out


def test_what_is_wrong_is_found(fvdeblur: Run, dataset: Path) -> None:
    clips, portraits = dataset / "clips", dataset / "portraits"
    truncated = clips / "clip0.mp4"
    truncated.write_bytes(truncated.read_bytes()[: truncated.stat().st_size // 2])
    (clips / "clip1.mp4").unlink()
    write_clip(clips / "clip2.mp4", moving_frames(8, size=64))  # exchanged
    picture = sorted(portraits.iterdir())[0]
    picture.write_bytes(picture.read_bytes()[:200])
    (clips / "stranger.mp4").write_bytes(b"x")
    result = fvdeblur("dataset", "check", dataset)
    assert result.code == 1
    lines = dict(line.split(": ", 1) for line in result.out.splitlines())
    assert set(lines) == {
        "clips/clip0.mp4",
        "clips/clip1.mp4",
        "clips/clip2.mp4",
        f"portraits/{picture.name}",
        "clips/stranger.mp4",
    }
    assert "another SHA-256" in lines["clips/clip0.mp4"]
    assert "cannot be read" in lines["clips/clip0.mp4"]
    assert lines["clips/clip1.mp4"].startswith("is missing")
    for words in ("another SHA-256", "is 64x64 pixels instead of 96x96", "holds 8 frames instead of 10"):
        assert words in lines["clips/clip2.mp4"]
    assert "the picture cannot be read" in lines[f"portraits/{picture.name}"]
    assert lines["clips/stranger.mp4"] == "is not in the index"
    assert result.err == f"fvdeblur: {dataset}: 5 problems with 6 files\n"


def test_one_flipped_bit_is_found(fvdeblur: Run, dataset: Path) -> None:
    path = dataset / "clips" / "clip1.mp4"
    data = bytearray(path.read_bytes())
    data[-20] ^= 1
    path.write_bytes(data)
    result = fvdeblur("dataset", "check", dataset)
    assert result.code == 1
    assert result.out.startswith("clips/clip1.mp4: is not the file that was indexed")
    assert len(result.out.splitlines()) == 1


def test_a_contact_sheet(fvdeblur: Run, dataset: Path, tmp_path: Path) -> None:
    target = tmp_path / "sheet.png"
    result = fvdeblur("dataset", "sheet", dataset, "-o", target, "--frames", "4", "--side", "96")
    assert (result.code, result.out, result.err) == (0, f"{target}: 6 clips\n", "")
    sheet = cv2.cvtColor(cv2.imread(str(target)), cv2.COLOR_BGR2RGB)
    row = 96 + 34
    assert sheet.shape[0] == 6 * row
    frames = moving_frames(10, step=(-1, 1))  # the first clip, at its own size
    for place, number in enumerate((0, 3, 6, 9)):
        shown = sheet[:96, place * 100 : place * 100 + 96].astype(int)
        assert np.abs(shown - frames[number]).mean() < 4
    for top in range(0, 6 * row, row):
        assert (sheet[top + 96 : top + row] > 150).any()  # two lines of text
    result = fvdeblur("dataset", "sheet", dataset, "--clips", "2")
    assert result.out == f"{dataset / 'sheet.png'}: 2 clips\n"


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["info", "{none}"], 2, ["none", "index of the dataset cannot be read"]),
        (["check", "{none}"], 2, ["index.jsonl"]),
        (["sheet", "{dataset}", "-o", "sheet.jpg"], 2, ["sheet.jpg", "ends in .png"]),
        (["sheet", "{dataset}", "--frames", "0"], 2, ["frames is 0"]),
        (["sheet", "{dataset}", "-o", "/dev/null/x.png"], 1, ["cannot be written"]),
        (["convert", "{none}", "-o", "{none}"], 2, ["neither clips.tsv nor portraits.tsv"]),
        (["convert", "{material}", "-o", "{dataset}"], 2, ["exists already"]),
        (["check", "{spoilt}"], 1, ["index.jsonl: line 1 is not JSON"]),
    ],
)
def test_wrong_use(
    fvdeblur: Run,
    dataset: Path,
    material: Path,
    tmp_path: Path,
    arguments: list[str],
    code: int,
    words: list[str],
) -> None:
    (tmp_path / "spoilt").mkdir()
    (tmp_path / "spoilt" / "index.jsonl").write_text("{\n")
    places = {
        "none": tmp_path / "none",
        "dataset": dataset,
        "material": material,
        "spoilt": tmp_path / "spoilt",
    }
    result = fvdeblur("dataset", *(text.format(**places) for text in arguments))
    result.failed(code, *words)
    assert not (tmp_path / "none").exists()
