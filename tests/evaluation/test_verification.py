"""Telling people apart: the arithmetic, and seven people of two photographs."""

import json
from pathlib import Path
from typing import Any

import cv2
import insightface
import numpy as np
import pytest
import skimage.data
from PIL import Image

from fvdeblur.errors import InputError, UsageError
from fvdeblur.evaluation.verification import best_threshold, evaluate_pairs, read_pairs, told_rightly
from fvdeblur.faces import create_detector
from fvdeblur.faces.identity import arcface_alignment


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Aligned crops of seven people, three of each with small changes of place and light, and pairs of them."""
    folder = tmp_path_factory.mktemp("pairs")
    photograph = Path(insightface.__file__).parent / "data" / "images" / "t1.jpg"
    with Image.open(photograph) as picture:
        group = np.asarray(picture.convert("RGB"))
    detector = create_detector("centerface", threads=1)
    found = [(group, each) for each in detector.detect(group)[:6]]
    portrait = skimage.data.astronaut()
    found.append((portrait, detector.detect(portrait)[0]))
    assert len(found) == 7
    for number, (image, face) in enumerate(found):
        for turn in range(3):
            moved = arcface_alignment(face)
            moved[:, 2] += (turn - 1, 1 - turn)
            crop = cv2.warpAffine(
                image, moved, (112, 112), flags=cv2.INTER_AREA, borderMode=cv2.BORDER_REFLECT
            )
            crop = np.clip(crop.astype(float) * (0.9 + 0.1 * turn), 0, 255).astype(np.uint8)
            Image.fromarray(crop).save(folder / f"p{number}_{turn + 1:04d}.jpg", quality=97)
    same = [f"p{n}\t{a}\t{b}" for n in range(7) for a, b in ((1, 2), (2, 3))]
    other = [f"p{n}\t1\tp{(n + k) % 7}\t3" for n in range(7) for k in (1, 3)]
    (folder / "pairs.txt").write_text("\n".join([*same, *other, ""]))
    return folder


def test_pairs_are_read(faces: Path) -> None:
    pairs = read_pairs(faces)
    assert len(pairs) == 28
    assert sum(pair.same for pair in pairs) == 14
    assert pairs[0].one == faces / "p0_0001.jpg"
    assert pairs[14].other == faces / "p1_0003.jpg"


@pytest.mark.parametrize("line", ["p0 1", "p0 1 x", "p0 1 p1 2 3", "../p0 1 2"])
def test_lines_that_are_no_pairs(tmp_path: Path, line: str) -> None:
    (tmp_path / "pairs.txt").write_text(f"10 300\np0 1 2\n{line}\n")
    with pytest.raises(InputError, match="line 3"):
        read_pairs(tmp_path)


def test_without_a_list(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"pairs\.txt"):
        read_pairs(tmp_path)


def test_the_threshold_tells_most_pairs_rightly() -> None:
    """Against the best of all thresholds, tried one by one."""
    source = np.random.default_rng(5)
    for _ in range(20):
        values, same = source.normal(size=30), source.random(30) < 0.5
        tried = [((values >= t) == same).mean() for t in np.concatenate([values - 1e-9, [values.max() + 1]])]
        assert ((values >= best_threshold(values, same)) == same).mean() == pytest.approx(max(tried))


def test_pairs_are_told_by_a_threshold_of_others() -> None:
    same = np.arange(200) < 100
    apart = np.where(same, 0.9, 0.1) + np.random.default_rng(1).normal(0, 0.02, 200)
    assert told_rightly(apart, same).mean() == 1
    chance = told_rightly(np.random.default_rng(2).random(200), same).mean()
    assert 0.35 < chance < 0.6  # a threshold fitted to the pairs themselves would do better than chance


@pytest.mark.usefixtures("small_model")
def test_blur_makes_people_alike_and_figures_say_so(faces: Path) -> None:
    told: list[tuple[int, int]] = []
    result = evaluate_pairs(
        faces, ["unsharp", "fvd"], embedder="dlib", progress=lambda *step: told.append(step)
    )
    assert list(result.accuracy) == ["sharp", "blurred", "unsharp", "fvd"]
    assert result.accuracy["sharp"].mean > 0.9
    gaps = {
        name: values[result.same].mean() - values[~result.same].mean()
        for name, values in result.similarities.items()
    }
    assert gaps["sharp"] > gaps["blurred"] > 0
    assert told[-1] == (21, 21)
    report: Any = json.loads(json.dumps(result.as_json(), allow_nan=False))
    assert report["pairs"] == 28
    assert report["accuracy"]["sharp"]["gap_closed"] is None
    assert result.as_markdown().count("\n") == 6
    few = evaluate_pairs(faces, [], pairs=6, embedder="dlib")
    assert few.same.tolist() == [True] * 3 + [False] * 3


@pytest.mark.usefixtures("small_model")
def test_crops_of_another_size(faces: Path, tmp_path: Path) -> None:
    for number in (1, 2):
        Image.new("RGB", (100, 112)).save(tmp_path / f"a_{number:04d}.jpg")
    (tmp_path / "pairs.txt").write_text("a 1 2\n")
    with pytest.raises(InputError, match="is 100x112, not 112x112"):
        evaluate_pairs(tmp_path, ["fvd"], embedder="dlib")
