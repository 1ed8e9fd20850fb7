"""SCRFD (Guo et al., 2021) from an insightface model pack that lies on the disk.

insightface downloads a pack as soon as it is asked for one by name, therefore the file is looked for first
and given to it by its path. The weights that insightface publishes are for non-commercial research only.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from fvdeblur.errors import FvdeblurError
from fvdeblur.faces.detector import DETECTION_THRESHOLD, Detection, execution_providers, session_options

INPUT_SIZE = 640
MODEL_PATTERNS = ("det_*.onnx", "scrfd*.onnx")


def search_root(model_root: str | Path | None = None) -> Path:
    """Folder in which insightface's packs are looked for."""
    return Path(model_root or os.environ.get("INSIGHTFACE_HOME") or "~/.insightface").expanduser()


def find_scrfd_model(model_root: str | Path | None = None) -> Path | None:
    """Find an SCRFD model file.

    Looked at are ``<root>/models/<pack>/``, then ``<root>/<pack>/``, then ``<root>`` itself. Of several files
    the largest is taken: it is the most accurate one.

    Returns
    -------
    Path or None
        The model file, None if there is none.
    """
    return largest_in_packs(MODEL_PATTERNS, model_root)


def largest_in_packs(patterns: Iterable[str], model_root: str | Path | None = None) -> Path | None:
    """The largest file of insightface's packs that fits a pattern, looked for as `find_scrfd_model` does."""
    root = search_root(model_root)
    for folders in ("models/*/", "*/", ""):
        found = [path for pattern in patterns for path in root.glob(folders + pattern) if path.is_file()]
        if found:
            return max(found, key=lambda path: (path.stat().st_size, path.name))
    return None


class ScrfdDetector:
    """SCRFD run by insightface.

    Parameters
    ----------
    path : Path
        The ONNX file.
    threads, device, threshold
        As for `fvdeblur.faces.centerface.CenterFaceDetector`.

    Raises
    ------
    FvdeblurError
        insightface is missing, or the file cannot be read or is not an SCRFD model.
    """

    def __init__(
        self, path: Path, *, threads: int = 0, device: str = "cpu", threshold: float = DETECTION_THRESHOLD
    ) -> None:
        try:
            from insightface.model_zoo import get_model
        except ImportError as error:
            raise FvdeblurError(
                f"the package insightface, which runs {path}, cannot be imported ({error}); "
                "install it or choose the detector centerface"
            ) from error
        try:
            model = get_model(
                str(path), providers=execution_providers(device), sess_options=session_options(threads)
            )
        except Exception as error:  # onnxruntime raises many unrelated types
            reason = str(error).partition("\n")[0]
            raise FvdeblurError(
                f"cannot load the SCRFD model {path}: {reason}; "
                "replace the file or choose the detector centerface"
            ) from error
        if getattr(model, "taskname", None) != "detection":
            raise FvdeblurError(
                f"{path} is not an SCRFD model; replace the file or choose the detector centerface"
            )
        self.provider: str = model.session.get_providers()[0]
        self.name = f"SCRFD (insightface {path.parent.name}/{path.name})"
        on_processor = self.provider == "CPUExecutionProvider"
        model.prepare(-1 if on_processor else 0, input_size=(INPUT_SIZE, INPUT_SIZE), det_thresh=threshold)
        self._model = model

    def detect(self, image: NDArray[np.uint8]) -> list[Detection]:
        """Find the faces of ``image`` (uint8 RGB [H, W, 3]), best score first."""
        boxes, landmarks = self._model.detect(cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
        return [
            Detection(
                box=np.asarray(box[:4], np.float32),
                score=float(box[4]),
                landmarks=None if landmarks is None else np.asarray(landmarks[index], np.float32),
            )
            for index, box in enumerate(boxes)
        ]
