"""Frames encoded and decoded again by real video encoders."""

import sys
from collections import Counter

import av
import numpy as np
import pytest
from face_material import moving_frames

from fvdeblur.datasets.codec import GROUP_LENGTHS, PRESETS, Encoding, draw_encoding, encode_decode
from fvdeblur.errors import UsageError
from fvdeblur.evaluation import psnr

CODECS = ("h264", "hevc", "mpeg4")


def encoding(codec: str, quality: float = 0.0) -> Encoding:
    """A middling quality where none is given."""
    return Encoding(codec, quality or (6.0 if codec == "mpeg4" else 26.0), "ultrafast", 12)


@pytest.fixture(scope="module")
def frames() -> np.ndarray:
    """uint8 [6, 64, 96, 3], the face moving."""
    return np.ascontiguousarray(moving_frames(6)[:, 16:80])


@pytest.mark.parametrize("codec", CODECS)
def test_frames_come_back_in_their_places(frames: np.ndarray, codec: str) -> None:
    before = frames.copy()
    decoded = encode_decode(frames, encoding(codec))
    assert decoded.shape == frames.shape
    assert decoded.dtype == np.uint8
    assert np.array_equal(frames, before)
    quality = np.array([[psnr(one, other) for other in frames] for one in decoded])
    assert (quality.argmax(axis=1) == np.arange(6)).all()
    assert 24 < np.diag(quality).min() <= np.diag(quality).max() < 48


@pytest.mark.parametrize("codec", CODECS)
def test_a_larger_factor_is_coarser(frames: np.ndarray, codec: str) -> None:
    factors = (2, 8, 24) if codec == "mpeg4" else (14, 28, 42)
    quality = [psnr(encode_decode(frames, encoding(codec, factor)), frames) for factor in factors]
    assert quality[0] > quality[1] + 2
    assert quality[1] > quality[2] + 2


@pytest.mark.parametrize("codec", CODECS)
def test_the_same_frames_come_back_the_same_way(frames: np.ndarray, codec: str) -> None:
    for preset in PRESETS if codec == "h264" else ("ultrafast",):
        given = Encoding(codec, 8.0 if codec == "mpeg4" else 28.0, preset, 4)
        first, again = (encode_decode(frames, given) for _ in range(2))
        assert np.array_equal(first, again)


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize(("height", "width"), [(63, 96), (64, 95), (63, 95)])
def test_odd_sizes(frames: np.ndarray, codec: str, height: int, width: int) -> None:
    part = frames[:3, :height, :width]
    decoded = encode_decode(part, encoding(codec))
    assert decoded.shape == part.shape
    assert psnr(decoded, part) > 24
    # the last row and column are those of the picture, not of what it was filled up with
    assert psnr(decoded[:, -2:], part[:, -2:]) > 20
    assert psnr(decoded[:, :, -2:], part[:, :, -2:]) > 20


@pytest.mark.parametrize("codec", CODECS)
def test_one_frame(frames: np.ndarray, codec: str) -> None:
    assert encode_decode(frames[:1], encoding(codec)).shape == (1, 64, 96, 3)


def test_short_groups_have_more_intra_frames(frames: np.ndarray) -> None:
    """At a coarse quality an intra frame is coded anew and differs from its predecessor where nothing moves."""
    still = np.repeat(frames[:1], 9, axis=0)
    changes = {}
    for length in (4, 250):
        decoded = encode_decode(still, Encoding("mpeg4", 20.0, "medium", length)).astype(int)
        changes[length] = np.abs(np.diff(decoded, axis=0)).max(axis=(1, 2, 3))
    assert changes[4].sum() >= changes[250].sum()
    assert tuple(sorted(GROUP_LENGTHS)) == GROUP_LENGTHS


def test_what_is_drawn() -> None:
    rng = np.random.default_rng(0)
    drawn = [draw_encoding(rng, (15.0, 31.0)) for _ in range(600)]
    counts = Counter(one.codec for one in drawn)
    for codec, share in (("h264", 0.7), ("hevc", 0.2), ("mpeg4", 0.1)):
        assert counts[codec] / 600 == pytest.approx(share, abs=0.06)
    for one in drawn:
        low, high = (1, 31) if one.codec == "mpeg4" else (15, 31)
        assert low <= one.quality <= high
        assert one.preset == "ultrafast" or one.codec == "h264"
    assert {one.preset for one in drawn} == set(PRESETS)
    assert {one.group_length for one in drawn} == set(GROUP_LENGTHS)
    assert draw_encoding(np.random.default_rng(3), (20, 30)) == draw_encoding(
        np.random.default_rng(3), (20, 30)
    )


@pytest.mark.parametrize("factor", [18.0, 30.0])
def test_codecs_are_about_as_coarse_as_each_other(frames: np.ndarray, factor: float) -> None:
    class Told(np.random.Generator):
        """Draws this codec and this factor."""

        def choice(self, values: object, *_: object, **__: object) -> object:  # type: ignore[override]
            return self.told if "hevc" in list(values) else list(values)[-1]  # type: ignore[attr-defined,call-overload]

        def uniform(self, *_: object) -> float:  # type: ignore[override]
            return factor

    quality = {}
    for codec in ("h264", "mpeg4"):
        rng = Told(np.random.PCG64(0))
        rng.told = codec  # type: ignore[attr-defined]
        given = draw_encoding(rng, (factor, factor))
        assert given.codec == codec
        quality[codec] = psnr(encode_decode(frames, given), frames)
    assert quality["mpeg4"] == pytest.approx(quality["h264"], abs=5)


def test_without_pyav(frames: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(UsageError) as caught:
        encode_decode(frames, encoding("h264"))
    assert str(caught.value) == "PyAV is not installed; install av, or set blur.codec_share = 0 in the recipe"


@pytest.mark.parametrize(("codec", "encoder"), [("h264", "libx264"), ("hevc", "libx265"), ("mpeg4", "mpeg4")])
def test_without_the_encoder(
    frames: np.ndarray, monkeypatch: pytest.MonkeyPatch, codec: str, encoder: str
) -> None:
    create = av.CodecContext.create

    class Poor:
        """FFmpeg built without this encoder."""

        @staticmethod
        def create(name: str, mode: str) -> object:
            return create("no-such-encoder" if mode == "w" and name == encoder else name, mode)

    monkeypatch.setattr(av, "CodecContext", Poor)
    with pytest.raises(UsageError, match=f"this PyAV has no encoder {encoder}; set blur.codec_share = 0"):
        encode_decode(frames, encoding(codec))
