"""How much sharper faces get, on people that the network was not trained on.

    python -m benchmarks.quality --data FOLDER

Validation identities of the material (CRC-32 of the identity is 0 modulo 8), four segments a clip: two with natural
motion alone, two with camera shake, each with a draw of its own of exposure, light and shake. Every frame is restored
by the released network from its window of five, and PSNR and SSIM (R'G'B', uint8) are taken in the face box that the
detector finds on the sharp frame.

- ``motion``: exposures of 1 to 4 frame intervals that vary within the segment, a tenth of its frames with none;
  every 2nd or 3rd source frame; averaged in linear or in gamma-encoded light; sensor noise of 1/255.
- ``motion-h264``: the same, encoded with H.264 (x264, CRF 23) before it is restored.
- ``sharp``: no blur, no noise: output against input.

With ``--protocol NAME`` (or ``all``) the first frames of every clip are blurred by these protocols of
``fvdeblur.datasets.protocols`` instead, with sensor noise of 1/255; ``--weights`` compares other weights.

``mean`` is over segments. ``people`` holds means over people with 95 % intervals, and the person for whom least was
gained: of all frames (``psnr``), of those below 35 dB and of the others, of the change from frame to frame
(``temporal_error``, 1/255), of the cosine to the sharp frame's embedding, of its spread over the segment, and of the
share of the frames with a cosine below 0.95 in which it rises (``identity_rises``).
"""

from __future__ import annotations

import dataclasses
import io
import itertools
import json
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import av
import click
import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.machine import describe_machine
from benchmarks.trained import with_weights
from fvdeblur.datasets import BlurSettings, Clip, Segment, load_clips, synthesise
from fvdeblur.datasets.protocols import PROTOCOLS
from fvdeblur.evaluation.datasets import blurred_by, first_frames, frame_means, with_noise
from fvdeblur.evaluation.restoring import restore_frames
from fvdeblur.evaluation.results import Results, Row
from fvdeblur.evaluation.sequences import Truth, find_truth, measure_frames
from fvdeblur.faces import create_detector
from fvdeblur.faces.identity import create_embedder
from fvdeblur.restoration import Restorer

SIZE, LENGTH = 288, 14
PROTOCOL = BlurSettings(
    size=SIZE,
    length=LENGTH,
    exposure=(1.0, 4.0),
    strides=(2, 3),
    speed=(0.8, 4.0),
    varying_share=1.0,
    sharp_share=0.0,
    noise=0.0,
    compression_share=0.0,
)
SEGMENTS = 2  # of each kind, a clip
SHARP_FRAMES = 0.1

DOUBTFUL_IDENTITY = 0.95
"""Cosine to the sharp frame below which an identity should rise."""

PEOPLE_MEASURES = (
    "psnr",
    "psnr_blurred",
    "psnr_hardly_blurred",
    "ssim",
    "temporal_error",
    "identity",
    "identity_spread",
    "identity_rises",
)
"""Measures of which the means over people are given, with intervals and the person for whom least was gained."""

Frames = NDArray[np.uint8]


def make_segment(clip: Clip, shaken: bool, number: int, seed: int) -> Segment:
    """One of the segments of a clip that every run of this benchmark measures on."""
    rng = np.random.default_rng((seed, int(shaken), number, zlib.crc32(clip.name.encode())))
    exposure = np.clip(rng.uniform(1, 4) + np.cumsum(rng.normal(0, 0.5, LENGTH)), 1, 4)
    exposure[rng.random(LENGTH) < SHARP_FRAMES] = 0
    speed = float(np.exp(rng.uniform(*np.log(PROTOCOL.speed)))) if shaken else 0.0
    side = float(min(clip.frames.shape[1:3]))
    region = (clip.frames.shape[2] / 2, clip.frames.shape[1] / 2, side)
    return synthesise(clip, PROTOCOL, rng, region=region, speed=speed, exposure=exposure)


def through_h264(frames: Frames, crf: int = 23) -> Frames:
    """Encode and decode again."""
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as output:
        stream = output.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = frames.shape[2], frames.shape[1], "yuv420p"
        stream.options = {"crf": str(crf), "preset": "medium"}
        for frame in frames:
            output.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        output.mux(stream.encode())
    file.seek(0)
    with av.open(file, "r") as decoded:
        pictures = [frame.to_ndarray(format="rgb24") for frame in decoded.decode(video=0)]
    return np.stack([np.asarray(picture, np.uint8) for picture in pictures])


class Measuring:
    """Restores blurred segments and measures them; a row each.

    Parameters
    ----------
    restorer
        The network.
    embedder
        ``none``: identity is not measured.
    """

    def __init__(self, restorer: Restorer, embedder: str) -> None:
        self._restorer = restorer
        self._detector = create_detector("centerface")
        self._embedder = None if embedder == "none" else create_embedder(embedder)
        self.results = Results()

    def truth(self, sharp: Frames) -> Truth | None:
        """Where the face is; None where there is none."""
        return find_truth(sharp, self._detector)

    def add(self, protocol: str, clip: Clip, given: Frames, truth: Truth, **about: Any) -> Frames:
        """Restore a segment, keep its figures and return it."""
        output = restore_frames(self._restorer, given)
        before, after = (measure_frames(each, truth, None, self._embedder) for each in (given, output))
        sequences = [frame_means(each, before["psnr"]) for each in (before, after)]
        sequences[1] |= {**about, "worst_frame": float((after["psnr"] - before["psnr"]).min())}
        if self._embedder is not None:
            doubtful = before["identity"] < DOUBTFUL_IDENTITY
            for means, each in zip(sequences, (before, after), strict=True):
                means["identity_spread"] = float(each["identity"].std())
            if doubtful.any():
                rises = (after["identity"] > before["identity"])[doubtful]
                sequences[1]["identity_rises"] = float(rises.mean())
        self.results.rows.append(Row(protocol, "", clip.identity, clip.name, len(given), *sequences))
        return output

    def figures(self, full: bool) -> dict[str, Any]:
        """By protocol: means over segments, and over people with intervals; all segments where they are wanted."""
        report = self.results.as_json()
        figures: dict[str, Any] = {}
        for entry in report["summary"]:
            name = entry["protocol"]
            rows = [row for row in self.results.rows if row.protocol == name]
            figures[name] = {"segments": len(rows), "mean": _mean(rows)}
            if name != "sharp":
                figures[name]["people"] = {measure: entry.get(measure) for measure in PEOPLE_MEASURES}
            if full:
                figures[name]["rows"] = [row for row in report["rows"] if row["protocol"] == name]
        return figures


def measure(measuring: Measuring, clips: list[Clip], seed: int, picture: Path | None) -> None:
    """Measure ``motion``, ``motion-h264`` and ``sharp``."""
    shown: list[Frames] = []
    for clip in clips:
        for shaken, number in itertools.product((False, True), range(SEGMENTS)):
            segment = make_segment(clip, shaken, number, seed)
            sharp = segment.sharp.permute(0, 2, 3, 1).contiguous().numpy()
            blurred = with_noise(segment.blurred.permute(0, 2, 3, 1).numpy(), seed)
            truth = measuring.truth(sharp)
            if truth is None:
                continue
            output = measuring.add("motion", clip, blurred, truth, shaken=float(shaken))
            measuring.add("motion-h264", clip, through_h264(blurred), truth, shaken=float(shaken))
            if not shaken and number == 0:
                measuring.add("sharp", clip, sharp, truth)
            if len(shown) < 12:
                k = LENGTH // 2
                shown.append(np.hstack([blurred[k], output[k], sharp[k]]))
    if picture is not None and shown:
        pairs = [np.hstack(shown[i : i + 2]) for i in range(0, len(shown) - 1, 2)]
        cv2.imwrite(str(picture), cv2.cvtColor(np.vstack(pairs), cv2.COLOR_RGB2BGR))


def measure_protocols(measuring: Measuring, clips: list[Clip], seed: int, names: Sequence[str]) -> None:
    """Measure named protocols on the first frames of every clip."""
    for clip in map(first_frames, clips):
        first = measuring.truth(clip.frames)
        for name in names:
            pair = None if first is None else blurred_by(name, clip, first.boxes, seed)
            truth = None if pair is None else measuring.truth(pair[1])  # some protocols move the picture
            if pair is not None and truth is not None:
                measuring.add(f"protocol {name}", clip, pair[0], truth)


def _mean(rows: list[Row]) -> dict[str, float]:
    """Means over segments."""

    def mean(values: Iterable[float]) -> float:
        return round(float(np.mean(list(values))), 4)

    if rows[0].protocol == "sharp":
        values = [row.after["psnr"] for row in rows]
        return {"output_to_input_db": mean(values), "lowest_clip_db": round(min(values), 4)}
    figures = {
        "blurred_db": mean(row.before["psnr"] for row in rows),
        "restored_db": mean(row.after["psnr"] for row in rows),
        "gain_db": mean(row.after["psnr"] - row.before["psnr"] for row in rows),
        "worst_frame_db": mean(row.after["worst_frame"] for row in rows),
        "blurred_ssim": mean(row.before["ssim"] for row in rows),
        "restored_ssim": mean(row.after["ssim"] for row in rows),
    }
    if "shaken" in rows[0].after:
        for name, shaken in (("natural", 0), ("shaken", 1)):
            gains = [row.after["psnr"] - row.before["psnr"] for row in rows if row.after["shaken"] == shaken]
            if gains:
                figures[f"gain_db_{name}"] = mean(gains)
    return figures


@click.command()
@click.option("--data", required=True, help="Folder with clips.tsv and clips/.")
@click.option("--model", default="fvd", show_default=True)
@click.option("--weights", type=click.Path(path_type=Path), help="Other weights for this model's network.")
@click.option(
    "--option", "options", multiple=True, metavar="NAME=VALUE", help="Option of the network of these weights."
)
@click.option("--device", default="cpu", show_default=True)
@click.option("--precision", default="auto", show_default=True)
@click.option("--clips", "count", type=int, help="Measure on the first N clips only.")
@click.option("--seed", type=int, default=7, show_default=True)
@click.option(
    "--picture", type=click.Path(path_type=Path), help="Write blurred, restored and sharp crops here."
)
@click.option(
    "--protocol",
    "protocols",
    multiple=True,
    type=click.Choice([*PROTOCOLS, "all"]),
    help="Blur by this protocol instead; may be repeated.",
)
@click.option(
    "--embedder",
    default="auto",
    show_default=True,
    help="Of identities: auto, dlib, insightface or none (not measured).",
)
@click.option("--full", is_flag=True, help="Print every segment, not the means alone.")
def main(
    data: str,
    model: str,
    weights: Path | None,
    options: tuple[str, ...],
    device: str,
    precision: str,
    count: int | None,
    seed: int,
    picture: Path | None,
    protocols: tuple[str, ...],
    embedder: str,
    full: bool,
) -> None:
    """Measure a model on the validation identities; JSON on standard output."""
    restorer = _restorer(model, weights, device, precision, options)
    clips = load_clips(data, "validation", limit=120)[:count]
    measuring = Measuring(restorer, embedder)
    with torch.inference_mode():
        if protocols:
            measure_protocols(measuring, clips, seed, list(PROTOCOLS) if "all" in protocols else protocols)
        else:
            measure(measuring, clips, seed, picture)
    head = {
        "model": model,
        "precision": restorer.precision,
        "clips": len(clips),
        "machine": describe_machine(),
        **({} if protocols else {"protocol": dataclasses.asdict(PROTOCOL)}),
    }
    click.echo(json.dumps({**head, **measuring.figures(full)}, indent=1))


def _restorer(
    model: str, weights: Path | None, device: str, precision: str, options: Sequence[str]
) -> Restorer:
    if weights is None:
        return Restorer(model, device, precision)
    from fvdeblur.restoration.weights import read_card

    card = read_card(model)
    changed = {name: json.loads(value) for name, value in (option.split("=", 1) for option in options)}
    network = with_weights(card.network, {**card.options, **changed}, weights)
    return Restorer.of(network, card, device, precision)


if __name__ == "__main__":
    main()
