"""The page of `benchmarks.results`: our figures beside the printed ones."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from fvdeblur.evaluation.results import SECONDS

HEAD = """# The papers' tables, run again

Written by `make results DATA=folder` (`python -m benchmarks.results`). Rows without a mark were run here, on people
that no network was trained on; rows marked *quoted* are what the papers print, of other people, cameras and blur,
so that only the distance from "blurred" to "restored" can be compared, and even that with care. PSNR and SSIM are
those of [evaluation.md](evaluation.md), in the box of the face, as means over people; in brackets the change and
its 95 % interval. Identity is the cosine to the sharp frame's embedding, detection the share of frames in which the
face is found, seconds the time that restoring a frame takes, with optical flow and the reading of the 3D face where a
network wants them; times differ from section to section, as machines do from hour to hour.

`wiener` and `richardson-lucy` are told the true kernel of each frame, which nobody knows of a real clip: they say
how far a linear method could come that guessed the blur perfectly. The networks are told nothing. Networks that
are not listed were not released when their table was measured.
"""

QUOTED = " *(quoted)*"

SECTIONS: dict[str, tuple[str, str]] = {
    "gaussian": (
        "Chrysos & Zafeiriou 2017, table 1: Gaussian blur",
        "The paper blurs 70 photographs of AFLW and does not say how strongly; here deviations of 0.8 to 4 "
        "pixels and noise of 1/255.",
    ),
    "averages": (
        "Chrysos & Zafeiriou 2017, table 2: 7 to 11 frames averaged",
        "The paper takes four videos of 300VW; here frames with too little or too much movement are left out "
        "by the same rules.",
    ),
    "ren": (
        "Ren et al. 2019, table 1: 5 frames averaged",
        "The paper measures on 9 videos of 300VW and 11 of VidTIMIT.",
    ),
    "guidance": (
        "Ren et al. 2019, table 2: with and without the 3D face",
        "The paper trains every row to the end; here they are untrained networks after a small budget, which the "
        "table names, and say only what each part brings at the beginning. Motion blur with shake, in brackets the "
        "difference to the row *no prior* and its 95 % interval.",
    ),
    "kernels": (
        "Jung et al. 2022, tables 1 and 2: trajectories in kernels of 13 to 27 pixels, on stills",
        "The paper's test sets are blurred CelebA, CelebA-HQ and FFHQ; here stills of CelebA. *Random*: "
        "turned by up to 30 degrees and scaled by up to a tenth, so that nothing is aligned. A network of "
        "several frames is given the same still for all of them, without the neighbours that it lives on.",
    ),
    "verification": (
        "Jung et al. 2022, table 3: telling people apart",
        "The paper detects and compares faces of CelebA with networks of its own; here pairs of Labeled Faces "
        "in the Wild, aligned, blurred in kernels of 5 to 13 pixels at 112 pixels a side.",
    ),
    "features": (
        "Jung et al. 2022, table 4: what deep features as a prior are worth",
        "The paper trains every row to the end, with VGGFace; here MobileFaceNet and a small budget, which the table "
        "names. Kernels of 13 to 27 pixels on stills, in brackets the difference to the row before and its 95 % "
        "interval.",
    ),
    "real": (
        "Real blur: Chrysos & Zafeiriou 2017, section 5.4, and Jung et al. 2022, figure 8",
        "Nobody knows the truth of these low-quality clips. Sharpness is measured without a reference, identity "
        "is the cosine between output and input, the last column how much the output's change from frame to "
        "frame differs from the input's (1/255): less change is not worse, and more is not better. By eye: "
        "`runs/real.png`, which the command writes.",
    ),
    "cost": (
        "Ren et al. 2019, table 3: seconds a frame",
        "Squares of as many pixels as the frames of the paper, whose figures are of a Titan X; here with "
        "optical flow and, where a network wants it, the reading of the 3D face. The product runs on crops "
        "around faces.",
    ),
}
"""Title of every section and a word on what differs."""

PRINTED: dict[str, list[tuple[str, str]]] = {
    "gaussian": [("blurred", "21.84 dB, 0.52"), ("Chrysos & Zafeiriou", "22.42 dB, 0.57")],
    "averages": [
        ("Babacan et al.", "25.127 dB, 0.580"),
        ("Pan et al. (2016)", "23.972 dB, 0.512"),
        ("Chakrabarti", "23.388 dB, 0.420"),
        ("Chrysos & Zafeiriou", "23.950 dB, 0.558"),
    ],
    "ren": [
        ("Su et al., 300VW", "34.40 dB, 0.9218"),
        ("Tao et al., 300VW", "36.36 dB, 0.9784"),
        ("Ren et al., 300VW", "37.70 dB, 0.9849"),
        ("Ren et al., VidTIMIT", "38.16 dB, 0.9871"),
    ],
    "guidance": [],
    "kernels": [
        ("Jung et al., Shen's CelebA", "26.56 dB, 0.915"),
        ("Yasarla et al., Shen's CelebA", "26.62 dB, 0.908"),
        ("Jung et al., MSPL centred CelebA", "29.06 dB, 0.933"),
        ("Jung et al., MSPL random CelebA", "29.96 dB, 0.945"),
    ],
    "verification": [
        ("sharp", "93.47 %"),
        ("blurred", "77.05 %"),
        ("Lee et al.", "89.59 %"),
        ("Jung et al.", "89.87 % (gap closed 78 %)"),
    ],
    "features": [],
    "real": [],
    "cost": [
        ("Nah et al.", "2.03 s at 360x450, 2.56 s at 580x610"),
        ("Tao et al.", "1.81 s, 1.98 s"),
        ("Su et al.", "0.31 s, 0.77 s"),
        ("Ren et al.", "0.67 s, 0.70 s"),
    ],
}
"""What the papers print, by section."""


REAL = {"sharpness": "sharpness", "identity": "identity to the input", "temporal_error": "change over time"}
"""Measures of real clips, and what they are called."""


ABLATED = {"psnr": 2, "ssim": 4, "identity": 4}
"""Measures of the tables that train their rows, and the digits that are shown."""


def page(figures: Mapping[str, Any]) -> str:
    """The whole page of the sections that were measured, in their order."""
    parts = [HEAD]
    for name, (title, differs) in SECTIONS.items():
        if name in figures:
            machine, values = figures[name]["machine"], figures[name]["figures"]
            where = machine["gpu"] or f"{machine['cores']} cores of {machine['processor']}"
            body = "\n".join(_BODIES.get(name, _restoration)(values))
            parts.append(f"## {title}\n\n{differs} Machine: {where}.\n\n{body}\n{_printed(name)}")
    return "\n".join(parts)


def _printed(name: str) -> str:
    if not PRINTED[name]:
        return ""
    rows = [(f"{who}{QUOTED}", what) for who, what in PRINTED[name]]
    return "\n" + "\n".join(_table(("printed", "figures"), rows)) + "\n"


def _restoration(values: Mapping[str, Any]) -> list[str]:
    summary = values["summary"]
    first = summary[0]
    rows = [
        (
            "blurred",
            *(_number(first, measure, "before") for measure in ("psnr", "ssim", "identity", "detected")),
            "",
        )
    ]
    rows += [
        (
            entry["model"],
            _with_change(entry, "psnr", 2),
            _with_change(entry, "ssim", 3),
            _number(entry, "identity", "after"),
            _number(entry, "detected", "after"),
            _number(entry, SECONDS, "after"),
        )
        for entry in summary
    ]
    said = f"{first['people']} people, {first['frames']} frames.\n"
    return [said, *_table(("", "PSNR (dB)", "SSIM", "identity", "detected", "seconds"), rows)]


def _kernels(values: Mapping[str, Any]) -> list[str]:
    return ["Centred: ", *_restoration(values["centred"]), "", "Random: ", *_restoration(values["random"])]


def _verification(values: Mapping[str, Any]) -> list[str]:
    rows = []
    for name, row in values["accuracy"].items():
        closed = "" if row["gap_closed"] is None else f"{row['gap_closed']:.0%}"
        rows.append((name, f"{row['mean']:.2%} ({row['low']:.2%} to {row['high']:.2%})", closed))
    return [f"{values['pairs']} pairs.\n", *_table(("pictures", "told rightly", "gap closed"), rows)]


def _real(values: Mapping[str, Any]) -> list[str]:
    lines = []
    for clip, entry in values["clips"].items():
        rows = [
            (
                name,
                *(f"{entry[name][measure]:.3f}" if measure in entry[name] else "" for measure in REAL),
            )
            for name in values["columns"]
        ]
        lines += [f"{clip}, {entry['frames']} frames:\n", *_table(("", *REAL.values()), rows), ""]
    return lines[:-1]


def _guidance(values: Mapping[str, Any]) -> list[str]:
    budget, measured = values["budget"], values["measured"]
    said = (
        f"{budget['steps']} steps of {budget['batch']} patches of {budget['patch']}x{budget['patch']}, "
        f"{values['settings']['network_options']['width']} channels (the paper: 32), {budget['seeds']} run a row; "
        f"{measured['segments']} segments of {measured['clips']} clips.\n"
    )

    def cell(figure: Mapping[str, Any], digits: int) -> str:
        apart = figure.get("less none")
        change = None if apart is None else (apart["mean"], *apart["interval"])
        return _changed(figure["mean"], change, digits)

    return [said, *_ablation({row["title"]: row for row in values["rows"].values()}, cell)]


def _features(values: Mapping[str, Any]) -> list[str]:
    budget, rows = values["budget"], dict(values["rows"])
    blurred = {measure: {"mean": mean} for measure, mean in rows.pop("blurred").items()}
    stills = next(iter(rows.values()))["stills"]
    said = f"{budget['steps']} steps, {budget['width']} channels (the paper: 64); {stills} stills.\n"

    def cell(figure: Mapping[str, Any], digits: int) -> str:
        keys = ("change_mean", "change_low", "change_high")
        change = tuple(figure[key] for key in keys) if keys[0] in figure else None
        return _changed(figure["mean"], change, digits)

    titled = {f"{name}: {row['title']}": row for name, row in rows.items()}
    return [said, *_ablation({"blurred": blurred, **titled}, cell)]


def _ablation(
    rows: Mapping[str, Mapping[str, Any]], cell: Callable[[Mapping[str, Any], int], str]
) -> list[str]:
    """A table of rows by title; ``cell`` writes the figure of a measure with so many digits."""
    lines = [
        (
            title,
            *(cell(row[measure], digits) if measure in row else "" for measure, digits in ABLATED.items()),
        )
        for title, row in rows.items()
    ]
    return _table(("", "PSNR (dB)", "SSIM", "identity"), lines)


def _cost(values: Mapping[str, Any]) -> list[str]:
    sizes = [f"{row['side']}x{row['side']}" for row in values["rows"]]
    names = list(values["rows"][0]["seconds"])
    rows = [(name, *(f"{row['seconds'][name]:.3f} s" for row in values["rows"])) for name in names]
    return _table(("", *sizes), rows)


_BODIES = {
    "guidance": _guidance,
    "kernels": _kernels,
    "verification": _verification,
    "features": _features,
    "real": _real,
    "cost": _cost,
}


def _number(entry: Mapping[str, Any], measure: str, when: str) -> str:
    mean = entry[measure][when]["mean"] if measure in entry else None
    return "" if mean is None else f"{mean:.{2 if measure == 'psnr' else 3}f}"


def _with_change(entry: Mapping[str, Any], measure: str, digits: int) -> str:
    after, change = entry[measure]["after"], entry[measure]["change"]
    return _changed(after["mean"], (change["mean"], change["low"], change["high"]), digits)


def _changed(mean: float, change: tuple[float, ...] | None, digits: int) -> str:
    """A mean, and where there is one the change with its interval in brackets."""
    text = f"{mean:.{digits}f}"
    if change is not None:
        by, low, high = change
        text += f" ({by:+.{digits}f}, {low:+.{digits}f} to {high:+.{digits}f})"
    return text


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    lines = [head, ["---"] * len(head), *rows]
    return ["| " + " | ".join(line) + " |" for line in lines]
