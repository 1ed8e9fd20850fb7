"""Numbers that tell people apart: embeddings of aligned faces behind one small interface.

Two networks are known. ``insightface`` runs the recognition model of a pack of insightface that its owner has put on
the disk; it is never downloaded. ``dlib`` runs the 128 numbers of the package ``face-recognition-models`` (public
domain), which ``dlib`` computes; both come with the extra ``fvdeblur[identity]``.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from fvdeblur.errors import FvdeblurError, UsageError
from fvdeblur.faces.detector import Detection, execution_providers, session_options
from fvdeblur.faces.landmarks import Dlib68Landmarker, similarity, upright_square, warp_region
from fvdeblur.faces.scrfd import largest_in_packs, search_root

EMBEDDERS = ("auto", "insightface", "dlib")

MODEL_PATTERNS = ("w600k_*.onnx", "glintr*.onnx", "arcface*.onnx", "webface*.onnx")
"""Recognition models of insightface's packs."""

DLIB_FILE = "dlib_face_recognition_resnet_model_v1.dat"
REMEDY = 'pip install "fvdeblur[identity]"'

DLIB_SIDE, DLIB_PADDING = 150, 0.25
"""Of dlib's chips: what its embedding was trained with."""

DLIB_THRESHOLD = 0.95
"""Cosine from which on two tracks are taken for one person; measured by ``python -m benchmarks.identity``."""

DLIB_PHOTO_THRESHOLD = 0.92
"""The same for a single photograph, taken at another time and place."""

INSIGHTFACE_THRESHOLD = 0.35
"""The same for insightface's models: not measured here, for no pack may be downloaded."""

ARCFACE_POINTS = np.array(
    [[38.29, 51.70], [73.53, 51.50], [56.03, 71.74], [41.55, 92.37], [70.73, 92.20]], np.float64
)
"""Where these models expect eyes, nose tip and mouth corners in their pictures of 112x112 pixels."""

FloatArray = NDArray[np.float32]


class Embedder(Protocol):
    """What turns a face into numbers that are alike for one person."""

    @property
    def name(self) -> str:
        """Human-readable name with the model's file."""

    @property
    def threshold(self) -> float:
        """Cosine from which on two means over several frames are taken for one person."""

    @property
    def photo_threshold(self) -> float:
        """The same for a mean over several frames and a single photograph, taken at another time and place."""

    def embed(self, image: NDArray[np.uint8], detection: Detection) -> FloatArray:
        """Embedding float32 [D] of length 1 of the face ``detection`` in ``image`` (uint8 R'G'B' [H, W, 3])."""


class DlibEmbedder:
    """dlib's residual network on the chip that dlib itself cuts around the 68 landmarks.

    Raises
    ------
    UsageError
        A package of the extra ``identity`` is missing.
    FvdeblurError
        The model's file is missing or damaged.
    """

    threshold, photo_threshold = DLIB_THRESHOLD, DLIB_PHOTO_THRESHOLD

    def __init__(self) -> None:
        if missing := missing_packages():
            raise UsageError(f"the embedder dlib needs {' and '.join(missing)}: {REMEDY}")
        import dlib

        spec = importlib.util.find_spec("face_recognition_models")
        folders = [] if spec is None else [Path(each) for each in spec.submodule_search_locations or []]
        path = next(iter(each / "models" / DLIB_FILE for each in folders), Path(DLIB_FILE))
        self._dlib: Any = dlib
        self.landmarker = Dlib68Landmarker()
        try:
            self._network: Any = dlib.face_recognition_model_v1(str(path))
        except RuntimeError as error:
            reason = str(error).strip().partition("\n")[0]
            raise FvdeblurError(
                f"cannot load the identity model {path}: {reason}; reinstall face-recognition-models"
            ) from error
        self.name = f"dlib ({DLIB_FILE})"

    def embed(self, image: NDArray[np.uint8], detection: Detection) -> FloatArray:
        """Embedding float32 [128] of length 1 of the face ``detection`` in ``image`` (uint8 R'G'B' [H, W, 3])."""
        return self.embed_at(image, self.landmarker.landmarks(image, detection))

    def embed_at(self, image: NDArray[np.uint8], landmarks: NDArray[np.float32]) -> FloatArray:
        """The same of the face with these landmarks, float32 [68, 2]."""
        dlib = self._dlib
        points = np.round(landmarks - 0.5).astype(int)
        (left, top), (right, bottom) = points.min(axis=0).tolist(), points.max(axis=0).tolist()
        places = [dlib.point(x, y) for x, y in points.tolist()]
        shape = dlib.full_object_detection(dlib.rectangle(left, top, right, bottom), places)
        chip = dlib.get_face_chip(np.ascontiguousarray(image), shape, DLIB_SIDE, DLIB_PADDING)
        return unit(np.asarray(self._network.compute_face_descriptor(chip)))


class InsightfaceEmbedder:
    """A recognition model of an insightface pack, run by insightface.

    Parameters
    ----------
    path
        The ONNX file.
    threads, device
        As for `fvdeblur.faces.create_detector`.

    Raises
    ------
    FvdeblurError
        insightface is missing, or the file cannot be read or is not a recognition model.
    """

    threshold = photo_threshold = INSIGHTFACE_THRESHOLD

    def __init__(self, path: Path, *, threads: int = 0, device: str = "cpu") -> None:
        try:
            from insightface.model_zoo import get_model

            model: Any = get_model(
                str(path), providers=execution_providers(device), sess_options=session_options(threads)
            )
        except Exception as error:  # insightface and onnxruntime raise many unrelated types
            reason = str(error).partition("\n")[0]
            raise FvdeblurError(
                f"cannot load the identity model {path}: {reason}; replace the file or choose the embedder dlib"
            ) from error
        if getattr(model, "taskname", None) != "recognition" or tuple(model.input_size) != (112, 112):
            raise FvdeblurError(
                f"{path} is not a recognition model; replace the file or choose the embedder dlib"
            )
        self._model = model
        self.name = f"insightface ({path.parent.name}/{path.name})"

    def embed(self, image: NDArray[np.uint8], detection: Detection) -> FloatArray:
        """Embedding float32 [D] of length 1 of the face ``detection`` in ``image`` (uint8 R'G'B' [H, W, 3])."""
        aligned = warp_region(image, arcface_alignment(detection), (112, 112))
        return unit(self._model.get_feat(cv2.cvtColor(aligned, cv2.COLOR_RGB2BGR)).ravel())


def create_embedder(
    name: str = "auto",
    *,
    threads: int = 0,
    device: str = "cpu",
    model_root: str | Path | None = None,
) -> Embedder | None:
    """Make an embedder.

    Parameters
    ----------
    name
        ``insightface``, ``dlib``, or ``auto``: insightface if a pack with a recognition model lies on the disk, else
        dlib where the extra ``identity`` is installed, else None.
    threads, device, model_root
        As for `fvdeblur.faces.create_detector`.

    Raises
    ------
    UsageError
        Unknown name, or what was asked for is not there.
    FvdeblurError
        A file is missing, damaged, or cannot be read.
    """
    if name not in EMBEDDERS:
        raise UsageError(f"unknown embedder {name!r}; choose one of {', '.join(EMBEDDERS)}")
    if name in ("auto", "insightface"):
        path = find_recognition_model(model_root)
        if path is not None:
            return InsightfaceEmbedder(path, threads=threads, device=device)
        if name == "insightface":
            raise UsageError(
                f"no recognition model ({', '.join(MODEL_PATTERNS)}) in {search_root(model_root)}; "
                "put an insightface model pack there or choose the embedder dlib"
            )
    if name == "auto" and missing_packages():
        return None
    return DlibEmbedder()


def find_recognition_model(model_root: str | Path | None = None) -> Path | None:
    """The largest recognition model of insightface's packs, looked for as `find_scrfd_model` does; None without one."""
    return largest_in_packs(MODEL_PATTERNS, model_root)


def missing_packages() -> list[str]:
    """Names, as pip knows them, of the packages that the embedder dlib needs and that are not installed."""
    modules = {"dlib-bin": "dlib", "face-recognition-models": "face_recognition_models"}
    return [package for package, module in modules.items() if importlib.util.find_spec(module) is None]


def arcface_alignment(detection: Detection) -> NDArray[np.float64]:
    """Similarity, float64 [2, 3], from the picture to the 112x112 pixels that insightface's models expect.

    By the five landmarks; without them, by the box.
    """
    if detection.landmarks is not None:
        return similarity(np.asarray(detection.landmarks, np.float64), ARCFACE_POINTS)
    scale = 112 / 288  # the predictor's crop shows much the same of the face
    return upright_square(detection) * scale


def unit(values: NDArray[Any]) -> FloatArray:
    """A vector brought to length 1, float32 [D]; zeros stay zeros."""
    values = np.asarray(values, np.float64)
    return np.asarray(values / max(float(np.linalg.norm(values)), 1e-12), np.float32)


def robust_mean(vectors: NDArray[Any]) -> FloatArray:
    """Mean direction of vectors [N, D] of length 1, those farthest from the others left out; float32 [D], length 1.

    With three and more, the half that lies nearest to the medoid (rounded up) is averaged, weighed by its closeness.
    """
    vectors = np.asarray(vectors, np.float64)
    if len(vectors) < 3:
        return unit(vectors.mean(axis=0))
    alike = vectors @ vectors.T
    medoid = int(np.median(alike, axis=1).argmax())
    nearest = np.argsort(-alike[medoid], kind="stable")[: (len(vectors) + 1) // 2 + 1]
    return unit(np.clip(alike[medoid, nearest], 0.0, None) @ vectors[nearest])
