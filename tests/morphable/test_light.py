import math

import pytest
import torch

from fvdeblur.morphable.light import decode, encode, shade, spherical_harmonics


def test_harmonics_are_orthonormal_on_the_sphere():
    z, azimuth = torch.meshgrid(
        (torch.arange(400, dtype=torch.float64) + 0.5) / 200 - 1,
        torch.arange(64, dtype=torch.float64) / 64 * 2 * math.pi,
        indexing="ij",
    )
    radius = (1 - z**2).sqrt()
    normals = torch.stack([radius * azimuth.cos(), radius * azimuth.sin(), z], dim=-1).flatten(0, 1)
    values = spherical_harmonics(normals)
    products = 4 * math.pi * values.t() @ values / len(normals)
    torch.testing.assert_close(products, torch.eye(9, dtype=torch.float64), atol=1e-4, rtol=0)


def test_shading_of_each_direction():
    normals = torch.eye(3)
    assert shade(normals, torch.zeros(3, 9)).tolist() == [1, 1, 1]
    from_above = torch.zeros(9)
    from_above[1] = 0.5
    expected = 1 + 0.5 * math.sqrt(3 / (4 * math.pi))
    assert shade(normals, from_above.expand(3, 9)).tolist() == pytest.approx([1, expected, 1])
    from_the_right = torch.zeros(9)
    from_the_right[3] = -4.0
    assert shade(normals, from_the_right.expand(3, 9)).tolist() == [0, 1, 1]  # never negative


def test_transfer_function_is_that_of_srgb():
    linear = torch.tensor([0.0, 0.001, 0.0031308, 0.2140, 0.5, 1.0, -0.5, 2.0])
    expected = [0.0, 0.01292, 0.04045, 0.5, 0.7354, 1.0, 0.0, 1.0]
    assert encode(linear).tolist() == pytest.approx(expected, abs=2e-4)


def test_decoding_undoes_encoding():
    linear = torch.linspace(0, 1, 101, dtype=torch.float64)
    torch.testing.assert_close(decode(encode(linear)), linear, atol=1e-6, rtol=0)


def test_gradients_are_finite_in_the_dark():
    linear = torch.zeros(4, requires_grad=True)
    encode(linear).sum().backward()
    assert linear.grad.tolist() == pytest.approx([12.92] * 4)
    encoded = torch.zeros(4, requires_grad=True)
    decode(encoded).sum().backward()
    assert encoded.grad.isfinite().all()
