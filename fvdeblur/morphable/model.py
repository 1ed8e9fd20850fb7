"""The 3D morphable model of faces: Ren et al. 2019, section 3.1, equations (1) and (2)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from fvdeblur.morphable.coefficients import EXPRESSION, IDENTITY, TEXTURE
from fvdeblur.morphable.mesh import edge_numbers
from fvdeblur.released import models_folder

CAMERAS = ("weak-perspective", "perspective")


@dataclass(frozen=True, eq=False)
class MorphableModel:
    """Mean and bases of the shape and albedo of faces, over one mesh of V vertices and F triangles.

    Head coordinates are right-handed: x to the right of the picture (the person's left), y up, z towards the viewer.
    The origin is the centre of the mean face, the unit the root-mean-square distance of its vertices from there.
    Tensors are float32 on the CPU unless `to` said otherwise. Basis vectors are scaled by their standard deviation,
    so that coefficients are distributed about as N(0, 1).

    Attributes
    ----------
    mean_shape : [V, 3]
        Mean face in head coordinates.
    identity_basis : [80, V, 3]
        How shapes of people differ; vectors beyond ``supported[0]`` are zero.
    expression_basis : [64, V, 3]
        How expressions move it; likewise beyond ``supported[1]``.
    mean_texture : [U, U, 3] or [V, 3]
        Linear albedo of red, green and blue in 0..1: a UV map, or a colour of each vertex.
    texture_basis : [80, U, U, 3] or [80, V, 3]
        How it differs between people; likewise beyond ``supported[2]``.
    uv : [V, 2] or None
        Place of each vertex in the UV map, 0..1: u = 0 is the left edge of the first column and v = 0 the upper edge
        of row 0, so that the centre of texel (row, column) lies at ((column + 0.5) / U, (row + 0.5) / U). None with a
        colour of each vertex.
    triangles : int64 [F, 3]
        Vertices counter-clockwise seen from outside.
    landmarks : dict of int64 [N]
        Vertices of ``"5"`` (the eye on the picture's left, the other eye, nose tip, mouth corner on the picture's
        left, the other mouth corner), ``"68"`` (in the order of iBUG) and ``"dense"``.
    skin : [U, U] or [V]
        Where the surface is skin, 0..1; a UV map where the texture is one.
    supported : tuple of 3 int
        Number of identity, expression and texture vectors that the data supported.
    version
        Of the model's data.
    camera
        ``weak-perspective`` or ``perspective`` (see `fvdeblur.morphable.camera`).
    unit
        Length of the head's unit in the units of the perspective camera.
    """

    mean_shape: Tensor
    identity_basis: Tensor
    expression_basis: Tensor
    mean_texture: Tensor
    texture_basis: Tensor
    uv: Tensor | None
    triangles: Tensor
    landmarks: dict[str, Tensor]
    skin: Tensor
    supported: tuple[int, int, int]
    version: str
    camera: str = "weak-perspective"
    unit: float = 1.0

    def __post_init__(self) -> None:
        """Check that all parts fit each other.

        Raises
        ------
        ValueError
            They do not; the text says what is wrong.
        """
        self._check_shapes()
        self._check_indices()
        for name in ("mean_shape", "mean_texture", "skin"):
            if not getattr(self, name).isfinite().all():
                raise ValueError(f"{name} has numbers that are not finite")
        for name, count in zip(("identity", "expression", "texture"), self.supported, strict=True):
            basis: Tensor = getattr(self, f"{name}_basis")
            if not 0 <= count <= len(basis):
                raise ValueError(f"{count} supported {name} vectors of {len(basis)}")
            if not basis[:count].isfinite().all() or basis[count:].any():
                raise ValueError(
                    f"{name}_basis is not finite, or not zero beyond the {count} supported vectors"
                )
        if self.camera not in CAMERAS:
            raise ValueError(f"unknown camera {self.camera!r}; there are: {', '.join(CAMERAS)}")
        if not self.unit > 0:
            raise ValueError(f"unit {self.unit} is not positive")

    def _check_shapes(self) -> None:
        vertices = len(self.mean_shape)
        if self.uv is None:
            surface: tuple[int, ...] = (vertices,)
        else:
            surface = (len(self.mean_texture),) * 2
        expected = {
            "mean_shape": (vertices, 3),
            "identity_basis": (IDENTITY, vertices, 3),
            "expression_basis": (EXPRESSION, vertices, 3),
            "mean_texture": (*surface, 3),
            "texture_basis": (TEXTURE, *surface, 3),
            "uv": (vertices, 2),
            "triangles": (len(self.triangles), 3),
            "skin": surface,
        }
        for name, shape in expected.items():
            tensor = getattr(self, name)
            if tensor is not None and tuple(tensor.shape) != shape:
                raise ValueError(f"{name} has the shape {list(tensor.shape)}, not {list(shape)}")
        if not vertices or not len(self.triangles) or not len(self.mean_texture):
            raise ValueError("it has no vertices, no triangles or no texture")

    def _check_indices(self) -> None:
        parts = {"triangles": self.triangles}
        parts.update({f"landmarks {kind!r}": indices for kind, indices in self.landmarks.items()})
        for name, indices in parts.items():
            if indices.dtype != torch.int64 or indices.numel() == 0:
                raise ValueError(f"{name} are {indices.dtype} of {indices.numel()} numbers, not int64")
            if indices.min() < 0 or indices.max() >= len(self.mean_shape):
                raise ValueError(f"{name} name vertices beyond 0..{len(self.mean_shape) - 1}")
        for kind, count in (("5", 5), ("68", 68), ("dense", None)):
            if kind not in self.landmarks:
                raise ValueError(f"landmarks {kind!r} are missing")
            indices = self.landmarks[kind]
            if indices.dim() != 1 or (count is not None and len(indices) != count):
                raise ValueError(f"landmarks {kind!r} have the shape {list(indices.shape)}")
        if self.uv is not None and not bool(((self.uv >= 0) & (self.uv <= 1)).all()):
            raise ValueError("uv is not within 0..1")

    @cached_property
    def edges(self) -> Tensor:
        """Number of each triangle's three edges, as `fvdeblur.morphable.mesh.edge_numbers` gives them."""
        return edge_numbers(self.triangles)

    def shape(self, identity: Tensor, expression: Tensor) -> Tensor:
        """Equation (1): vertices [B, V, 3] in head coordinates, of coefficients [B, 80] and [B, 64]."""
        people, faces = self.supported[:2]
        moved = identity[:, :people] @ self.identity_basis[:people].flatten(1)
        moved = moved + expression[:, :faces] @ self.expression_basis[:faces].flatten(1)
        return self.mean_shape + moved.unflatten(1, self.mean_shape.shape)

    def albedo(self, texture: Tensor) -> Tensor:
        """Equation (2): linear albedo, [B, U, U, 3] or [B, V, 3], of coefficients [B, 80]; not clamped."""
        count = self.supported[2]
        moved = texture[:, :count] @ self.texture_basis[:count].flatten(1)
        return self.mean_texture + moved.unflatten(1, self.mean_texture.shape)

    def to(
        self, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> MorphableModel:
        """This model on another device, its floating-point numbers in another type."""

        def moved(tensor: Tensor) -> Tensor:
            return tensor.to(device, dtype if tensor.is_floating_point() else None)

        return replace(
            self,
            mean_shape=moved(self.mean_shape),
            identity_basis=moved(self.identity_basis),
            expression_basis=moved(self.expression_basis),
            mean_texture=moved(self.mean_texture),
            texture_basis=moved(self.texture_basis),
            uv=None if self.uv is None else moved(self.uv),
            triangles=moved(self.triangles),
            landmarks={kind: moved(indices) for kind, indices in self.landmarks.items()},
            skin=moved(self.skin),
        )

    @classmethod
    def load(cls, path: Path | str) -> MorphableModel:
        """Read a model file, which `save` wrote.

        Raises
        ------
        InputError
            It is missing, no such file, or damaged.
        """
        from fvdeblur.morphable.storage import read_model

        return read_model(Path(path))

    def save(self, path: Path | str) -> None:
        """Write a compact model file: shapes and uv in float32, bases in float16, the texture basis in 8 bits.

        Raises
        ------
        OutputError
            The file cannot be written.
        """
        from fvdeblur.morphable.storage import write_model

        write_model(self, Path(path))


def load_default() -> MorphableModel:
    """Read the model that comes with the package.

    Raises
    ------
    InputError
        It is missing or damaged.
    """
    return MorphableModel.load(models_folder() / "face3d" / "model.safetensors")
