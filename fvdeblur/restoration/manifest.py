"""All that the packets of an output depend on: the input, the settings, the network, the programs and the machine."""

from __future__ import annotations

import os
import platform
from dataclasses import asdict
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import onnxruntime
import torch

import fvdeblur
from fvdeblur import released
from fvdeblur.faces import Detector
from fvdeblur.media.failures import reading
from fvdeblur.media.packet_file import file_digest
from fvdeblur.processes import usable_cores
from fvdeblur.restoration.restorer import Restorer
from fvdeblur.restoration.settings import Settings

_WITHOUT_EFFECT = {
    "overwrite",
    "resume",
    "device",
    "precision",
    "detector",
    "tracks",
    "max_pixels",
    "max_duration",
    "identity",
}
"""Settings that change no packet, or stand in the manifest as what they came to."""


def describe_work(
    path: Path,
    settings: Settings,
    restorer: Restorer,
    detector: Detector,
    encoding: dict[str, Any],
    choice: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """What must be the same for the segments of an earlier run to be taken up, ready for JSON.

    Parameters
    ----------
    path
        The input; all of it is read.
    settings
        Those of the run.
    restorer, detector
        What works on the faces.
    encoding
        As `fvdeblur.media.segments.SegmentWriter` has it.
    choice
        What `fvdeblur.restoration.first_pass.FirstPass.describe` gives; None: there is no first pass.

    Raises
    ------
    InputError
        The input cannot be read.
    """
    with reading(path):
        size = os.path.getsize(path)
        digest = file_digest(path)
    tracks = None
    if settings.tracks is not None:
        with reading(settings.tracks):
            tracks = file_digest(settings.tracks)
    chosen = {name: value for name, value in asdict(settings).items() if name not in _WITHOUT_EFFECT}
    return {
        "input": {"bytes": size, "sha256": digest},
        "settings": {name: str(v) if isinstance(v, Path) else v for name, v in chosen.items()},
        "tracks": tracks,
        "choice": choice,
        "encoding": encoding,
        "model": {
            **asdict(restorer.card),
            "device": restorer.device_name,
            "precision": restorer.precision,
            "reader": None if restorer.reader is None else released.read_config("regressor")["sha256"],
        },
        "detector": {"name": detector.name, "provider": detector.provider},
        "versions": {
            "fvdeblur": fvdeblur.__version__,
            "torch": str(torch.__version__),
            "av": av.__version__,
            "ffmpeg": {name: list(number) for name, number in av.library_versions.items()},
            "onnxruntime": onnxruntime.__version__,
            "opencv": cv2.__version__,
            "numpy": np.__version__,
        },
        # Sums are done in another order by other processors and other numbers of threads.
        "machine": {
            "kind": platform.machine(),
            "instructions": torch.backends.cpu.get_cpu_capability(),
            "processors": usable_cores(),
            "threads": torch.get_num_threads(),
        },
    }
