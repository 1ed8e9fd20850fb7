"""How well people are kept apart in a video: two clips of one person each, put together in three ways.

python -m benchmarks.people ONE TWO [--frames N] [--start SECONDS SECONDS] [--identity NAME] [--keep FOLDER]

- swap: the clips side by side, which change sides at a cut in the middle. Crops should lie in a folder a person, and
  ``run --faces like:`` with a photograph of one (a frame of the clip that is not in the film) should change that face
  alone; that is measured on a few frames around the cut.
- crossing: the head of the first, cut from its clip, passes in front of the head of the second, there and back.
- hidden: the same head goes behind something for one second.

Where every face is, is known from tracking each clip alone.
"""

from __future__ import annotations

import itertools
import json
import math
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import click
import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.machine import describe_machine
from fvdeblur import Deblurrer
from fvdeblur.faces import FaceTracker, create_detector, face_size
from fvdeblur.media import VideoReader
from fvdeblur.restoration import CropExtractor, FaceAnalyzer

WIDTH, HEIGHT, RATE = 960, 540, 25
AROUND = 4
"""Frames before and behind the cut that are deblurred."""

FACE = 110
"""Pixels to which the faces are brought, root of the box's area."""

Frame = NDArray[np.uint8]
Box = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Person:
    """A clip of one person: frames, uint8 [H, W, 3], their face's box in each, and one more frame as a photograph."""

    frames: list[Frame]
    boxes: list[Box]
    photo: Frame

    @classmethod
    def read(cls, path: Path, count: int, start: float) -> Person:
        """Read a clip and follow its largest face."""
        frames = []
        with av.open(str(path)) as container:
            for frame in container.decode(video=0):
                if frame.time is not None and frame.time >= start:
                    picture = np.asarray(frame.to_ndarray(format="rgb24"), np.uint8)
                    scale = min(1.0, 720 / max(picture.shape[:2]))
                    frames.append(
                        np.asarray(
                            cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA),
                            np.uint8,
                        )
                    )
                if len(frames) > count:
                    break
        if len(frames) <= count:
            raise click.UsageError(f"{path}: has fewer than {count + 1} frames from {start:g} s on")
        tracker = FaceTracker(create_detector())
        tracked = [each for frame in frames for each in tracker.push(frame, 1.0)] + tracker.flush()
        boxes = []
        for each in tracked:
            if not each.faces:
                raise click.UsageError(f"{path}: shows no face in frame {each.index}; choose another --start")
            boxes.append(max((face.box for face in each.faces), key=face_size))
        return cls(frames[:count], boxes[:count], frames[count])

    def placed(self, index: int, centre: tuple[float, float], size: tuple[int, int]) -> tuple[Frame, Box]:
        """A frame scaled and moved so that the face's first box has its size and is there, on a canvas; and its box."""
        scale = FACE / face_size(self.boxes[0])
        middle = (self.boxes[0][:2] + self.boxes[0][2:]) / 2
        shift = np.array(centre) - scale * middle
        matrix = np.array([[scale, 0, shift[0]], [0, scale, shift[1]]], np.float64)
        picture = cv2.warpAffine(
            self.frames[index], matrix, size, flags=cv2.INTER_AREA, borderMode=cv2.BORDER_REPLICATE
        )
        return np.asarray(picture, np.uint8), self.boxes[index] * scale + np.tile(shift, 2)


def swap(one: Person, two: Person) -> Iterator[tuple[Frame, list[Box]]]:
    """Side by side; they change sides in the middle. The frames, with the boxes of both."""
    half, count = WIDTH // 2, len(one.frames)
    for index in range(count):
        pictures, boxes = zip(
            *(each.placed(index, (half / 2, HEIGHT * 0.45), (half, HEIGHT)) for each in (one, two)),
            strict=True,
        )
        swapped = index >= count // 2
        shifts = (half, 0) if swapped else (0, half)
        yield (
            np.hstack(pictures[::-1] if swapped else pictures),
            [box + np.array([shift, 0, shift, 0]) for box, shift in zip(boxes, shifts, strict=True)],
        )


def over(
    one: Person, two: Person, way: Callable[[int], tuple[float, float] | None]
) -> Iterator[tuple[Frame, list[Box | None]]]:
    """The head of one before the picture of two, where the way says; nowhere where it says None."""
    for index in range(len(one.frames)):
        scene, box = two.placed(index, (WIDTH / 2, HEIGHT * 0.45), (WIDTH, HEIGHT))
        centre = way(index)
        if centre is None:
            yield scene, [None, box]
            continue
        head, own = one.placed(index, centre, (WIDTH, HEIGHT))
        rows, columns = np.mgrid[0:HEIGHT, 0:WIDTH] + 0.5
        x, y = (own[0] + own[2]) / 2, (own[1] + own[3]) / 2 - 0.05 * (own[3] - own[1])
        radius = np.hypot((columns - x) / (own[2] - own[0]), (rows - y) / (own[3] - own[1])) / 0.72
        mask = np.clip((1 - radius) * 8, 0, 1)[..., None]
        yield np.round(scene * (1 - mask) + head * mask).astype(np.uint8), [own, box]


def write(path: Path, frames: Iterator[tuple[Frame, list[Any]]]) -> list[list[Any]]:
    """Write a video; return the boxes of its frames."""
    boxes = []
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=RATE, options={"crf": "16", "preset": "veryfast"})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for index, (picture, known) in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
            frame.pts, frame.time_base = index, Fraction(1, RATE)
            container.mux(stream.encode(frame))
            boxes.append(known)
        container.mux(stream.encode(None))
    return boxes


def nearest(box: list[float], known: list[Any]) -> tuple[int, float]:
    """Whose known box is nearest to one, and how far away in units of its size."""
    centre = np.array([box[0] + box[2], box[1] + box[3]]) / 2
    off = [
        math.inf
        if each is None
        else float(np.linalg.norm(centre - (each[:2] + each[2:]) / 2)) / face_size(each)
        for each in known
    ]
    return int(np.argmin(off)), min(off)


def measure_swap(folder: Path, one: Person, two: Person, identity: str) -> dict[str, Any]:
    """Crops in the wrong folder, and faces that ``like:`` changes and should not, or the other way round."""
    video = folder / "swap.mp4"
    known = write(video, swap(one, two))
    embedder = None if identity == "shape" else identity
    extractor = CropExtractor(embedder=embedder, strength=0.0)
    summary = extractor.run(video, folder / "crops")
    counts: dict[int, list[int]] = {}
    for line in (folder / "crops" / "index.jsonl").read_text().splitlines():
        row = json.loads(line)
        who, _ = nearest(row["box"], known[row["frame"]])
        counts.setdefault(row["person"], [0, 0])[who] += 1
    photo = folder / "photo.png"
    cv2.imwrite(str(photo), two.photo[..., ::-1])
    output = folder / "like.mp4"
    middle = len(known) // 2
    part: Any = {"start": (middle - AROUND - 0.5) / RATE, "end": (middle + AROUND - 0.5) / RATE}
    faces = f"like:{photo}"
    run = Deblurrer(faces=faces, identity=identity, codec="libx264", crf=0.0, preset="ultrafast", **part)
    ran = run.video(video, output)
    changed = [0, 0]
    with VideoReader(video, **part) as before, VideoReader(output) as after:
        for a, b in zip(before, after, strict=True):
            differs = (a.frame.to_ndarray() != b.frame.to_ndarray())[:HEIGHT]
            for who, box in enumerate(known[round(a.time * RATE)]):
                left, top, right, bottom = (round(float(value)) for value in box)
                inset = (right - left) // 5
                inner = differs[top + inset : bottom - inset, left + inset : right - inset]
                changed[who] += bool(inner.any())
    return {
        "frames": summary.frames,
        "identity": summary.identity,
        "tracks": summary.tracks,
        "crops by folder and true person": counts,
        "crops": sum(map(sum, counts.values())),
        "crops in the wrong folder": sum(min(each) for each in counts.values()),
        "like the second": {
            "frames": ran.frames,
            "first changed": changed[0],
            "second changed": changed[1],
            "left alone": ran.left_alone,
        },
    }


def measure_ids(
    folder: Path, name: str, scene: Iterator[tuple[Frame, list[Any]]], identity: str
) -> dict[str, Any]:
    """How often the track and the person of a face change over a video."""
    video, path = folder / f"{name}.mp4", folder / f"{name}.json"
    known = write(video, scene)
    FaceAnalyzer(embedder=None if identity == "shape" else identity).run(video, path)
    values = json.loads(path.read_text())
    persons = {row["id"]: row["person"] for row in values["tracks"]}
    seen: dict[int, list[int]] = {0: [], 1: []}
    found = missed = elsewhere = 0
    for entry in values["frames"]:
        boxes = known[entry["frame"]]
        together = (
            all(box is not None for box in boxes) and nearest(list(boxes[0]), [None, boxes[1]])[1] < 0.6
        )
        if together:  # nobody could say whose face it is
            continue
        by_person = {}
        for face in entry["faces"]:
            who, off = nearest(face["box"], boxes)
            if off < 0.5:
                by_person[who] = face["track"]
            else:
                elsewhere += 1
        found += len(by_person)
        missed += sum(box is not None for box in boxes) - len(by_person)
        for who, track in by_person.items():
            seen[who].append(track)

    def switches(of: Callable[[int], int]) -> int:
        return sum(sum(of(a) != of(b) for a, b in itertools.pairwise(tracks)) for tracks in seen.values())

    return {
        "frames": len(values["frames"]),
        "faces found": found,
        "missed": missed,
        "elsewhere": elsewhere,
        "tracks": len(persons),
        "people": len(set(persons.values())),
        "switches of the track": switches(lambda track: track),
        "switches of the person": switches(lambda track: persons[track]),
        "ids shared by both": len({persons[t] for t in seen[0]} & {persons[t] for t in seen[1]}),
    }


def crossing(index: int, count: int) -> tuple[float, float]:
    """There and back through the middle."""
    return WIDTH * (0.5 - 0.34 * math.cos(2 * math.pi * index / count)), HEIGHT * 0.47


def hidden(index: int, count: int) -> tuple[float, float] | None:
    """Hardly moving, and away for a second in the middle."""
    away = abs(index - count // 2) <= RATE // 2
    return None if away else (WIDTH * 0.17 + 0.5 * index, HEIGHT * 0.47)


@click.command()
@click.argument("one", type=click.Path(exists=True, path_type=Path))
@click.argument("two", type=click.Path(exists=True, path_type=Path))
@click.option(
    "--frames", default=100, show_default=True, type=click.IntRange(40), help="Length of each film."
)
@click.option("--start", nargs=2, type=float, default=(0.0, 0.0), help="Where to begin in each, in seconds.")
@click.option("--identity", default="auto", show_default=True, help="What tells people apart.")
@click.option("--keep", type=click.Path(path_type=Path), help="Folder in which the films are kept.")
def main(
    one: Path, two: Path, frames: int, start: tuple[float, float], identity: str, keep: Path | None
) -> None:
    """Measure how well the persons of the clips ONE and TWO are kept apart."""
    click.echo(json.dumps(describe_machine()))
    persons = [Person.read(path, frames, begin) for path, begin in zip((one, two), start, strict=True)]
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made) if keep is None else keep
        folder.mkdir(parents=True, exist_ok=True)
        click.echo(json.dumps({"swap": measure_swap(folder, persons[0], persons[1], identity)}))
        for name, way in (("crossing", crossing), ("hidden", hidden)):
            scene = over(persons[0], persons[1], lambda index, way=way: way(index, frames))  # type: ignore[misc]
            click.echo(json.dumps({name: measure_ids(folder, name, scene, identity)}))


if __name__ == "__main__":
    main()
