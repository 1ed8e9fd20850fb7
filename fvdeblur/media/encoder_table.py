"""The encoders that this package knows how to drive."""

from dataclasses import dataclass, field
from fractions import Fraction

import av

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
    quality : str
        The encoder's name for the constant rate factor.
    formats : tuple of str
        Pixel formats that it is given; empty: all that FFmpeg lists for it.
    hardware : bool
        Whether it needs hardware of its own; it is taken only where it is asked for by name.
    """

    name: str
    family: str
    crf: float | None = None
    crf_limit: float = 0
    presets: tuple[str, ...] = ()
    preset: str | None = None
    options: dict[str, str] = field(default_factory=dict)
    frame_clock: bool = False
    quality: str = "crf"
    formats: tuple[str, ...] = ()
    hardware: bool = False

    @property
    def pixel_formats(self) -> list[str]:
        """Pixel formats in which it takes frames from memory."""
        if self.formats:
            return list(self.formats)
        listed = av.Codec(self.name, "w").video_formats or []
        # Those without components stand for memory of the hardware's own; "msb" ones no converter writes.
        return [f.name for f in listed if f.components and "msb" not in f.name]

    def nominal_rate(self, rate: Fraction) -> Fraction:
        """Return the rate that the encoder is told: the video's own, or the nearest that its syntax has."""
        if self.family == "mpeg2video":
            return min(_MPEG2_RATES, key=lambda r: abs(r - rate))
        rate = max(rate, Fraction(1, 1001))  # damaged files claim frames that last for months
        if self.frame_clock:  # MPEG-4 has 16 bits for the numerator
            return rate.limit_denominator(max(1, min(1001, int(65535 / rate))))
        return rate.limit_denominator(1001000)


_RAW_FORMATS = (
    *("gray", "gray10le", "gray12le", "gray16le", "yuv411p", "yuvj420p", "yuvj422p", "yuvj444p"),
    *(f"yuv{chroma}p{depth}" for chroma in (420, 422, 444) for depth in ("", "10le", "12le", "16le")),
)
_VP9_OPTIONS = {"b": "0", "deadline": "good", "cpu-used": "4", "row-mt": "1"}
_NVENC = {"h264": (19, 51), "hevc": (21, 51), "av1": (28, 63)}
_NVENC_PRESETS = tuple(f"p{number}" for number in range(1, 8))
_VBR = {"rc": "vbr", "b": "0"}  # constant quality, as NVENC has it
_QSV_PRESETS = ("veryfast", "faster", "fast", "medium", "slow", "slower", "veryslow")
_VIDEOTOOLBOX = {"flags": "+qscale", "global_quality": str(70 * _QUALITY_UNIT)}  # of 100
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
    Encoder("dnxhd", "dnxhd"),
    Encoder("rawvideo", "rawvideo", formats=_RAW_FORMATS),
    *(
        Encoder(
            f"{family}_nvenc",
            family,
            *_NVENC[family],
            _NVENC_PRESETS,
            "p5",
            _VBR,
            quality="cq",
            hardware=True,
        )
        for family in _NVENC
    ),
    *(
        Encoder(
            f"{family}_qsv", family, 19, 51, _QSV_PRESETS, "medium", quality="global_quality", hardware=True
        )
        for family in ("h264", "hevc", "vp9", "av1")
    ),
    *(
        Encoder(
            f"{family}_amf",
            family,
            19,
            51,
            ("speed", "balanced", "quality"),
            "quality",
            {"rc": "qvbr"},
            quality="qvbr_quality_level",
            hardware=True,
        )
        for family in ("h264", "hevc", "av1")
    ),
    Encoder("h264_videotoolbox", "h264", options=_VIDEOTOOLBOX, hardware=True),
    Encoder("hevc_videotoolbox", "hevc", options=_VIDEOTOOLBOX, hardware=True),
    Encoder("prores_videotoolbox", "prores", hardware=True),
)
