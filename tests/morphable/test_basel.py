"""A Basel Face Model needs a licence; this one has its layout and the shape of an ellipsoid."""

import numpy as np
import pytest
import torch
from face_model import ellipsoid, grid
from scipy.io import savemat

from fvdeblur.errors import InputError
from fvdeblur.morphable import Coefficients, landmarks, load_basel, render
from fvdeblur.morphable.light import encode

SIDE = 24


@pytest.fixture(scope="module")
def values() -> dict[str, np.ndarray]:
    generator = np.random.default_rng(3)
    uv, triangles = grid(SIDE)
    # decimetres, not centred
    shape = ellipsoid(uv, (0.8, 1.1, 0.7)).numpy() + np.array([0.02, -0.03, 0.4])
    count = 3 * SIDE**2
    keypoints = (np.arange(68) * 7 + 30) % SIDE**2
    return {
        "meanshape": shape.reshape(1, -1).astype(np.float32),
        "idBase": 0.02 * generator.standard_normal((count, 80)).astype(np.float32),
        "exBase": 0.02 * generator.standard_normal((count, 64)).astype(np.float32),
        "meantex": generator.uniform(60, 200, (1, count)).astype(np.float32),
        "texBase": 4 * generator.standard_normal((count, 80)).astype(np.float32),
        "tri": triangles.numpy().astype(np.float64) + 1,
        "point_buf": np.ones((SIDE**2, 8)),
        "keypoints": (keypoints + 1)[None].astype(np.float64),
        "skinmask": (np.arange(SIDE**2) % 2)[None].astype(np.float64),
    }


@pytest.fixture(scope="module")
def path(values, tmp_path_factory):
    path = tmp_path_factory.mktemp("basel") / "BFM_model_front.mat"
    savemat(path, values)
    return path


@pytest.fixture(scope="module")
def model(path):
    return load_basel(path)


def random_faces(batch: int) -> Coefficients:
    vector = torch.randn(batch, 239, generator=torch.Generator().manual_seed(5))
    vector[:, 224:] *= 0.2
    return Coefficients.split(vector)


def reference_landmarks(values: dict[str, np.ndarray], faces: Coefficients) -> np.ndarray:
    """Deng et al. 2019: x and y (up) in a picture of 224 pixels whose lower left corner is 0, 0."""
    mean = values["meanshape"].reshape(-1, 3)
    mean = (mean - mean.mean(0)).reshape(-1)
    shape = faces.identity.numpy() @ values["idBase"].T + faces.expression.numpy() @ values["exBase"].T + mean
    shape = shape.reshape(len(shape), -1, 3)
    result = []
    for points, pose in zip(shape, faces.pose.double().numpy(), strict=True):
        (sx, sy, sz), (cx, cy, cz) = np.sin(pose[:3]), np.cos(pose[:3])
        about_x = np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
        about_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
        about_z = np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]])
        points = points @ (about_z @ about_y @ about_x).T + pose[3:]
        points[:, 2] = 10 - points[:, 2]
        seen = points @ np.array([[1015, 0, 112], [0, 1015, 112], [0, 0, 1]]).T
        result.append((seen[:, :2] / seen[:, 2:])[values["keypoints"].astype(int)[0] - 1])
    return np.stack(result)


def test_landmarks_are_where_the_reference_puts_them(model, values):
    faces = random_faces(4)
    expected = reference_landmarks(values, faces)
    expected[..., 1] = 224 - expected[..., 1]  # down
    seen = landmarks(model, faces, 224, "68").numpy()
    assert np.abs(seen + 0.5 - expected).max() < 2e-3
    twice = landmarks(model, faces, 448, "68").numpy()
    assert np.abs(twice + 0.5 - 2 * expected).max() < 4e-3


def test_model_is_in_head_coordinates(model):
    assert model.mean_shape.mean(0).abs().max() < 1e-5
    assert model.mean_shape.square().sum(1).mean().sqrt().item() == pytest.approx(1, abs=1e-5)
    assert model.camera == "perspective"
    assert model.supported == (80, 64, 80)
    assert model.uv is None


def test_textures_are_those_of_the_file_to_the_first_order(model, values):
    texture = torch.zeros(1, 80)
    mean = values["meantex"].reshape(-1, 3) / 255
    assert np.abs(encode(model.albedo(texture))[0].numpy() - mean).max() < 1e-5
    texture[0, 7] = 0.5
    expected = mean + 0.5 * values["texBase"][:, 7].reshape(-1, 3) / 255
    assert np.abs(encode(model.albedo(texture))[0].numpy() - expected).max() < 2e-3


def test_five_landmarks(model, values):
    mean = values["meanshape"].reshape(-1, 3)
    points = values["keypoints"].astype(int)[0] - 1
    for place, (start, end) in enumerate([(36, 42), (42, 48)]):
        centre = mean[points[start:end]].mean(0)
        assert model.landmarks["5"][place] == np.linalg.norm(mean - centre, axis=1).argmin()
    assert model.landmarks["5"][2:].tolist() == points[[30, 48, 54]].tolist()
    assert len(model.landmarks["dense"]) == SIDE**2


def test_face_is_drawn(model):
    faces = random_faces(2)  # their bases are noise: the mean face
    faces = faces._replace(identity=torch.zeros(2, 80), expression=torch.zeros(2, 64))
    rendering = render(model, faces, 96)
    assert rendering.mask.mean() > 0.2
    inside = rendering.mask[:, 0] == 1
    assert rendering.normals.permute(0, 2, 3, 1)[inside][:, 2].mean() > 0.5  # towards the viewer
    assert rendering.rgb.permute(0, 2, 3, 1)[inside].mean() > 0.2


def test_triangles_that_run_the_other_way_are_turned(values, model, tmp_path):
    savemat(tmp_path / "turned.mat", {**values, "tri": values["tri"][:, ::-1]})
    turned = load_basel(tmp_path / "turned.mat")
    faces = random_faces(1)
    torch.testing.assert_close(render(turned, faces, 64).mask, render(model, faces, 64).mask)


def test_skin(values, model, tmp_path):
    assert torch.equal(model.skin, (torch.arange(SIDE**2) % 2).float())
    savemat(tmp_path / "bare.mat", {name: value for name, value in values.items() if name != "skinmask"})
    assert load_basel(tmp_path / "bare.mat").skin.min() == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"idBase": None}, "idBase is missing"),
        ({"tri": np.full((4, 3), 10000.0)}, "damaged"),
        ({"idBase": np.zeros((10, 80))}, "damaged"),
        ({"keypoints": np.ones((1, 51))}, "51 keypoints"),
        ({"meantex": np.array(["a", "b"])}, "damaged"),
    ],
)
def test_files_that_do_not_fit(values, tmp_path, change, message):
    changed = {name: value for name, value in {**values, **change}.items() if value is not None}
    savemat(tmp_path / "wrong.mat", changed)
    with pytest.raises(InputError, match=message) as caught:
        load_basel(tmp_path / "wrong.mat")
    assert str(tmp_path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_files_that_are_none(path, tmp_path):
    with pytest.raises(InputError, match="cannot be read"):
        load_basel(tmp_path / "missing.mat")
    for data in (b"no matrices at all", b"", path.read_bytes()[:5000]):
        (tmp_path / "other.mat").write_bytes(data)
        with pytest.raises(InputError, match=r"MATLAB|cannot be read"):
            load_basel(tmp_path / "other.mat")
