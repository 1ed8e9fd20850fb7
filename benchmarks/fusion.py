"""What fusing the best restored frames of a face gains over the best of them, against the known sharp frame.

    python -m benchmarks.fusion --data FOLDER

Validation identities of the material, a segment with natural motion and one with camera shake each, as
`benchmarks.quality` makes them, with sensor noise of 3/255, and with 6/255 and then H.264 (CRF 23). All frames are
restored by the released network and cut out as ``fvdeblur crops`` does; the best shot is the one that it would choose.
Gains are in dB over the middle of the crop. ``forced`` is the gain had the rule not decided.
"""

from __future__ import annotations

import json
import zlib
from typing import Any

import av
import click
import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.machine import describe_machine
from benchmarks.quality import Frames, make_segment, through_h264
from fvdeblur.datasets import Clip, load_clips
from fvdeblur.evaluation import psnr
from fvdeblur.evaluation.restoring import restore_frames
from fvdeblur.faces import Detector, TrackedFace, create_detector
from fvdeblur.media import FramePlanes
from fvdeblur.restoration import Aligner, Restorer
from fvdeblur.restoration.blur_measure import face_blur
from fvdeblur.restoration.crop_folder import KEPT
from fvdeblur.restoration.fusion import fuse, join, move
from fvdeblur.restoration.people import quality_of

KINDS = {"noise": (3.0, False), "noise-h264": (6.0, True)}


def measure(
    clip: Clip, shaken: bool, kind: str, restorer: Restorer, detector: Detector, seed: int
) -> dict[str, Any]:
    """Figures of one segment; without ``single`` where too few faces are found."""
    segment = make_segment(clip, shaken, 0, seed)
    sharp = segment.sharp.permute(0, 2, 3, 1).contiguous().numpy()
    noise, encoded = KINDS[kind]
    rng = np.random.default_rng((seed, zlib.crc32(clip.name.encode())))
    blurred = segment.blurred.permute(0, 2, 3, 1).numpy() + rng.normal(0, noise, sharp.shape)
    given: Frames = np.clip(np.round(blurred), 0, 255).astype(np.uint8)
    given = through_h264(given) if encoded else given
    aligner = Aligner()
    found: list[tuple[float, Frames, Frames]] = []  # worth, crop, truth
    for before, after, true in zip(given, restore_frames(restorer, given), sharp, strict=True):
        faces = detector.detect(after)
        if not faces:
            continue
        face = TrackedFace(0, faces[0].box, faces[0].score, faces[0].landmarks)
        planes = [_planes(picture) for picture in (before, after, true)]
        blurs = [face_blur(each, face.box) for each in planes[:2]]
        sharpness = sum(blur.sharpness for blur in blurs if blur is not None) / 2
        crop, truth = (aligner.crop(each, face) for each in planes[1:])
        found.append((quality_of(face, sharpness, None), crop, truth))
    row: dict[str, Any] = {"clip": clip.name, "shaken": shaken, "kind": kind}
    if len(found) < 3:
        return row
    best = sorted(found, key=lambda each: -each[0])[:KEPT]
    middle = (slice(aligner.size // 5, -aligner.size // 5),) * 2
    first, truth = best[0][1], best[0][2][middle]
    reference = first.astype(np.float32)
    forced = join(reference, [move(first, crop) for _, crop, _ in best[1:]])
    fused = fuse([crop for _, crop, _ in best])
    single = psnr(first[middle], truth)
    gains = [
        psnr(np.clip(np.round(each), 0, 255).astype(np.uint8)[middle], truth) - single
        for each in ((forced,) if fused is None else (forced, fused))
    ]
    return {**row, "single": single, "forced": gains[0], "gain": gains[1] if fused is not None else None}


def _planes(picture: NDArray[np.uint8]) -> FramePlanes:
    return FramePlanes(av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24"))


@click.command()
@click.option("--data", required=True, help="Folder with clips.tsv and clips/.")
@click.option("--clips", "count", type=int, help="Measure on the first N clips only.")
@click.option("--seed", type=int, default=7, show_default=True)
@click.option("--full", is_flag=True, help="Print every segment, not the means alone.")
def main(data: str, count: int | None, seed: int, full: bool) -> None:
    """Measure the fused best shots; JSON on standard output."""
    detector, restorer = create_detector("centerface"), Restorer()
    with torch.inference_mode():
        rows = [
            measure(clip, shaken, kind, restorer, detector, seed)
            for clip in load_clips(data, "validation", limit=120)[:count]
            for shaken in (False, True)
            for kind in KINDS
        ]
    rows = [row for row in rows if "single" in row]
    fused = [row["gain"] for row in rows if row["gain"] is not None]
    head = {
        "machine": describe_machine(),
        "segments": len(rows),
        "fused": len(fused),
        "mean_gain_where_fused": round(float(np.mean(fused)), 3) if fused else None,
        "least_gain_where_fused": round(min(fused), 3) if fused else None,
        "mean_gain_of_all": round(float(np.mean([row["gain"] or 0.0 for row in rows])), 3),
        "mean_gain_if_forced": round(float(np.mean([row["forced"] for row in rows])), 3),
        "least_gain_if_forced": round(min(row["forced"] for row in rows), 3),
    }
    click.echo(json.dumps({**head, **({"rows": rows} if full else {})}, indent=1))


if __name__ == "__main__":
    main()
