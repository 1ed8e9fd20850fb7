"""Reading faces: mirrored readings, doubt, steadying, and squares that keep faces and pictures together."""

import hashlib
import json
import math
from pathlib import Path

import pytest
import skimage.data
import torch
from face_model import coefficients, face_model
from safetensors.torch import save
from torch import Tensor, nn

from fvdeblur.errors import InputError
from fvdeblur.morphable import Coefficients, load_default, render
from fvdeblur.morphable.guidance import LOST, SURE, draw_prior, identity_vector, trust
from fvdeblur.morphable.mirror import find_mirror
from fvdeblur.morphable.reader import FaceReader, Reading, load_regressor, person_of, steadied
from fvdeblur.morphable.regressor import Regressor, create_regressor
from fvdeblur.morphable.squares import Squares, box_square

MEAN = Coefficients.split(torch.zeros(1, 239))


class Finder(Regressor):
    """Says that the mean face lies where the picture is bright, and is as large as that is."""

    def __init__(self, lean: float = 0.0) -> None:
        super().__init__(nn.Identity(), 1, 64)
        self._lean = lean  # radians that it sees every face turned by, mirrored or not

    def forward(self, crops: Tensor) -> Coefficients:
        axis = (torch.arange(64) + 0.5) / 32 - 1
        weight = crops.mean(1).square()
        total = weight.sum((1, 2)).clamp_min(1e-6)
        x = (weight.sum(1) * axis).sum(1) / total
        y = (weight.sum(2) * axis).sum(1) / total
        spread = ((weight.sum(1) * (axis - x[:, None]).square()).sum(1) / total).sqrt()
        pose = torch.zeros(len(crops), 6)
        pose[:, 1], pose[:, 3], pose[:, 4], pose[:, 5] = self._lean, x, y, (2 * spread + 1e-6).log()
        return Coefficients.split(torch.zeros(len(crops), 239))._replace(pose=pose)


def spot(x: float, y: float, radius: float, side: int = 96) -> Tensor:
    """A bright disc on black, [3, side, side], at a place in units of half the side."""
    axis = (torch.arange(side) + 0.5) / side * 2 - 1
    inside = (axis - x).square()[None] + (axis - y).square()[:, None] < radius**2
    return inside.float().expand(3, -1, -1)


def reading(pose: Tensor, doubt: float = 1.0) -> Reading:
    faces = Coefficients.split(torch.zeros(len(pose), 239))._replace(pose=pose)
    return Reading(faces, torch.full((len(pose),), doubt))


def test_a_face_is_read_where_it_is() -> None:
    found, doubt = FaceReader(Finder()).read(torch.stack([spot(0.2, -0.1, 0.4), spot(-0.3, 0.2, 0.3)]))
    torch.testing.assert_close(
        found.pose[:, 3:5], torch.tensor([[0.2, -0.1], [-0.3, 0.2]]), atol=0.02, rtol=0
    )
    assert doubt.max() < 0.5


def test_readings_that_do_not_agree_with_their_mirror_image_are_doubtful() -> None:
    crops = spot(0.0, 0.0, 0.4)[None]
    doubts = [float(FaceReader(Finder(lean)).read(crops).doubt) for lean in (0.0, 0.1, 0.3)]
    assert doubts[0] < 0.5
    assert 2 * doubts[1] < doubts[2]
    assert doubts[1] > 5
    assert FaceReader(Finder(0.3)).read(crops).coefficients.pose[0, 1].abs() < 1e-6  # the mean of both


def test_half_precision_reads_the_same() -> None:
    """Far more alike than a face and its mirror image are read."""
    face = torch.from_numpy(skimage.data.astronaut()[0:200, 120:320].copy()).permute(2, 0, 1)[None] / 255
    exact, rounded = (FaceReader(dtype=dtype).read(face) for dtype in (torch.float32, torch.bfloat16))
    assert all(part.dtype == torch.float32 for part in (*rounded.coefficients, rounded.doubt))
    apart = (exact.coefficients.vector() - rounded.coefficients.vector()).abs()
    assert 0 < apart.max() < 0.1
    assert (rounded.coefficients.pose - exact.coefficients.pose).abs().max() < 0.01
    assert rounded.doubt == pytest.approx(float(exact.doubt), abs=0.3)


def test_a_model_without_a_mirror_cannot_be_read() -> None:
    with pytest.raises(ValueError, match="mirror"):
        FaceReader(Finder(), face_model())


def test_a_face_is_followed_through_pictures() -> None:
    """Wherever it is, and steadily: the mean over five frames moves on in a straight line."""
    path = torch.linspace(-0.3, 0.3, 7)
    pictures = torch.stack([spot(float(x), 0.1, 0.25) for x in path])
    found, doubt = FaceReader(Finder()).follow(pictures)
    torch.testing.assert_close(found.pose[2:-2, 3], path[2:-2], atol=0.03, rtol=0)
    torch.testing.assert_close(found.pose[:, 4], torch.full((7,), 0.1), atol=0.03, rtol=0)
    size = math.log(2 * 0.25 / 2)
    torch.testing.assert_close(found.pose[:, 5], torch.full((7,), size), atol=0.1, rtol=0)
    assert doubt.shape == (7,)


def test_squares_take_faces_in_and_out() -> None:
    """A face drawn in a picture is drawn alike in a crop of it, and the way back leads to the same pose."""
    model = load_default()
    face = coefficients(2, seed=1)
    squares = Squares(
        torch.tensor([[0.1, -0.2], [0.0, 0.1]]), torch.tensor([0.6, 0.8]), torch.tensor([0.3, -0.2])
    )
    inside = face._replace(pose=squares.pose(face.pose))
    torch.testing.assert_close(squares.pose_outside(inside.pose), face.pose)
    whole, crop = render(model, face, 192), render(model, inside, 64)
    cut = squares.cut(whole.rgb, 64)
    assert (cut - crop.rgb).abs().mean() < 0.009
    assert (squares._replace(roll=0.9 * squares.roll).cut(whole.rgb, 64) - crop.rgb).abs().mean() > 0.011


def test_squares_around_points_and_boxes() -> None:
    points = torch.tensor([[[0.0, -0.5], [0.2, 0.5], [-0.2, 0.0]]])
    squares = Squares.around(points)
    assert squares.centre.tolist() == [[0.0, 0.0]]
    assert squares.half.item() == pytest.approx(0.9)
    x, y, side = box_square((10.0, 20.0, 90.0, 130.5))  # 110.5 high: landmarks 100 high
    assert (x, side) == (50.0, pytest.approx(180.0))
    assert y == pytest.approx(75.25 + 4.0)


def test_near_and_trusted_readings_count_most() -> None:
    pose = torch.tensor([[0.0, 0, 0, 0, 0, 0], [0.0, 0, 0, 1, 0, 0]])
    still, moved = reading(pose[:1]), reading(pose[1:])
    both = steadied([still, moved], [0, 2]).coefficients.pose[0, 3]
    assert float(both) == pytest.approx(math.exp(-2) / (1 + math.exp(-2)), rel=1e-4)
    doubted = steadied([still, reading(pose[1:], 10.0)], [0, 2])
    assert float(doubted.coefficients.pose[0, 3]) < 0.01
    assert 1.0 < float(doubted.doubt) < 1.2


def test_a_person_is_the_mean_of_the_clearest_readings() -> None:
    identity = torch.cat([torch.zeros(32, 80), torch.ones(8, 80)])
    faces = Coefficients.split(torch.zeros(40, 239))._replace(identity=identity, texture=2 * identity)
    doubt = torch.cat([torch.ones(32), torch.full((8,), 2.0)])
    assert float(person_of(Reading(faces, doubt))[0].abs().max()) == 0  # the 32 clearest alone
    one, two = person_of(Reading(Coefficients(*(part[31:33] for part in faces)), doubt[31:33]))
    torch.testing.assert_close(one, torch.full((80,), 0.2))  # 1 / 4 of the other's weight
    torch.testing.assert_close(two, torch.full((80,), 0.4))


def test_the_prior_fades_with_doubt() -> None:
    assert trust(torch.tensor([0.0, SURE, (SURE + LOST) / 2, LOST, 99.0])).tolist() == [1, 1, 0.5, 0, 0]
    model = load_default()
    face = MEAN._replace(pose=torch.tensor([[0, 0, 0, 0, 0, -0.9]]), identity=torch.ones(1, 80))
    sure, half, lost = (Reading(face, torch.tensor([doubt])) for doubt in (1.0, (SURE + LOST) / 2, LOST))
    prior = draw_prior(model, sure, 48, 7)
    drawn = render(model, face, 48)
    torch.testing.assert_close(prior[:, :3], drawn.rgb)
    torch.testing.assert_close(prior[:, 3:4], drawn.mask)
    assert prior[:, 6].amax() > 0.9  # normals towards the viewer
    assert prior[..., 0, 0].abs().max() == 0
    torch.testing.assert_close(draw_prior(model, half, 48, 7), prior / 2)
    assert draw_prior(model, lost, 48, 4).abs().max() == 0
    assert draw_prior(model, sure, 48, 3).shape == (1, 3, 48, 48)
    assert identity_vector(half)[0, 0] == 0.5


def test_mirror_signs_are_those_of_the_reader() -> None:
    mirror = find_mirror(load_default())
    assert mirror is not None
    assert mirror.signs[233:].tolist() == [1, -1, -1, -1, 1, 1]


def test_the_released_regressor_is_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fvdeblur.released.models_folder", lambda: tmp_path)
    options = {"widths": [8, 8], "blocks": [1, 1], "size": 32}
    torch.manual_seed(0)
    network = create_regressor("light", **options).eval()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean)  # type: ignore[arg-type]
    data = save(network.state_dict())
    home = tmp_path / "regressor"
    home.mkdir()
    (home / "weights.safetensors").write_bytes(data)
    config = {"regressor": "light", "options": options, "sha256": hashlib.sha256(data).hexdigest()}
    (home / "config.json").write_text(json.dumps(config))
    crops = torch.rand(2, 3, 32, 32)
    torch.testing.assert_close(load_regressor()(crops).vector(), network(crops).vector())
    for change, expected in (
        ({"options": {**options, "widths": [4, 8]}}, "do not fit"),
        ({"sha256": "0" * 64}, "SHA-256 differs"),
        ({"regressor": "deep"}, "do not fit"),
    ):
        (home / "config.json").write_text(json.dumps({**config, **change}))
        with pytest.raises(InputError, match=expected):
            load_regressor()
    (home / "config.json").unlink()
    with pytest.raises(InputError, match="configuration is damaged"):
        load_regressor()
