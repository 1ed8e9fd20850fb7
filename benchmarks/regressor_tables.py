"""The figures of `benchmarks.regressor` as text."""

from __future__ import annotations

from typing import Any

import click

from benchmarks.regressor_crops import MEASURED
from benchmarks.regressor_errors import MISSED, WRONG, Estimate

METHODS = ("regressor", "detector", "mesh")


def print_landmarks(landmarks: dict[str, Any], target: dict[str, Any]) -> None:
    """Errors of all methods, and whether the target holds."""
    click.echo(f"\nLandmark error in % of the eye distance, mean over people (95 %); {landmarks['detector']}")
    click.echo(f"(of faces found | of all, a missed one counted as {MISSED:.0f} | of all in clips)")
    for points, title in (("five", "five points"), ("dense", "470 points")):
        for condition in [condition.name for condition in MEASURED]:
            if condition not in landmarks:
                continue
            row = landmarks[condition]
            click.echo(f"{condition}, {title}, {row['faces']} faces of {row['people']} people")
            for method in METHODS:
                if method not in row[points]:
                    continue
                own = row[points][method]
                line = f"  {method:9s} {_spread(own['error'])} | {_spread(own['error_all'])} | "
                line += f"{_spread(own['error_all_clips'])}  missed {own['missed']}"
                smaller = own.get("regressor_smaller")
                if smaller is not None:
                    line += f"; regressor smaller by {_share(smaller)}"
                click.echo(line)
    click.echo("\nTarget: at least a third lower than the best other method, on the faces that it found")
    for name, verdict in target.items():
        holds = "holds" if verdict["holds"] else "DOES NOT HOLD"
        click.echo(
            f"  {name}: {100 * verdict['smaller_by']:.1f} % lower than the {verdict['against']}: {holds}"
        )


def print_quality(quality: dict[str, Any]) -> None:
    """Photometric errors."""
    click.echo("\nFaces inside the rendered mask against the sharp crop: mean absolute error of 255, PSNR")
    for condition, row in quality.items():
        parts = [
            f"{name} {_spread(values['absolute'])}, {values['psnr'].mean:.2f} dB"
            for name, values in row.items()
        ]
        click.echo(f"  {condition:11s} " + "; ".join(parts))


def print_doubts(doubts: dict[str, Any]) -> None:
    """What the doubt is worth."""
    click.echo(
        f"\nDoubt against error: Spearman {doubts['spearman']:.3f}, of the measured conditions alone "
        f"{doubts['spearman_measured_conditions']:.3f}"
    )
    for low, high, count, error in doubts["bins"]:
        upper = "more" if high is None else f"{high:g}"
        click.echo(f"  doubt {low:g} to {upper}: {count} readings, error {error:.2f} %")
    threshold = doubts["threshold"]
    if threshold is None:
        click.echo(f"  no doubt goes with an error of more than {WRONG:g} %")
    else:
        click.echo(f"  from a doubt of {threshold:.2f} on the expected error is more than {WRONG:g} %")
    for name, row in doubts["groups"].items():
        if row["doubt"] is None:
            continue
        error = "" if row["error"] is None else f", error {row['error']:.2f} %"
        beyond = "" if row["beyond"] is None else f", beyond the threshold {100 * row['beyond']:.1f} %"
        click.echo(f"  {name:16s} {row['crops']:4d} crops, median doubt {row['doubt']:.2f}{error}{beyond}")


def print_cost(cost: dict[str, Any]) -> None:
    """Multiply-accumulates and times."""
    click.echo(
        f"\nregressor {cost['regressor_gmac']} GMAC, with the mirror image {cost['reading_gmac']}; "
        f"{cost['regressor_parameters'] / 1e6:.2f} million parameters; fvd on one window {cost['fvd_256_gmac']} GMAC"
    )
    for device in ("cpu, one core", "gpu"):
        if device in cost:
            click.echo(f"  {device}, milliseconds a face (times fvd on one window of 256 x 256):")
            for name, row in cost[device].items():
                click.echo(f"    {name:24s} {row['milliseconds']:8.2f}  ({row['of_fvd']:.3f})")


def _spread(value: Estimate | None) -> str:
    if value is None:
        return "none found"
    return f"{value.mean:5.2f} ({value.low:.2f}..{value.high:.2f})"


def _share(value: Estimate) -> str:
    return f"{100 * value.mean:.1f} % ({100 * value.low:.1f}..{100 * value.high:.1f})"
