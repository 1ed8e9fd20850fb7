"""Random access to frames, by both backends, against the frames that were written."""

import subprocess
import sys
from contextlib import suppress
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from face_material import moving_frames

from fvdeblur.datasets.checking import sha256_of
from fvdeblur.datasets.clip_reader import ClipReader
from fvdeblur.datasets.clip_writer import ClipWriter
from fvdeblur.errors import InputError, OutputError, UsageError

COUNT = 90  # three groups of pictures, and more than OpenCV steps through without seeking

SLICES = [
    slice(0, 3),
    slice(87, None),
    slice(41, 47),
    slice(5, 90, 17),
    slice(None, None, 40),
    slice(-2, None),
    slice(9, 3, -3),
    slice(85, 120),
    slice(20, 20),
]


def frames() -> np.ndarray:
    """Every frame unlike all others: a face that moves, and the frame's number as a bar of two grey levels."""
    pictures = moving_frames(COUNT).copy()
    for number, picture in enumerate(pictures):
        picture[:6, :number], picture[:6, number:] = 220, 30
    return pictures


def write(path: Path, pictures: np.ndarray, fps: Fraction = Fraction(30000, 1001)) -> Path:
    with ClipWriter(path, (pictures.shape[2], pictures.shape[1]), fps) as writer:
        for picture in pictures:
            writer.write(picture)
        writer.finish()
    return path


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("reader") / "clip é.mp4", frames())


def number_of(picture: np.ndarray) -> int:
    return int((picture[1:5].mean(axis=(0, 2)) > 125).sum())


@pytest.mark.parametrize("backend", ["decord", "opencv"])
def test_what_was_written_is_read(clip: Path, backend: str) -> None:
    with ClipReader(clip, backend) as reader:
        assert (len(reader), reader.width, reader.height, reader.backend) == (COUNT, 96, 96, backend)
        assert reader.fps == pytest.approx(30000 / 1001, abs=1e-3)
        everything = reader[:]
    assert everything.shape == (COUNT, 96, 96, 3)
    assert everything.dtype == np.uint8
    difference = everything.astype(int) - frames()
    assert np.abs(difference).mean() < 4  # 4:2:0 and the quantiser
    assert (
        np.abs(difference.mean(axis=(0, 1, 2))).max() < 2.5
    )  # the colour is right: R'G'B', matrix and range


@pytest.mark.parametrize("backend", ["decord", "opencv"])
def test_random_access(clip: Path, backend: str) -> None:
    with ClipReader(clip, backend) as reader:
        whole = reader[:]
        for part in SLICES:
            assert np.array_equal(reader[part], whole[part]), part
            assert [number_of(picture) for picture in reader[part]] == [*range(COUNT)][part], part


def test_both_backends_give_the_same_pixels(clip: Path) -> None:
    with ClipReader(clip, "decord") as one, ClipReader(clip, "opencv") as other:
        for part in SLICES:
            if range(COUNT)[part]:
                assert np.abs(one[part].astype(int) - other[part]).mean() <= 2
        assert one[:0].shape == other[:0].shape == (0, 96, 96, 3)


def test_decord_is_taken_where_it_is_installed(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert ClipReader(clip).backend == "decord"
    monkeypatch.setitem(sys.modules, "decord", None)
    with ClipReader(clip) as reader:
        assert reader.backend == "opencv"
        assert number_of(reader[50:51][0]) == 50
    with pytest.raises(UsageError, match="decord is not installed"):
        ClipReader(clip, "decord")


def test_training_reads_clips_without_pyav_and_without_decord(clip: Path) -> None:
    program = (
        "import sys; sys.modules['av'] = sys.modules['decord'] = None\n"
        "from fvdeblur.datasets import load_clips\n"
        "from fvdeblur.datasets.clip_reader import ClipReader\n"
        "print(ClipReader(sys.argv[1])[10:30:5].shape)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(clip)], capture_output=True, text=True, check=True
    )
    assert done.stdout == "(4, 96, 96, 3)\n"


@pytest.mark.parametrize("backend", ["decord", "opencv"])
@pytest.mark.parametrize("content", [b"", b"no video at all\n" * 100, None])
def test_what_is_no_video(tmp_path: Path, backend: str, content: bytes | None) -> None:
    path = tmp_path / "x.mp4"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=r"x\.mp4: ") as caught:
        ClipReader(path, backend)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("backend", ["decord", "opencv"])
def test_a_clip_that_was_cut_off(clip: Path, tmp_path: Path, backend: str) -> None:
    """The header is in front: the file opens, but its last frames are gone."""
    path = tmp_path / "cut.mp4"
    path.write_bytes(clip.read_bytes()[: clip.stat().st_size * 2 // 3])
    with pytest.raises(InputError, match=r"cut\.mp4: .*cannot be read"), ClipReader(path, backend) as reader:
        reader[:]


def test_an_unknown_backend(clip: Path) -> None:
    with pytest.raises(UsageError, match="unknown reader 'mpeg'"):
        ClipReader(clip, "mpeg")


def test_the_writer_gives_the_same_bytes_every_time(tmp_path: Path) -> None:
    pictures = moving_frames(30)
    digests = {sha256_of(write(tmp_path / f"{i}.mp4", pictures)) for i in range(3)}
    assert len(digests) == 1


def test_an_abandoned_clip_leaves_nothing(tmp_path: Path) -> None:
    with suppress(KeyboardInterrupt), ClipWriter(tmp_path / "a.mp4", (96, 96), Fraction(25)) as writer:
        for picture in moving_frames(3):
            writer.write(picture)
        assert [path.name for path in tmp_path.iterdir()] == ["a.mp4.partial"]
        raise KeyboardInterrupt
    assert not list(tmp_path.iterdir())


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"a\.mp4: cannot be written"):
        ClipWriter(tmp_path / "none" / "a.mp4", (96, 96), Fraction(25))
