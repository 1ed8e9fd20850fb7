"""The files of released models, and that they and every room are installed."""

import configparser
import hashlib
import json
from pathlib import Path

import pytest
import skimage.data
import torch
from safetensors.torch import load, save

from fvdeblur.errors import InputError, UsageError
from fvdeblur.morphable import landmarks
from fvdeblur.morphable.reader import FaceReader
from fvdeblur.released import models_folder
from fvdeblur.restoration import Deblurrer, load_model, model_names
from fvdeblur.restoration.export import export_onnx

ROOT = Path(__file__).parents[2]
FOLDERS = sorted(path.parent.name for path in (ROOT / "models").glob("*/__init__.py"))
RELEASED = sorted(
    {path.parent.name for path in (ROOT / "models").glob("*/weights.safetensors")} - {"regressor"}
)
OTHERS = ["face3d", "fitting", "regressor"]


def change_card(home: Path, **values: object) -> None:
    card = json.loads((home / "config.json").read_text())
    (home / "config.json").write_text(json.dumps({**card, **values}))


@pytest.fixture
def home(small_models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model folder that the test may damage."""
    copied = tmp_path / "models" / "fvd"
    copied.mkdir(parents=True)
    for path in (small_models / "fvd").iterdir():
        (copied / path.name).write_bytes(path.read_bytes())
    monkeypatch.setattr("fvdeblur.released.models_folder", lambda: tmp_path / "models")
    return copied


def test_the_default_model_is_released() -> None:
    assert "fvd" in RELEASED
    assert model_names() == RELEASED
    assert sorted(RELEASED + OTHERS) == FOLDERS
    assert models_folder() == ROOT / "models"


@pytest.mark.parametrize("name", [*RELEASED, "regressor"])
def test_the_digest_on_the_card_is_that_of_the_weights(name: str) -> None:
    data = (ROOT / "models" / name / "weights.safetensors").read_bytes()
    assert (
        hashlib.sha256(data).hexdigest()
        == json.loads((ROOT / "models" / name / "config.json").read_text())["sha256"]
    )


def test_the_released_regressor_reads_a_face() -> None:
    """Where the eyes of a photograph are, and that a patch of its background is none."""
    picture = torch.from_numpy(skimage.data.astronaut()).permute(2, 0, 1)[None] / 255
    reader = FaceReader()
    reading = reader.read(picture[..., 15:195, 135:315])
    eyes = landmarks(reader.model, reading.coefficients, 180, "5")[0, :2]
    assert (eyes - torch.tensor([[67.0, 87.0], [111.0, 88.0]])).norm(dim=1).max() < 6
    assert float(reading.doubt) < 4
    assert float(reader.read(picture[..., 330:500, 330:500]).doubt) > 8


@pytest.mark.parametrize("name", RELEASED)
def test_released_models_load_and_run(name: str) -> None:
    network, card = load_model(name)
    assert not network.training
    assert card.largest_side % network.multiple == 0
    assert network.frames % 2 == 1
    parameters = list(network.parameters())
    assert {p.dtype for p in parameters} == {torch.float32}
    assert not any(p.requires_grad for p in parameters)
    side = max(4 * network.multiple, card.smallest_side)
    assert side % network.multiple == 0
    with torch.no_grad():
        change = network(torch.rand(1, 3 * network.frames, side, side))
    assert change.shape == (1, 3, side, side)
    assert change.isfinite().all()


@pytest.mark.slow
@pytest.mark.parametrize("name", RELEASED)
def test_released_models_can_be_exported(name: str, tmp_path: Path) -> None:
    written = export_onnx(name, tmp_path / "network.onnx")
    assert written.difference < 1 / 255
    assert written.size == (tmp_path / "network.onnx").stat().st_size


def test_an_unknown_model(home: Path) -> None:
    (home.parent / "empty").mkdir()
    for name in ("fvd2", "", "empty", "../fvd", "."):
        with pytest.raises(UsageError, match=r"there are: fvd$"):
            load_model(name)


def test_missing_weights(home: Path) -> None:
    (home / "weights.safetensors").unlink()
    with pytest.raises(InputError, match=r"weights\.safetensors: the weights are missing .*reinstall"):
        Deblurrer()


@pytest.mark.parametrize("place", [0, 100, -1])
def test_damaged_weights(home: Path, place: int) -> None:
    data = bytearray((home / "weights.safetensors").read_bytes())
    data[place] ^= 1
    (home / "weights.safetensors").write_bytes(data)
    with pytest.raises(InputError, match=r"weights\.safetensors: the weights are damaged .*reinstall"):
        load_model("fvd")


def test_weights_cut_off(home: Path) -> None:
    path = home / "weights.safetensors"
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(InputError, match="damaged"):
        load_model("fvd")


def test_weights_of_another_network(home: Path) -> None:
    change_card(home, options={"widths": [16, 32], "encoder_blocks": [1, 1], "decoder_blocks": [1]})
    with pytest.raises(InputError, match="do not fit"):
        load_model("fvd")


def test_weights_that_are_no_safetensors(home: Path) -> None:
    data = b"not a file of tensors"
    (home / "weights.safetensors").write_bytes(data)
    change_card(home, sha256=hashlib.sha256(data).hexdigest())
    with pytest.raises(InputError, match="do not fit") as caught:
        load_model("fvd")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"network": "fvd"}', '{"colour": "red"}'])
def test_a_damaged_card(home: Path, text: str) -> None:
    (home / "config.json").write_text(text)
    with pytest.raises(InputError, match=r"config\.json: the model's configuration is damaged"):
        load_model("fvd")


def test_weights_in_half_precision_become_float32(home: Path) -> None:
    path = home / "weights.safetensors"
    halves = {key: value.half() for key, value in load(path.read_bytes()).items()}
    path.write_bytes(save(halves))
    change_card(home, sha256=hashlib.sha256(path.read_bytes()).hexdigest())
    network, _ = load_model("fvd")
    assert {p.dtype for p in network.parameters()} == {torch.float32}


def setup() -> configparser.ConfigParser:
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg")
    return parser


def test_every_room_is_installed() -> None:
    listed = set(setup()["options"]["packages"].split())
    rooms = {p.parent for p in (ROOT / "fvdeblur").rglob("*.py")}
    expected = {".".join(room.relative_to(ROOT).parts) for room in rooms}
    expected |= {"fvdeblur.models"} | {f"fvdeblur.models.{name}" for name in FOLDERS}
    assert listed == expected
    for name in listed:
        parts = name.split(".")
        folder = ROOT / "models" / Path(*parts[2:]) if parts[1:2] == ["models"] else ROOT / Path(*parts)
        assert (folder / "__init__.py").is_file(), name


def test_every_file_that_is_to_be_installed_exists() -> None:
    data = dict(setup()["options.package_data"])
    for name in FOLDERS:
        files = {part.strip() for part in data[f"fvdeblur.models.{name}"].split(",")}
        assert "README.md" in files
        assert ("config.json" in files) == (ROOT / "models" / name / "config.json").is_file()
        weights = {path.name for path in (ROOT / "models" / name).glob("*.safetensors")}
        assert weights
        assert weights <= files
        for file in files:
            assert (ROOT / "models" / name / file).is_file(), f"models/{name}/{file}"
    assert (ROOT / "fvdeblur" / data["fvdeblur"]).is_file()
