import json
import pickle
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from face_model import SUPPORTED, coefficients, face_model, mesh_model
from safetensors import safe_open
from safetensors.torch import save_file

import fvdeblur
from fvdeblur.errors import InputError, OutputError
from fvdeblur.morphable import Coefficients, MorphableModel, load_default


def parts_of(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    with safe_open(path, framework="pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}, file.metadata()  # noqa: SIM118


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    path = tmp_path / "model.safetensors"
    face_model().save(path)
    return path


def test_coefficients_split_and_join_in_the_order_of_the_paper():
    vector = torch.arange(2 * 239, dtype=torch.float32).view(2, 239)
    parts = Coefficients.split(vector)
    assert [part.shape[1] for part in parts] == [80, 64, 80, 9, 6]
    assert [part[0, 0].item() for part in parts] == [0, 80, 144, 224, 233]
    assert torch.equal(parts.vector(), vector)
    with pytest.raises(ValueError, match="239"):
        Coefficients.split(vector[:, :-1])


def test_shape_and_albedo_are_linear():
    model, faces = face_model(), coefficients(3)
    shape = model.mean_shape + torch.einsum("bi,ivc->bvc", faces.identity, model.identity_basis)
    shape = shape + torch.einsum("bi,ivc->bvc", faces.expression, model.expression_basis)
    torch.testing.assert_close(model.shape(faces.identity, faces.expression), shape)
    albedo = model.mean_texture + torch.einsum("bi,iuvc->buvc", faces.texture, model.texture_basis)
    torch.testing.assert_close(model.albedo(faces.texture), albedo)


def test_coefficients_without_support_do_nothing_and_have_zero_gradients():
    model = face_model()
    identity = torch.randn(1, 80, requires_grad=True)
    model.shape(identity, torch.zeros(1, 64)).square().sum().backward()
    assert identity.grad[0, : SUPPORTED[0]].all()
    assert not identity.grad[0, SUPPORTED[0] :].any()


def test_file_keeps_the_model(saved):
    model, read = face_model(), MorphableModel.load(saved)
    for name in ("mean_shape", "uv", "triangles"):
        assert torch.equal(getattr(read, name), getattr(model, name)), name
    assert read.landmarks.keys() == model.landmarks.keys()
    assert all(torch.equal(read.landmarks[kind], model.landmarks[kind]) for kind in model.landmarks)
    assert (read.supported, read.version, read.camera) == (model.supported, model.version, model.camera)
    for name, error in (
        ("identity_basis", 1e-4),
        ("expression_basis", 1e-4),
        ("mean_texture", 5e-4),
        ("skin", 5e-4),
    ):
        assert (getattr(read, name) - getattr(model, name)).abs().max() < error, name
    largest = model.texture_basis.abs().amax((1, 2, 3))
    wrong = (read.texture_basis - model.texture_basis).abs().amax((1, 2, 3))
    assert (wrong <= largest / 254 + 1e-7).all()
    assert all(
        tensor.dtype == torch.float32 for tensor in (read.mean_shape, read.identity_basis, read.texture_basis)
    )


def test_vertex_textures_are_kept_too(tmp_path):
    model = mesh_model(
        torch.rand(70, 3), torch.tensor([[0, 1, 2]]), torch.rand(70, 3), camera="perspective", unit=1.3
    )
    basis = model.texture_basis.clone()
    basis[:3] = 0.1 * torch.rand(3, 70, 3)
    model = replace(model, texture_basis=basis, supported=(0, 0, 3))
    model.save(tmp_path / "m.safetensors")
    read = MorphableModel.load(tmp_path / "m.safetensors")
    assert read.uv is None
    assert (read.camera, read.unit, read.supported) == ("perspective", 1.3, (0, 0, 3))
    assert (read.texture_basis - basis).abs().max() < 0.1 / 250


def test_texels_that_never_change_take_no_room(tmp_path):
    model = face_model(texture_side=128)
    basis = model.texture_basis.clone()
    basis[:, :, 64:] = 0
    replace(model, texture_basis=basis).save(tmp_path / "half.safetensors")
    model.save(tmp_path / "whole.safetensors")
    saved = (tmp_path / "whole.safetensors").stat().st_size - (tmp_path / "half.safetensors").stat().st_size
    assert saved > 0.45 * SUPPORTED[2] * 128 * 128 * 3
    assert torch.equal(
        MorphableModel.load(tmp_path / "half.safetensors").texture_basis[:, :, 64:], basis[:, :, 64:]
    )


def test_a_model_of_full_size_stays_under_15_megabytes(tmp_path):
    """500 vertices, all vectors supported, and a map of 224 texels a side that the face fills to 90 %."""
    model = face_model(side=23, texture_side=224)
    basis = torch.randn(80, 1, 1, 3).expand(80, 224, 224, 3).clone()
    basis[:, :, :22] = 0
    replace(
        model,
        identity_basis=torch.randn_like(model.identity_basis),
        expression_basis=torch.randn_like(model.expression_basis),
        texture_basis=basis,
        supported=(80, 64, 80),
    ).save(tmp_path / "full.safetensors")
    assert (tmp_path / "full.safetensors").stat().st_size < 15e6


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("triangles", lambda t: t + 1, "beyond 0..399"),
        ("triangles", lambda t: -t, "beyond 0..399"),
        ("landmarks.68", lambda t: t + 400, "beyond 0..399"),
        ("landmarks.5", lambda t: t[:4], "shape"),
        ("mean_shape", lambda t: t[:-1], "shape"),
        ("mean_shape", lambda t: t * float("nan"), "not finite"),
        ("identity_basis", lambda t: t[:, :, :2], "shape"),
        ("expression_basis", lambda t: t.expand(6, -1, -1).repeat(20, 1, 1), "at most 64"),
        ("texture_basis", lambda t: t[:, :-1], "damaged"),
        ("texture_texels", lambda t: t[:-1], "damaged"),
        ("mean_texture", lambda t: t[0], "damaged"),
        ("uv", lambda t: t * 2, "within 0..1"),
        ("skin", lambda t: t[:-1], "shape"),
        ("texture_scale", lambda t: t * float("inf"), "finite"),
    ],
)
def test_damaged_models_are_refused_in_one_line(saved, name, change, message):
    tensors, metadata = parts_of(saved)
    tensors[name] = change(tensors[name]).contiguous()
    save_file(tensors, saved, metadata)
    with pytest.raises(InputError, match=message) as caught:
        MorphableModel.load(saved)
    assert str(saved) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["mean_shape", "texture_scale", "triangles", "skin", "landmarks.dense"])
def test_missing_tensors_are_named(saved, name):
    tensors, metadata = parts_of(saved)
    del tensors[name]
    save_file(tensors, saved, metadata)
    with pytest.raises(InputError, match=name.removeprefix("landmarks.")):
        MorphableModel.load(saved)


def test_other_files_are_no_models(saved, tmp_path):
    tensors, metadata = parts_of(saved)
    path = tmp_path / "other.safetensors"

    def refused(message: str) -> None:
        with pytest.raises(InputError, match=message) as caught:
            MorphableModel.load(path)
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)

    refused("cannot be read")  # is not there
    save_file(tensors, path)
    refused("not a face model")
    card = json.loads(metadata["morphable_model"])
    save_file(tensors, path, {"morphable_model": json.dumps({**card, "format": 99})})
    refused("update fvdeblur")
    save_file(tensors, path, {"morphable_model": json.dumps({**card, "camera": "pinhole"})})
    refused("unknown camera")
    save_file(tensors, path, {"morphable_model": "{"})
    refused("damaged")
    path.write_bytes(pickle.dumps(tensors["uv"]))
    refused("damaged")
    path.write_bytes(saved.read_bytes()[:-100])
    refused("damaged")
    path.unlink()
    path.mkdir()
    refused("cannot be read|damaged")


def test_a_place_that_cannot_be_written(tmp_path):
    with pytest.raises(OutputError, match="cannot be written"):
        face_model().save(tmp_path / "no" / "folder" / "model.safetensors")


def test_parts_that_do_not_fit_are_refused_when_a_model_is_made():
    model = face_model()
    with pytest.raises(ValueError, match="zero beyond"):
        replace(model, supported=(3, 6, 5))
    with pytest.raises(ValueError, match="missing"):
        replace(model, landmarks={"5": model.landmarks["5"]})
    with pytest.raises(ValueError, match="skin"):
        replace(model, uv=None, mean_texture=torch.rand(400, 3), texture_basis=torch.zeros(80, 400, 3))


def test_default_model_lies_in_the_package(tmp_path, monkeypatch):
    monkeypatch.setattr(fvdeblur, "__file__", str(tmp_path / "fvdeblur" / "__init__.py"))
    with pytest.raises(InputError, match="face3d"):
        load_default()
    (tmp_path / "models" / "face3d").mkdir(parents=True)  # beside the package: a source tree
    face_model().save(tmp_path / "models" / "face3d" / "model.safetensors")
    assert load_default().version == "ellipsoid"
    (tmp_path / "fvdeblur" / "models" / "face3d").mkdir(parents=True)  # within: an installed package
    replace(face_model(), version="installed").save(
        tmp_path / "fvdeblur" / "models" / "face3d" / "model.safetensors"
    )
    assert load_default().version == "installed"


def test_types_move_together():
    model = face_model().to(dtype=torch.float64)
    assert model.mean_shape.dtype == model.texture_basis.dtype == model.uv.dtype == torch.float64
    assert model.triangles.dtype == model.landmarks["5"].dtype == torch.int64


def test_the_room_needs_no_video_library():
    code = (
        "import sys, fvdeblur.morphable; "
        "print([m for m in ('av', 'decord', 'insightface', 'onnxruntime', 'fvdeblur.faces') if m in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
