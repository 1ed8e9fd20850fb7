"""Photographs and image sequences through the whole pipeline, with the small model."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import skimage.data
from media_samples import moving_photograph
from PIL import Image

from fvdeblur import Deblurrer
from fvdeblur.errors import InputError, UsageError

pytestmark = pytest.mark.usefixtures("small_model")


@pytest.fixture
def portrait(tmp_path: Path) -> Path:
    """The upper half of a photograph, with a face at its top, stored lying on its side as phones do."""
    upright = skimage.data.astronaut()[:320, 60:480]
    exif = Image.Exif()
    exif[0x0112] = 6
    path = tmp_path / "portrait.png"
    Image.fromarray(np.ascontiguousarray(np.rot90(upright))).save(path, exif=exif)
    return path


def pixels(path: Path) -> Any:
    with Image.open(path) as picture:
        return np.asarray(picture).copy()


def test_a_photograph_lying_on_its_side(portrait: Path) -> None:
    summary = Deblurrer(threads=1).image(portrait)
    assert summary.output == portrait.with_name("portrait.deblurred.png")
    assert (summary.frames, summary.people, summary.restored, summary.copied) == (1, 1, 1, False)
    before, after = (np.rot90(pixels(path), -1) for path in (portrait, summary.output))
    changed = (before != after).any(-1)
    assert changed[60:180, 110:230].mean() > 0.2
    assert not changed[280:].any()
    assert not list(portrait.parent.glob("*.partial"))
    with Image.open(summary.output) as written:
        assert written.getexif()[0x0112] == 6


def test_without_a_face_the_file_is_copied(tmp_path: Path) -> None:
    source = tmp_path / "cup.jpg"
    Image.fromarray(skimage.data.coffee()[:240, :320]).save(source, quality=80)
    summary = Deblurrer(threads=1).image(source)
    assert (summary.people, summary.restored, summary.copied) == (0, 0, True)
    assert summary.output.read_bytes() == source.read_bytes()


def test_the_photograph_and_what_exists_are_never_replaced(portrait: Path) -> None:
    deblurrer = Deblurrer(threads=1)
    for overwrite in (False, True):
        with pytest.raises(UsageError, match="replace the input"):
            deblurrer.with_settings(deblurrer.settings.changed({"overwrite": overwrite})).image(
                portrait, portrait
            )
    taken = portrait.with_name("portrait.deblurred.png")
    taken.write_text("mine")
    with pytest.raises(UsageError, match="exists; use --overwrite"):
        deblurrer.image(portrait)
    assert taken.read_text() == "mine"
    with pytest.raises(UsageError, match="no format of photographs"):
        deblurrer.image(portrait, portrait.with_suffix(".mp4"))
    with pytest.raises(UsageError, match="--crf is for videos"):
        Deblurrer(threads=1, crf=20.0).image(portrait, portrait.with_name("x.png"))


def sequence(folder: Path, count: int = 6) -> list[Path]:
    folder.mkdir()
    paths = []
    for number, frame in enumerate(moving_photograph(count)):
        paths.append(folder / f"f{number:03d}.png")
        Image.fromarray(frame).save(paths[-1])
    return paths


def test_a_sequence_is_restored_as_a_video(tmp_path: Path) -> None:
    """The network sees a picture's neighbours: alone, a picture comes out differently."""
    paths = sequence(tmp_path / "in")
    told = []
    deblurrer = Deblurrer(threads=1)
    summary = deblurrer.sequence(paths, tmp_path / "out", progress=told.append)
    assert (summary.frames, summary.people, summary.restored) == (6, 1, 6)
    assert [(p.frames, p.total) for p in told] == [(n, 6) for n in range(1, 7)]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [path.name for path in paths]
    assert {path.name for path in tmp_path.iterdir()} == {"in", "out"}
    for path in paths:
        assert not np.array_equal(pixels(path), pixels(tmp_path / "out" / path.name))
    alone = deblurrer.image(paths[2], tmp_path / "alone.png")
    assert not np.array_equal(pixels(alone.output), pixels(tmp_path / "out" / paths[2].name))


def test_a_sequence_that_breaks_leaves_nothing(tmp_path: Path) -> None:
    paths = sequence(tmp_path / "in")
    Image.fromarray(np.zeros((100, 100, 3), np.uint8)).save(paths[4])
    with pytest.raises(InputError, match=r"f004\.png: differs from the first"):
        Deblurrer(threads=1).sequence(paths, tmp_path / "out")
    assert {path.name for path in tmp_path.iterdir()} == {"in"}


def test_the_folder_of_a_sequence_is_not_replaced(tmp_path: Path) -> None:
    paths = sequence(tmp_path / "in", 2)
    (tmp_path / "out").mkdir()
    with pytest.raises(UsageError, match="exists"):
        Deblurrer(threads=1).sequence(paths, tmp_path / "out")
    with pytest.raises(UsageError, match="replace the input"):
        Deblurrer(threads=1, overwrite=True).sequence(paths, tmp_path / "in")
    assert len(list((tmp_path / "in").iterdir())) == 2
    (tmp_path / "out" / "other").touch()
    Deblurrer(threads=1, overwrite=True).sequence(paths, tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["f000.png", "f001.png"]


def test_the_card_may_name_another_model_for_photographs(
    portrait: Path, tmp_path: Path, small_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    models = tmp_path / "models"
    alone, companion = (shutil.copytree(small_model / "fvd", models / name) for name in ("fvd", "still"))
    monkeypatch.setattr("fvdeblur.released.models_folder", lambda: models)
    for home, more in ((alone, {"photographs": "still"}), (companion, {"largest_side": 64})):
        card = json.loads((home / "config.json").read_text())
        (home / "config.json").write_text(json.dumps({**card, **more}))
    deblurrer = Deblurrer(threads=1)
    summary = deblurrer.image(portrait)
    assert (summary.model, summary.restored) == ("still", 1)
    itself = Deblurrer(threads=1, model="still").image(portrait, tmp_path / "itself.png")
    np.testing.assert_array_equal(pixels(summary.output), pixels(itself.output))
    upright = np.ascontiguousarray(skimage.data.astronaut()[:320, 60:480])
    (as_video,) = deblurrer.frames([upright])
    assert (deblurrer.image(upright) != as_video).any()  # frames are for the model itself
    shutil.rmtree(companion)
    with pytest.raises(UsageError, match="unknown model 'still'"):
        Deblurrer(threads=1, overwrite=True).image(portrait)
