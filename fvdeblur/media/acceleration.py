"""Decoding on hardware."""

from functools import cache

import av
from av.codec.hwaccel import HWAccel, hwdevices_available

from fvdeblur.errors import UsageError
from fvdeblur.media.encoder_options import listening
from fvdeblur.media.failures import one_line

SOFTWARE = "software"
"""What decodes where no hardware does."""

_PROBED = "h264"  # every decoding hardware knows it


def find_accelerator(wanted: str) -> str | None:
    """FFmpeg's name of the hardware to decode with; None: software does.

    Parameters
    ----------
    wanted : str
        ``none``, ``auto`` (the first hardware that can be had, else none) or FFmpeg's name of a kind of hardware
        (``cuda``, ``vaapi``, ``videotoolbox``).

    Raises
    ------
    UsageError
        Hardware of that kind cannot be had on this machine.
    """
    if wanted == "none":
        return None
    if wanted == "auto":
        return next(iter(usable_accelerators()), None)
    reason = _why_not(wanted) if wanted in hwdevices_available() else "FFmpeg has none of this name here"
    if reason:
        usable = usable_accelerators()
        there = f"give one of {', '.join(usable)}" if usable else "there is none here, leave it out"
        raise UsageError(f"--hwaccel {wanted}: cannot be had on this machine ({reason}); {there}")
    return wanted


def usable_accelerators() -> list[str]:
    """Names of the kinds of hardware that decode on this machine."""
    return [kind for kind in hwdevices_available() if not _why_not(kind)]


@cache
def _why_not(kind: str) -> str:
    """Why hardware of a kind cannot be had; empty where it can."""
    heard: list[str] = []
    try:
        with listening(heard):
            HWAccel(kind).create(av.Codec(_PROBED, "r"))
    except NotImplementedError:
        return "FFmpeg cannot decode with it here"
    except (av.FFmpegError, OSError, ValueError) as error:
        return heard[0] if heard else one_line(error)
    return ""
