"""How blurred the validation clips are by each protocol, and how fast each is.

    python -m benchmarks.protocols --data FOLDER [--picture FILE]
    python -m benchmarks.protocols --throughput

PSNR and SSIM (R'G'B', uint8) of blurred against sharp frames on the people of the validation split: in the whole crop,
and in the face box that the detector finds on the sharp frame. Means over the frames of a clip, then over clips; a clip
that a protocol's rules reject is counted. The throughput is that of `fvdeblur.datasets.protocols.apply` on crops of a
photograph that an installed package carries, the optical flow being given.
"""

from __future__ import annotations

import json
import time
import zlib
from pathlib import Path
from typing import Any

import click
import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.boxes import Box
from benchmarks.clips import face_photograph
from benchmarks.machine import describe_machine
from fvdeblur.datasets import Clip, load_clips
from fvdeblur.datasets.flow import neighbour_flow
from fvdeblur.datasets.protocols import PROTOCOLS, Blurred, apply
from fvdeblur.errors import InputError
from fvdeblur.evaluation import psnr, ssim
from fvdeblur.evaluation.sequences import find_truth
from fvdeblur.faces import create_detector
from fvdeblur.restoration.restorer import select_device

Frames = NDArray[np.uint8]

FIGURES = ("psnr", "ssim", "face_psnr", "face_ssim")
MOST_PSNR = 99.0
MEASURED = 12
"""Frames of a clip that are measured, evenly spread."""
PICTURE_SIDE = 176
PICTURE_ROWS = 6
THROUGHPUT_FRAMES, THROUGHPUT_SIDE = 48, 256


def tensor(frames: Frames, device: torch.device | str = "cpu") -> torch.Tensor:
    """uint8 [T, 3, H, W] of uint8 [T, H, W, 3]."""
    return torch.from_numpy(frames).to(device).permute(0, 3, 1, 2).contiguous()


def pictures(frames: torch.Tensor) -> Frames:
    """The inverse of `tensor`."""
    return frames.permute(0, 2, 3, 1).cpu().contiguous().numpy()


def figures(result: Blurred, boxes: dict[int, Box]) -> dict[str, float]:
    """Mean PSNR and SSIM over some frames of a blurred clip; the box is by index of the source frame."""
    chosen = np.unique(np.linspace(0, len(result.frames) - 1, MEASURED).round().astype(int))
    blurred, sharp = pictures(result.blurred[chosen]), pictures(result.sharp[chosen])
    rows = []
    for k, one, other in zip(chosen, blurred, sharp, strict=True):
        x0, y0, x1, y1 = boxes[result.frames[k]]
        inside = (slice(y0, y1), slice(x0, x1))
        rows.append(
            (
                min(MOST_PSNR, psnr(one, other)),
                ssim(one, other),
                min(MOST_PSNR, psnr(one[inside], other[inside])),
                ssim(one[inside], other[inside]),
            )
        )
    return dict(zip(FIGURES, np.mean(rows, axis=0).tolist(), strict=True))


def measure(
    clips: list[Clip], seed: int, device: torch.device, picture: Path | None
) -> tuple[dict[str, dict[str, Any]], int]:
    """Figures of every protocol, and the number of clips without a face, which are not measured."""
    detector = create_detector("centerface")
    rows: dict[str, list[dict[str, float]]] = {name: [] for name in PROTOCOLS}
    rejected: dict[str, int] = dict.fromkeys(PROTOCOLS, 0)
    shown: list[Frames] = []
    faceless = 0
    for clip in clips:
        truth = find_truth(clip.frames, detector)
        if truth is None:
            faceless += 1
            continue
        boxes = dict(enumerate(truth.boxes))
        given = np.array(truth.boxes, np.float32)
        row = []
        for name in PROTOCOLS:
            own = zlib.crc32(f"{seed} {clip.name}".encode())
            try:
                result = apply(name, tensor(clip.frames, device), own, flow=clip.flow, boxes=given)
            except InputError:
                rejected[name] += 1
                row.append(np.zeros((PICTURE_SIDE, PICTURE_SIDE, 3), np.uint8))
                continue
            rows[name].append(figures(result, boxes))
            row.append(_thumbnail(pictures(result.blurred[len(result.frames) // 2][None])[0], name))
        if len(shown) < PICTURE_ROWS:
            shown.append(np.hstack(row))
    if picture is not None and shown:
        cv2.imwrite(str(picture), cv2.cvtColor(np.vstack(shown), cv2.COLOR_RGB2BGR))
    table = {}
    for name, entries in rows.items():
        means = {
            key: round(float(np.mean([entry[key] for entry in entries])), 4) for key in FIGURES if entries
        }
        table[name] = {"clips": len(entries), "rejected": rejected[name], **means}
    return table, faceless


def _thumbnail(frame: Frames, name: str) -> Frames:
    factor = PICTURE_SIDE / max(frame.shape[:2])
    size = (round(frame.shape[1] * factor), round(frame.shape[0] * factor))
    small = np.zeros((PICTURE_SIDE, PICTURE_SIDE, 3), np.uint8)
    small[: size[1], : size[0]] = cv2.resize(frame, size, interpolation=cv2.INTER_AREA)
    for colour, thickness in ((0, 3), (255, 1)):
        cv2.putText(
            small, name, (4, 14), cv2.FONT_HERSHEY_SIMPLEX, 0.42, (colour,) * 3, thickness, cv2.LINE_AA
        )
    return small


def throughput(device: torch.device, seconds: float) -> dict[str, dict[str, float]]:
    """Frames a second of every protocol on square crops, over at least this time each."""
    photograph = face_photograph()
    side = THROUGHPUT_SIDE
    places = [
        (60 + round(40 * np.sin(k / 13)), 30 + round(20 * np.cos(k / 9))) for k in range(THROUGHPUT_FRAMES)
    ]
    frames = np.stack([photograph[y : y + side, x : x + side] for x, y in places])
    flow, given = neighbour_flow(frames, threads=2), tensor(frames, device)
    table = {}
    for name in PROTOCOLS:
        apply(name, given, 0, flow=flow)
        count, seed, began = 0, 1, time.perf_counter()
        while time.perf_counter() - began < seconds:
            record = apply(name, given, seed, flow=flow).record
            count += len(record["frames"]) + len(record["rejected"])
            seed += 1
            if device.type == "cuda":
                torch.cuda.synchronize(device)
        table[name] = {"frames_per_second": round(count / (time.perf_counter() - began), 1)}
    return table


def lines(table: dict[str, dict[str, Any]]) -> list[str]:
    """A table for people."""
    columns = list(dict.fromkeys(key for row in table.values() for key in row))
    text = [["protocol", *columns]]
    text += [[name, *(_shown(row.get(key)) for key in columns)] for name, row in table.items()]
    widths = [max(len(row[i]) for row in text) for i in range(len(text[0]))]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in text
    ]


def _shown(value: Any) -> str:
    return "-" if value is None else f"{value:.3f}" if isinstance(value, float) else str(value)


@click.command()
@click.option("--data", help="Folder of the material.")
@click.option("--clips", "count", type=int, help="Measure on the first N clips only.")
@click.option("--limit", type=int, default=60, show_default=True, help="Frames of a clip that are blurred.")
@click.option("--seed", type=int, default=7, show_default=True)
@click.option("--device", default="cpu", show_default=True, help="auto, cpu or cuda[:N].")
@click.option("--picture", type=click.Path(path_type=Path), help="Write a contact sheet here: a row a clip.")
@click.option("--throughput", "fast", is_flag=True, help="Measure the speed instead; needs no material.")
@click.option(
    "--seconds", type=float, default=3.0, show_default=True, help="Time that each speed is measured for."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def main(
    data: str | None,
    count: int | None,
    limit: int,
    seed: int,
    device: str,
    picture: Path | None,
    fast: bool,
    seconds: float,
    as_json: bool,
) -> None:
    """Measure the blur protocols."""
    place = select_device(device)
    head: dict[str, Any] = {"machine": describe_machine(), "device": str(place)}
    with torch.inference_mode():
        if fast:
            head["crop"] = [THROUGHPUT_FRAMES, THROUGHPUT_SIDE, THROUGHPUT_SIDE]
            table: dict[str, dict[str, Any]] = dict(throughput(place, seconds))
        else:
            if data is None:
                raise click.UsageError("give the material with --data, or --throughput")
            clips = load_clips(data, "validation", limit=limit)[:count]
            table, faceless = measure(clips, seed, place, picture)
            head |= {"seed": seed, "frames_of_a_clip": limit, "clips": len(clips), "without_a_face": faceless}
    if as_json:
        click.echo(json.dumps({**head, "protocols": table}, indent=1))
        return
    for line in lines(table):
        click.echo(line)
    click.echo(json.dumps(head))


if __name__ == "__main__":
    main()
