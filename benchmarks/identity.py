"""How well people are told apart: what the thresholds of `faces.identity` and of `restoration.people` rest on.

python -m benchmarks.identity --data FOLDER [--embedder dlib|insightface|shape] [--pairs N]

Two measurements:

- tracks: each clip of ``FOLDER/clips`` of people whose names hash to the validation split (CRC-32 modulo 8 is 0) is cut
  into three parts, each known by the robust mean of five frames, as tracks are. Parts of one person should be alike,
  parts of two should not.
- photographs: pairs of ``FOLDER/lfw112/pairs.txt`` (of all people), single pictures in other places and light.
"""

from __future__ import annotations

import csv
import zlib
from itertools import combinations
from pathlib import Path
from typing import Any

import av
import click
import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from fvdeblur.faces import Detector, TrackedFace, create_detector, face_size
from fvdeblur.faces.identity import create_embedder, robust_mean
from fvdeblur.media import FramePlanes
from fvdeblur.restoration.people import SAMPLES, Portrayer

PARTS = 3
QUANTILES = (0.0, 0.05, 0.5, 0.95, 1.0)

Picture = NDArray[np.uint8]


def validation_clips(data: Path) -> list[tuple[str, Path, int]]:
    """Person, path and number of frames of the clips of people held out."""
    with (data / "clips.tsv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    return [
        (row["identity"], data / "clips" / row["file"], int(row["frames"]))
        for row in rows
        if zlib.crc32(row["identity"].encode()) % 8 == 0
    ]


def some_frames(path: Path, frames: int, count: int) -> list[Picture]:
    """Evenly spread frames, uint8 [H, W, 3], R'G'B'."""
    wanted = set(np.linspace(2, frames - 3, count).astype(int).tolist())
    with av.open(str(path)) as container:
        return [
            np.asarray(frame.to_ndarray(format="rgb24"), np.uint8)
            for number, frame in enumerate(container.decode(video=0))
            if number in wanted
        ]


def portray(portrayer: Portrayer, detector: Detector, picture: Picture) -> NDArray[np.float32] | None:
    """The embedding of the largest face of a picture; None without one."""
    found = detector.detect(picture)
    if not found:
        return None
    best = max(found, key=lambda each: face_size(each.box))
    planes = FramePlanes(av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24"))
    return portrayer.embed(planes, TrackedFace(0, best.box, best.score, best.landmarks))


def blurred(picture: Picture, generator: np.random.Generator, length: int) -> Picture:
    """The picture under a straight motion in a random direction."""
    kernel = np.zeros((length, length), np.float32)
    kernel[length // 2] = 1.0 / length
    turn = cv2.getRotationMatrix2D(((length - 1) / 2, (length - 1) / 2), generator.uniform(0, 180), 1.0)
    kernel = np.asarray(cv2.warpAffine(kernel, turn, (length, length), flags=cv2.INTER_LINEAR), np.float32)
    return np.asarray(
        cv2.filter2D(picture, -1, kernel / kernel.sum(), borderType=cv2.BORDER_REFLECT), np.uint8
    )


def report(title: str, same: list[float], other: list[float], threshold: float) -> None:
    """Print the quantiles of both, and what the threshold makes of them."""
    one, two = np.array(same), np.array(other)
    for name, values in (("one person", one), ("two people", two)):
        shown = " ".join(f"{value:.3f}" for value in np.quantile(values, QUANTILES))
        click.echo(f"{title}: {name}: least, 5 %, median, 95 %, largest of {len(values)}: {shown}")
    candidates = np.sort(np.concatenate([one, two]))
    errors = [(one < value).mean() + (two >= value).mean() for value in candidates]
    best = float(candidates[int(np.argmin(errors))])
    for name, value in (("threshold", threshold), ("best", best)):
        click.echo(
            f"{title}: {name} {value:.3f}: {(one < value).mean():.1%} of one person parted, "
            f"{(two >= value).mean():.1%} of two people merged"
        )


def measure_tracks(portrayer: Portrayer, detector: Detector, data: Path, length: int) -> None:
    """Compare parts of clips; ``length`` pixels of motion blur are put on them first."""
    generator = np.random.default_rng(1)
    tracks: list[tuple[str, NDArray[np.float32]]] = []
    for person, path, frames in validation_clips(data):
        pictures = some_frames(path, frames, PARTS * SAMPLES)
        for part in range(PARTS):
            chosen = pictures[part * SAMPLES : (part + 1) * SAMPLES]
            if length:
                chosen = [blurred(picture, generator, length) for picture in chosen]
            vectors = [portray(portrayer, detector, picture) for picture in chosen]
            known = [vector for vector in vectors if vector is not None]
            if known:
                tracks.append((person, robust_mean(np.array(known))))
    pairs: dict[bool, list[float]] = {True: [], False: []}
    for (one, first), (two, second) in combinations(tracks, 2):
        pairs[one == two].append(float(first @ second))
    report(
        f"tracks, motion of {length} px" if length else "tracks",
        pairs[True],
        pairs[False],
        portrayer.threshold,
    )


def measure_photographs(portrayer: Portrayer, detector: Detector, data: Path, count: int) -> None:
    """Compare pairs of photographs."""
    folder = data / "lfw112"
    lines = (folder / "pairs.txt").read_text(encoding="utf-8").splitlines()
    generator = np.random.default_rng(1)
    pairs: dict[bool, list[float]] = {True: [], False: []}
    for place in generator.permutation(len(lines)):
        fields = lines[place].split()
        alike = len(fields) == 3
        if len(pairs[alike]) >= count // 2:
            continue
        names: list[tuple[Any, Any]] = (
            [(fields[0], fields[1]), (fields[0], fields[2])]
            if alike
            else [(fields[0], fields[1]), (fields[2], fields[3])]
        )
        vectors = []
        for name, number in names:
            picture = cv2.imread(str(folder / f"{name}_{int(number):04d}.jpg"))
            if picture is not None:
                # These are cut so closely that the detector sees nothing of the head around the face.
                around = cv2.copyMakeBorder(picture[..., ::-1], 56, 56, 56, 56, cv2.BORDER_REFLECT_101)
                vectors.append(portray(portrayer, detector, np.ascontiguousarray(around)))
        if len(vectors) == 2 and vectors[0] is not None and vectors[1] is not None:
            pairs[alike].append(float(vectors[0] @ vectors[1]))
    report("photographs", pairs[True], pairs[False], portrayer.photo_threshold)


@click.command()
@click.option("--data", type=click.Path(path_type=Path, exists=True), required=True)
@click.option(
    "--embedder", type=click.Choice(["dlib", "insightface", "shape"]), default="dlib", show_default=True
)
@click.option("--pairs", type=int, default=200, show_default=True, help="Pairs of photographs.")
@click.option(
    "--blur", type=int, default=15, show_default=True, help="Pixels of motion blur of the second round."
)
def main(data: Path, embedder: str, pairs: int, blur: int) -> None:
    """Measure how well people are told apart."""
    torch.set_num_threads(1)
    detector = create_detector("centerface", threads=1)
    portrayer = Portrayer(None if embedder == "shape" else create_embedder(embedder, threads=1))
    click.echo(portrayer.name)
    measure_tracks(portrayer, detector, data, 0)
    measure_tracks(portrayer, detector, data, blur)
    measure_photographs(portrayer, detector, data, pairs)


if __name__ == "__main__":
    main()
