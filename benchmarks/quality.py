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
"""

from __future__ import annotations

import dataclasses
import io
import itertools
import json
import zlib
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import av
import click
import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.boxes import Box, face_boxes
from benchmarks.machine import describe_machine
from fvdeblur.datasets import BlurSettings, Clip, Segment, load_clips, synthesise
from fvdeblur.datasets.protocols import PROTOCOLS
from fvdeblur.evaluation import psnr, ssim
from fvdeblur.evaluation.datasets import blurred_by, first_frames, with_noise
from fvdeblur.evaluation.restoring import restore_frames
from fvdeblur.faces import create_detector
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


def measure(restorer: Restorer, clips: list[Clip], seed: int, picture: Path | None) -> dict[str, Any]:
    """Figures of all protocols: mean over frames of a segment, then over segments."""
    detector = create_detector("centerface")
    rows: dict[str, list[dict[str, Any]]] = defaultdict(list)
    shown: list[Frames] = []
    for clip in clips:
        for shaken, number in itertools.product((False, True), range(SEGMENTS)):
            segment = make_segment(clip, shaken, number, seed)
            sharp = segment.sharp.permute(0, 2, 3, 1).contiguous().numpy()
            blurred = with_noise(segment.blurred.permute(0, 2, 3, 1).numpy(), seed)
            boxes = face_boxes(detector, sharp)
            if not boxes:
                continue
            inputs = {"motion": blurred, "motion-h264": through_h264(blurred)}
            if not shaken and number == 0:
                inputs["sharp"] = sharp
            for name, given in inputs.items():
                output = restore_frames(restorer, given)
                rows[name].append(
                    {
                        "clip": clip.name,
                        "shaken": shaken,
                        "number": number,
                        **_figures(given, output, sharp, boxes, name),
                    }
                )
                if name == "motion" and len(shown) < 12:
                    k = LENGTH // 2
                    shown.append(np.hstack([given[k], output[k], sharp[k]]))
    if picture is not None and shown:
        pairs = [np.hstack(shown[i : i + 2]) for i in range(0, len(shown) - 1, 2)]
        cv2.imwrite(str(picture), cv2.cvtColor(np.vstack(pairs), cv2.COLOR_RGB2BGR))
    return {name: {"mean": _mean(table), "segments": table} for name, table in rows.items()}


def measure_protocols(
    restorer: Restorer, clips: list[Clip], seed: int, names: Sequence[str]
) -> dict[str, dict[str, Any]]:
    """Figures of named protocols: mean over frames of a clip, then over clips."""
    detector = create_detector("centerface")
    rows: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
    for clip in map(first_frames, clips):
        faces = face_boxes(detector, clip.frames)
        for name in names:
            pair = blurred_by(name, clip, faces, seed)
            boxes = [] if pair is None else face_boxes(detector, pair[1])  # some protocols move the picture
            if pair is None or not boxes:
                continue
            given, sharp, _ = pair
            figures = _figures(given, restore_frames(restorer, given), sharp, boxes, name=f"protocol {name}")
            rows[name].append({"clip": clip.name, **figures})
    return {
        name: {"mean": {"clips": len(table), **_means(table)}, "segments": table}
        for name, table in rows.items()
        if table
    }


def _figures(given: Frames, output: Frames, sharp: Frames, boxes: list[Box], name: str) -> dict[str, float]:
    def inside(frames: Frames, k: int) -> Frames:
        x0, y0, x1, y1 = boxes[k]
        return frames[k, y0:y1, x0:x1]

    frames = range(len(given))
    if name == "sharp":
        return {
            "output_to_input_db": float(
                np.mean([min(99, psnr(inside(output, k), inside(given, k))) for k in frames])
            )
        }
    before = [min(99, psnr(inside(given, k), inside(sharp, k))) for k in frames]
    after = [min(99, psnr(inside(output, k), inside(sharp, k))) for k in frames]
    return {
        "blurred_db": float(np.mean(before)),
        "restored_db": float(np.mean(after)),
        "gain_db": float(np.mean(after) - np.mean(before)),
        "worst_frame_db": float(np.min(np.subtract(after, before))),
        "blurred_ssim": float(np.mean([ssim(inside(given, k), inside(sharp, k)) for k in frames])),
        "restored_ssim": float(np.mean([ssim(inside(output, k), inside(sharp, k)) for k in frames])),
    }


def _means(table: list[dict[str, Any]]) -> dict[str, float]:
    keys = [key for key, value in table[0].items() if isinstance(value, float)]
    return {key: round(float(np.mean([row[key] for row in table])), 4) for key in keys}


def _mean(table: list[dict[str, Any]]) -> dict[str, float]:
    mean = _means(table)
    if "gain_db" in mean:
        mean["gain_db_natural"] = round(float(np.mean([r["gain_db"] for r in table if not r["shaken"]])), 4)
        mean["gain_db_shaken"] = round(float(np.mean([r["gain_db"] for r in table if r["shaken"]])), 4)
    else:
        mean["lowest_clip_db"] = round(min(row["output_to_input_db"] for row in table), 4)
    return mean


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
    full: bool,
) -> None:
    """Measure a model on the validation identities; JSON on standard output."""
    restorer = _restorer(model, weights, device, precision, options)
    clips = load_clips(data, "validation", limit=120)[:count]
    with torch.inference_mode():
        if protocols:
            names = list(PROTOCOLS) if "all" in protocols else protocols
            results = measure_protocols(restorer, clips, seed, names)
        else:
            results = measure(restorer, clips, seed, picture)
    if not full:
        results = {name: result["mean"] for name, result in results.items()}
    head = {
        "model": model,
        "precision": restorer.precision,
        "clips": len(clips),
        "machine": describe_machine(),
        **({} if protocols else {"protocol": dataclasses.asdict(PROTOCOL)}),
    }
    click.echo(json.dumps({**head, **results}, indent=1))


def _restorer(
    model: str, weights: Path | None, device: str, precision: str, options: Sequence[str]
) -> Restorer:
    if weights is None:
        return Restorer(model, device, precision)
    from safetensors.torch import load_file

    from fvdeblur import networks
    from fvdeblur.restoration.weights import read_card

    card = read_card(model)
    changed = {name: json.loads(value) for name, value in (option.split("=", 1) for option in options)}
    network = networks.create(card.network, **{**card.options, **changed})
    network.load_state_dict({key: value.float() for key, value in load_file(weights).items()})
    return Restorer.of(network.eval().requires_grad_(False), card, device, precision)


if __name__ == "__main__":
    main()
