"""Which encoder writes a video, and with which settings."""

import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from fractions import Fraction
from io import BytesIO

import av
import cv2

from fvdeblur.errors import UsageError
from fvdeblur.media.pixel_formats import bit_depth, is_rgb, keeps_colour, nearest
from fvdeblur.media.probe import VideoInfo

_X26X_PRESETS = (
    "ultrafast",
    "superfast",
    "veryfast",
    "faster",
    "fast",
    "medium",
    "slow",
    "slower",
    "veryslow",
    "placebo",
)
_MPEG2_RATES = (*map(Fraction, (24, 25, 30, 50, 60)), *(Fraction(n, 1001) for n in (24000, 30000, 60000)))
_AVX512 = 256  # OpenCV's CPU_AVX512_SKX: the instructions of AVX-512 that x264 knows
_QUALITY_UNIT = 118  # FFmpeg's FF_QP2LAMBDA
_FIXED_QUANTISER = {"flags": "+qscale", "global_quality": str(2 * _QUALITY_UNIT)}


@dataclass(frozen=True)
class Encoder:
    """An encoder that this package knows how to drive.

    Attributes
    ----------
    name : str
        FFmpeg's name.
    family : str
        The codec that it writes.
    crf : float or None
        Default constant rate factor; None where the encoder has none.
    crf_limit : float
        Largest constant rate factor.
    presets : tuple of str
        Presets that it takes; empty where it has none.
    preset : str or None
        Default preset.
    options : dict of str to str
        Further options.
    frame_clock : bool
        True where the encoder cannot count time in fine ticks and is given frame numbers instead.
    """

    name: str
    family: str
    crf: float | None = None
    crf_limit: float = 0
    presets: tuple[str, ...] = ()
    preset: str | None = None
    options: dict[str, str] = field(default_factory=dict)
    frame_clock: bool = False

    def nominal_rate(self, rate: Fraction) -> Fraction:
        """Return the rate that the encoder is told: the video's own, or the nearest that its syntax has."""
        if self.family == "mpeg2video":
            return min(_MPEG2_RATES, key=lambda r: abs(r - rate))
        if self.frame_clock:  # MPEG-4 has 16 bits for the numerator
            return rate.limit_denominator(max(1, min(1001, int(65535 / rate))))
        return rate.limit_denominator(1001000)


_VP9_OPTIONS = {"b": "0", "deadline": "good", "cpu-used": "4", "row-mt": "1"}
_AV1_PRESETS = tuple(str(number) for number in range(14))
ENCODERS = (
    Encoder("libx264", "h264", 17, 51, _X26X_PRESETS, "fast"),
    Encoder("libx265", "hevc", 19, 51, _X26X_PRESETS, "fast"),
    Encoder("libvpx-vp9", "vp9", 24, 63, options=_VP9_OPTIONS),
    Encoder("libvpx", "vp8", 8, 63, options={"b": "50M", "deadline": "good", "cpu-used": "4"}),
    Encoder("libsvtav1", "av1", 24, 63, _AV1_PRESETS, "8"),
    Encoder("libaom-av1", "av1", 22, 63, options={"b": "0", "cpu-used": "6", "row-mt": "1"}),
    Encoder("mpeg4", "mpeg4", options=_FIXED_QUANTISER, frame_clock=True),
    Encoder("mpeg2video", "mpeg2video", options=_FIXED_QUANTISER, frame_clock=True),
    Encoder("mjpeg", "mjpeg", options=_FIXED_QUANTISER),
    Encoder("prores_ks", "prores"),
    Encoder("ffv1", "ffv1", options={"level": "3", "slicecrc": "1"}),
)

_FAMILY_OF = {
    **dict.fromkeys(("msmpeg4v1", "msmpeg4v2", "msmpeg4v3", "wmv1", "wmv2", "h263", "flv1"), "mpeg4"),
    "mpeg1video": "mpeg2video",
    **dict.fromkeys(
        ("huffyuv", "ffvhuff", "utvideo", "rawvideo", "qtrle", "png", "magicyuv", "v210", "v410", "r210"),
        "ffv1",
    ),
}
_FALLBACKS = ("h264", "hevc", "vp9", "av1", "mpeg4", "mpeg2video")
# Containers without separate times of presentation want codecs that do not reorder pictures.
_WITHOUT_TIMES = {"avi", "asf"}
_PLAIN_FALLBACKS = ("mpeg4", "h264")
_PRORES_PROFILES = {
    "apco": "proxy",
    "apcs": "lt",
    "apcn": "standard",
    "apch": "hq",
    "ap4h": "4444",
    "ap4x": "4444xq",
}

# Suffix -> FFmpeg's name of the container.
CONTAINERS = {
    ".mp4": "mp4",
    ".m4v": "mp4",
    ".mov": "mov",
    ".mkv": "matroska",
    ".webm": "webm",
    ".avi": "avi",
    ".ts": "mpegts",
    ".mts": "mpegts",
    ".m2ts": "mpegts",
    ".mpg": "vob",
    ".mpeg": "vob",
    ".vob": "vob",
    ".3gp": "3gp",
    ".flv": "flv",
    ".wmv": "asf",
    ".asf": "asf",
    ".nut": "nut",
}
MOV_FAMILY = {"mp4", "mov", "3gp"}
MATROSKA_FAMILY = {"matroska", "webm"}
# What these hold well; their muxers refuse little or nothing.
_HELD = {
    "mpegts": {"h264", "hevc", "mpeg2video", "mpeg4"},
    "vob": {"mpeg2video", "h264"},
    "asf": {"mpeg4"},  # H.264 in it comes back with wrong times
}


@dataclass(frozen=True)
class EncoderChoice:
    """An encoder with its settings, and what the choice costs (one line each)."""

    encoder: Encoder
    pix_fmt: str
    options: dict[str, str]
    notes: list[str]


def container_format(path: str | os.PathLike[str]) -> str | None:
    """Return FFmpeg's name of the container that the suffix of a path stands for, or None."""
    return CONTAINERS.get(os.path.splitext(os.fspath(path))[1].lower())


def choose_encoder(
    info: VideoInfo,
    container: str,
    *,
    codec: str | None = None,
    crf: float | None = None,
    preset: str | None = None,
    threads: int = 0,
) -> EncoderChoice:
    """Choose the encoder, its pixel format and its options for a source and an output container.

    Raises
    ------
    UsageError
        The codec is unknown or does not fit the container, or `crf` or `preset` do not apply to its encoder.
    """
    encoder, notes = _select(info, container, codec)
    options = dict(encoder.options)
    if crf is not None and encoder.crf is None:
        raise UsageError(f"--crf does not apply to {encoder.name}; leave it out or choose another --codec")
    if crf is not None and not 0 <= crf <= encoder.crf_limit:
        raise UsageError(f"--crf {crf:g} is out of range for {encoder.name}; give 0 to {encoder.crf_limit:g}")
    if encoder.crf is not None:
        options["crf"] = f"{encoder.crf if crf is None else crf:g}"
    if preset is not None and preset not in encoder.presets:
        allowed = f"give one of {', '.join(encoder.presets)}" if encoder.presets else "leave it out"
        raise UsageError(f"--preset {preset} does not apply to {encoder.name}; {allowed}")
    if encoder.presets:
        options["preset"] = preset or str(encoder.preset)
    if encoder.family == "h264" and container in _WITHOUT_TIMES:
        options["bf"] = "0"
    if encoder.name == "prores_ks":
        default = "4444" if any(mark in info.pix_fmt for mark in ("444", "yuva", "gbr", "rgb")) else "hq"
        options["profile"] = _PRORES_PROFILES.get(info.codec_tag, default)
    pix_fmt = _encoder_format(encoder, info)
    notes += _format_notes(encoder, info, pix_fmt)
    if encoder.family in {"h264", "hevc"}:
        options.update(_x26x_parameters(encoder, info, threads))
    elif info.mastering_display or info.content_light:
        notes.append(f"{encoder.name} does not carry the HDR10 mastering data; it is left out")
    if encoder.name == "libsvtav1":
        os.environ.setdefault("SVT_LOG", "1")  # else the library prints its settings on the terminal
    return EncoderChoice(encoder, pix_fmt, options, notes)


def holds(container: str, encoder_name: str, family: str) -> bool:
    """Tell whether a container can hold what an encoder writes."""
    if container in _HELD:
        return family in _HELD[container]
    with av.open(BytesIO(), "w", format=container) as output:
        try:
            output.add_stream(encoder_name)
        except ValueError:
            return False
    return True


def _available() -> list[Encoder]:
    return [
        encoder for encoder in ENCODERS if encoder.name in av.codecs_available and _is_encoder(encoder.name)
    ]


def _is_encoder(name: str) -> bool:
    try:
        return av.Codec(name, "w").is_encoder
    except (av.FFmpegError, ValueError):
        return False


def _select(info: VideoInfo, container: str, codec: str | None) -> tuple[Encoder, list[str]]:
    """Pick the encoder that was asked for, else the first that keeps the source's codec, depth and chroma."""
    available = _available()
    if codec is not None:
        named = [encoder for encoder in available if codec.lower() in {encoder.name, encoder.family}]
        if not named:
            names = dict.fromkeys(name for e in available for name in (e.family, e.name))
            raise UsageError(f"unknown codec {codec!r}; available: {', '.join(names)}")
        fitting = [encoder for encoder in named if holds(container, encoder.name, encoder.family)]
        if not fitting:
            raise UsageError(
                f"a {container} file cannot hold {codec}; choose another --codec or suffix of the output"
            )
        return fitting[0], []
    own = _FAMILY_OF.get(info.codec, info.codec)
    order = (own, *(_PLAIN_FALLBACKS if container in _WITHOUT_TIMES else _FALLBACKS))
    candidates = [e for family in dict.fromkeys(order) for e in available if e.family == family]
    candidates = [e for e in candidates if holds(container, e.name, e.family)]
    if not candidates:
        raise UsageError(f"no encoder for a {container} file is at hand; choose another suffix of the output")
    best = next(
        (e for e in candidates if keeps_colour(info.pix_fmt, _encoder_format(e, info))), candidates[0]
    )
    if best.family == info.codec:
        return best, []
    return best, [f"the video is encoded as {best.family} instead of {info.codec}"]


def _encoder_format(encoder: Encoder, info: VideoInfo) -> str:
    """The encoder's pixel format that loses least of the source's."""
    formats: Iterable[str] = [f.name for f in av.Codec(encoder.name, "w").video_formats or []]
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


def _format_notes(encoder: Encoder, info: VideoInfo, pix_fmt: str) -> list[str]:
    notes = []
    if pix_fmt != info.pix_fmt:
        odd = info.width % 2 or info.height % 2
        why = " (odd picture size)" if odd and "444" in pix_fmt and "444" not in info.pix_fmt else ""
        notes.append(f"pixel format {info.pix_fmt} is encoded as {pix_fmt} by {encoder.name}{why}")
    if bit_depth(pix_fmt) < info.bit_depth:
        notes.append(f"{encoder.name} writes {bit_depth(pix_fmt)} bits here; the source has {info.bit_depth}")
    if info.interlaced:
        notes.append("the source is interlaced; it is encoded as progressive frames")
    return notes


def _x26x_parameters(encoder: Encoder, info: VideoInfo, threads: int) -> dict[str, str]:
    """Options that x264 and x265 take only through their own parameter strings."""
    parameters = []
    if info.mastering_display and (text := _mastering_display(info.mastering_display)):
        name = "master-display" if encoder.family == "hevc" else "mastering-display"
        parameters.append(f"{name}={text}")
    if info.content_light and len(info.content_light) >= 8:
        most, average = (int.from_bytes(info.content_light[i : i + 4], "little") for i in (0, 4))
        parameters.append(f"{'max-cll' if encoder.family == 'hevc' else 'cll'}={most},{average}")
    if encoder.family == "hevc":
        parameters.append("log-level=none")
        if threads:
            parameters.append(f"pools={threads}")
        return {"x265-params": ":".join(parameters)}
    if -(-info.width // 16) % 8 and cv2.checkHardwareSupport(_AVX512):
        # In pictures whose macroblocks across are no multiple of 8 (measured: 17 and 20, but not 16, 24 ... 120), the
        # AVX-512 code of x264 reads memory that nobody has written: the same frames give other packets each time.
        parameters.append("asm=avx2")
    return {"x264-params": ":".join(parameters)} if parameters else {}


def _mastering_display(data: bytes) -> str:
    """Turn FFmpeg's AVMasteringDisplayMetadata into the text form that x264 and x265 read."""
    if len(data) < 88:
        return ""
    numbers = [int.from_bytes(data[i : i + 4], "little", signed=True) for i in range(0, 88, 4)]
    if not (numbers[20] and numbers[21]):
        return ""
    values = [numbers[i] / (numbers[i + 1] or 1) for i in range(0, 20, 2)]
    red, green, blue, white = (f"({values[i] * 50000:.0f},{values[i + 1] * 50000:.0f})" for i in (0, 2, 4, 6))
    low, high = (f"{value * 10000:.0f}" for value in values[8:])
    return f"G{green}B{blue}R{red}WP{white}L({high},{low})"
