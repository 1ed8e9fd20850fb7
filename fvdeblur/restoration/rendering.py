"""Showing what is read of faces: each frame beside the 3D faces drawn over it, as figure 3 of Ren et al. 2019 does."""

from __future__ import annotations

import math
import time
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import av
import cv2
import numpy as np
import torch
from torch import Tensor

from fvdeblur.faces import TrackedFace, face_size
from fvdeblur.media import FramePlanes, VideoWriter
from fvdeblur.morphable import MorphableModel, render
from fvdeblur.morphable.camera import place
from fvdeblur.morphable.guidance import trust
from fvdeblur.morphable.reader import REACH, FaceReader, Reading
from fvdeblur.morphable.squares import Squares
from fvdeblur.restoration.inputs import RENDERED_MARK
from fvdeblur.restoration.opening import open_detector, open_settings
from fvdeblur.restoration.priors import FaceTracks
from fvdeblur.restoration.restorer import device_name, select_device
from fvdeblur.restoration.row_file import RowFile
from fvdeblur.restoration.settings import Settings
from fvdeblur.restoration.side_by_side import side_by_side, side_by_side_info
from fvdeblur.restoration.stages import in_stages, open_video
from fvdeblur.restoration.stream import TOO_SMALL, TrackedPicture
from fvdeblur.restoration.summary import Progress, WorkSummary, expected_frames

LARGEST_SIDE = 512
"""Faces are drawn in squares of at most so many pixels and enlarged from there: their texture holds no more detail."""

DOUBTFUL = "too doubtful"


@dataclass(frozen=True, kw_only=True)
class RenderSummary(WorkSummary):
    """What was rendered, beside `WorkSummary`.

    Attributes
    ----------
    rows
        The file with the coefficients; None where none was asked for.
    people
        Number of face tracks.
    drawn
        Faces drawn, counted in every frame.
    left_out
        Faces not drawn, counted in every frame, by reason.
    """

    rows: Path | None
    people: int
    drawn: int
    left_out: dict[str, int]


def rendered_output(path: str | Path) -> Path:
    """``<stem>.rendered<suffix>`` beside the input."""
    path = Path(path)
    return path.with_name(f"{path.stem}{RENDERED_MARK}{path.suffix}")


class FaceRenderer:
    """Renders the 3D faces of videos; the regressor is loaded once and serves any number of files.

    Parameters
    ----------
    settings
        How to work; single values can be given as keyword arguments instead. Model, precision and strength do not
        matter here.
    reader
        What reads the faces, on its own device; None: the released regressor, on the device of the settings.

    Raises
    ------
    UsageError
        A setting is unknown or cannot be had on this machine.
    InputError
        The released files are damaged.
    """

    def __init__(
        self, settings: Settings | None = None, *, reader: FaceReader | None = None, **values: object
    ) -> None:
        self.settings = open_settings(settings, values)
        self._reader = reader or FaceReader(device=select_device(self.settings.device))
        self._detector = open_detector(self.settings, self._reader.device)

    def run(
        self,
        path: str | Path,
        output: str | Path | None = None,
        *,
        rows: str | Path | None = None,
        progress: Callable[[Progress], None] | None = None,
    ) -> RenderSummary:
        """Render the faces of one video; memory does not grow with its length.

        The output is twice as wide as the upright input: on the left the frame as it is, on the right the same in
        grey and darker, with the faces that are believed drawn over it. Times, sound and all else are kept.

        Parameters
        ----------
        path
            The video.
        output
            Where to write; None: ``<stem>.rendered<suffix>`` beside the input.
        rows
            Where to write a line of JSON for each face of each frame (`face_row`); None: nowhere.
        progress
            Called after every frame written, with the number of faces drawn.

        Raises
        ------
        UsageError
            The input is missing, an output is there already or is the input itself, or an option does not fit.
        InputError
            The input cannot be read as a video.
        OutputError
            An output cannot be written. Nothing stands under either name then.
        """
        began = time.monotonic()
        settings = self.settings
        source = Path(path)
        target = rendered_output(source) if output is None else Path(output)
        with (
            open_video(source, settings) as reader,
            RowFile(rows, (source, target), settings.overwrite) as row_file,
            VideoWriter(
                target,
                side_by_side_info(reader.info),
                start=settings.start,
                end=settings.end,
                **settings.encoding,
            ) as writer,
        ):
            overlay = FaceOverlay(self._reader, reader.info.rotation, settings.min_face)
            total = expected_frames(reader.info, settings.start, settings.end)
            written = 0
            with closing(in_stages(reader, self._detector, overlay)) as stream:
                for frame, frame_rows in stream:
                    writer.write(frame)
                    row_file.add(frame_rows)
                    written += 1
                    if progress is not None:
                        progress(Progress(written, total, overlay.drawn))
            row_file.close()
            writer.finish()
            try:
                row_file.commit()
            except BaseException:  # both files get their names, or neither
                with suppress(OSError):
                    target.unlink(missing_ok=True)
                raise
        return RenderSummary(
            input=source,
            output=target,
            rows=row_file.path,
            frames=written,
            people=len(overlay.people),
            drawn=overlay.drawn,
            left_out=dict(overlay.left_out),
            device=device_name(self._reader.device),
            detector=self._detector.name,
            seconds=time.monotonic() - began,
            damage=list(reader.damage),
            notes=[*reader.notes, *writer.notes],
        )


class RenderedFrame(NamedTuple):
    """A frame beside its rendered faces, with the source's timestamp, and the rows (`face_row`) of its faces."""

    frame: av.VideoFrame
    rows: list[dict[str, Any]]


class FaceOverlay:
    """Turns a stream of tracked frames into frames beside their rendered faces.

    A frame waits for the few after it (`REACH`) over which its readings are steadied, never beyond a cut.

    Parameters
    ----------
    reader
        Reads the faces.
    rotation
        Degrees clockwise that turn the coded picture upright.
    min_face
        Faces smaller than this many pixels (square root of the box's area) are not read.

    Attributes
    ----------
    people, drawn, left_out
        So far: the tracks seen, how many faces were drawn, and how many were not by reason, counted in every frame.
    """

    def __init__(self, reader: FaceReader, rotation: int, min_face: float) -> None:
        self._model, self._tracks = reader.model, FaceTracks(reader)
        self._rotation, self._min_face = rotation, min_face
        self._albedos: dict[int, tuple[Tensor, Tensor]] = {}  # by track: texture coefficients and albedo
        self.people: set[int] = set()
        self.drawn = 0
        self.left_out: Counter[str] = Counter()

    def __call__(self, pictures: Iterable[TrackedPicture]) -> Generator[RenderedFrame, None, None]:
        """Yield every frame once, in order."""
        shot: deque[TrackedPicture] = deque()
        first = 0  # position in the shot of the oldest frame held
        for picture in pictures:
            if picture.tracked.starts_shot and shot:
                yield from self._finish(shot, first)
                first = 0
            planes = FramePlanes(picture.decoded.frame, self._rotation)
            self._tracks.see(first + len(shot), planes, self._large_enough(picture))
            shot.append(picture)
            if len(shot) > REACH:
                yield self._render(shot.popleft(), first)
                first += 1
                self._tracks.forget(first - REACH)
        yield from self._finish(shot, first)

    def _finish(self, shot: deque[TrackedPicture], first: int) -> Iterator[RenderedFrame]:
        for position in range(first, first + len(shot)):
            yield self._render(shot.popleft(), position)
        self._tracks.clear()

    def _large_enough(self, picture: TrackedPicture) -> list[TrackedFace]:
        faces = picture.tracked.faces
        self.people.update(face.track for face in faces)
        kept = [face for face in faces if face_size(face.box) >= self._min_face]
        if len(kept) < len(faces):
            self.left_out[TOO_SMALL] += len(faces) - len(kept)
        return kept

    def _render(self, picture: TrackedPicture, position: int) -> RenderedFrame:
        decoded = picture.decoded
        frame = side_by_side(decoded.frame, self._rotation)
        planes = FramePlanes(frame)
        rows = []
        seen: list[tuple[int, Reading]] = []
        for face in picture.tracked.faces:
            reading = self._tracks.at(position, face.track)
            if reading is not None:
                rows.append(face_row(decoded.index, decoded.time, face, reading))
                seen.append((face.track, reading))
        present = {number for number, _ in seen}
        self._albedos = {number: known for number, known in self._albedos.items() if number in present}
        # What is nearer to the camera looks larger, and is drawn over what is farther.
        for number, reading in sorted(seen, key=lambda one: float(one[1].coefficients.pose[0, 5])):
            if trust(reading.doubt) > 0:
                draw_face(planes, planes.width // 2, self._model, reading, self._albedo(number, reading))
                self.drawn += 1
            else:
                self.left_out[DOUBTFUL] += 1
        return RenderedFrame(frame, rows)

    def _albedo(self, number: int, reading: Reading) -> Tensor:
        """The albedo of a face, computed anew only where the texture of its track has changed."""
        texture = reading.coefficients.texture
        known = self._albedos.get(number)
        if known is None or not torch.equal(known[0], texture):
            known = self._albedos[number] = texture, self._model.albedo(texture)
        return known[1]


def face_row(index: int, seconds: float, face: TrackedFace, reading: Reading) -> dict[str, Any]:
    """What is known of a face in a frame, ready for JSON.

    Parameters
    ----------
    index, seconds
        Number of the frame, from 0 where the part that is read begins, and its time from the start of the file.
    face
        As it was tracked.
    reading
        Of this face, steadied, with its pose in pixels of the upright frame.

    Returns
    -------
    ``frame``, ``time`` (seconds), ``track``, ``box`` (x0, y0, x1, y1 in pixels of the upright frame), ``doubt`` (% of
    the eye distance), ``trust`` (0..1), ``pitch``, ``yaw``, ``roll`` (degrees, as `fvdeblur.morphable.camera` has them)
    and ``coefficients``, the 239 of `fvdeblur.morphable.Coefficients`. The last three of these place the face in the
    upright frame: x and y of the model's origin in pixels from its upper left corner, and the logarithm of the pixels
    in a unit of the model.
    """
    pitch, yaw, roll = (round(math.degrees(angle), 3) for angle in reading.coefficients.pose[0, :3].tolist())
    return {
        "frame": index,
        "time": round(seconds, 6),
        "track": face.track,
        "box": [round(float(value), 2) for value in face.box],
        "doubt": round(float(reading.doubt), 3),
        "trust": round(float(trust(reading.doubt)), 4),
        "pitch": pitch,
        "yaw": yaw,
        "roll": roll,
        "coefficients": [round(value, 5) for value in reading.coefficients.vector()[0].tolist()],
    }


@torch.inference_mode()
def draw_face(
    planes: FramePlanes, left: int, model: MorphableModel, reading: Reading, albedo: Tensor | None = None
) -> None:
    """Draw a face over a part of a picture, in place; it fades as far as the reading is not trusted.

    Parameters
    ----------
    planes
        The picture.
    left
        Where the part begins that the face is drawn over; it reaches to the right edge.
    model
        On the device of the reading.
    reading
        Of one face, with its pose in pixels of this part.
    albedo
        As for `fvdeblur.morphable.render`.
    """
    coefficients = reading.coefficients
    points = place(model, coefficients)[0]
    limit = points.new_tensor([planes.width - left, planes.height])
    x0, y0 = (int(value) for value in torch.minimum(points.amin(0).floor().clamp_min(0), limit))
    x1, y1 = (int(value) for value in torch.minimum(points.amax(0).ceil().clamp_min(0), limit))
    if x1 <= x0 or y1 <= y0:
        return
    # A square around what is inside the picture, with a pixel more on each side: at the border of a rendering, the edge
    # of a face is not anti-aliased.
    side = max(x1 - x0, y1 - y0) + 2
    half = points.new_tensor([side / 2])
    square = Squares(points.new_tensor([[x0 - 1, y0 - 1]]) + half, half, torch.zeros_like(half))
    placed = coefficients._replace(pose=square.pose(coefficients.pose))
    drawn = render(model, placed, min(side, LARGEST_SIDE), albedo)
    layers = torch.cat([drawn.rgb, drawn.mask], dim=1)[0] * trust(reading.doubt)
    picture = np.asarray(layers.permute(1, 2, 0).float().cpu().contiguous().numpy())
    if side > LARGEST_SIDE:
        picture = np.asarray(cv2.resize(picture, (side, side), interpolation=cv2.INTER_LINEAR))
    picture = picture[1 : 1 + y1 - y0, 1 : 1 + x1 - x0]
    before = planes.read_rgb(left + x0, y0, left + x1, y1)
    planes.add_rgb(left + x0, y0, picture[..., :3] - picture[..., 3:] * before)
