import math

import pytest
import torch
from face_model import coefficients, face_model, frontal

from fvdeblur.morphable import landmarks, project
from fvdeblur.morphable.camera import rotation_matrix


def test_rotation_is_pitch_then_yaw_then_roll():
    angles = torch.tensor([[0.3, -0.5, 1.1], [0.0, 0.0, 0.0]], dtype=torch.float64)

    def about(axis: int, angle: float) -> torch.Tensor:
        first, second = [i for i in range(3) if i != axis]
        matrix = torch.eye(3, dtype=torch.float64)
        sign = -1 if axis == 1 else 1
        matrix[first, first] = matrix[second, second] = math.cos(angle)
        matrix[second, first], matrix[first, second] = sign * math.sin(angle), -sign * math.sin(angle)
        return matrix

    expected = about(2, 1.1) @ about(1, -0.5) @ about(0, 0.3)
    torch.testing.assert_close(
        rotation_matrix(angles), torch.stack([expected, torch.eye(3, dtype=torch.float64)])
    )


@pytest.mark.parametrize(
    ("angle", "moved"),
    [
        (0, (0.0, 0.5)),  # pitch: the nose, which points to the viewer, moves down the picture
        (1, (0.5, 0.0)),  # yaw: it moves to the right
    ],
)
def test_signs_of_angles(angle, moved):
    model = face_model()
    pose = torch.zeros(1, 6)
    pose[0, angle] = math.pi / 6
    picture, depth = project(model, torch.tensor([[[0.0, 0.0, 1.0]]]), pose, 100)
    expected = torch.tensor(moved) * 50 + 49.5
    torch.testing.assert_close(picture[0, 0], expected)
    assert depth.item() == pytest.approx(math.cos(math.pi / 6))


def test_roll_turns_the_picture_counter_clockwise():
    pose = torch.tensor([[0.0, 0.0, math.pi / 2, 0.0, 0.0, 0.0]])
    picture, _ = project(face_model(), torch.tensor([[[1.0, 0.0, 0.0]]]), pose, 100)
    torch.testing.assert_close(picture[0, 0], torch.tensor([49.5, -0.5]))  # from the right to the top


def test_weak_perspective_place_and_scale():
    vertices = torch.tensor([[[0.0, 0.0, 0.0], [0.4, 0.2, -3.0]]])
    pose = torch.tensor([[0.0, 0.0, 0.0, 0.25, -0.5, math.log(0.5)]])
    picture, depth = project(face_model(), vertices, pose, 64)
    # half a side is 32 pixels and the centre of the picture lies between pixels 31 and 32
    torch.testing.assert_close(picture[0], torch.tensor([[31.5 + 8, 31.5 - 16], [39.5 + 6.4, 15.5 - 3.2]]))
    torch.testing.assert_close(depth[0], torch.tensor([0.0, -1.5]))


@pytest.mark.parametrize("size", [64, 100])
def test_landmarks_are_where_the_surface_is_seen(size):
    """The texture coordinates seen at a landmark are those of its vertex."""
    from fvdeblur.morphable import render

    model, faces = face_model(), coefficients(3)
    uv = render(model, faces, size).uv
    places = landmarks(model, faces, size, "5")
    assert places.shape == (3, 5, 2)
    places = places + 0.5  # grid_sample counts from the edges of pixels
    seen = torch.nn.functional.grid_sample(uv, (places / size * 2 - 1)[:, :, None], align_corners=False)[
        ..., 0
    ]
    expected = model.uv[model.landmarks["5"]].t().expand(3, -1, -1)
    assert (seen - expected).abs().max() < 0.02


def test_landmarks_scale_with_the_picture():
    model, faces = face_model(), coefficients(2)
    for kind in ("5", "68", "dense"):
        small, large = landmarks(model, faces, 100, kind), landmarks(model, faces, 300, kind)
        torch.testing.assert_close((small + 0.5) * 3, large + 0.5, atol=1e-3, rtol=0)


def test_the_mean_face_is_frontal():
    model = face_model()
    places = landmarks(model, frontal(0.6), 128, "5")[0]
    left, right, nose, left_corner, right_corner = places
    assert left[0] < nose[0] < right[0]
    assert left_corner[0] < nose[0] < right_corner[0]
    assert left[1] < nose[1] < left_corner[1]
