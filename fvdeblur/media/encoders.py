"""Which encoder writes a video, and with which settings."""

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import av

from fvdeblur.errors import UsageError
from fvdeblur.media.containers import WITHOUT_REORDERING, holds, rate_in
from fvdeblur.media.encoder_options import merge_options, x26x_parameters
from fvdeblur.media.encoder_table import ENCODERS, Encoder
from fvdeblur.media.pixel_formats import bit_depth, is_rgb, keeps_colour, nearest
from fvdeblur.media.probe import VideoInfo

_FAMILY_OF = {
    **dict.fromkeys(("msmpeg4v1", "msmpeg4v2", "msmpeg4v3", "wmv1", "wmv2", "h263", "flv1"), "mpeg4"),
    "mpeg1video": "mpeg2video",
    **dict.fromkeys(
        ("huffyuv", "ffvhuff", "utvideo", "rawvideo", "qtrle", "png", "magicyuv", "v210", "v410", "r210"),
        "ffv1",
    ),
}
_FALLBACKS = ("h264", "hevc", "vp9", "av1", "mpeg4", "mpeg2video", "rawvideo")
_PLAIN_FALLBACKS = ("mpeg4", "h264", "mpeg2video")
_PRORES_PROFILES = {
    "apco": "proxy",
    "apcs": "lt",
    "apcn": "standard",
    "apch": "hq",
    "ap4h": "4444",
    "ap4x": "4444xq",
}
_DNXHR_PROFILES = {
    "yuv422p": "dnxhr_hq",
    "yuv422p10le": "dnxhr_hqx",
    "yuv444p10le": "dnxhr_444",
    "gbrp10le": "dnxhr_444",
}


@dataclass(frozen=True)
class EncoderChoice:
    """An encoder with its settings.

    Attributes
    ----------
    encoder : Encoder
        The encoder.
    pix_fmt : str
        Pixel format that it is given.
    options : dict of str to str
        All its options.
    asked : dict of str to str
        Those that the user gave.
    notes : list of str
        What the choice costs, one line each.
    """

    encoder: Encoder
    pix_fmt: str
    options: dict[str, str]
    asked: dict[str, str]
    notes: list[str]


def choose_encoder(
    info: VideoInfo,
    container: str,
    *,
    codec: str | None = None,
    crf: float | None = None,
    preset: str | None = None,
    pix_fmt: str | None = None,
    encoder_options: Mapping[str, str] | None = None,
    threads: int = 0,
) -> EncoderChoice:
    """Choose the encoder, its pixel format and its options for a source and an output container.

    Raises
    ------
    UsageError
        The codec is unknown or does not fit the container, or one of `crf`, `preset`, `pix_fmt` and
        `encoder_options` does not apply to its encoder. Options that the encoder does not know are found out only
        when it is opened.
    """
    if pix_fmt is not None:
        pix_fmt = _known_format(pix_fmt)
    encoder, notes = _select(info, container, codec, pix_fmt)
    if info.average_rate is not None and rate_in(container, info.average_rate) is None:
        raise UsageError(
            f"a {container} file cannot hold {float(info.average_rate):.5g} frames a second; choose another suffix of "
            "the output"
        )
    options = dict(encoder.options)
    if crf is not None and encoder.crf is None:
        raise UsageError(f"--crf does not apply to {encoder.name}; leave it out or choose another --codec")
    if crf is not None and not 0 <= crf <= encoder.crf_limit:
        raise UsageError(f"--crf {crf:g} is out of range for {encoder.name}; give 0 to {encoder.crf_limit:g}")
    if encoder.crf is not None:
        options[encoder.quality] = f"{encoder.crf if crf is None else crf:g}"
    if preset is not None and preset not in encoder.presets:
        allowed = f"give one of {', '.join(encoder.presets)}" if encoder.presets else "leave it out"
        raise UsageError(f"--preset {preset} does not apply to {encoder.name}; {allowed}")
    if encoder.presets:
        options["preset"] = preset or str(encoder.preset)
    if encoder.family == "h264" and container in WITHOUT_REORDERING:
        options["bf"] = "0"
    chosen = pix_fmt or _encoder_format(encoder, info)
    notes += _format_notes(encoder, info, chosen, asked=pix_fmt is not None)
    if encoder.name == "prores_ks":
        default = "4444" if any(mark in chosen for mark in ("444", "yuva", "gbr", "rgb")) else "hq"
        options["profile"] = _PRORES_PROFILES.get(info.codec_tag, default) if pix_fmt is None else default
    if encoder.name == "dnxhd":
        options["profile"] = _DNXHR_PROFILES[chosen]
    if encoder.name in {"libx264", "libx265"}:
        options.update(x26x_parameters(encoder.family, info, threads))
    elif info.mastering_display or info.content_light:
        notes.append(f"{encoder.name} does not carry the HDR10 mastering data; it is left out")
    if encoder.name == "libsvtav1":
        os.environ.setdefault("SVT_LOG", "1")  # else the library prints its settings on the terminal
    asked = dict(encoder_options or {})
    options = merge_options(encoder, container, options, asked, crf_given=crf is not None)
    return EncoderChoice(encoder, chosen, options, asked, notes)


def _available() -> list[Encoder]:
    return [
        encoder for encoder in ENCODERS if encoder.name in av.codecs_available and _is_encoder(encoder.name)
    ]


def _is_encoder(name: str) -> bool:
    try:
        return av.Codec(name, "w").is_encoder
    except (av.FFmpegError, ValueError):
        return False


def _known_format(name: str) -> str:
    """FFmpeg's own name of a pixel format (``yuv420p10`` is ``yuv420p10le`` here)."""
    try:
        return av.VideoFormat(name).name
    except ValueError:
        raise UsageError(
            f"--pix-fmt {name}: there is no such pixel format; names are FFmpeg's, such as yuv420p or yuv422p10le"
        ) from None


def _select(
    info: VideoInfo, container: str, codec: str | None, pix_fmt: str | None
) -> tuple[Encoder, list[str]]:
    """Pick the encoder that was asked for, else the first that keeps the source's codec, depth and chroma."""
    available = _available()
    if codec is not None:
        named = [e for e in available if codec.lower() == e.name]
        named = named or [e for e in available if codec.lower() == e.family and not e.hardware]
        if not named:
            names = dict.fromkeys(name for e in available for name in (e.family, e.name))
            raise UsageError(f"unknown codec {codec!r}; available: {', '.join(names)}")
        fitting = [encoder for encoder in named if holds(container, encoder.name, encoder.family)]
        if not fitting:
            raise UsageError(
                f"a {container} file cannot hold {codec}; choose another --codec or suffix of the output"
            )
        return _taking(pix_fmt, fitting), []
    own = _FAMILY_OF.get(info.codec, info.codec)
    order = (own, *(_PLAIN_FALLBACKS if container in WITHOUT_REORDERING else _FALLBACKS))
    software = [e for e in available if not e.hardware]
    candidates = [e for family in dict.fromkeys(order) for e in software if e.family == family]
    candidates = [e for e in candidates if holds(container, e.name, e.family)]
    if not candidates:
        raise UsageError(f"no encoder for a {container} file is at hand; choose another suffix of the output")
    wanted = pix_fmt or info.pix_fmt
    best = next((e for e in candidates if keeps_colour(wanted, _encoder_format(e, info))), candidates[0])
    if pix_fmt is not None:
        family = candidates[0].family if candidates[0].family == own else best.family
        best = _taking(pix_fmt, [e for e in candidates if e.family == family])
    if best.family in {info.codec, "rawvideo"}:  # pictures as they are: nothing to be told
        return best, []
    return best, [f"the video is encoded as {best.family} instead of {info.codec}"]


def _taking(pix_fmt: str | None, encoders: list[Encoder]) -> Encoder:
    """The first encoder that takes a pixel format, the first of all where none is asked for."""
    for encoder in encoders:
        if pix_fmt is None or pix_fmt in encoder.pixel_formats:
            return encoder
    first = encoders[0]
    raise UsageError(
        f"--pix-fmt {pix_fmt}: {first.name} does not take it; it takes {', '.join(first.pixel_formats)}"
    )


def _encoder_format(encoder: Encoder, info: VideoInfo) -> str:
    """The encoder's pixel format that loses least of the source's."""
    formats: Iterable[str] = encoder.pixel_formats
    # MJPEG means full range by definition; elsewhere the yuvj formats are deprecated twins.
    if encoder.name == "mjpeg":
        formats = [name for name in formats if name.startswith("yuvj")]
    elif not info.pix_fmt.startswith("yuvj"):
        formats = [name for name in formats if not name.startswith("yuvj")]
    if encoder.family in {"h264", "hevc"}:
        formats = [name for name in formats if _size_fits(name, info)]
    formats = list(formats)
    return info.pix_fmt if info.pix_fmt in formats else nearest(info.pix_fmt, formats)


def _size_fits(pix_fmt: str, info: VideoInfo) -> bool:
    """H.264 and HEVC cannot have odd sizes where chroma is subsampled, nor x264 where luma stands alone."""
    if is_rgb(pix_fmt):
        return True
    description = av.VideoFormat(pix_fmt, 64, 64)
    across = 64 // (description.chroma_width() or 64)
    down = 64 // (description.chroma_height() or 64)
    return info.width % across == 0 and info.height % down == 0


def _format_notes(encoder: Encoder, info: VideoInfo, pix_fmt: str, *, asked: bool) -> list[str]:
    """What a pixel format costs; of one that was asked for, nothing needs to be said."""
    notes = []
    if pix_fmt != info.pix_fmt and not asked:
        odd = info.width % 2 or info.height % 2
        why = " (odd picture size)" if odd and "444" in pix_fmt and "444" not in info.pix_fmt else ""
        notes.append(f"pixel format {info.pix_fmt} is encoded as {pix_fmt} by {encoder.name}{why}")
    if bit_depth(pix_fmt) < info.bit_depth and not asked:
        notes.append(f"{encoder.name} writes {bit_depth(pix_fmt)} bits here; the source has {info.bit_depth}")
    if info.interlaced:
        notes.append("the source is interlaced; it is encoded as progressive frames")
    return notes
