"""Real blurred faces, of which no sharp truth exists.

Section 5.4 of Chrysos & Zafeiriou 2017 and figure 8 of Jung et al. 2022 show such faces. Clips are deblurred as
`fvdeblur run` does. In the box of the face that is found in the input: sharpness without a reference
(`fvdeblur.datasets.mining.rules.sharpness`) before and after, the cosine between the embeddings of output and input,
and the mean absolute difference between the changes from frame to frame of both (1/255). None of it says whether the
picture is better: look at the one that `measure_real` writes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from fvdeblur import Deblurrer
from fvdeblur.datasets.clips import read_frames
from fvdeblur.errors import UsageError
from fvdeblur.evaluation.baselines import unsharp_masking
from fvdeblur.evaluation.sequences import Truth, find_truth, measure_frames
from fvdeblur.faces import create_detector
from fvdeblur.faces.identity import create_embedder

FRAMES = 72
"""Frames of each clip that are deblurred."""

MEASURES = ("sharpness", "identity", "temporal_error")

SHOWN, SHOWN_SIDE = 3, 192
"""Frames of each clip on the picture, and the side of a face there."""

Frames = NDArray[np.uint8]
Restore = Callable[[Frames], Frames]


def measure_real(folder: Path, models: Sequence[str], picture: Path) -> dict[str, Any]:
    """Deblur all clips of a folder by these models and by unsharp masking.

    Parameters
    ----------
    folder
        Holds MP4 files.
    models
        Released networks.
    picture
        Where to write the faces side by side: a row a frame, a column for the input and each model.

    Returns
    -------
    ``columns`` of the picture; ``clips``: by name frames and the means of `MEASURES`, by ``input`` and model.

    Raises
    ------
    UsageError
        There is no clip with a face in the folder.
    """
    detector, embedder = create_detector("centerface"), create_embedder("auto")
    restorers: dict[str, Restore] = {name: _deblurring(name) for name in models}
    restorers["unsharp"] = unsharp_masking
    clips: dict[str, Any] = {}
    rows = []
    for path in sorted(folder.glob("*.mp4")):
        given = read_frames(path, FRAMES)
        truth = find_truth(given, detector)
        if truth is None:
            continue
        outputs = {"input": given, **{name: restore(given) for name, restore in restorers.items()}}
        means = {name: _means(measure_frames(each, truth, None, embedder)) for name, each in outputs.items()}
        clips[path.name] = {"frames": len(given), **means}
        rows += _rows(list(outputs.values()), truth)
    if not clips:
        raise UsageError(f"{folder}: holds no MP4 file with a face")
    picture.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(picture), cv2.cvtColor(np.vstack(rows), cv2.COLOR_RGB2BGR))
    return {"columns": ["input", *restorers], "clips": clips}


def _deblurring(model: str) -> Restore:
    deblurrer = Deblurrer(model=model)
    return lambda frames: np.stack(list(deblurrer.frames(frames)))


def _means(measures: dict[str, NDArray[np.float64]]) -> dict[str, float]:
    return {name: round(float(np.nanmean(measures[name])), 4) for name in MEASURES if name in measures}


def _rows(outputs: Sequence[Frames], truth: Truth) -> list[Frames]:
    """The faces of some frames, cut a little larger than their boxes."""
    rows = []
    for k in np.linspace(0, len(truth.frames) - 1, SHOWN + 2).round().astype(int)[1:-1]:
        x0, y0, x1, y1 = truth.boxes[k]
        margin = (x1 - x0 + y1 - y0) // 10
        part = slice(max(0, y0 - margin), y1 + margin), slice(max(0, x0 - margin), x1 + margin)
        faces = [frames[k][part] for frames in outputs]
        size = (SHOWN_SIDE, SHOWN_SIDE)
        rows.append(np.hstack([cv2.resize(face, size, interpolation=cv2.INTER_CUBIC) for face in faces]))
    return rows
