"""The page of a report: HTML with its pictures, its style and its few lines of script inside it."""

from __future__ import annotations

import base64
from dataclasses import asdict
from html import escape
from typing import Any

from fvdeblur.media.failures import shown
from fvdeblur.restoration.report import LEAST_FRAMES, FaceRecord, Report

CHART_WIDTH, CHART_HEIGHT = 720, 150
LEFT, BOTTOM, TOP = 44, 26, 8

_STYLE = """
:root { color-scheme: light dark; --ink: #1b1f24; --dim: #57606a; --paper: #ffffff; --line: #d0d7de;
  --before: #a34900; --after: #0858c4; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6edf3; --dim: #9aa5b1; --paper: #0d1117; --line: #30363d;
  --before: #ffa657; --after: #79c0ff; } }
body { font: 16px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); margin: 0 auto;
  max-width: 60rem; padding: 1.5rem; }
h1 { font-size: 1.5rem; overflow-wrap: anywhere; } h2 { font-size: 1.2rem; margin-top: 2.5rem; }
h3 { font-size: 1rem; margin-bottom: .5rem; }
table { border-collapse: collapse; width: 100%; } th, td { text-align: left; vertical-align: top;
  border-bottom: 1px solid var(--line); padding: .3rem .8rem .3rem 0; overflow-wrap: anywhere; }
th { font-weight: 600; width: 15rem; } code { font-size: .85em; }
.faces { display: grid; grid-template-columns: repeat(auto-fill, minmax(17rem, 1fr)); gap: 1.5rem; }
.pair { position: relative; aspect-ratio: 1; overflow: hidden; background: var(--line); }
.pair img { position: absolute; inset: 0; width: 100%; height: 100%; }
.pair img.after { clip-path: inset(0 0 0 var(--cut, 50%)); }
.pair span { position: absolute; left: var(--cut, 50%); top: 0; bottom: 0; width: 2px; margin-left: -1px;
  background: #ffffff; box-shadow: 0 0 3px #000000; }
input[type=range] { width: 100%; margin: .5rem 0 0; accent-color: var(--after); }
.dim { color: var(--dim); } figure { margin: 0; } svg { width: 100%; height: auto; }
svg text { fill: var(--dim); font-size: 12px; } .before-line { stroke: var(--before); stroke-dasharray: 5 3; }
.after-line { stroke: var(--after); } polyline { fill: none; stroke-width: 2; } .axis { stroke: var(--line); }
.before-word { color: var(--before); } .after-word { color: var(--after); }
"""

_SCRIPT = """
for (const slider of document.querySelectorAll('input[type=range]')) {
  const pair = slider.closest('figure').querySelector('.pair');
  const move = () => { pair.style.setProperty('--cut', slider.value + '%');
    slider.setAttribute('aria-valuetext', slider.value + ' % of the picture is the input'); };
  slider.addEventListener('input', move);
  pair.addEventListener('pointermove', event => { if (event.buttons || event.pointerType === 'mouse') {
    const box = pair.getBoundingClientRect();
    slider.value = Math.round(100 * (event.clientX - box.left) / box.width); move(); } });
  move();
}
"""

_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"


def page(report: Report) -> str:
    """The page as HTML."""
    name = escape(shown(report.summary.input.name))
    drawn = [face for face in report.faces if len(face.moments) >= LEAST_FRAMES]
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{_POLICY}">
<title>{name}: what fvdeblur did</title>
<style>{_STYLE}</style>
</head>
<body>
<main>
<h1>{name}: what fvdeblur did</h1>
<p>{_sentence(report)}</p>
{_faces(report)}
{_timelines(drawn, report.duration)}
<h2>What was done</h2>
{_table(_done(report))}
<h2>To repeat it</h2>
{_table(_repeat(report))}
</main>
<script>{_SCRIPT}</script>
</body>
</html>
"""


def _sentence(report: Report) -> str:
    summary = report.summary
    if summary.copied:
        return "No face was changed, so the streams of the input were copied as they are."
    moments = [moment for face in report.faces for moment in face.moments]
    text = (
        f"{summary.restored} faces in {summary.frames} frames were deblurred, of {summary.people} face "
        f"track{'' if summary.people == 1 else 's'}."
    )
    if moments:
        before, after = (sum(getattr(m, key) for m in moments) / len(moments) for key in ("before", "after"))
        text += (
            f" Mean sharpness, from 0 to 1 as it is read off the faces themselves: {before:.2f} before, "
            f"{after:.2f} after."
        )
    return text


def _faces(report: Report) -> str:
    figures = "\n".join(_figure(number, face) for number, face in enumerate(report.faces, 1) if face.before)
    if not figures:
        return ""
    return f"""<h2>Faces</h2>
<p class="dim">Each at the moment at which it was changed most. Move the slider, with the mouse, by touch or with the
arrow keys: left of the line is the input, right of it the output.</p>
<div class="faces">
{figures}
</div>"""


def _figure(number: int, face: FaceRecord) -> str:
    before, after = (base64.b64encode(data).decode() for data in (face.before, face.after))
    at = _clock(face.time)
    seen = f"{face.frames} frames, up to {face.size:.0f} pixels"
    return f"""<figure>
<div class="pair">
<img src="data:image/jpeg;base64,{before}" alt="Face {number} at {at} in the input">
<img class="after" src="data:image/jpeg;base64,{after}" alt="Face {number} at {at} in the output">
<span></span>
</div>
<input type="range" min="0" max="100" value="50" aria-label="Face {number}: where the input ends and the output begins">
<figcaption>Face {number}, {at} <span class="dim">({seen})</span></figcaption>
</figure>"""


def _timelines(faces: list[FaceRecord], duration: float) -> str:
    if not faces:
        return ""
    charts = "\n".join(_chart(number, face, duration) for number, face in enumerate(faces, 1))
    return f"""<h2>Sharpness over time</h2>
<p class="dim">1 is sharp, one half a blur of a hundredth of the face.
<span class="before-word">Dashed: the input.</span> <span class="after-word">Solid: the output.</span></p>
{charts}"""


def _chart(number: int, face: FaceRecord, duration: float) -> str:
    def x(time: float) -> float:
        return LEFT + (CHART_WIDTH - LEFT - 8) * time / max(duration, 1e-6)

    def y(value: float) -> float:
        return CHART_HEIGHT - BOTTOM - (CHART_HEIGHT - BOTTOM - TOP) * value

    def line(key: str) -> str:
        points = " ".join(f"{x(m.time):.1f},{y(getattr(m, key)):.1f}" for m in face.moments)
        return f'<polyline class="{key}-line" points="{points}"/>'

    means = [sum(getattr(m, key) for m in face.moments) / len(face.moments) for key in ("before", "after")]
    told = f"Face {number}: sharpness {means[0]:.2f} before and {means[1]:.2f} after, on average"
    rules = "".join(
        f'<line class="axis" x1="{LEFT}" x2="{CHART_WIDTH - 8}" y1="{y(v):.1f}" y2="{y(v):.1f}"/>'
        f'<text x="{LEFT - 8}" y="{y(v) + 4:.1f}" text-anchor="end">{v:g}</text>'
        for v in (0, 0.5, 1)
    )
    ends = (
        f'<text x="{LEFT}" y="{CHART_HEIGHT - 8}">{_clock(0)}</text>'
        f'<text x="{CHART_WIDTH - 8}" y="{CHART_HEIGHT - 8}" text-anchor="end">{_clock(duration)}</text>'
    )
    return f"""<h3>Face {number} <span class="dim">({means[0]:.2f} to {means[1]:.2f})</span></h3>
<svg viewBox="0 0 {CHART_WIDTH} {CHART_HEIGHT}" role="img" aria-label="{told}">
{rules}{ends}{line("before")}{line("after")}
</svg>"""


def _done(report: Report) -> list[tuple[str, str]]:
    summary = report.summary
    rows = [
        ("Input", shown(summary.input)),
        ("SHA-256 of the input", report.digests[0]),
        ("Output", shown(summary.output)),
        ("SHA-256 of the output", report.digests[1]),
        ("Frames", str(summary.frames)),
        ("Face tracks", str(summary.people)),
        ("Faces deblurred, in all frames", str(summary.restored)),
    ]
    rows += [(f"Left alone: {reason}", str(count)) for reason, count in sorted(summary.left_alone.items())]
    rows += [("Damaged input", line) for line in summary.damage]
    rows += [("Note", line) for line in summary.notes]
    return [*rows, ("Time", f"{summary.seconds:.1f} s")]


def _repeat(report: Report) -> list[tuple[str, str]]:
    summary = report.summary
    settings: dict[str, Any] = asdict(report.settings)
    rows = [
        ("Model", summary.model),
        ("SHA-256 of its weights", report.model_sha256),
        ("Device and precision", f"{summary.device}, {summary.precision}"),
        ("Faces found by", summary.detector),
    ]
    rows += [
        (f"Setting {key}", "default" if value is None else str(value)) for key, value in settings.items()
    ]
    return rows + [(f"Version of {name}", version) for name, version in report.versions.items()]


def _table(rows: list[tuple[str, str]]) -> str:
    lines = "\n".join(
        f'<tr><th scope="row">{escape(name)}</th><td>{escape(value)}</td></tr>' for name, value in rows
    )
    return f"<table>\n{lines}\n</table>"


def _clock(seconds: float) -> str:
    minutes, rest = divmod(max(0.0, seconds), 60)
    return f"{int(minutes)}:{rest:04.1f}"
