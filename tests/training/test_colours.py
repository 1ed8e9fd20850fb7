"""Colours change between segments, the same for the blurred frames and their truth."""

import dataclasses

import numpy as np
import torch
from face_material import photograph

from fvdeblur.datasets import load_clips, load_stills
from fvdeblur.training import TrainConfig
from fvdeblur.training.colours import colour, draw_colouring
from fvdeblur.training.pool import Segments


def faces() -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(photograph()))[None].permute(0, 3, 1, 2)


def test_nothing_changes_where_no_change_is_allowed() -> None:
    exponents, matrix = draw_colouring(np.random.default_rng(1), 0.0)
    assert torch.equal(colour(faces(), exponents, matrix), faces())


def test_changes_stay_within_the_limit_and_differ() -> None:
    rng = np.random.default_rng(2)
    drawn = [draw_colouring(rng, 0.3) for _ in range(200)]
    exponents = torch.stack([exponents for exponents, _ in drawn])
    assert exponents.min() >= 1 / 1.3 - 1e-6
    assert exponents.max() <= 1.3 + 1e-6
    assert exponents.std() > 0.1
    grey = torch.stack([matrix.sum(dim=1) for _, matrix in drawn])  # what becomes of white
    assert grey.min() >= 0.85 - 1e-5
    assert grey.max() <= 1 + 1e-5
    assert (grey.max(dim=1).values - grey.min(dim=1).values).mean() > 0.03


def test_a_still_colour_keeps_its_order_of_brightness() -> None:
    ramp = torch.arange(256, dtype=torch.uint8).reshape(1, 1, 1, 256).expand(1, 3, 1, 256)
    changed = colour(ramp, *draw_colouring(np.random.default_rng(3), 0.3)).int()
    assert changed.dtype == torch.int32
    assert (changed.diff(dim=-1) >= 0).all()
    assert (changed[..., -1] > 150).all()
    assert (changed[..., 0] == 0).all()


def test_blurred_and_sharp_frames_of_a_segment_are_coloured_alike(config: TrainConfig) -> None:
    clips, stills = load_clips(config.data, "train"), load_stills(config.data, "train")
    plain = Segments(config, clips, stills, "cpu")
    changed = Segments(dataclasses.replace(config, colour_change=0.3), clips, stills, "cpu")
    means = []
    for index in range(6):
        before, after = plain[index].segment, changed[index].segment
        assert after.blurred.dtype == after.sharp.dtype == torch.uint8
        assert after.region == before.region
        shift = [
            getattr(after, name).float().mean((0, 2, 3)) - getattr(before, name).float().mean((0, 2, 3))
            for name in ("blurred", "sharp")
        ]
        assert torch.allclose(*shift, atol=1.5)
        means.append(shift[0])
    assert torch.stack(means).std(dim=0).min() > 2
