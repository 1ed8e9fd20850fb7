"""Photographs: their pixels as a frame, and everything else of the file kept for writing."""

from __future__ import annotations

import io
import os
import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, JpegImagePlugin, TiffImagePlugin, UnidentifiedImageError

from fvdeblur.errors import FvdeblurError, InputError, OutputError, UsageError
from fvdeblur.media.failures import one_line, shown
from fvdeblur.media.pixel_formats import pixel_format
from fvdeblur.media.planes import channel_views

Pixels = NDArray[np.unsignedinteger[Any]]

PHOTOGRAPH_SUFFIXES = (".avif", ".bmp", ".heic", ".heif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
"""Suffixes of photographs that can be written."""

# Where there is no such loss in the source, or its degree cannot be read from it.
_QUALITY = 95

# Degrees clockwise that turn the stored picture upright, by EXIF orientation; a mirror image stays one.
_ROTATIONS = {3: 180, 4: 180, 5: 90, 6: 90, 7: 270, 8: 270}
_ORIENTATION = 0x0112

# Tags that describe how the samples lie in the file, which the encoder settles anew.
_TIFF_LAYOUT = {
    *(254, 255, 256, 257, 258, 259, 262, 263, 266, 273, 277, 278, 279, 284, 288, 289, 317, 320, 322, 323),
    *(324, 325, 330, 332, 338, 339, 347, 512, 513, 514, 530, 531, 532),
}
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PNG_PIXELS = {b"IHDR", b"PLTE", b"IDAT", b"IEND", b"tRNS"}
_PNG_OF_PALETTE = {b"bKGD", b"hIST", b"sBIT", b"sPLT"}


class Photograph:
    """A photograph whose frame can be changed and written to a file of its own.

    The samples outside the change, the alpha channel, the EXIF data, the ICC profile, XMP, text and resolution stay
    as they are. A JPEG is written with the quantisation tables and the subsampling that it came with.

    Parameters
    ----------
    path
        A PNG, JPEG, WebP, TIFF, BMP or AVIF file, or HEIC where the package ``pillow-heif`` is installed; what it is
        is found out from its content.

    Attributes
    ----------
    frame : av.VideoFrame
        The stored picture, not turned upright: ``rgb24`` or ``gray`` with 8 bits, ``gbrp16le`` or ``gray16le`` with
        16.
    rotation : int
        Degrees clockwise that turn it upright: 0, 90, 180 or 270.
    notes : list of str
        What will differ from the source besides the frame, one line each.

    Raises
    ------
    UsageError
        There is no such file.
    InputError
        It is no photograph, damaged, an animation, or of a kind that cannot be worked on.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self.notes: list[str] = []
        if not self.path.exists():
            raise UsageError(f"{shown(path)}: no such file; check the path")
        with _reading(self.path):
            _know_heif()
            with Image.open(self.path):  # before all of something else is read
                self._data = self.path.read_bytes()
            self._image = Image.open(io.BytesIO(self._data))
            self._image.load()
            self.format = "JPEG" if self._image.format == "MPO" else str(self._image.format)
            if self._image.format == "MPO":
                self.notes.append("only the main picture of several in the file is kept")
            elif (pictures := getattr(self._image, "n_frames", 1)) > 1:
                raise InputError(
                    f"{shown(path)}: holds {pictures} pictures; convert it to a video or to single files"
                )
            pixels, self._alpha = self._decoded()
        self.rotation = _ROTATIONS.get(int(self._image.getexif().get(_ORIENTATION, 1)), 0)
        self._deep = pixels.dtype == np.uint16
        gray = pixels.ndim == 2
        name = ("gray16le" if gray else "gbrp16le") if self._deep else ("gray" if gray else "rgb24")
        self.frame = av.VideoFrame(pixels.shape[1], pixels.shape[0], name)
        self.frame.pts = 0
        for index, view in enumerate(self._views()):
            view[:] = pixels if gray else pixels[..., index]

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the frame as it is now, in the format that the suffix names, with all else of the source.

        The caller sees to it that the file is not half-written under its final name.

        Raises
        ------
        UsageError
            The suffix names no format of photographs.
        OutputError
            The file cannot be written, or the format cannot hold the picture.
        """
        Path(path).write_bytes(self.encoded(Path(path).suffix))

    def encoded(self, suffix: str) -> bytes:
        """What `save` writes."""
        kind = photograph_format(f"x{suffix}")
        if kind is None:
            raise UsageError(
                f"{shown(suffix)}: names no format of photographs; use one of {', '.join(PHOTOGRAPH_SUFFIXES)}"
            )
        pixels = self._pixels()
        if self._alpha is not None and kind in {"JPEG", "BMP"}:
            raise OutputError(f"{shown(self.path)}: {kind} cannot hold its transparency; write a PNG instead")
        if self._deep and kind != "PNG" and not (kind == "TIFF" and pixels.ndim == 2):
            raise OutputError(
                f"{shown(self.path)}: its 16 bits a channel can be kept in a PNG only; write one instead"
            )
        try:
            data = self._deep_png(pixels) if self._deep and kind == "PNG" else self._shallow(pixels, kind)
            return self._with_chunks(data) if kind == self.format == "PNG" else data
        except (OSError, ValueError, KeyError, SyntaxError, struct.error, cv2.error) as error:
            raise OutputError(
                f"{shown(self.path)}: cannot be written as {kind} ({one_line(error)}); choose another format"
            ) from error

    def _views(self) -> tuple[NDArray[np.integer[Any]], ...]:
        layout = pixel_format(self.frame.format.name)
        assert layout is not None
        return channel_views(self.frame, layout)[: 1 if layout.kind == "gray" else 3]

    def _pixels(self) -> Pixels:
        views = self._views()
        pixels: Any = views[0] if len(views) == 1 else np.stack(views, -1)
        return np.ascontiguousarray(pixels)

    def _decoded(self) -> tuple[Pixels, Pixels | None]:
        """The colour samples [H, W] or [H, W, 3], red first, and the alpha channel [H, W] where there is one."""
        image: Image.Image = self._image
        if self.format == "PNG" and self._data[24] == 16:
            stored: Any = cv2.imdecode(np.frombuffer(self._data, np.uint8), cv2.IMREAD_UNCHANGED)
            if stored is None:
                raise InputError(f"{shown(self.path)}: cannot be decoded; the file is damaged")
            if stored.ndim == 2:
                return stored, None
            colour = stored[..., 2::-1]
            alpha = stored[..., 3] if stored.shape[2] == 4 else None
            return (colour[..., 0] if image.mode in {"LA", "I;16"} else colour), alpha
        bits = image.tag_v2.get(258, (8,)) if isinstance(image, TiffImagePlugin.TiffImageFile) else (8,)
        if image.mode.startswith("I;16"):
            return np.asarray(image).astype(np.uint16), None
        if max(bits) > 8 or image.mode in {"I", "F", "HSV"}:
            raise InputError(
                f"{shown(self.path)}: its {max(bits)}-bit samples cannot be worked on; convert it to a 16-bit PNG"
            )
        if image.mode in {"CMYK", "YCbCr", "LAB"}:
            raise InputError(f"{shown(self.path)}: is in {image.mode}; convert it to RGB first")
        if image.mode in {"1", "P", "PA"} or "transparency" in image.info:
            alpha_too = "transparency" in image.info or image.mode == "PA"
            if image.mode != "L" or alpha_too:
                self.notes.append(f"its {len(image.getbands())}-channel {image.mode} picture becomes RGB")
            image = image.convert("RGBA" if alpha_too else "L" if image.mode == "1" else "RGB")
        samples = np.asarray(image)
        if image.mode in {"LA", "La"}:
            return samples[..., 0], samples[..., 1]
        if image.mode in {"RGBA", "RGBX"}:
            return samples[..., :3], samples[..., 3] if image.mode == "RGBA" else None
        return samples, None

    def _shallow(self, pixels: Pixels, kind: str) -> bytes:
        """The picture written by Pillow."""
        picture = self._merged(pixels)
        source, info = self._image, self._image.info
        kept = {key: info[key] for key in ("icc_profile", "dpi", "xmp") if info.get(key)}
        exif = source.getexif()
        if self.format == "TIFF":
            for tag in _TIFF_LAYOUT & set(exif):
                del exif[tag]
        if len(exif):
            kept["exif"] = exif if kind == "TIFF" else info.get("exif") or exif.tobytes()
        same = kind == self.format
        if kind == "JPEG":
            kept["quality"] = _QUALITY
            kept["subsampling"] = 0
            if same and isinstance(source, JpegImagePlugin.JpegImageFile):
                sampling = JpegImagePlugin.get_sampling(source)
                del kept["quality"]
                kept |= {"qtables": source.quantization, "subsampling": sampling if sampling >= 0 else 0}
                kept |= {"progressive": True} if info.get("progression") else {}
                kept |= {"comment": info["comment"]} if info.get("comment") else {}
            else:
                self.notes.append(f"written as JPEG of quality {_QUALITY}")
        elif kind == "WEBP":
            kept["lossless"] = not same or b"VP8L" in self._data[:64]
            if not kept["lossless"]:
                kept |= {"quality": _QUALITY, "method": 6}
            kept["exact"] = True
        elif kind in {"AVIF", "HEIF"}:
            kept["quality"] = _QUALITY
            self.notes.append(f"written as {kind} of quality {_QUALITY}")
        elif kind == "TIFF":
            compression = info.get("compression", "raw") if same else "tiff_lzw"
            if compression == "jpeg":
                kept["quality"] = _QUALITY
            kept["compression"] = None if compression == "raw" else compression
        elif kind == "PNG" and same:
            kept = {}
        with io.BytesIO() as stream:
            picture.save(
                stream, format=kind, **{key: value for key, value in kept.items() if value is not None}
            )
            return stream.getvalue()

    def _merged(self, pixels: Pixels) -> Image.Image:
        if self._alpha is None:
            return Image.fromarray(pixels)
        return Image.fromarray(np.dstack([pixels, self._alpha]), "LA" if pixels.ndim == 2 else "RGBA")

    def _deep_png(self, pixels: Pixels) -> bytes:
        """A PNG with 16 bits a sample, which Pillow cannot write in colour."""
        if pixels.ndim == 2 and self._alpha is None:
            stored = pixels
        else:
            colour = np.dstack([pixels] * 3) if pixels.ndim == 2 else pixels[..., ::-1]
            stored = colour if self._alpha is None else np.dstack([colour, self._alpha])
        done, data = cv2.imencode(".png", stored)
        if not done:
            raise OutputError(f"{shown(self.path)}: cannot be written as PNG; choose another format")
        return bytes(data)

    def _with_chunks(self, data: bytes) -> bytes:
        """A PNG of ours with whatever the source's says besides its pixels (ICC profile, EXIF, text, gamma)."""
        drop = _PNG_PIXELS | (_PNG_OF_PALETTE if self._image.mode in {"1", "P"} else set())
        parts = list(_png_chunks(data))
        header, pixels = parts[:1], [part for part in parts[1:] if part[0] in _PNG_PIXELS]
        extra = [part for part in _png_chunks(self._data) if part[0] not in drop]
        return _PNG_SIGNATURE + b"".join(
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
            for kind, body in header + extra + pixels
        )


def photograph_format(path: str | os.PathLike[str]) -> str | None:
    """Pillow's name of the format of photographs that a file's suffix names, or None."""
    suffix = Path(path).suffix.lower()
    if suffix not in PHOTOGRAPH_SUFFIXES:
        return None
    if suffix in {".heic", ".heif"}:
        return "HEIF"
    return {".jpg": "JPEG", ".tif": "TIFF"}.get(suffix, suffix[1:].upper())


def is_photograph(path: str | os.PathLike[str]) -> bool:
    """Tell from the content whether a file is a single picture in a format that Pillow knows."""
    try:
        with _pillow_warnings(), open(path, "rb") as stream:
            _know_heif()
            with Image.open(stream) as image:
                return image.format == "MPO" or getattr(image, "n_frames", 1) == 1
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return False


def _know_heif() -> None:
    """Let Pillow open HEIC files, where the package for it is installed."""
    try:
        from pillow_heif import register_heif_opener
    except ImportError:
        return
    register_heif_opener()


def _png_chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Kind and body of each chunk."""
    place = len(_PNG_SIGNATURE)
    while place + 12 <= len(data):
        (length,) = struct.unpack_from(">I", data, place)
        yield data[place + 4 : place + 8], data[place + 8 : place + 8 + length]
        place += length + 12


@contextmanager
def _pillow_warnings() -> Iterator[None]:
    """Let what Pillow only warns of pass in silence: damaged metadata, and large pictures below its limit."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Turn what Pillow and the system raise into an InputError that names the file."""
    try:
        with _pillow_warnings():
            yield
    except FvdeblurError:
        raise
    except UnidentifiedImageError as error:
        heic = path.suffix.lower() in {".heic", ".heif"}
        remedy = "install pillow-heif to read HEIC" if heic else "check the file"
        raise InputError(f"{shown(path)}: is no photograph that can be read; {remedy}") from error
    except Image.DecompressionBombError as error:
        raise InputError(
            f"{shown(path)}: is larger than {2 * (Image.MAX_IMAGE_PIXELS or 0)} pixels; scale it down first"
        ) from error
    except (OSError, ValueError, SyntaxError, KeyError, IndexError, struct.error, MemoryError) as error:
        raise InputError(
            f"{shown(path)}: cannot be read as a photograph ({one_line(error)}); check that the file is whole"
        ) from error
