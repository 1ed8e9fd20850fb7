"""The faces of a shot are read where they are, steadied, and drawn in each crop."""

from collections.abc import Sequence

import av
import numpy as np
import pytest
import torch
from pictures import restorer, stream, to_frame
from torch import Tensor, nn

from fvdeblur.faces import TrackedFace
from fvdeblur.media import FramePlanes
from fvdeblur.morphable import Coefficients
from fvdeblur.morphable.reader import MOST_OF_PERSON, FaceReader, Reading
from fvdeblur.morphable.regressor import Regressor
from fvdeblur.restoration.crops import CropPlan, plan_crop
from fvdeblur.restoration.priors import FaceTracks
from fvdeblur.restoration.stream import FaceRestorer

SCALE = -0.9


class Filling(Regressor):
    """Sees the mean face in the middle of every crop, as bright as the crop is (in its first identity number)."""

    def __init__(self) -> None:
        super().__init__(nn.Identity(), 1, 32)

    def forward(self, crops: Tensor) -> Coefficients:
        found = Coefficients.split(torch.zeros(len(crops), 239))
        pose = found.pose.clone()
        pose[:, 5] = SCALE
        identity = found.identity.clone()
        identity[:, 0] = crops.mean((1, 2, 3))
        return found._replace(pose=pose, identity=identity)


def planes(brightness: int = 128) -> FramePlanes:
    picture = np.full((240, 320, 3), brightness, np.uint8)
    return FramePlanes(av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format="yuv420p"), 0)


def face(track: int, x: float, y: float, side: float = 60.0) -> TrackedFace:
    box = np.array([x - side / 2, y - side / 2, x + side / 2, y + side / 2], np.float32)
    return TrackedFace(track, box, 0.9, None)


@pytest.fixture
def tracks() -> FaceTracks:
    return FaceTracks(FaceReader(Filling()))


def see(tracks: FaceTracks, frames: Sequence[Sequence[TrackedFace]], brightness: Sequence[int] = ()) -> None:
    for position, faces in enumerate(frames):
        light = brightness[position] if brightness else 128
        tracks.see(position, planes(light), faces)


def centre_of(mask: Tensor) -> tuple[float, float]:
    rows, columns = (mask.sum(axis) for axis in (1, 0))
    return tuple(float((line * torch.arange(len(line))).sum() / line.sum()) for line in (columns, rows))  # type: ignore[return-value]


def test_poses_are_in_pixels_of_the_frame(tracks: FaceTracks) -> None:
    see(tracks, [[face(3, 100, 90), face(5, 220, 140, 80)]])
    for track, x, y in ((3, 100, 90), (5, 220, 140)):
        reading = tracks.at(0, track)
        assert reading is not None
        pose = reading.coefficients.pose[0]
        assert abs(float(pose[3]) - x) < 1
        assert abs(float(pose[4]) - y) < 4  # boxes lie a little higher than faces
    assert tracks.at(0, 4) is None
    assert tracks.at(1, 3) is None


def test_the_prior_lies_where_the_face_is_in_any_crop(tracks: FaceTracks) -> None:
    see(tracks, [[face(0, 150, 120)]])
    plain = tracks.guides(0, 0, plan_crop(face(0, 150, 120).box, 16, 512), 4, 80)
    moved = tracks.guides(0, 0, CropPlan(90, 40, 128, 128), 4, 0)
    halved = tracks.guides(0, 0, CropPlan(90, 40, 128, 64), 4, 0)
    assert plain.prior is not None
    assert plain.prior.shape[0] == 4
    assert plain.identity is not None
    assert moved.identity is None
    assert moved.prior is not None
    assert halved.prior is not None
    x, y = centre_of(moved.prior[3])
    assert abs(x - (150 - 90)) < 3
    assert abs(y - (120 - 40)) < 8
    small = torch.nn.functional.avg_pool2d(moved.prior[None], 2)[0]
    assert (small - halved.prior).abs().mean() < 0.005
    assert moved.prior[:3].amax() > 0.2


def test_a_face_that_moves_is_steadied(tracks: FaceTracks) -> None:
    jitter = [0, 6, 0, 6, 0, 6, 0]
    see(tracks, [[face(0, 100 + step, 100)] for step in jitter])
    places = [float(tracks.at(k, 0).coefficients.pose[0, 3]) for k in range(2, 5)]  # type: ignore[union-attr]
    assert max(places) - min(places) < 3


def test_every_second_frame_is_read_where_time_is_spared() -> None:
    """One that moves steadily is nevertheless known where it is in every frame; a new one is read at once."""
    tracks = FaceTracks(FaceReader(Filling()), sparing=True)
    seen: list[int] = []
    read = tracks._reader.read

    def counted(crops: Tensor) -> Reading:
        seen.append(len(crops))
        return read(crops)

    tracks._reader.read = counted  # type: ignore[method-assign]
    see(tracks, [[face(0, 100 + 8 * k, 100)] + [face(1, 60, 150)] * (k > 4) for k in range(10)])
    assert seen == [1, 1, 1, 1, 2, 2]
    for k in range(2, 8):
        reading = tracks.at(k, 0)
        assert reading is not None
        assert abs(float(reading.coefficients.pose[0, 3]) - (100 + 8 * k)) < 1.5


def test_identity_is_the_persons(tracks: FaceTracks) -> None:
    see(tracks, [[face(0, 100, 100)] for _ in range(4)], [60, 100, 140, 180])
    first, last = (tracks.at(k, 0).coefficients.identity[0, 0] for k in (0, 3))  # type: ignore[union-attr]
    assert first == last
    assert abs(float(first) - 120 / 255) < 0.05


def test_a_long_track_keeps_its_clearest_readings(tracks: FaceTracks) -> None:
    for position in range(3 * MOST_OF_PERSON):
        tracks.see(position, planes(60 + position), [face(0, 100, 100)])
        tracks.forget(position - 4)
        reading = tracks.at(position, 0)
        assert reading is not None
    assert 60 / 255 < float(reading.coefficients.identity[0, 0]) < 160 / 255


def test_what_is_past_is_forgotten(tracks: FaceTracks) -> None:
    see(tracks, [[face(0, 100, 100)], [face(0, 101, 100), face(1, 200, 100)], [face(1, 200, 100)]])
    tracks.forget(1)
    assert tracks.at(0, 0) is None
    assert tracks.at(1, 0) is not None
    tracks.forget(2)
    assert tracks.at(1, 0) is None
    nothing = tracks.guides(1, 0, CropPlan(0, 0, 64, 64), 7, 80)
    assert nothing.prior is not None
    assert nothing.prior.shape == (7, 64, 64)
    assert nothing.prior.abs().max() == 0
    assert nothing.identity is not None
    assert nothing.identity.abs().max() == 0
    tracks.clear()
    assert tracks.at(2, 1) is None


class Told(nn.Module):
    """Adds the prior's mask to the picture, and keeps what it was told."""

    frames, multiple, takes_flow, prior_channels, identity_size = 5, 16, False, 4, 80

    def __init__(self) -> None:
        super().__init__()
        self.unused = nn.Parameter(torch.zeros(1), requires_grad=False)
        self.told: list[tuple[Tensor, Tensor]] = []

    def forward(self, frames: Tensor, prior: Tensor, identity: Tensor) -> Tensor:
        self.told.append((prior, identity))
        return 0.2 * prior[:, 3:].expand(-1, 3, -1, -1)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_network_is_told_of_every_face_of_every_frame(precision: str) -> None:
    network = Told()
    prepared = restorer(network, precision=precision)
    prepared.reader = FaceReader(Filling())  # type: ignore[misc]
    frames = [to_frame(np.full((96, 160, 3), 100, np.uint8)) for _ in range(8)]
    boxes = [[20.0, 30.0, 50.0, 60.0], [100.0, 30.0, 130.0, 60.0]]
    stage = FaceRestorer(prepared, 0, 1.0, 0.0)
    assert len(list(stage(stream(frames, boxes, cuts=[5])))) == 8
    assert stage.tally.restored == 16
    for frame in frames:
        luma = frame.to_ndarray()[0].astype(int)
        for x0, y0, x1, y1 in boxes:
            assert luma[int(y0 + y1) // 2, int(x0 + x1) // 2] > 140
        assert abs(luma[45, 75] - 102) < 3  # between the faces
        assert abs(luma[90, 35] - 102) < 3
    if precision == "fp32":
        told = network.told
        assert len(told) == 8
        assert all(prior.shape[:2] == (2, 4) and identity.shape == (2, 80) for prior, identity in told)
        assert float(told[3][1][0, 0]) == pytest.approx(100 / 255, abs=0.02)
