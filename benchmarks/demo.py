"""One clip from end to end, with the gain measured: what ``make demo`` runs.

python -m benchmarks.demo [--clip PATH] [--output FOLDER]
"""

from __future__ import annotations

from pathlib import Path

import click
import cv2
import numpy as np

from benchmarks.boxes import face_box
from benchmarks.clips import Frame, MovingPhotograph, decode, write_clip
from fvdeblur import Deblurrer
from fvdeblur.evaluation import psnr, ssim
from fvdeblur.faces import Detector, create_detector

MOST_SHOWN = 4
PICTURE_WIDTH = 1600


def measure(detector: Detector, clip: Path, target: Path, sharp: list[Frame]) -> str:
    """The line of figures: mean over frames in the face box of the sharp frame."""
    figures = []
    for before, after, truth in zip(decode(clip), decode(target), sharp, strict=True):
        box = face_box(detector, truth)
        if box is None:
            continue
        cut = (slice(box[1], box[3]), slice(box[0], box[2]))
        figures.append([m(p[cut], truth[cut]) for m in (psnr, ssim) for p in (before, after)])
    mean = np.mean(figures, axis=0)
    return f"face PSNR {mean[0]:.2f} -> {mean[1]:.2f} dB, SSIM {mean[2]:.3f} -> {mean[3]:.3f}"


def before_after(detector: Detector, clip: Path, target: Path, frames: int) -> Frame | None:
    """Face crops of some frames: above as they were, below deblurred."""
    chosen = set(np.linspace(0, frames - 1, MOST_SHOWN + 2).round().astype(int).tolist()[1:-1])
    shown: list[Frame] = []
    for k, (before, after) in enumerate(zip(decode(clip), decode(target), strict=False)):
        box = face_box(detector, after) if k in chosen else None
        if box is None:
            continue
        x, y = (box[0] + box[2]) // 2, (box[1] + box[3]) // 2
        reach = round(0.8 * max(box[2] - box[0], box[3] - box[1]))
        cut = (slice(max(0, y - reach), y + reach), slice(max(0, x - reach), x + reach))
        size = (PICTURE_WIDTH // MOST_SHOWN, PICTURE_WIDTH // MOST_SHOWN)
        pair = [cv2.resize(frame[cut], size, interpolation=cv2.INTER_CUBIC) for frame in (before, after)]
        shown.append(np.vstack(pair))
    return np.hstack(shown) if shown else None


@click.command()
@click.option("--clip", type=click.Path(path_type=Path), help="Your own clip; without it one is made.")
@click.option("--output", type=click.Path(path_type=Path), default=Path("demo"), show_default=True)
def main(clip: Path | None, output: Path) -> None:
    """Deblur a clip and show what came of it."""
    output.mkdir(parents=True, exist_ok=True)
    sharp: list[Frame] = []
    if clip is None:
        clip = output / "moving-photograph.mp4"
        sharp = write_clip(clip, MovingPhotograph())
    target = output / f"{clip.stem}.deblurred{clip.suffix}"
    summary = Deblurrer(overwrite=True).video(clip, target)
    detector = create_detector("centerface")
    if sharp:
        click.echo(measure(detector, clip, target, sharp))
    click.echo(f"output: {summary.output}")
    click.echo(f"seconds a frame: {summary.seconds / max(1, summary.frames):.3f}")
    picture = before_after(detector, clip, target, summary.frames)
    if picture is None:
        click.echo("no face was found")
        return
    path = output / f"{clip.stem}.before-after.png"
    cv2.imwrite(str(path), cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
    click.echo(f"before/after: {path}")


if __name__ == "__main__":
    main()
