"""Rows of measurements, their means with confidence intervals, and tables of them."""

from __future__ import annotations

import csv
import io
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 2000
CONFIDENCE = 0.95

SECONDS = "seconds"
"""Measure of the time that restoring a frame takes; it has no value before."""

LOWER_IS_BETTER = frozenset({"landmark_error", "temporal_error", "warping_error", SECONDS})
"""Measures of which less is better; of the others more."""

UNITS = {
    "psnr": "dB",
    "psnr_blurred": "dB, frames below 35 dB",
    "psnr_hardly_blurred": "dB, frames from 35 dB on",
    "temporal_error": "1/255",
    "warping_error": "1/255",
    "landmark_error": "% of the eye distance",
    SECONDS: "a frame",
}
DIGITS = {"psnr": 2, "ssim": 4, "identity": 4, "detected": 3, SECONDS: 3}


class Interval(NamedTuple):
    """A mean and the interval in which it lies with 95 % confidence."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class Row:
    """What was measured on one clip, blurred in one way, restored by one model.

    Attributes
    ----------
    protocol, model
        How it was blurred, and by what it was restored.
    person, clip
        Who it shows, and its name.
    frames
        Number of frames.
    before, after
        Means over the frames of the blurred and of the restored sequence, by measure.
    """

    protocol: str
    model: str
    person: str
    clip: str
    frames: int
    before: Mapping[str, float]
    after: Mapping[str, float]


@dataclass
class Results:
    """All rows of an evaluation.

    Attributes
    ----------
    rows
        A row a clip, protocol and model.
    about
        What it was made of and with: settings, versions, networks.
    left_out
        Clips that were not measured, with the reason.
    """

    rows: list[Row] = field(default_factory=list)
    about: dict[str, Any] = field(default_factory=dict)
    left_out: list[dict[str, str]] = field(default_factory=list)

    def measures(self) -> list[str]:
        """Names of the measures that were taken."""
        return list(dict.fromkeys(name for row in self.rows for name in row.after))

    def people(self, protocol: str, model: str, measure: str) -> dict[str, tuple[float, float]]:
        """Means before and after of each person, over the clips."""
        values: dict[str, list[tuple[float, float]]] = defaultdict(list)
        for row in self.rows:
            pair = (row.before.get(measure, math.nan), row.after.get(measure, math.nan))
            if (row.protocol, row.model) == (protocol, model) and not math.isnan(pair[1]):
                values[row.person].append(pair)
        return {person: tuple(np.mean(pairs, axis=0).tolist()) for person, pairs in values.items()}

    def summary(self) -> list[dict[str, Any]]:
        """For each protocol and model the means over people, with intervals.

        Returns
        -------
        Dictionaries with ``protocol``, ``model``, ``people``, ``clips``, ``frames`` and, a measure, ``before``,
        ``after`` and ``change`` (each mean, low, high) and ``worst``: the person with the least improvement, and it.
        """
        table = []
        for protocol, model in dict.fromkeys((row.protocol, row.model) for row in self.rows):
            rows = [row for row in self.rows if (row.protocol, row.model) == (protocol, model)]
            entry: dict[str, Any] = {
                "protocol": protocol,
                "model": model,
                "people": len({row.person for row in rows}),
                "clips": len(rows),
                "frames": sum(row.frames for row in rows),
            }
            for measure in self.measures():
                people = self.people(protocol, model, measure)
                if not people:
                    continue
                pairs = np.array(list(people.values()))
                change = pairs[:, 1] - pairs[:, 0]
                better = -change if measure in LOWER_IS_BETTER else change
                worst = int(np.nan_to_num(better, nan=np.inf).argmin())
                entry[measure] = {
                    "before": interval(pairs[:, 0])._asdict(),
                    "after": interval(pairs[:, 1])._asdict(),
                    "change": interval(change)._asdict(),
                    "worst": {"person": list(people)[worst], "change": float(change[worst])},
                }
            table.append(entry)
        return table

    def as_json(self) -> dict[str, Any]:
        """Everything, for ``json.dump``; what could not be taken is null."""
        return _plain(
            {
                "schema": "fvdeblur.evaluation/1",
                "about": self.about,
                "summary": self.summary(),
                "rows": [vars(row) for row in self.rows],
                "left_out": self.left_out,
            }
        )

    def as_csv(self) -> str:
        """A line a row, with every measure before and after."""
        measures = self.measures()
        stream = io.StringIO()
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(
            ["protocol", "model", "person", "clip", "frames"]
            + [f"{measure}_{when}" for measure in measures for when in ("before", "after")]
        )
        for row in self.rows:
            values = [each.get(measure, math.nan) for measure in measures for each in (row.before, row.after)]
            writer.writerow(
                [row.protocol, row.model, row.person, row.clip, row.frames]
                + ["" if math.isnan(value) else f"{value:.6g}" for value in values]
            )
        return stream.getvalue()

    def cells(self, measures: Sequence[str] | None = None) -> tuple[list[str], list[list[str]]]:
        """Head and rows of a table for people: ``before -> after (change, interval of the change)``."""
        chosen = [name for name in self.measures() if measures is None or name in measures]
        titles = [f"{name} ({UNITS[name]})" if name in UNITS else name for name in chosen]
        head = ["protocol", "model", "people", *titles]
        rows = []
        for entry in self.summary():
            row = [entry["protocol"], entry["model"], str(entry["people"])]
            for name in chosen:
                row.append(_cell(entry[name], DIGITS.get(name, 2)) if name in entry else "")
            rows.append(row)
        return head, rows

    def as_markdown(self, measures: Sequence[str] | None = None) -> str:
        """The table in Markdown."""
        head, rows = self.cells(measures)
        lines = [head, ["---"] * len(head), *rows]
        return "".join("| " + " | ".join(line) + " |\n" for line in lines)

    def as_latex(self, measures: Sequence[str] | None = None) -> str:
        """The table as a LaTeX ``tabular``."""
        head, rows = self.cells(measures)
        lines = [" & ".join(_latex(cell) for cell in line) + r" \\" for line in [head, *rows]]
        body = "\n".join([lines[0], r"\hline", *lines[1:]])
        return f"\\begin{{tabular}}{{{'l' * 2}{'r' * (len(head) - 2)}}}\n{body}\n\\end{{tabular}}\n"


def interval(values: NDArray[Any] | Iterable[float]) -> Interval:
    """Mean, and its 95 % interval by bootstrap (percentiles of means of as many values); NaN is left out."""
    given = np.asarray(list(values), np.float64)
    given = given[~np.isnan(given)]
    if not len(given):
        return Interval(math.nan, math.nan, math.nan)
    drawn = np.random.default_rng(0).integers(len(given), size=(RESAMPLES, len(given)))
    tail = 50 * (1 - CONFIDENCE)
    low, high = np.percentile(given[drawn].mean(axis=1), (tail, 100 - tail))
    return Interval(float(given.mean()), float(low), float(high))


def _cell(values: Mapping[str, Any], digits: int) -> str:
    before, after, change = (values[key] for key in ("before", "after", "change"))
    if math.isnan(before["mean"]):
        return f"{after['mean']:.{digits}f}"
    return (
        f"{before['mean']:.{digits}f} -> {after['mean']:.{digits}f} "
        f"({change['mean']:+.{digits}f}, {change['low']:+.{digits}f} to {change['high']:+.{digits}f})"
    )


def _latex(text: str) -> str:
    for character in "&%#_":
        text = text.replace(character, "\\" + character)
    return text.replace("->", r"$\rightarrow$")


def _plain(value: Any) -> Any:
    """The same with numbers that JSON does not know as None, and rounded to six digits."""
    if isinstance(value, Mapping):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if isinstance(value, float):
        return float(f"{value:.6g}") if math.isfinite(value) else None
    return value
