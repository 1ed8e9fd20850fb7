"""Fitting finds again what a picture was made with."""

import math
from dataclasses import replace

import pytest
import torch
from face_model import coefficients, face_model
from torch import Tensor

from fvdeblur.morphable import Coefficients, MorphableModel, project, render
from fvdeblur.morphable.fitting import fit_colours, fit_shape

SIZE = 160


@pytest.fixture(scope="module")
def model() -> MorphableModel:
    return face_model()


def faces(model: MorphableModel, count: int) -> Coefficients:
    truth = coefficients(count, seed=1)
    if model.camera == "perspective":  # the model's unit brings the faces to the same size
        pose = truth.pose.clone()
        pose[:, 5] = 8 * (pose[:, 5] - math.log(0.62))
        truth = truth._replace(pose=pose)
    kept = [part.clone() for part in truth[:3]]
    for part, supported in zip(kept, model.supported, strict=True):
        part[:, supported:] = 0
    return Coefficients(*kept, truth.light, truth.pose)


def mesh(model: MorphableModel, truth: Coefficients) -> Tensor:
    return project(model, model.shape(truth.identity, truth.expression), truth.pose, SIZE)[0]


@pytest.mark.parametrize("camera", ["weak-perspective", "perspective"])
def test_shape_and_pose_are_found_again(camera: str) -> None:
    model = replace(face_model(), camera=camera, unit=0.684)
    truth = faces(model, 3)
    points = mesh(model, truth)
    found = fit_shape(model, points, SIZE, deviation=0.001)
    assert (mesh(model, found) - points).norm(dim=2).max() < 0.2
    assert (found.pose[:, :3] - truth.pose[:, :3]).abs().max() < 0.03
    people, faces_count = model.supported[:2]
    assert (found.identity - truth.identity).abs().max() < 0.4
    assert not found.identity[:, people:].any()
    assert not found.expression[:, faces_count:].any()
    assert not found.texture.any()


def test_noisy_points_give_a_likely_face(model: MorphableModel) -> None:
    truth = faces(model, 4)
    points = mesh(model, truth)
    noisy = points + 2 * torch.randn(points.shape, generator=torch.Generator().manual_seed(0))
    apart = [
        (mesh(model, fit_shape(model, noisy, SIZE, deviation=deviation)) - points).norm(dim=2).mean()
        for deviation in (0.001, 0.05)
    ]
    assert apart[1] < apart[0] < 1.2  # of 2.5 px noise


def test_some_vertices_are_enough_and_identity_can_be_kept(model: MorphableModel) -> None:
    truth = faces(model, 2)
    points = mesh(model, truth)
    chosen = model.landmarks["68"]
    found = fit_shape(
        model, points[:, chosen], SIZE, vertices=chosen, identity=truth.identity, deviation=0.002
    )
    assert torch.equal(found.identity, truth.identity)
    assert (mesh(model, found) - points).norm(dim=2).mean() < 1


def test_texture_and_light_are_found_again(model: MorphableModel) -> None:
    truth = faces(model, 3)
    pictures = render(model, truth, SIZE).rgb
    shape = truth._replace(texture=torch.zeros_like(truth.texture), light=torch.zeros_like(truth.light))
    found = fit_colours(model, shape, pictures)
    again = render(model, found, SIZE)
    inside = (again.mask > 0.99).expand_as(pictures)
    before = (render(model, shape, SIZE).rgb - pictures).abs()[inside].mean()
    assert (again.rgb - pictures).abs()[inside].mean() < 0.15 * before
    assert torch.equal(found.pose, truth.pose)


def test_what_covers_the_face_does_not_colour_it(model: MorphableModel) -> None:
    truth = faces(model, 2)
    pictures = render(model, truth, SIZE).rgb
    shape = truth._replace(texture=torch.zeros_like(truth.texture), light=torch.zeros_like(truth.light))
    free = render(model, fit_colours(model, shape, pictures), SIZE)
    covered = pictures.clone()
    covered[:, :, 60:80, 40:120] = torch.tensor([1.0, 1.0, 1.0])[:, None, None]  # a bright bar
    found = render(model, fit_colours(model, shape, covered), SIZE)
    inside = (found.mask > 0.99).expand_as(pictures)
    assert (found.rgb - free.rgb).abs()[inside].mean() < 0.04
    assert (free.rgb - 1).abs()[..., 60:80, 40:120].mean() > 0.2
