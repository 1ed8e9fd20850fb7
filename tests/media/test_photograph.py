"""Photographs: read, changed in one place, and written with everything else as it was."""

import io
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import skimage.data
from PIL import Image, PngImagePlugin

from fvdeblur.errors import InputError, OutputError, UsageError
from fvdeblur.media import FramePlanes
from fvdeblur.media.photograph import Photograph, is_photograph

ORIENTATION, MAKER = 0x0112, 0x010F


@pytest.fixture(scope="module")
def astronaut() -> Any:
    return skimage.data.astronaut()[:200, 130:331]


def icc_profile() -> bytes:
    from PIL import ImageCms

    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def brightened(photograph: Photograph) -> None:
    """Change an 8x8 square by a tenth."""
    FramePlanes(photograph.frame).add_rgb(40, 40, np.full((8, 8, 3), 0.1, np.float32))


def changed_places(one: Any, other: Any) -> tuple[int, int, int, int]:
    different = np.argwhere((one != other).reshape(*one.shape[:2], -1).any(-1))
    (top, left), (bottom, right) = different.min(0), different.max(0)
    return top, left, bottom, right


@pytest.mark.parametrize(
    ("suffix", "mode", "options"),
    [
        (".png", "RGB", {}),
        (".png", "RGBA", {}),
        (".png", "LA", {}),
        (".png", "L", {}),
        (".webp", "RGBA", {"lossless": True, "exact": True}),
        (".tif", "RGB", {"compression": "tiff_lzw"}),
        (".tif", "L", {}),
        (".bmp", "RGB", {}),
    ],
)
def test_lossless_formats_change_in_one_place_only(
    astronaut: Any, tmp_path: Path, suffix: str, mode: str, options: dict[str, Any]
) -> None:
    picture = Image.fromarray(astronaut).convert(mode)
    if "A" in mode:
        ramp = np.broadcast_to(np.arange(201, dtype=np.uint8), (200, 201))
        picture.putalpha(Image.fromarray(np.ascontiguousarray(ramp)))
    source, target = tmp_path / f"a{suffix}", tmp_path / f"b{suffix}"
    picture.save(source, **options)
    before = source.read_bytes()
    photograph = Photograph(source)
    brightened(photograph)
    photograph.save(target)
    assert source.read_bytes() == before
    with Image.open(target) as written:
        assert (written.mode, written.size) == (mode, picture.size)
        assert changed_places(np.asarray(written), np.asarray(picture)) == (40, 40, 47, 47)
        if "A" in mode:
            assert np.array_equal(np.asarray(written)[..., -1], np.asarray(picture)[..., -1])


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_16_bits_stay_16_bits(astronaut: Any, tmp_path: Path, channels: int) -> None:
    deep = astronaut.astype(np.uint16) * 257 + np.arange(201, dtype=np.uint16)[:, None] % 7
    deep = {1: deep[..., 0], 3: deep, 4: np.dstack([deep, deep[..., 1]])}[channels]
    cv2.imwrite(str(tmp_path / "a.png"), deep)
    photograph = Photograph(tmp_path / "a.png")
    assert photograph.frame.format.name == ("gray16le" if channels == 1 else "gbrp16le")
    brightened(photograph)
    photograph.save(tmp_path / "b.png")
    written = cv2.imread(str(tmp_path / "b.png"), cv2.IMREAD_UNCHANGED)
    assert written is not None
    assert written.dtype == np.uint16
    assert written.shape == deep.shape
    assert changed_places(written, deep) == (40, 40, 47, 47)
    with pytest.raises(OutputError, match="16 bits" if channels != 4 else "transparency"):
        photograph.save(tmp_path / "b.jpg")


def test_a_jpeg_keeps_its_tables_and_what_was_written_about_it(astronaut: Any, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[MAKER], exif[ORIENTATION] = "A camera", 6
    about = {"exif": exif, "dpi": (300, 300), "comment": b"a comment", "icc_profile": icc_profile()}
    source, target = tmp_path / "a.jpg", tmp_path / "b.jpg"
    Image.fromarray(astronaut).save(source, quality=83, subsampling=2, progressive=True, **about)
    photograph = Photograph(source)
    assert photograph.rotation == 90
    brightened(photograph)
    photograph.save(target)
    with Image.open(source) as one, Image.open(target) as other:
        assert other.quantization == one.quantization  # type: ignore[attr-defined]
        for key in ("dpi", "comment", "icc_profile", "exif", "progression"):
            assert other.info[key] == one.info[key]
        assert dict(other.getexif()) == {MAKER: "A camera", ORIENTATION: 6}
        difference = np.abs(np.asarray(one, np.int16) - np.asarray(other, np.int16))
    assert difference[40:48, 40:48].mean() > 15
    assert difference[80:].mean() < 0.3  # decoding and encoding with the same tables loses next to nothing


@pytest.mark.parametrize(
    ("orientation", "rotation"), [(1, 0), (2, 0), (3, 180), (4, 180), (5, 90), (6, 90), (7, 270), (8, 270)]
)
def test_orientation(astronaut: Any, tmp_path: Path, orientation: int, rotation: int) -> None:
    """Whatever a camera says, the upright picture has its top at the top (mirrored, where it says so)."""
    from PIL import ImageOps

    stored = {0: astronaut, 90: np.rot90(astronaut), 180: np.rot90(astronaut, 2), 270: np.rot90(astronaut, 3)}
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    Image.fromarray(np.ascontiguousarray(stored[rotation])).save(tmp_path / "a.png", exif=exif)
    photograph = Photograph(tmp_path / "a.png")
    assert photograph.rotation == rotation
    upright = FramePlanes(photograph.frame, photograph.rotation).read_rgb(0, 0, 201, 200)
    assert np.array_equal(np.rint(upright * 255).astype(np.uint8), astronaut)
    with Image.open(tmp_path / "a.png") as picture:
        shown = np.asarray(ImageOps.exif_transpose(picture))
    assert np.array_equal(shown, astronaut) or np.array_equal(shown[:, ::-1], astronaut)


def test_a_png_keeps_its_chunks(astronaut: Any, tmp_path: Path) -> None:
    text = PngImagePlugin.PngInfo()
    text.add_text("Title", "Astronaut")
    text.add_itxt("Comment", "é", "en", "Kommentar", zip=True)
    text.add(b"gAMA", (45455).to_bytes(4, "big"))
    source = tmp_path / "a.png"
    Image.fromarray(astronaut).save(source, pnginfo=text, icc_profile=icc_profile(), dpi=(72, 72))
    photograph = Photograph(source)
    brightened(photograph)
    photograph.save(tmp_path / "b.png")
    with Image.open(source) as one, Image.open(tmp_path / "b.png") as other:
        other.load()
        one.load()
        assert other.info == one.info
        assert other.info["gamma"] == pytest.approx(0.45455)


def test_a_palette_becomes_rgb_and_that_is_said(astronaut: Any, tmp_path: Path) -> None:
    Image.fromarray(astronaut).quantize(64).save(tmp_path / "a.png")
    photograph = Photograph(tmp_path / "a.png")
    assert "becomes RGB" in photograph.notes[0]
    photograph.save(tmp_path / "b.png")
    with Image.open(tmp_path / "a.png") as one, Image.open(tmp_path / "b.png") as other:
        assert np.array_equal(np.asarray(one.convert("RGB")), np.asarray(other))


def test_what_a_format_cannot_hold_is_said(astronaut: Any, tmp_path: Path) -> None:
    picture = Image.fromarray(astronaut)
    picture.putalpha(100)
    picture.save(tmp_path / "a.png")
    photograph = Photograph(tmp_path / "a.png")
    with pytest.raises(OutputError, match="transparency"):
        photograph.save(tmp_path / "b.jpg")
    with pytest.raises(UsageError, match="no format of photographs"):
        photograph.save(tmp_path / "b.xyz")
    photograph.save(tmp_path / "b.webp")
    with Image.open(tmp_path / "b.webp") as written:
        assert np.array_equal(np.asarray(written), np.asarray(picture))


def test_what_cannot_be_worked_on(astronaut: Any, tmp_path: Path) -> None:
    Image.fromarray(astronaut).convert("CMYK").save(tmp_path / "cmyk.jpg")
    with pytest.raises(InputError, match="CMYK"):
        Photograph(tmp_path / "cmyk.jpg")
    frames = [Image.fromarray(np.roll(astronaut, i, 1)) for i in range(3)]
    frames[0].save(tmp_path / "moving.webp", save_all=True, append_images=frames[1:])
    assert not is_photograph(tmp_path / "moving.webp")
    with pytest.raises(InputError, match="holds 3 pictures"):
        Photograph(tmp_path / "moving.webp")
    (tmp_path / "text.png").write_text("no picture")
    assert not is_photograph(tmp_path / "text.png")
    with pytest.raises(InputError, match=r"text\.png: is no photograph"):
        Photograph(tmp_path / "text.png")
    with pytest.raises(UsageError, match="no such file"):
        Photograph(tmp_path / "none.png")


def test_a_picture_too_large_is_refused(
    astronaut: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Image.fromarray(astronaut).save(tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with pytest.raises(InputError, match="larger than 2000 pixels"):
        Photograph(tmp_path / "a.png")


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".tif"])
def test_damaged_files(astronaut: Any, tmp_path: Path, suffix: str) -> None:
    """Cut off anywhere, or with a byte changed: a one-line error or a picture, nothing else."""
    stream = io.BytesIO()
    Image.fromarray(astronaut).save(stream, {".jpg": "JPEG", ".tif": "TIFF"}.get(suffix, suffix[1:].upper()))
    whole = stream.getvalue()
    source = np.random.default_rng(7)
    errors = []
    for turn in range(40):
        data = bytearray(whole)
        if turn % 2:
            data = data[: int(source.integers(1, len(whole)))]
        else:
            for place in source.integers(0, min(len(whole), 400), 4):
                data[place] = int(source.integers(256))
        (tmp_path / f"a{suffix}").write_bytes(data)
        try:
            Photograph(tmp_path / f"a{suffix}").encoded(suffix)
        except (InputError, OutputError) as error:
            errors.append(str(error))
    assert len(errors) > 10
    assert not any("\n" in error for error in errors)
