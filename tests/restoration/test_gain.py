"""The purpose of it all: faces come out sharper than they went in."""

from pathlib import Path

import numpy as np

from benchmarks.clips import MovingPhotograph, decode, write_clip
from fvdeblur import Deblurrer
from fvdeblur.evaluation import psnr
from fvdeblur.faces import create_detector, face_size

LEAST_GAIN = 1.2
"""Mean gain in PSNR over the blurred clip, in dB, inside the box of the face."""


def test_a_blurred_face_is_restored(tmp_path: Path) -> None:
    """The released weights on a photograph that they never saw, blurred by its own motion."""
    source, target = tmp_path / "blurred.mp4", tmp_path / "restored.mp4"
    truth = write_clip(source, MovingPhotograph(width=960, height=720, seconds=0.8))
    summary = Deblurrer().video(source, target)
    assert summary.frames == 20
    detector = create_detector("centerface")
    gains = []
    for before, after, sharp in zip(decode(source), decode(target), truth, strict=True):
        face = max(detector.detect(sharp), key=lambda found: face_size(found.box))
        x0, y0, x1, y1 = np.round(face.box).astype(int)
        box = (slice(y0, y1), slice(x0, x1))
        gains.append(psnr(after[box], sharp[box]) - psnr(before[box], sharp[box]))
    assert np.mean(gains) >= LEAST_GAIN
