"""Videos that ask for too much are refused before memory is taken for them."""

from pathlib import Path

import pytest
from media_samples import make_video, moving_photograph

from fvdeblur import Deblurrer
from fvdeblur.errors import InputError, UsageError
from fvdeblur.media import VideoReader, probe


def test_pictures_above_the_limit(tmp_path: Path) -> None:
    path = make_video(tmp_path / "a.mp4", moving_photograph(2))
    assert probe(path, 320 * 240).width == 320
    with pytest.raises(
        InputError, match=r"a\.mp4: its pictures are 320x240, above 76799 pixels; raise --max-pixels"
    ):
        probe(path, 320 * 240 - 1)
    with pytest.raises(InputError, match="--max-pixels"):
        VideoReader(path, max_pixels=1000)


def test_pictures_that_grow_behind_the_header(tmp_path: Path) -> None:
    """The decoder refuses them: they are damage, not memory."""
    long = moving_photograph(5, 160, 120) * 40  # more than FFmpeg looks at in the beginning
    small = make_video(tmp_path / "a.ts", long, options={"g": "1", "bf": "0"})
    large = make_video(tmp_path / "b.ts", moving_photograph(3), options={"g": "1", "bf": "0"})
    both = tmp_path / "both.ts"
    both.write_bytes(small.read_bytes() + large.read_bytes())
    with VideoReader(both) as reader, pytest.raises(InputError, match="the picture size changes"):
        list(reader)
    with VideoReader(both, max_pixels=160 * 120) as reader:
        assert {(decoded.frame.width, decoded.frame.height) for decoded in reader} == {(160, 120)}
        assert any("packets could not be decoded" in line for line in reader.damage)


@pytest.mark.usefixtures("small_model")
def test_limits_of_a_run(short_clip: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="above 1000 pixels"):
        Deblurrer(threads=1, max_pixels=1000).video(short_clip, tmp_path / "a.mp4")
    with pytest.raises(InputError, match=r"lasts 0 s, above the limit of 0\.1 s; raise --max-duration"):
        Deblurrer(threads=1, max_duration=0.1).video(short_clip, tmp_path / "a.mp4")
    assert list(tmp_path.iterdir()) == []
    assert (
        Deblurrer(threads=1, max_duration=10.0, max_pixels=320 * 240)
        .video(short_clip, tmp_path / "a.mp4")
        .frames
        == 6
    )
    for values in ({"max_pixels": 0}, {"max_duration": 0.0}):
        with pytest.raises(UsageError, match="must be positive"):
            Deblurrer(**values)
