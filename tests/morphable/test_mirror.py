"""A mirrored picture is that of the mirrored coefficients."""

import dataclasses

import torch
from face_model import coefficients, face_model

from fvdeblur.morphable import Coefficients, load_default, render
from fvdeblur.morphable.mirror import find_mirror


def test_mirrored_coefficients_give_the_mirrored_picture() -> None:
    model = load_default()
    mirror = find_mirror(model)
    assert mirror is not None
    assert torch.equal(mirror.vertices[mirror.vertices], torch.arange(len(model.mean_shape)))
    assert set(mirror.signs.tolist()) == {-1.0, 1.0}
    for seed in range(3):
        face = coefficients(1, seed=seed)
        other = Coefficients.split(face.vector() * mirror.signs)
        one, two = (render(model, each, 64) for each in (face, other))
        assert (one.rgb.flip(3) - two.rgb).abs().mean() < 1e-3
        assert (one.rgb - two.rgb).abs().mean() > 0.02
        eyes = [
            model.shape(each.identity, each.expression)[:, model.landmarks["5"]] for each in (face, other)
        ]
        swapped = eyes[1][:, [1, 0, 2, 4, 3]] * torch.tensor([-1.0, 1.0, 1.0])
        torch.testing.assert_close(eyes[0], swapped, atol=2e-3, rtol=0)


def test_models_without_a_mirror() -> None:
    model = face_model(side=19)
    assert find_mirror(model) is None  # its modes are neither even nor odd
    bases = ("identity_basis", "expression_basis", "texture_basis")
    nothing = {name: torch.zeros_like(getattr(model, name)) for name in bases}
    plain = dataclasses.replace(model, supported=(0, 0, 0), **nothing)
    mirror = find_mirror(plain)
    assert mirror is not None
    assert torch.equal(mirror.vertices.view(19, 19), torch.arange(361).view(19, 19).flip(1))
    uneven = model.mean_shape + torch.tensor([0.1, 0, 0]) * (model.mean_shape[:, :1] > 0)
    assert find_mirror(dataclasses.replace(plain, mean_shape=uneven)) is None
