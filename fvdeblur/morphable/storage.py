"""Model files: safetensors with the rest as JSON in the metadata; nothing is ever unpickled.

Only the supported basis vectors are stored. The texture basis is stored for the texels that it changes alone, each
vector in 8 bits with a scale of its own.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fvdeblur.errors import InputError, OutputError
from fvdeblur.morphable.coefficients import EXPRESSION, IDENTITY, TEXTURE
from fvdeblur.morphable.model import MorphableModel

_KEY = "morphable_model"
_FORMAT = 1
_LANDMARKS = "landmarks."


def write_model(model: MorphableModel, path: Path) -> None:
    """Write a model file; see `MorphableModel.save`."""
    from safetensors.torch import save

    people, faces, textures = model.supported
    basis = model.texture_basis[:textures].flatten(1, -2)  # [n, texels, 3]
    changed = basis.ne(0).any(2).any(0)
    scale = basis.abs().flatten(1).amax(1).clamp(min=1e-12) / 127 if basis.numel() else basis.new_zeros(0)
    tensors = {
        "mean_shape": model.mean_shape.float(),
        "identity_basis": model.identity_basis[:people].half(),
        "expression_basis": model.expression_basis[:faces].half(),
        "mean_texture": model.mean_texture.half(),
        "texture_basis": (basis[:, changed] / scale[:, None, None]).round().to(torch.int8),
        "texture_scale": scale.float(),
        "texture_texels": changed,
        "triangles": model.triangles.int(),
        "skin": model.skin.half(),
        **{_LANDMARKS + kind: indices.int() for kind, indices in model.landmarks.items()},
    }
    if model.uv is not None:
        tensors["uv"] = model.uv.float()
    card = {"format": _FORMAT, "version": model.version, "camera": model.camera, "unit": model.unit}
    data = save(
        {name: tensor.cpu().contiguous() for name, tensor in tensors.items()}, {_KEY: json.dumps(card)}
    )
    try:
        path.write_bytes(data)
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({error.strerror}); choose another place") from error


def read_model(path: Path) -> MorphableModel:
    """Read a model file; see `MorphableModel.load`."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            card = json.loads((file.metadata() or {}).get(_KEY, "null"))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except OSError as error:
        raise InputError(f"{path}: the face model cannot be read ({error.strerror or error})") from error
    except (SafetensorError, ValueError) as error:
        raise InputError(f"{path}: this is not a face model, or it is damaged ({error})") from error
    if not isinstance(card, dict):
        raise InputError(f"{path}: this is not a face model; `fvdeblur build-3dmm` makes one")
    if card.get("format") != _FORMAT:
        raise InputError(f"{path}: face model of an unknown format ({card.get('format')}); update fvdeblur")
    try:
        return _assemble(card, tensors)
    except KeyError as error:
        raise InputError(f"{path}: the face model is damaged ({error.args[0]} is missing)") from error
    except (ValueError, TypeError, RuntimeError, IndexError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"{path}: the face model is damaged ({reason})") from error


def _assemble(card: dict[str, Any], tensors: dict[str, Tensor]) -> MorphableModel:
    basis = tensors["texture_basis"].float() * tensors["texture_scale"][:, None, None]
    identity, expression = tensors["identity_basis"].float(), tensors["expression_basis"].float()
    mean_texture = tensors["mean_texture"].float()
    textures = basis.new_zeros(TEXTURE, *mean_texture.shape)
    textures.flatten(1, -2)[: len(basis), tensors["texture_texels"]] = basis
    return MorphableModel(
        mean_shape=tensors["mean_shape"].float(),
        identity_basis=_padded(identity, IDENTITY),
        expression_basis=_padded(expression, EXPRESSION),
        mean_texture=mean_texture,
        texture_basis=textures,
        uv=tensors["uv"].float() if "uv" in tensors else None,
        triangles=tensors["triangles"].long(),
        landmarks={
            name.removeprefix(_LANDMARKS): tensor.long()
            for name, tensor in tensors.items()
            if name.startswith(_LANDMARKS)
        },
        skin=tensors["skin"].float(),
        supported=(len(identity), len(expression), len(basis)),
        version=str(card["version"]),
        camera=str(card["camera"]),
        unit=float(card["unit"]),
    )


def _padded(basis: Tensor, count: int) -> Tensor:
    if len(basis) > count:
        raise ValueError(f"{len(basis)} basis vectors where at most {count} are known")
    return torch.cat([basis, basis.new_zeros(count - len(basis), *basis.shape[1:])])
