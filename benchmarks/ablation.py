"""What the 3D face is worth: Table 2 of Ren et al. 2019 and the comparisons of its section 4.5.

    python -m benchmarks.ablation --data FOLDER --network fvd --steps 2000 --seeds 2

Trains the rows below with the same seeds, material, patches and steps, and measures them on the validation identities
with the protocol ``motion`` of ``benchmarks.quality``: PSNR, SSIM and identity similarity (cosine of dlib's 128-d
embeddings of the restored and the sharp face, never used in training) in the face box, each with a 95 % bootstrap
interval over the clips, and so the paired differences to other rows.

- ``none``, ``identity``, ``render``, ``both``: Table 2.
- ``one-frame``: ``both``, told one frame instead of five.
- ``without-lr``: ``both``, with faces read by a regressor that was trained without the loss L_r of equation (3)
  (``--regressor-without``; left out without it).

``ren2019`` starts untrained, with ``--width`` channels instead of the paper's 32. ``fvd`` goes on from the released
weights without what they have for guides, so that new layers begin at zero; ``one-frame`` begins with these weights as
they act on one frame five times. Every run has a folder in ``--output`` and the same command goes on where it was
left: ``--minutes`` ends the training of one call. JSON on standard output and in ``results.json``.
"""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import json
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import click
from torch import Tensor

from benchmarks.ablation_figures import Measured, Table, figures_of, measured_segments, restore, summary
from benchmarks.embedding import Embedder, open_embedder
from benchmarks.machine import describe_machine
from benchmarks.trained import is_finished, with_weights
from fvdeblur import released
from fvdeblur.datasets import BlurSettings, load_clips
from fvdeblur.errors import InputError, UsageError
from fvdeblur.networks import WindowShape
from fvdeblur.training import TrainConfig, train
from fvdeblur.training.checkpoints import WEIGHTS
from fvdeblur.training.guides import Guide

RENDER = {"fvd": 7, "ren2019": 3}
"""Channels of the rendered face: R'G'B', mask and normals, or R'G'B' as in the paper."""

IDENTITY = 80

RATES = {"fvd": 5e-4, "ren2019": 5e-4}
"""Highest learning rates (Muon)."""

BLUR = BlurSettings(
    size=256,
    length=10,
    scale=(1.0, 1.3),
    varying_share=0.6,
    sharp_share=0.1,
    compression_share=0.0,
)

POOL, USES = 64, 80
"""Segments held at once, and patches drawn of each: reading the faces of one takes about half a second."""

Weights = dict[str, Tensor]


class Row(NamedTuple):
    """A row of the tables.

    Attributes
    ----------
    title
        What it is.
    options
        Of the network, beside those that all rows have.
    regressor
        Weights of the regressor that reads the faces; empty for the released one.
    against
        Rows that it is compared to.
    """

    title: str
    options: dict[str, Any]
    regressor: str
    against: tuple[str, ...]


def table_rows(network: str, regressor: str, regressor_without: str) -> dict[str, Row]:
    """The rows by name; `regressor_without` may be empty."""
    render, both = RENDER[network], {"prior_channels": RENDER[network], "identity_size": IDENTITY}
    single = {**both, "frames": 1, **({"takes_flow": False} if network == "fvd" else {})}
    rows = {
        "none": Row("no prior", {"prior_channels": 0, "identity_size": 0}, regressor, ()),
        "identity": Row("identity", {"prior_channels": 0, "identity_size": IDENTITY}, regressor, ("none",)),
        "render": Row("render", {"prior_channels": render, "identity_size": 0}, regressor, ("none",)),
        "both": Row("identity and render", both, regressor, ("none",)),
        "one-frame": Row("both, 1 frame", single, regressor, ("none", "both")),
    }
    if regressor_without:
        rows["without-lr"] = Row("both, without L_r", both, regressor_without, ("none", "both"))
    return rows


def initial_weights(weights: Weights, frames: int) -> Weights:
    """Weights of ``fvd`` without its layers for guides; with one frame, as they act on that frame again and again."""
    plain = {k: v for k, v in weights.items() if not k.startswith(("prior_head.", "identity_heads."))}
    if frames > 1:
        return plain
    # Twelve channels a frame: three colours of four pixels each. The moved neighbours are the frame itself as well.
    head, bias = plain["head.weight"].unflatten(1, (-1, 12)).sum(1), plain["head.bias"]
    if "flow_head.weight" in plain:
        seen = plain.pop("flow_head.weight")
        neighbours = seen.shape[1] // 14
        head = head + seen[:, : 12 * neighbours].unflatten(1, (neighbours, 12)).sum(1)
        bias = bias + plain.pop("flow_head.bias")
    return {**plain, "head.weight": head, "head.bias": bias}


class Start(NamedTuple):
    """What runs begin with.

    Attributes
    ----------
    options
        Of the network, that all rows have.
    weights
        None for untrained networks.
    digest
        SHA-256 of the weights; empty without any.
    """

    options: dict[str, Any]
    weights: Weights | None
    digest: str


def start_of(network: str, width: int, initial: Path | None) -> Start:
    """What the runs of a network begin with: of ``fvd`` the released weights, or those of a file.

    Raises
    ------
    InputError
        The weights cannot be read.
    """
    if network != "fvd":
        return Start({"width": width, "residual": True}, None, "")
    card = released.read_config("fvd")
    options = {k: v for k, v in card["options"].items() if k not in ("prior_channels", "identity_size")}
    if initial is None:
        return Start(options, released.read_weights("fvd", card["sha256"]), card["sha256"])
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        data = initial.read_bytes()
        weights = {key: value.float() for key, value in load(data).items()}
    except (OSError, SafetensorError) as error:
        raise InputError(f"{initial}: the weights cannot be read ({error})") from error
    return Start(options, weights, hashlib.sha256(data).hexdigest())


class Ablation:
    """The runs in one folder.

    Parameters
    ----------
    config
        What all runs have in common.
    rows
        The rows by name.
    output
        Folder of the runs.
    start
        What they begin with.
    device
        Where they are trained and measured.
    """

    def __init__(
        self, config: TrainConfig, rows: dict[str, Row], output: Path, start: Start, device: str
    ) -> None:
        self.config, self.rows, self._output = config, rows, output
        self._start, self._device = start, device

    def _run(self, name: str, seed: int) -> tuple[Path, TrainConfig]:
        row = self.rows[name]
        options = {**self.config.network_options, **row.options}
        config = dataclasses.replace(self.config, network_options=options, regressor=row.regressor, seed=seed)
        return self._output / f"{name}-{seed}", config

    def train(self, name: str, seed: int, minutes: float | None) -> bool:
        """Go on with a run for at most so many minutes; return whether it is finished.

        Raises
        ------
        UsageError
            The run's folder holds one with other settings.
        """
        from safetensors.torch import save_file

        folder, config = self._run(name, seed)
        folder.mkdir(parents=True, exist_ok=True)
        kept = folder / "settings.json"
        settings = json.dumps({**dataclasses.asdict(config), "start": self._start.digest}, indent=1)
        if kept.exists() and kept.read_text(encoding="utf-8") != settings:
            raise UsageError(f"{kept}: this run has other settings; choose another --output")
        kept.write_text(settings, encoding="utf-8")
        if is_finished(folder, config.steps):
            return True
        if minutes is not None and minutes <= 0:
            return False
        initial = None
        if self._start.weights is not None:
            initial = folder / "initial.safetensors"
            fitting = initial_weights(self._start.weights, config.network_options.get("frames", 5))
            save_file({key: value.contiguous() for key, value in fitting.items()}, initial)
        line = train(
            config,
            folder,
            device=self._device,
            initial=initial,
            max_minutes=minutes,
            report=lambda text: click.echo(f"{name}, seed {seed}: {text}", err=True),
        )
        return line.get("step") == config.steps

    def measure(self, name: str, seed: int, segments: list[Measured], embedder: Embedder | None) -> Table:
        """Figures of every segment, with the averaged weights of a run, in single precision."""
        folder, config = self._run(name, seed)
        network = with_weights(config.network, config.network_options, folder / WEIGHTS).to(self._device)
        guide = Guide(WindowShape.of(network), config.regressor, self._device)
        table = []
        for number, segment in enumerate(segments, 1):
            figures = figures_of(restore(network, guide, segment.given), segment, embedder)
            table.append((segment.clip, figures))
            if number % 10 == 0 or number == len(segments):
                click.echo(f"{name}, seed {seed}: {number} of {len(segments)} segments measured", err=True)
        return table


def folder_of(network: str) -> Path:
    """Where the runs of a network are unless something else is said."""
    return Path("runs") / f"ablation-{network}"


def recipe(
    network: str,
    data: str,
    start: Start,
    *,
    steps: int,
    batch: int = 8,
    patch: int = 128,
    learning_rate: float | None = None,
    workers: int = 1,
) -> TrainConfig:
    """What all runs of an ablation have in common."""
    return TrainConfig(
        network=network,
        network_options=start.options,
        data=data,
        stills_share=0.3,
        steps=steps,
        batch=batch,
        patch=patch,
        learning_rate=RATES[network] if learning_rate is None else learning_rate,
        warmup=min(100, steps // 10),
        pool=POOL,
        patches_per_segment=USES,
        prior_dropout=0.0,
        workers=workers,
        save_every=max(1, steps // 4),
        validate_every=0,
        blur=BLUR,
    )


def ablate(
    ablation: Ablation,
    names: Sequence[str],
    *,
    seeds: int = 1,
    minutes: float | None = None,
    count: int | None = None,
    seed: int = 7,
) -> dict[str, Any]:
    """Train rows and measure those that are finished.

    Parameters
    ----------
    ablation
        The runs.
    names
        The rows.
    seeds
        Runs a row.
    minutes
        End the training after so many.
    count
        Measure on so many clips only.
    seed
        Of the blur that is measured on.

    Returns
    -------
    ``network``, ``budget``, ``settings``, ``machine``, ``measured``, ``rows`` (means, intervals and paired
    differences) and ``left_out``.
    """
    began = time.monotonic()
    config, rows = ablation.config, ablation.rows
    embedder, missing = open_embedder()
    left_out = [f"identity similarity: {missing}"] if missing else []
    if "without-lr" not in rows:
        left_out.append("row without-lr: no --regressor-without was given")
    for text in left_out:
        click.echo(f"left out: {text}", err=True)
    finished: dict[str, list[int]] = defaultdict(list)
    for number, name in itertools.product(range(seeds), names):
        left = None if minutes is None else minutes - (time.monotonic() - began) / 60
        if ablation.train(name, number, left):
            finished[name].append(number)
    left_out += [
        f"row {name}: {seeds - len(finished[name])} of {seeds} runs are not finished; run the same command again"
        for name in names
        if len(finished[name]) < seeds
    ]
    results: dict[str, Any] = {
        "network": config.network,
        "budget": {"steps": config.steps, "batch": config.batch, "patch": config.patch, "seeds": seeds},
        "settings": dataclasses.asdict(config),
        "machine": describe_machine(),
    }
    complete = [name for name in names if len(finished[name]) == seeds]
    tables: dict[str, Table] = {}
    if complete:
        clips = load_clips(config.data, "validation", limit=120)[:count]
        segments = measured_segments(clips, seed)
        tables["blurred"] = [(s.clip, figures_of(s.given, s, embedder)) for s in segments]
        for name, number in itertools.product(complete, range(seeds)):
            tables.setdefault(name, []).extend(ablation.measure(name, number, segments, embedder))
        results["measured"] = {"clips": len({s.clip for s in segments}), "segments": len(segments)}
    against = {name: row.against for name, row in rows.items()}
    found = {
        name: {**_described(rows, name), **figures} for name, figures in summary(tables, against).items()
    }
    return {**results, "rows": found, "left_out": left_out}


@click.command()
@click.option("--data", required=True, help="Folder with clips.tsv, portraits.tsv and what they list.")
@click.option(
    "--network", "network_name", type=click.Choice(sorted(RENDER)), default="fvd", show_default=True
)
@click.option("--steps", type=click.IntRange(1), default=2000, show_default=True)
@click.option("--batch", type=click.IntRange(1), default=8, show_default=True)
@click.option("--patch", type=click.IntRange(36), default=128, show_default=True)
@click.option(
    "--seeds", type=click.IntRange(1), default=1, show_default=True, help="Runs a row, seeds 0, 1, ..."
)
@click.option("--minutes", type=float, help="End the training of this call after so many minutes.")
@click.option("--learning-rate", type=float, help="Highest learning rate [default: by network].")
@click.option(
    "--width", type=int, default=8, show_default=True, help="Of ren2019; it costs time by its square."
)
@click.option(
    "--initial", type=click.Path(path_type=Path), help="Weights of fvd to begin with, not the released."
)
@click.option("--regressor", default="", help="Weights of the regressor [default: the released one].")
@click.option("--regressor-without", default="", help="Weights of one that was trained without L_r.")
@click.option("--row", "chosen", multiple=True, help="Train and measure this row only; may be repeated.")
@click.option("--clips", "count", type=int, help="Measure on the first N clips only.")
@click.option("--seed", type=int, default=7, show_default=True, help="Of the blur that is measured on.")
@click.option("--workers", type=int, default=1, show_default=True, help="0 on a GPU.")
@click.option("--device", default="cpu", show_default=True)
@click.option("--output", type=click.Path(path_type=Path), help="Folder [default: runs/ablation-NETWORK].")
def main(
    data: str,
    network_name: str,
    steps: int,
    batch: int,
    patch: int,
    seeds: int,
    minutes: float | None,
    learning_rate: float | None,
    width: int,
    initial: Path | None,
    regressor: str,
    regressor_without: str,
    chosen: tuple[str, ...],
    count: int | None,
    seed: int,
    workers: int,
    device: str,
    output: Path | None,
) -> None:
    """Train and measure the rows of the paper's ablation; JSON on standard output."""
    output = folder_of(network_name) if output is None else output
    rows = table_rows(network_name, regressor, regressor_without)
    unknown = [name for name in chosen if name not in rows]
    if unknown:
        raise click.BadParameter(f"{', '.join(unknown)}; there are: {', '.join(rows)}", param_hint="--row")
    start = start_of(network_name, width, initial)
    config = recipe(
        network_name,
        data,
        start,
        steps=steps,
        batch=batch,
        patch=patch,
        learning_rate=learning_rate,
        workers=workers,
    )
    click.echo(
        f"{network_name} {start.options}: {steps} steps of {batch} patches of {patch}x{patch}, {seeds} seeds",
        err=True,
    )
    ablation = Ablation(config, rows, output, start, device)
    wanted = [name for name in rows if not chosen or name in chosen]
    results = ablate(ablation, wanted, seeds=seeds, minutes=minutes, count=count, seed=seed)
    output.mkdir(parents=True, exist_ok=True)
    (output / "results.json").write_text(json.dumps(results, indent=1), encoding="utf-8")
    click.echo(json.dumps(results, indent=1))


def _described(rows: dict[str, Row], name: str) -> dict[str, Any]:
    return (
        {"title": rows[name].title, **rows[name].options} if name in rows else {"title": "the blurred frames"}
    )


if __name__ == "__main__":
    main()
