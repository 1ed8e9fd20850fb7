import math
from dataclasses import replace

import cv2
import numpy as np
import pytest
import skimage.data
import torch
from face_model import coefficients, ellipsoid, face_model, frontal, grid, mesh_model
from scipy.interpolate import LinearNDInterpolator
from torch.nn import functional

from fvdeblur.morphable import Coefficients, project, render, render_skin
from fvdeblur.morphable.light import decode, encode, shade

OUTLINE_PARTS = ("identity", "expression", "pose")
PERSPECTIVE_POSE = torch.tensor([0.1, -0.3, 0.1, 0.03, -0.05, 1.0])


def square(side: float, z: float = 0.0, x: float = 0.0) -> torch.Tensor:
    """Corners of a square before the viewer, for the triangles of ``SQUARE``."""
    corners = (
        torch.tensor([[-1.0, 1.0, 0.0], [-1.0, -1.0, 0.0], [1.0, 1.0, 0.0], [1.0, -1.0, 0.0]]) * side / 2
    )
    return corners + torch.tensor([x, 0.0, z])


SQUARE = torch.tensor([[0, 1, 2], [2, 1, 3]])


def psnr(first: torch.Tensor, second: torch.Tensor) -> float:
    return float(-10 * (first - second).square().mean().log10())


def photograph(size: int) -> torch.Tensor:
    """The astronaut's face: R'G'B' 0..1, [3, size, size]."""
    picture = cv2.resize(
        skimage.data.astronaut()[20:220, 125:325], (size, size), interpolation=cv2.INTER_CUBIC
    )
    return torch.from_numpy(picture).permute(2, 0, 1).float() / 255


# Gradients


def smooth_weights(size: int, channels: int, seed: int) -> torch.Tensor:
    small = torch.randn(1, channels, 5, 5, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return functional.interpolate(small, (size, size), mode="bicubic", align_corners=True)


@pytest.mark.parametrize("camera", ["weak-perspective", "perspective"])
@pytest.mark.parametrize(
    ("output", "part"),
    [*(("rgb", part) for part in Coefficients._fields), *(("mask", part) for part in OUTLINE_PARTS)],
)
def test_gradients_are_those_of_finite_differences(part, camera, output):
    model = face_model(side=12).to(dtype=torch.float64)
    faces = coefficients(1, seed=2, dtype=torch.float64)
    if camera == "perspective":
        model = replace(model, camera=camera, unit=0.8)
        faces = faces._replace(pose=PERSPECTIVE_POSE.double()[None])
    size = 40
    weights = smooth_weights(size, 3 if output == "rgb" else 1, 4)

    def loss(values: torch.Tensor) -> torch.Tensor:
        return (getattr(render(model, faces._replace(**{part: values}), size), output) * weights).sum()

    values = getattr(faces, part).clone().requires_grad_()
    loss(values).backward()
    count = {"identity": 8, "expression": 6, "texture": 5, "light": 9, "pose": 6}[part]
    step = 1e-6
    expected = torch.zeros_like(values)
    for i in range(count):
        moved = torch.zeros_like(values)
        moved[0, i] = step
        with torch.no_grad():
            expected[0, i] = (loss(values + moved) - loss(values - moved)) / (2 * step)
    assert expected[0, :count].abs().min() > 1e-4  # all of them matter
    assert not values.grad[0, count:].any()
    difference = (values.grad - expected).norm() / expected.norm()
    assert difference < 1e-4, (values.grad[0, :count], expected[0, :count])


def test_the_outline_does_not_depend_on_colours():
    faces = coefficients(1)
    faces = faces._replace(texture=faces.texture.requires_grad_(), light=faces.light.requires_grad_())
    assert not render(face_model(), faces, 40).mask.requires_grad


def test_gradients_are_finite_under_extreme_light_and_in_the_dark():
    model, faces = face_model(), coefficients(2)
    light = torch.zeros(2, 9)
    light[0, 0], light[1, 0] = -100.0, 100.0
    vector = faces._replace(light=light).vector().requires_grad_()
    rendering = render(model, Coefficients.split(vector), 48)
    sum(part.sum() for part in rendering).backward()
    assert vector.grad.isfinite().all()
    assert rendering.rgb[0].max() == 0
    assert rendering.rgb[1].max().item() == pytest.approx(1)


# What is seen


def test_the_nearer_surface_hides_the_other():
    """A small red square before a large green one; then behind it."""
    vertices = torch.cat([square(0.5), square(1.2)])
    triangles = torch.cat([SQUARE, SQUARE + 4])
    colours = torch.zeros(8, 3)
    colours[:4, 0] = colours[4:, 1] = 1
    for z, middle in ((0.3, [1, 0, 0]), (-0.3, [0, 1, 0])):
        places = vertices.clone()
        places[:4, 2] = z
        rgb = render(mesh_model(places, triangles, colours), frontal(), 60).rgb[0]
        assert rgb[:, 30, 30].tolist() == pytest.approx(middle)
        assert rgb[:, 15, 30].tolist() == pytest.approx([0, 1, 0])
        assert rgb[:, 5, 30].tolist() == [0, 0, 0]


def test_surfaces_that_cross_are_cut_where_they_do():
    """Two squares, turned by 45 degrees to the left and to the right, cross in the middle of the picture."""
    left, right = square(1.2), square(1.2)
    left[:, 2], right[:, 2] = left[:, 0], -right[:, 0]
    colours = torch.zeros(8, 3)
    colours[:4, 0] = colours[4:, 1] = 1
    model = mesh_model(torch.cat([left, right]), torch.cat([SQUARE, SQUARE + 4]), colours)
    rgb = render(model, frontal(), 64).rgb[0]
    assert torch.equal(rgb[0, 32, 14:32], torch.zeros(18))
    torch.testing.assert_close(rgb[1, 32, 14:32], torch.ones(18))
    torch.testing.assert_close(rgb[0, 32, 32:50], torch.ones(18))


def test_the_inside_is_not_drawn():
    model = mesh_model(square(1.0), SQUARE, torch.ones(4, 3))
    assert render(model, frontal(), 32).mask.sum() > 0
    turned = frontal()
    turned.pose[0, 1] = math.pi
    assert render(model, turned, 32).mask.sum() == 0
    assert render(model, turned, 32).rgb.sum() == 0


def test_no_gaps_and_no_overlaps_between_triangles():
    """A face as large as the picture covers all of it, whatever the triangles are."""
    model = face_model(side=40)
    for seed in range(3):
        faces = coefficients(1, seed=seed)
        pose = faces.pose.clone()
        pose[0, 5] = math.log(3.0)
        assert render(model, faces._replace(pose=pose), 97).mask.min() == 1


def test_faces_outside_the_picture():
    model = face_model()
    far, cut = frontal(0.5), frontal(0.5)
    far.pose[0, 3] = 5.0
    cut.pose[0, 3] = 1.0
    assert render(model, far, 64).mask.sum() == 0
    mask = render(model, cut, 64).mask[0, 0]
    whole = render(model, frontal(0.5), 64).mask[0, 0]
    torch.testing.assert_close(mask[:, 32:], whole[:, :32], atol=1e-4, rtol=0)


def test_numbers_that_are_not_finite_do_not_stop_it():
    faces = coefficients(2)
    faces.identity[0, 0] = float("nan")
    rendering = render(face_model(), faces, 48)
    alone = render(face_model(), Coefficients(*(part[1:] for part in faces)), 48)
    torch.testing.assert_close(rendering.rgb[1:], alone.rgb)


# Light


def test_a_sphere_is_shaded_as_the_formula_says():
    uv, triangles = grid(80)
    sphere = ellipsoid(uv, (0.8, 0.8, 0.8), reach=0.5)
    albedo = torch.tensor([0.6, 0.3, 0.1])
    light = torch.tensor([[0.2, 0.5, -0.3, 0.6, 0.2, -0.2, 0.3, 0.1, -0.4]])
    size = 96
    rgb = render(
        mesh_model(sphere, triangles, albedo.expand(len(sphere), 3)), frontal(light=light), size
    ).rgb[0]
    line = (torch.arange(size) + 0.5) / size * 2 - 1
    y, x = torch.meshgrid(-line / 0.8, line / 0.8, indexing="ij")
    inside = x**2 + y**2 < 0.85
    normals = torch.stack([x, y, (1 - x**2 - y**2).clamp(min=0).sqrt()], dim=2)[inside]
    expected = encode(shade(normals, light.expand(len(normals), 9))[:, None] * albedo)
    assert (rgb.permute(1, 2, 0)[inside] - expected).abs().max() < 0.01


def test_light_stays_where_it_is_when_the_head_turns():
    """A sphere looks the same from all sides; its normals are those of the picture."""
    uv, triangles = grid(60)
    model = mesh_model(ellipsoid(uv, (0.8, 0.8, 0.8), 0.5), triangles, torch.full((3600, 3), 0.4))
    light = torch.tensor([[0.0, 0.4, 0.0, 0.6, 0.0, 0.0, 0.0, 0.0, 0.0]])
    plain, turned = frontal(light=light), frontal(light=light)
    turned.pose[0, :3] = torch.tensor([0.1, 0.3, 0.5])
    first, second = render(model, plain, 64), render(model, turned, 64)
    both = ((first.mask == 1) & (second.mask == 1)).expand(-1, 3, -1, -1)
    assert both.float().mean() > 0.35
    assert (first.rgb - second.rgb)[both].abs().max() < 0.02
    assert (first.normals - second.normals)[both].abs().max() < 0.03


# The edge


def test_coverage_of_a_straight_edge_is_exact():
    """A square from x = 10.3 to 40.3 in continuous coordinates of a picture of 64 pixels."""
    model = mesh_model(square(30 / 32, x=(25.3 - 32) / 32), SQUARE, torch.ones(4, 3))
    mask = render(model, frontal(), 64).mask[0, 0]
    expected = torch.zeros(64)
    expected[11:40] = 1
    expected[10], expected[40] = 0.7, 0.3
    torch.testing.assert_close(mask[32], expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize("angle", [0.0, 0.2, 0.5, math.pi / 4])
def test_area_is_the_true_one(angle):
    model = mesh_model(square(1.0), SQUARE, torch.ones(4, 3))
    faces = frontal(0.83)
    faces.pose[0, 2] = angle
    faces.pose[0, 3:5] = torch.tensor([0.013, -0.027])
    mask = render(model, faces, 80).mask
    assert float(mask.sum()) == pytest.approx((0.83 * 40) ** 2, rel=2e-3)
    partly = ((mask > 0) & (mask < 1)).sum()
    assert partly > 2 * 0.83 * 40  # along at least two of four sides


def test_area_grows_as_its_gradient_says():
    """The area grows with the square of the scale, and does not change when the face moves or rolls.

    To a few hundredths, because the gradient is that of the pixels whose centres happen to lie along the outline.
    """
    pose = torch.tensor([[0.1, 0.2, 0.3, 0.02, -0.03, math.log(0.6)]]).requires_grad_()
    area = render(face_model(), frontal()._replace(pose=pose), 100).mask.sum()
    area.backward()
    assert pose.grad[0, 5].item() == pytest.approx(2 * area.item(), rel=0.05)
    assert pose.grad[0, 2:5].abs().max() < 0.1 * area.item()


def test_area_of_a_disc():
    uv, triangles = grid(60)
    # a disc, so that its outline is the boundary of the mesh
    angle, radius = uv[:, 0] * 2 * math.pi, uv[:, 1] * 0.7
    disc = torch.stack([-radius * angle.sin(), radius * angle.cos(), torch.zeros_like(radius)], dim=1)
    mask = render(mesh_model(disc, triangles, torch.ones(3600, 3)), frontal(), 90).mask
    assert float(mask.sum()) == pytest.approx(math.pi * (0.7 * 45) ** 2, rel=4e-3)


def test_colour_at_the_edge_lies_over_black():
    model = mesh_model(square(1.0), SQUARE, torch.ones(4, 3))
    faces = frontal(0.77)
    faces.pose[0, 2] = 0.3
    rendering = render(model, faces, 50)
    torch.testing.assert_close(rendering.rgb, rendering.mask.expand(-1, 3, -1, -1))
    background = torch.full((1, 3, 50, 50), 0.25)
    assert (rendering.rgb + (1 - rendering.mask) * background).min() >= 0.25
    assert not rendering.normals[(rendering.mask == 0).expand(-1, 3, -1, -1)].any()
    covered = rendering.normals.norm(dim=1, keepdim=True)[rendering.mask > 0]
    torch.testing.assert_close(covered, torch.ones_like(covered))


def test_outline_within_the_surface_is_not_softened():
    """A square before a larger one: the edge between them is no edge of the mask."""
    model = mesh_model(
        torch.cat([square(0.5, z=0.2), square(1.5)]), torch.cat([SQUARE, SQUARE + 4]), torch.ones(8, 3)
    )
    faces = frontal()
    faces.pose[0, 2] = 0.4
    assert render(model, faces, 64).mask[0, 0, 16:48, 16:48].min() == 1


# Sizes, batches, textures


def test_a_picture_twice_the_size_is_the_same_picture():
    model, faces = face_model(), coefficients(2)
    small, large = render(model, faces, 64), render(model, faces, 128)
    for name, least in (("rgb", 38), ("mask", 34)):
        assert psnr(getattr(small, name), functional.avg_pool2d(getattr(large, name), 2)) > least, name


def test_a_batch_is_the_same_as_its_faces_alone():
    model, faces = face_model(), coefficients(4)
    together = render(model, faces, 72)
    for i in range(4):
        alone = render(model, Coefficients(*(part[i : i + 1] for part in faces)), 72)
        for name in alone._fields:
            torch.testing.assert_close(
                getattr(together, name)[i : i + 1], getattr(alone, name), atol=2e-4, rtol=0
            )


def test_albedo_can_be_computed_once():
    model, faces = face_model(), coefficients(2)
    rendering = render(model, faces, 48, albedo=model.albedo(faces.texture))
    assert torch.equal(rendering.rgb, render(model, faces, 48).rgb)


def test_skin_is_the_map_seen():
    model, faces = face_model(), coefficients(2)
    skin, rendering = render_skin(model, faces, 64), render(model, faces, 64)
    u, v = rendering.uv.unbind(1)
    expected = torch.exp(-((u - 0.5) ** 2 + (v - 0.5) ** 2) / 0.36) * rendering.mask[:, 0]
    assert (skin[:, 0] - expected).abs().max() < 0.01
    vertices = mesh_model(square(1.0), SQUARE, torch.ones(4, 3), skin=torch.tensor([1.0, 1.0, 0.0, 0.0]))
    row = render_skin(vertices, frontal(), 40)[0, 0, 20, 10:30]
    torch.testing.assert_close(row, 1 - (torch.arange(20) + 0.5) / 20)


def test_a_face_textured_from_a_photograph_renders_to_it():
    """The colour of each texel is taken where its place on an ellipsoid is seen; then the ellipsoid is drawn."""
    size, side = 192, 256
    uv, triangles = grid(40)
    shape = ellipsoid(uv, (0.75, 0.95, 0.9))
    faces = frontal()
    faces.pose[0, :3] = torch.tensor([0.05, 0.2, -0.1])
    model = mesh_model(
        shape, triangles, torch.zeros(side, side, 3), uv=uv, texture_basis=torch.zeros(80, side, side, 3)
    )
    places = project(model, shape[None], faces.pose, size)[0][0]
    texels = (np.arange(side) + 0.5) / side
    v, u = np.meshgrid(texels, texels, indexing="ij")
    seen = LinearNDInterpolator(uv.numpy(), places.numpy())(u, v).astype(np.float32)
    picture = photograph(size)
    texture = cv2.remap(
        picture.permute(1, 2, 0).numpy(),
        seen[..., 0],
        seen[..., 1],
        cv2.INTER_CUBIC,
        borderMode=cv2.BORDER_REPLICATE,
    )
    model = replace(model, mean_texture=decode(torch.from_numpy(texture).clamp(0, 1)))
    rendering = render(model, faces, size)
    assert rendering.mask.mean() > 0.4
    inside = (rendering.mask[0] == 1).expand(3, -1, -1)
    assert psnr(rendering.rgb[0][inside], picture[inside]) > 36


def test_a_photograph_on_a_tilted_plane_is_seen_in_perspective():
    """Two triangles with the photograph as their texture, against OpenCV's homography."""
    size = side = 160
    picture = photograph(side)
    model = mesh_model(
        square(1.6),
        SQUARE,
        decode(picture.permute(1, 2, 0)),
        uv=torch.tensor([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]]),
        texture_basis=torch.zeros(80, side, side, 3),
        camera="perspective",
    )
    pose = torch.tensor([[0.3, 0.7, 0.1, 0.0, 0.0, 7.5]])  # near, so that the perspective is strong
    rendering = render(model, frontal()._replace(pose=pose), size)
    corners = np.float32([[-0.5, -0.5], [-0.5, side - 0.5], [side - 0.5, -0.5], [side - 0.5, side - 0.5]])
    narrow = project(model, square(1.6)[None], pose, size)[0][0].numpy()
    assert (np.abs(narrow - (size - 1) / 2) < 3 * size).all()
    homography = cv2.getPerspectiveTransform(corners, narrow)
    warped = cv2.warpPerspective(
        picture.permute(1, 2, 0).numpy(), homography, (size, size), flags=cv2.INTER_LINEAR
    )
    inside = (rendering.mask[0] == 1).expand(3, -1, -1)
    assert inside.float().mean() > 0.2
    assert psnr(rendering.rgb[0][inside], torch.from_numpy(warped).permute(2, 0, 1)[inside]) > 36


@pytest.mark.gpu
def test_the_same_on_a_gpu():
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    model, faces = face_model(), coefficients(4)
    vectors = [faces.vector().requires_grad_(), faces.vector().cuda().requires_grad_()]
    renderings = []
    for machine, vector in zip((model, model.to("cuda")), vectors, strict=True):
        rendering = render(machine, Coefficients.split(vector), 96)
        (rendering.rgb.square().sum() + rendering.mask.square().sum()).backward()
        renderings.append(rendering)
    for name in renderings[0]._fields:
        difference = (getattr(renderings[0], name) - getattr(renderings[1], name).cpu()).abs()
        assert difference.mean() < 1e-4, name
    gradients = [vector.grad.cpu() for vector in vectors]
    assert (gradients[0] - gradients[1]).norm() < 0.02 * gradients[0].norm()
