"""Fusing the best shots of a person: better against the known sharp face, and left alone where it would not be."""

import functools
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest
import skimage.data

from fvdeblur.evaluation import psnr
from fvdeblur.restoration.crop_folder import FIGURES, CropFolder
from fvdeblur.restoration.fusion import LARGEST_FUSED, fuse
from fvdeblur.restoration.picture_files import read_picture

FACE = (slice(40, 216), slice(40, 216))


@functools.cache
def photograph() -> np.ndarray:
    """The astronaut's face with a margin, uint8 [256, 256, 3]."""
    return cv2.resize(skimage.data.astronaut()[40:216, 136:312], (256, 256), interpolation=cv2.INTER_CUBIC)


def seen(number: int, length: float, noise: float) -> np.ndarray:
    """The face a little elsewhere and turned (but for the first), blurred in a direction of its own, noisy."""
    rng = np.random.default_rng(number)
    picture = photograph().astype(np.float32)
    if number:
        turn = cv2.getRotationMatrix2D((128, 128), rng.uniform(-1, 1), 1)
        turn[:, 2] += rng.uniform(-1.5, 1.5, 2)
        picture = cv2.warpAffine(
            picture, turn, (256, 256), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE
        )
    if length > 0:
        angle = number * np.pi / 5
        kernel = np.zeros((15, 15), np.float32)
        for t in np.linspace(-length / 2, length / 2, 60):
            kernel[round(7 + t * np.sin(angle)), round(7 + t * np.cos(angle))] += 1
        picture = cv2.filter2D(picture, -1, kernel / kernel.sum())
    return np.clip(np.round(picture + rng.normal(0, noise, picture.shape)), 0, 255).astype(np.uint8)


def gain(pictures: list[np.ndarray], fused: np.ndarray) -> float:
    """In dB over the first picture, in the face."""
    single, more = (psnr(each[FACE], photograph()[FACE]) for each in (pictures[0], fused))
    return more - single


@pytest.mark.parametrize(("length", "noise", "least"), [(7, 2, 0.7), (5, 4, 2.0), (3, 8, 4.0), (0, 6, 5.0)])
def test_better_than_the_best_of_them(length: float, noise: float, least: float) -> None:
    pictures = [seen(k, length, noise) for k in range(8)]
    fused = fuse(pictures)
    assert fused is not None
    assert fused.shape == (256, 256, 3)
    assert gain(pictures, fused) > least


def test_what_is_not_the_face_does_not_come_in() -> None:
    """A hand before the face in half of the pictures leaves no ghost."""
    pictures = [seen(k, 3, 5) for k in range(8)]
    for picture in pictures[1::2]:
        picture[120:200, 60:140] = (40, 160, 60)
    fused = fuse(pictures)
    assert fused is not None
    hidden = (slice(124, 196), slice(64, 136))
    truth = photograph()[hidden]
    assert psnr(fused[hidden], truth) > psnr(pictures[0][hidden], truth) + 0.5
    assert np.abs(fused[hidden].mean(axis=(0, 1)) - truth.mean(axis=(0, 1))).max() < 1


def test_the_best_shot_stays_where_fusing_does_not_help() -> None:
    sharp = seen(0, 0, 1)
    assert fuse([sharp]) is None
    assert fuse([sharp, sharp]) is None
    strangers = [
        np.ascontiguousarray(np.roll(skimage.data.coffee()[:256, 40 * k : 40 * k + 256], k)) for k in range(5)
    ]
    assert fuse([sharp, *strangers]) is None
    assert fuse([sharp] + [seen(k, 13, 1) for k in range(1, 8)]) is None  # all others are far softer
    assert fuse([sharp] + [seen(k, 7, 1) for k in range(1, 8)]) is None
    assert fuse([sharp] * 8) is None  # nothing to gain
    other_sizes = [seen(k, 0, 6)[:200, :200] for k in range(1, 8)]
    assert fuse([seen(0, 0, 6), *other_sizes]) is None
    large = np.zeros((LARGEST_FUSED + 1, 64, 3), np.uint8)
    assert fuse([large] * 4) is None
    assert fuse([seen(k, 0, 6)[:8, :8] for k in range(8)]) is None


def test_the_folder_of_crops_has_it_beside_the_best_shot(tmp_path: Path) -> None:
    """The best shot itself stays what the video shows; the other is written where it is better, and named."""
    worths = [0.5, 1.0, 2.0, 9.0, 4.0, 5.0, 6.0, 7.0, 2.5, 3.5]
    noisy = [seen(k, 0, 6) for k in range(10)]
    noisy[3] = seen(0, 0, 6)
    with CropFolder(tmp_path / "faces", "jpg", "{frame}", Fraction(1, 25), overwrite=False) as folder:
        for k, (crop, worth) in enumerate(zip(noisy, worths, strict=True)):
            for track, picture in ((0, crop), (1, photograph())):
                row = {
                    "track": track,
                    "frame": k,
                    "time": k / 25,
                    "shot": 0,
                    "box": [0, 0, 9, 9],
                    "landmarks": None,
                }
                folder.add({**row, **dict.fromkeys(FIGURES)}, picture, k, worth)
        folder.finish({0: 1, 1: 2})
        assert folder.fused == [1]
    best = tmp_path / "faces" / "best"
    names = ["person-01-fused.png", "person-01.png", "person-02.png"]
    assert sorted(path.name for path in best.iterdir()) == names
    fused, single = (read_picture(best / name) for name in names[:2])
    assert np.array_equal(single, noisy[3])
    assert gain([single], fused) > 4
