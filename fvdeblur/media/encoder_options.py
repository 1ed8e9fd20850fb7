"""Options of encoders: those that a source asks for, and those that a user gives beside them."""

import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import av
import cv2

from fvdeblur.errors import UsageError
from fvdeblur.media.containers import WITHOUT_REORDERING
from fvdeblur.media.encoder_table import Encoder
from fvdeblur.media.probe import VideoInfo

_AVX512 = 256  # OpenCV's CPU_AVX512_SKX: the instructions of AVX-512 that x264 knows
_listening = threading.Lock()
_COMPLAINT = re.compile(
    r"(error|unable|failed|cannot).{1,20}(option|parse|param)|(unknown|invalid|unrecogni[sz]ed|bad|undefined) "
    r"(option|value|param|name|constant)",
    re.IGNORECASE,
)
_X264_WORDS = {
    "tune": {"film", "animation", "grain", "stillimage", "psnr", "ssim", "fastdecode", "zerolatency"},
    "profile": {"baseline", "main", "high", "high10", "high422", "high444"},
}
"""Values of options about whose others x264 speaks to the terminal by itself."""
_RATE_WITHOUT_QUALITY = {"libx264", "libx265", "libsvtav1"}
"""Encoders that would pass over a bit rate or quantiser beside a constant rate factor."""


def merge_options(
    encoder: Encoder, container: str, chosen: dict[str, str], asked: Mapping[str, str], *, crf_given: bool
) -> dict[str, str]:
    """Put a user's options beside ours, over which they count.

    Parameters
    ----------
    encoder : Encoder
        The encoder.
    container : str
        FFmpeg's name of the output container.
    chosen, asked : mapping of str to str
        Our options and the user's.
    crf_given : bool
        Whether the user gave a constant rate factor, too.

    Raises
    ------
    UsageError
        An option has another way to be given, or contradicts what must be.
    """
    merged = dict(chosen)
    for key, value in asked.items():
        option = f"--encoder-option {key}={value}"
        if encoder.crf is not None and key == encoder.quality:
            raise UsageError(f"{option}: give --crf {value} instead")
        if encoder.presets and key == "preset":
            raise UsageError(f"{option}: give --preset {value} instead")
        if key == "bf" and container in WITHOUT_REORDERING and value != "0":
            raise UsageError(f"{option}: a {container} file holds no B-frames; leave it out")
        if key == "flags" and value[:1] not in {"+", "-"}:
            raise UsageError(f"{option}: flags that must stay would be lost; write flags=+{value}")
        words = _X264_WORDS.get(key) if encoder.name == "libx264" else None
        if words and not words.issuperset(re.split(r"[,./+-]", value)):
            raise UsageError(f"{option}: libx264 takes {', '.join(sorted(words))}")
        if key in {"b", "qp"}:
            if encoder.name in _RATE_WITHOUT_QUALITY:
                if crf_given:
                    raise UsageError(f"{option}: has no effect beside --crf; leave one of them out")
                merged.pop(encoder.quality, None)
            if merged.get("flags") == "+qscale":
                del merged["flags"], merged["global_quality"]
        if key in merged and (key == "flags" or key.endswith("-params")):
            value = merged[key] + ("" if key == "flags" else ":") + value
        merged[key] = value
    return merged


def x26x_parameters(family: str, info: VideoInfo, threads: int) -> dict[str, str]:
    """Options that x264 and x265 take only through their own parameter strings."""
    parameters = []
    if info.mastering_display and (text := _mastering_display(info.mastering_display)):
        name = "master-display" if family == "hevc" else "mastering-display"
        parameters.append(f"{name}={text}")
    if info.content_light and len(info.content_light) >= 8:
        most, average = (int.from_bytes(info.content_light[i : i + 4], "little") for i in (0, 4))
        parameters.append(f"{'max-cll' if family == 'hevc' else 'cll'}={most},{average}")
    if family == "hevc":
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


@contextmanager
def listening(heard: list[str], name: str | None = None) -> Iterator[None]:
    """Add to a list what FFmpeg warns of inside the block, one line each.

    Parameters
    ----------
    heard : list of str
        The list.
    name : str, optional
        FFmpeg's name of the part that is listened to.
    """
    # The level is FFmpeg's for all threads.
    with _listening, av.logging.Capture(local=False) as logs:
        level, skip = av.logging.get_level(), av.logging.get_skip_repeated()
        av.logging.set_level(av.logging.WARNING)
        av.logging.set_skip_repeated(False)  # else what is held back from before is heard here
        try:
            yield
        finally:
            av.logging.set_level(level)
            av.logging.set_skip_repeated(skip)
            lines = [text.strip().rstrip(".") for _, who, text in logs if name in {None, who}]
            heard += filter(None, lines)


def complaint(lines: list[str]) -> str | None:
    """The first line in which an encoder says that it does not understand an option."""
    return next((line for line in lines if _COMPLAINT.search(line)), None)
