"""What deep features as a prior are worth: Table 4 of Jung et al. 2022.

    python -m benchmarks.prior_ablation --data FOLDER --steps 400

Trains the rows of the table with the same material, patches, steps and seed, and measures them on stills of people
held out, blurred in kernels of 13 to 27 pixels (protocol ``jung``): PSNR, SSIM and identity (cosine to the sharp face's
embedding) in the box of the face, with the paired difference to the row before and its 95 % bootstrap interval.

- ``B1``: encoder and decoder alone.
- ``B2``: and a perceptual loss.
- ``B3``: and the prior stream, its estimates added as they are, without transforms.
- ``B4``: and the feature transforms (SSFT, SFT).
- ``B5``: and the discriminator, without channel attention.
- ``B6``: and channel attention: the whole of it.

The budget is small and the network narrow (``--width``): the differences say what each part brings at the beginning of
training, not what it would at the end. Every run has a folder in ``--output``, and the same command goes on where it
was left. JSON on standard output and in ``results.json``.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray

from benchmarks.machine import describe_machine
from benchmarks.trained import is_finished, with_weights
from fvdeblur.datasets import BlurSettings, Clip, load_pictures
from fvdeblur.errors import FvdeblurError
from fvdeblur.evaluation.datasets import blurred_by
from fvdeblur.evaluation.restoring import restore_frames
from fvdeblur.evaluation.results import interval
from fvdeblur.evaluation.sequences import Truth, find_truth, measure_frames
from fvdeblur.faces import create_detector
from fvdeblur.faces.identity import create_embedder
from fvdeblur.restoration import Restorer
from fvdeblur.restoration.weights import ModelCard
from fvdeblur.training import TrainConfig, train
from fvdeblur.training.checkpoints import WEIGHTS

MEASURES = ("psnr", "ssim", "identity")

STEPS, WIDTH, STILLS = 400, 12, 60
"""Steps a row, channels at full size (the paper's: 64), and stills that are measured on."""

OUTPUT = Path("runs/prior-ablation")
"""Where the runs are unless something else is said."""

FEATURES = (64, 64, 128)
"""Channels of the deep features of MobileFaceNet, which stands in for VGGFace."""

ROWS: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "B1": ("encoder and decoder", {"features": ()}, {}),
    "B2": ("+ perceptual loss", {"features": ()}, {"perceptual_weight": 0.01}),
    "B3": ("+ prior stream", {"features": FEATURES, "transforms": False}, {"prior_weight": 1.0}),
    "B4": ("+ feature transforms", {"features": FEATURES}, {"prior_weight": 1.0}),
    "B5": (
        "+ discriminator",
        {"features": FEATURES},
        {"prior_weight": 1.0, "adversarial_weight": 0.05, "discriminator_attention": False},
    ),
    "B6": (
        "+ channel attention",
        {"features": FEATURES},
        {"prior_weight": 1.0, "adversarial_weight": 0.05},
    ),
}
"""By row: what it is, options of the network, and values of the recipe."""

BLUR = BlurSettings(size=144, length=12, scale=(0.9, 2.0), compression_share=0.0, noise=1.0)

Frames = NDArray[np.uint8]


def row_config(name: str, data: str, steps: int, width: int, workers: int) -> TrainConfig:
    """The recipe of a row."""
    _, options, values = ROWS[name]
    return TrainConfig(
        network="dfpgnet",
        network_options={"widths": (width, 2 * width, 4 * width), "residual": True, **options},
        data=data,
        stills_share=1.0,
        steps=steps,
        batch=8,
        patch=96,
        loss="absolute",
        frequency_weight=0.0,
        log_error_weight=0.0,
        learning_rate=1e-3,
        gradient_clip=1.0,
        warmup=min(50, steps // 8),
        ema=0.99,
        pool=48,
        patches_per_segment=60,
        workers=workers,
        save_every=max(1, steps // 2),
        validate_every=0,
        blur=BLUR,
        protocols={"jung": 1.0},
        **values,
    )


class Stills:
    """Stills blurred by ``jung``, and what is measured on them.

    Parameters
    ----------
    pictures
        Stills; those without a face are left out.

    Attributes
    ----------
    blurred
        Figures of the blurred stills, ``blurred_...``: float64 [N] each.
    """

    def __init__(self, pictures: list[Clip]) -> None:
        detector, self._embedder = create_detector("centerface"), create_embedder("auto")
        self._pairs: list[tuple[Frames, Truth]] = []
        for still in pictures:
            truth = find_truth(still.frames, detector)
            pair = None if truth is None else blurred_by("jung", still, truth.boxes, 7)
            if truth is not None and pair is not None:
                self._pairs.append((pair[0], truth))
        figures = self._measure(lambda frames: frames)
        self.blurred = {f"blurred_{measure}": values for measure, values in figures.items()}

    def measure(self, config: TrainConfig, weights: Path) -> dict[str, NDArray[np.float64]]:
        """Figures of every still, restored with the weights of a row; float64 [N] each."""
        network = with_weights(config.network, config.network_options, weights)
        card = ModelCard("dfpgnet", config.network, config.network_options, 384, "")
        restorer = Restorer.of(network, card, "cpu")
        return self._measure(lambda frames: restore_frames(restorer, frames))

    def _measure(self, restore: Callable[[Frames], Frames]) -> dict[str, NDArray[np.float64]]:
        found = [measure_frames(restore(given), truth, None, self._embedder) for given, truth in self._pairs]
        return {
            measure: np.array([each[measure][0] for each in found])
            for measure in MEASURES
            if measure in found[0]
        }


def summary(tables: dict[str, dict[str, NDArray[np.float64]]]) -> dict[str, Any]:
    """Means of every row, and the paired difference to the one before."""
    found: dict[str, Any] = {}
    before: dict[str, NDArray[np.float64]] = {}
    for name, table in tables.items():
        if not before:
            before = {measure: table[f"blurred_{measure}"] for measure in MEASURES if measure in table}
            found["blurred"] = {measure: round(float(each.mean()), 4) for measure, each in before.items()}
        now = {measure: table[measure] for measure in before}
        found[name] = {"title": ROWS[name][0], "stills": len(now["psnr"])}
        for measure, values in now.items():
            change = interval(values - before[measure])
            found[name][measure] = {
                "mean": round(float(values.mean()), 4),
                **{f"change_{key}": round(float(each), 4) for key, each in change._asdict().items()},
            }
        before = now
    return found


def _tell(name: str, text: str) -> None:
    click.echo(f"{name}: {text}", err=True)


def ablate(
    data: str,
    output: Path = OUTPUT,
    *,
    steps: int = STEPS,
    width: int = WIDTH,
    names: Sequence[str] = (),
    count: int = STILLS,
    workers: int = 2,
) -> dict[str, Any]:
    """Train rows (all without ``names``) in folders of ``output`` and measure them on so many stills.

    Returns
    -------
    ``budget``, ``settings``, ``machine`` and ``rows``: means and paired differences.
    """
    stills = Stills(load_pictures(Path(data) / "faces256", "validation")[:count])
    tables = {}
    for name in names or ROWS:
        config = row_config(name, data, steps, width, workers)
        folder = output / f"{name}-{steps}-{width}"
        if not is_finished(folder, steps):
            train(config, folder, report=partial(_tell, name))
        tables[name] = {**stills.blurred, **stills.measure(config, folder / WEIGHTS)}
    return {
        "budget": {"steps": steps, "width": width},
        "settings": dataclasses.asdict(row_config("B6", data, steps, width, workers)),
        "machine": describe_machine(),
        "rows": summary(tables),
    }


@click.command()
@click.option("--data", required=True, help="Folder with portraits.tsv, portraits/, faces256/ and nets/.")
@click.option("--steps", type=click.IntRange(1), default=STEPS, show_default=True)
@click.option("--width", type=click.IntRange(3), default=WIDTH, show_default=True, help="Of the paper's 64.")
@click.option("--row", "chosen", multiple=True, type=click.Choice(list(ROWS)), help="This row only.")
@click.option("--stills", "count", type=click.IntRange(2), default=STILLS, show_default=True)
@click.option("--workers", type=int, default=2, show_default=True)
@click.option("--output", type=click.Path(path_type=Path), default=OUTPUT)
def main(
    data: str, steps: int, width: int, chosen: tuple[str, ...], count: int, workers: int, output: Path
) -> None:
    """Train and measure the rows of the table; JSON on standard output."""
    try:
        results = ablate(data, output, steps=steps, width=width, names=chosen, count=count, workers=workers)
    except FvdeblurError as error:
        raise click.ClickException(str(error)) from error
    (output / "results.json").write_text(json.dumps(results, indent=1), encoding="utf-8")
    click.echo(json.dumps(results["rows"], indent=1))


if __name__ == "__main__":
    main()
