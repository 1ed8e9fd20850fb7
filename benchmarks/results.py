"""The papers' tables on our material, written to docs/results.md.

    python -m benchmarks.results --data FOLDER [--section NAME ...] [--clips N] [--pairs N]

Runs every released network and the baselines on the validation identities and writes ``docs/results.json`` (the
figures) and ``docs/results.md`` (the tables, beside what the papers print). ``--section`` measures some sections
again and keeps the others. Sections: ``gaussian`` (Chrysos & Zafeiriou 2017, table 1), ``averages`` (table 2),
``ren`` (Ren et al. 2019, table 1), ``guidance`` (table 2), ``kernels`` (Jung et al. 2022, tables 1 and 2),
``verification`` (table 3), ``features`` (table 4), ``real`` (real blur, whose faces are written side by side to
``runs/real.png``) and ``cost`` (Ren et al. 2019, table 3). ``guidance`` and ``features`` train what they compare,
which takes long, in ``runs/``; what is trained there is not trained again.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click
import cv2
import numpy as np

from benchmarks import ablation, prior_ablation
from benchmarks.machine import describe_machine
from benchmarks.real import measure_real
from benchmarks.results_page import page
from fvdeblur.datasets import Clip, load_clips, load_pictures
from fvdeblur.errors import FvdeblurError
from fvdeblur.evaluation.baselines import BASELINES, Kernels
from fvdeblur.evaluation.datasets import CLIP_FRAMES, create_restorers, evaluate_clips
from fvdeblur.evaluation.results import SECONDS
from fvdeblur.evaluation.verification import evaluate_pairs
from fvdeblur.released import names_of_networks

MEASURES = ("psnr", "ssim", "identity", "detected", SECONDS)

PICTURES = 60
"""Stills that the kernels of Jung et al. are measured on."""

MOST_TURN, MOST_ZOOM = 30.0, 1.1
"""Degrees that faces are turned by, and how far they are enlarged, where they are not aligned."""

REAL_PICTURE = Path("runs/real.png")
"""Where real faces are written side by side: they are nobody's to publish."""

GUIDANCE_STEPS, GUIDANCE_PATCH, GUIDANCE_WIDTH = 1000, 96, 8
"""What the rows of Ren et al. 2019, table 2, are trained for."""

SIDES = (256, 400, 592)
"""Sides of the squares that the cost is measured on; 400 and 592 have as many pixels as the frames of Ren et al. 2019,
table 3 (360x450 and 580x610)."""


class Sections:
    """Measures the sections by name.

    Parameters
    ----------
    data
        Folder of the material.
    clips, pairs
        Take so many clips (stills) and pairs only; None: all.
    """

    def __init__(self, data: Path, clips: int | None, pairs: int | None) -> None:
        self._data, self._clips, self._pairs = data, clips, pairs
        self.models = [*names_of_networks(), *BASELINES]

    def all(self) -> dict[str, Callable[[], Any]]:
        """The sections in the order of the page."""
        return {
            "gaussian": lambda: self._on_clips("gaussian"),
            "averages": lambda: self._on_clips("average-7-11"),
            "ren": lambda: self._on_clips("average-5"),
            "guidance": self._guidance,
            "kernels": self._kernels,
            "verification": self._verification,
            "features": lambda: prior_ablation.ablate(str(self._data)),
            "real": lambda: measure_real(self._data / "real", names_of_networks(), REAL_PICTURE),
            "cost": self._cost,
        }

    def _on_clips(self, protocol: str) -> Any:
        material = load_clips(self._data, "validation", CLIP_FRAMES)[: self._clips]
        return _summary(material, protocol, self.models)

    def _guidance(self) -> Any:
        start = ablation.start_of("ren2019", GUIDANCE_WIDTH, None)
        config = ablation.recipe(
            "ren2019", str(self._data), start, steps=GUIDANCE_STEPS, patch=GUIDANCE_PATCH
        )
        rows = ablation.table_rows("ren2019", "", "")
        runs = ablation.Ablation(config, rows, ablation.folder_of("ren2019"), start, "cpu")
        return ablation.ablate(runs, list(rows), count=self._clips)

    def _kernels(self) -> Any:
        stills = load_pictures(self._data / "faces256", "validation")[: self._clips or PICTURES]
        turned = [_turned(still, number) for number, still in enumerate(stills)]
        return {
            "centred": _summary(stills, "jung", self.models),
            "random": _summary(turned, "jung", self.models),
        }

    def _verification(self) -> Any:
        told = evaluate_pairs(
            self._data / "lfw112", self.models, pairs=self._pairs, progress=_every(200, "pictures")
        )
        return told.as_json()

    def _cost(self) -> Any:
        """Median seconds a frame of three runs on a moving picture, after one to warm up."""
        portrait = load_pictures(self._data / "faces256", "validation")[0].frames[0]
        restorers, ran = create_restorers(self.models, "auto", "auto")
        rows = []
        for side in SIDES:
            large = cv2.resize(portrait, (side + 16, side), interpolation=cv2.INTER_CUBIC)
            frames = np.stack([large[:, 2 * k : 2 * k + side] for k in range(5)])
            kernels = Kernels([np.full((1, 1), 1.0)] * len(frames), "linear")
            times: dict[str, list[float]] = {name: [] for name in restorers}
            for turn in range(4):
                for name, restore in restorers.items():
                    begin = time.perf_counter()
                    restore(frames, kernels)
                    if turn:
                        times[name].append((time.perf_counter() - begin) / len(frames))
            rows.append(
                {
                    "side": side,
                    "seconds": {name: statistics.median(each) for name, each in times.items()},
                }
            )
        return {"models": ran, "rows": rows}


def _summary(material: Sequence[Clip], protocol: str, models: Sequence[str]) -> Any:
    results = evaluate_clips(material, [protocol], models, progress=_every(5, f"clips, {protocol}"))
    report = results.as_json()
    kept = ("protocol", "model", "people", "clips", "frames", *MEASURES)
    summary = [{key: entry[key] for key in kept if key in entry} for entry in report["summary"]]
    return {"about": report["about"], "summary": summary}


def _turned(still: Clip, number: int) -> Clip:
    """A still turned and enlarged at random, as faces are that nobody aligned."""
    rng = np.random.default_rng((7, number))
    height, width = still.frames.shape[1:3]
    matrix = cv2.getRotationMatrix2D(
        (width / 2, height / 2), rng.uniform(-MOST_TURN, MOST_TURN), rng.uniform(1 / MOST_ZOOM, MOST_ZOOM)
    )
    picture = cv2.warpAffine(
        still.frames[0], matrix, (width, height), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT
    )
    return Clip(still.name, still.identity, picture[None].astype(np.uint8), 0.0)


def _every(count: int, what: str) -> Callable[[int, int], None]:
    def tell(done: int, total: int) -> None:
        if done % count == 0 or done == total:
            click.echo(f"{done} of {total} {what}", err=True)

    return tell


@click.command()
@click.option("--data", type=click.Path(exists=True, file_okay=False, path_type=Path), required=True)
@click.option("--section", "chosen", multiple=True, help="Measure this one again only; may be repeated.")
@click.option("--clips", type=click.IntRange(1), help="Take so many clips and stills only.")
@click.option("--pairs", type=click.IntRange(2), help="Take so many pairs only.")
@click.option("--output", type=click.Path(file_okay=False, path_type=Path), default=Path("docs"))
def main(data: Path, chosen: tuple[str, ...], clips: int | None, pairs: int | None, output: Path) -> None:
    """Measure, and write results.json and results.md into the output folder."""
    sections = Sections(data, clips, pairs).all()
    unknown = set(chosen) - set(sections)
    if unknown:
        raise click.UsageError(f"unknown section {sorted(unknown)[0]!r}; use {', '.join(sections)}")
    kept = output / "results.json"
    figures = json.loads(kept.read_text(encoding="utf-8")) if chosen and kept.exists() else {}
    machine = describe_machine()
    for name in chosen or sections:
        try:
            figures[name] = {"machine": machine, "figures": sections[name]()}
        except FvdeblurError as error:
            raise click.ClickException(str(error)) from error
        output.mkdir(parents=True, exist_ok=True)
        kept.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
        (output / "results.md").write_text(page(figures), encoding="utf-8")
        click.echo(f"{name}: written to {output / 'results.md'}", err=True)


if __name__ == "__main__":
    main()
