"""Label photographs and clips with dense face meshes: the material of ``fvdeblur build-3dmm`` and of the regressors.

The meshes are MediaPipe's face mesh with attention (478 points, irises included). Its last release that carries its
models, 0.10.21, needs an older numpy than fvdeblur, so that this script runs in an environment of its own and is no
part of the package:

    python3.11 -m venv meshenv
    meshenv/bin/pip install mediapipe==0.10.21
    meshenv/bin/python tools/label_meshes.py photos clips -o meshes --every 5

Every photograph or clip gives one file ``<stem>.mesh.npz``:

    points  float32 [T, 478, 3]: x to the right, y down in pixels, (0, 0) the centre of the first pixel; z in the same
            scale (weak perspective), larger is nearer to the viewer, 0 at about the head's centre
    frames  int64 [T]: number of each frame in the clip, from 0; a photograph has one frame, 0
    score   float32 [T]: the network's own probability that it saw a face, 0..1
    size    int64 [2]: width and height of the picture in pixels

Frames without a face, or whose score is too low, are left out; how many is printed for each file. Files whose labels
exist are skipped, so that an interrupted run goes on where it stopped.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

PHOTOGRAPHS = {".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp"}
CLIPS = {".mp4", ".mov", ".mkv", ".avi", ".webm", ".m4v"}
ENDING = ".mesh.npz"

MARGIN = 1.5
"""Side of the square given to the mesh network, relative to the box of the face."""

RIGHT_EYE, LEFT_EYE = 33, 263
"""Outer corners of the eyes in the mesh, by which the square is turned upright."""

GRAPH = """
input_stream: "IMAGE:image"
input_stream: "ROI:roi"
input_side_packet: "WITH_ATTENTION:with_attention"
output_stream: "LANDMARKS:landmarks"
node {
  calculator: "FaceLandmarkCpu"
  input_stream: "IMAGE:image"
  input_stream: "ROI:roi"
  input_side_packet: "WITH_ATTENTION:with_attention"
  output_stream: "LANDMARKS:landmarks"
}
"""
SCORE_STREAM = "facelandmarkcpu__face_presence_score"


class Square(NamedTuple):
    """A turned square in a picture: centre and side in pixels, clockwise turn in radians."""

    x: float
    y: float
    side: float
    turn: float


class MeshLabeller:
    """MediaPipe's face detectors, followed by its mesh network run twice: in the found box, then in the mesh's own."""

    def __init__(self) -> None:
        import mediapipe
        from google.protobuf import text_format
        from mediapipe.framework import calculator_pb2
        from mediapipe.python._framework_bindings import validated_graph_config

        self._mediapipe = mediapipe
        faces = mediapipe.solutions.face_detection
        self._detectors = [faces.FaceDetection(0.3, model_selection=kind) for kind in (0, 1)]
        # The released graph hides its score: expand it, and make the score an output.
        validated = validated_graph_config.ValidatedGraphConfig()
        validated.initialize(graph_config=text_format.Parse(GRAPH, calculator_pb2.CalculatorGraphConfig()))
        config = text_format.Parse(validated.text_config, calculator_pb2.CalculatorGraphConfig())
        config.output_stream.append(SCORE_STREAM)
        self._graph = mediapipe.CalculatorGraph(graph_config=config)
        self._seen: dict[str, Any] = {}
        for stream in ("landmarks", SCORE_STREAM):
            self._graph.observe_output_stream(stream, self._seen.__setitem__)
        create = mediapipe.packet_creator
        self._graph.start_run({"with_attention": create.create_bool(True)})
        self._time = 0

    def __call__(self, picture: NDArray[np.uint8]) -> tuple[NDArray[np.float32], float] | None:
        """Points float32 [478, 3] and score of the largest face of a picture, uint8 [H, W, 3] R'G'B'; else None."""
        height, width = picture.shape[:2]
        side = max(height, width)  # the graph turns its square rightly in square pictures only
        picture = np.pad(picture, ((0, side - height), (0, side - width), (0, 0)))
        square = self._detect(picture)
        if square is None:
            return None
        first = self._mesh(picture, square)
        if first is None:
            return None
        return self._mesh(picture, _square_of(first[0])) or first

    def _detect(self, picture: NDArray[np.uint8]) -> Square | None:
        """The largest face that either detector finds: for near faces, then for far ones."""
        height, width = picture.shape[:2]
        for detector in self._detectors:
            found = []
            for detection in detector.process(picture).detections or []:
                data = detection.location_data
                box, eyes = data.relative_bounding_box, data.relative_keypoints[:2]
                (x0, y0), (x1, y1) = ((eye.x * width, eye.y * height) for eye in eyes)
                found.append(
                    Square(
                        (box.xmin + box.width / 2) * width,
                        (box.ymin + box.height / 2) * height,
                        MARGIN * max(box.width * width, box.height * height),
                        float(np.arctan2(y1 - y0, x1 - x0)),
                    )
                )
            if found:
                return max(found, key=lambda square: square.side)
        return None

    def _mesh(self, picture: NDArray[np.uint8], square: Square) -> tuple[NDArray[np.float32], float] | None:
        """Points and score of the face in a square; None where the network sees none."""
        from mediapipe.framework.formats import rect_pb2

        height, width = picture.shape[:2]
        roi = rect_pb2.NormalizedRect(
            x_center=square.x / width,
            y_center=square.y / height,
            width=square.side / width,
            height=square.side / height,
            rotation=square.turn,
        )
        create, get = self._mediapipe.packet_creator, self._mediapipe.packet_getter
        image = create.create_image_frame(
            image_format=self._mediapipe.ImageFormat.SRGB, data=np.ascontiguousarray(picture)
        )
        self._seen.clear()
        self._time += 1
        self._graph.add_packet_to_input_stream("image", image.at(self._time))
        self._graph.add_packet_to_input_stream("roi", create.create_proto(roi).at(self._time))
        self._graph.wait_until_idle()
        if "landmarks" not in self._seen:
            return None
        marks = get.get_proto(self._seen["landmarks"]).landmark
        points = np.array([(p.x * width - 0.5, p.y * height - 0.5, -p.z * width) for p in marks], np.float32)
        return points, float(get.get_float(self._seen[SCORE_STREAM]))


def _square_of(points: NDArray[np.float32]) -> Square:
    """The upright square around a mesh."""
    across = points[LEFT_EYE, :2] - points[RIGHT_EYE, :2]
    turn = float(np.arctan2(across[1], across[0]))
    axes = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
    turned = points[:, :2] @ axes.T
    low, high = turned.min(0), turned.max(0)
    x, y = (low + high) / 2 @ axes + 0.5
    return Square(float(x), float(y), MARGIN * float((high - low).max()), turn)


def read_pictures(path: Path, every: int) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    """Numbers and pictures (uint8 [H, W, 3], R'G'B') of a photograph, or of every ``every``-th frame of a clip."""
    if path.suffix.lower() in PHOTOGRAPHS:
        picture = cv2.imread(str(path), cv2.IMREAD_COLOR)
        if picture is not None:
            yield 0, np.asarray(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB), np.uint8)
        return
    capture = cv2.VideoCapture(str(path))
    number = 0
    while capture.grab():
        if number % every == 0:
            ok, picture = capture.retrieve()
            if ok:
                yield number, np.asarray(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB), np.uint8)
        number += 1
    capture.release()


@cache
def _labeller() -> MeshLabeller:
    """One labeller a process."""
    cv2.setNumThreads(1)
    return MeshLabeller()


def label(path: Path, output: Path, every: int, lowest: float) -> str:
    """Label one file and write ``output``; the text says what came of it."""
    points, frames, scores, seen = [], [], [], 0
    size = (0, 0)
    for number, picture in read_pictures(path, every):
        seen += 1
        size = picture.shape[1], picture.shape[0]
        found = _labeller()(picture)
        if found is not None and found[1] >= lowest:
            points.append(found[0])
            frames.append(number)
            scores.append(found[1])
    if not seen:
        return f"{path}: cannot be read, nothing written"
    if not points:
        return f"{path}: no face in {seen} pictures, nothing written"
    partial = output.with_name(output.name + ".partial")
    with partial.open("wb") as file:
        np.savez_compressed(
            file,
            points=np.stack(points),
            frames=np.array(frames, np.int64),
            score=np.array(scores, np.float32),
            size=np.array(size, np.int64),
        )
    os.replace(partial, output)
    return f"{path}: {len(points)} of {seen} pictures"


def find_sources(paths: list[Path]) -> list[Path]:
    """Photographs and clips among paths and in folders, below them too, in the order of their names."""
    kinds = PHOTOGRAPHS | CLIPS
    sources: list[Path] = []
    for path in paths:
        if path.is_dir():
            sources += sorted(file for file in path.rglob("*") if file.suffix.lower() in kinds)
        elif path.is_file():
            sources.append(path)
        else:
            sys.exit(f"{path}: there is no such file or folder")
    return sources


def main() -> None:
    parser = argparse.ArgumentParser(description="Label photographs and clips with dense face meshes.")
    parser.add_argument("source", nargs="+", type=Path, help="photograph, clip, or folder of them")
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder for the .mesh.npz files")
    parser.add_argument("--every", type=int, default=1, help="label every N-th frame of clips (default: 1)")
    parser.add_argument("--score", type=float, default=0.9, help="lowest score to keep (default: 0.9)")
    parser.add_argument("--workers", type=int, default=1, help="processes (default: 1)")
    given = parser.parse_args()
    if given.every < 1 or given.workers < 1:
        sys.exit("--every and --workers must be at least 1")
    given.output.mkdir(parents=True, exist_ok=True)
    places: dict[Path, Path] = {}
    for source in find_sources(given.source):
        place = given.output / (source.stem + ENDING)
        if place in places:
            sys.exit(f"{source}: has the same name as {places[place]}; label them into different folders")
        places[place] = source
    waiting = [(source, place) for place, source in places.items() if not place.exists()]
    print(f"{len(waiting)} to label, {len(places) - len(waiting)} done before", flush=True)
    if given.workers == 1:
        for source, place in waiting:
            print(label(source, place, given.every, given.score), flush=True)
        return
    with ProcessPoolExecutor(given.workers) as pool:
        jobs = [pool.submit(label, source, place, given.every, given.score) for source, place in waiting]
        for job in jobs:
            print(job.result(), flush=True)


if __name__ == "__main__":
    main()
