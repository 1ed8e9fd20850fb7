"""How far a face is blurred and in which direction, read off the spectrum of its crop.

Sharp faces have much the same power spectrum, once they are brought to one size: at each frequency and direction the
logarithm of the power differs by about half a unit from person to person. Blur multiplies that spectrum by the square
of its transfer function: a straight motion by a sinc along its direction, lack of focus by about a Gaussian. So the
measured spectrum, in bins of direction and frequency, is compared with the mean sharp one under many motions and
Gaussians, and what fits best (least squares of the logarithms, bins lost in noise counted only where a blur
promises more than was seen) is the answer. The phase, and so the face itself, does not matter.
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from fvdeblur.faces.geometry import Floats
from fvdeblur.media import FramePlanes
from fvdeblur.restoration.crops import CropPlan, cut

SIDE = 160
"""Side that the square around the longer side of a face box is brought to."""

SHARP_LEVEL = 0.004
"""A blur of a smaller level, in units of the longer side of the box, cannot be told from none."""

HALF_SHARP = 0.01
"""Level, in the same units, at which `FaceBlur.sharpness` is one half."""

LEAST_SIDE = 24
"""Faces whose box has a shorter longer side (in pixels) cannot be judged."""

SECTORS = 12
_RADII = np.geomspace(4.5, 78, 14)
_CENTRES = np.sqrt(_RADII[1:] * _RADII[:-1])
RINGS = len(_CENTRES)
"""Bins: directions of 15 degrees, and rings between these cycles across the crop."""

# Logarithm of the mean power spectrum of sharp faces: factors of log(r / 20)^i cos(2 k direction), i = 0..3, k = 0..2.
# Least squares over 163 sharp portraits.
_SHARP = np.array([-1.15, -0.48, 0.33, -3.2, 0.0, -0.25, -0.44, 0.21, 0.04, -0.06, -0.07, 0.13])

_LENGTHS = np.concatenate([[0.0], np.geomspace(3, 64, 19)])  # of motions, in pixels of the crop
_ANGLES = np.arange(0, 180, 7.5)
_SIGMAS = np.array([0, 0.7, 1.0, 1.4, 2.0, 2.8, 4.0, 5.6, 8.0])  # of Gaussians, in pixels of the crop
_COARSE = 2  # every second length, angle and deviation is tried first
_LEAST_NOISE = 6e-4  # of the power in the inner rings: what compression adds and takes away at any frequency
_NOISE_MARGIN = 2.5  # a bin is seen where it holds so many times the power of the noise
_LARGEST_ERROR = 9.0  # squared: one bin cannot decide more


class FaceBlur(NamedTuple):
    """The blur of one face.

    Attributes
    ----------
    level
        Root of the mean variance of the blur over both directions, in pixels of the frame: the deviation of a Gaussian,
        the length of a straight motion divided by the root of 24. 0 where none can be told.
    length
        Length of its straight motion in pixels; 0 where there is none.
    direction
        Of the motion, in degrees from the horizontal, counter-clockwise, 0 <= direction < 180; None without one.
    sharpness
        0..1, independent of the size of the face: 1 without blur, one half where the level is `HALF_SHARP`.
    """

    level: float
    length: float
    direction: float | None
    sharpness: float


def face_blur(planes: FramePlanes, box: Floats) -> FaceBlur | None:
    """Measure the blur of the face in a box [x0, y0, x1, y1] of the upright frame; None where it is too small."""
    x0, y0, x1, y1 = (float(value) for value in box)
    side = round(max(x1 - x0, y1 - y0))
    left, top = round((x0 + x1 - side) / 2), round((y0 + y1 - side) / 2)
    outside = left >= planes.width or top >= planes.height or left + side <= 0 or top + side <= 0
    if side < LEAST_SIDE or outside:
        return None
    return measure_blur(cut(planes, CropPlan(left, top, side, min(side, 2 * SIDE))), side)


def measure_blur(crop: NDArray[np.float32], side: float | None = None) -> FaceBlur:
    """Measure the blur of a face that fills a square crop, as the longer side of its detected box does.

    Parameters
    ----------
    crop
        float32 [S, S, 3], R'G'B' in 0..1.
    side
        What the crop's side was in pixels of the frame, in which lengths are given; None: S.
    """
    native = len(crop)
    side = float(native if side is None else side)
    grey = cv2.cvtColor(np.ascontiguousarray(crop, np.float32), cv2.COLOR_RGB2GRAY)
    if native != SIDE:
        kind = cv2.INTER_AREA if native > SIDE else cv2.INTER_CUBIC
        grey = cv2.resize(grey, (SIDE, SIDE), interpolation=kind)
    length, direction, sigma = _fit(_binned_power(np.asarray(grey, np.float64)), min(native, side))
    scale = side / SIDE
    level = float(np.hypot(length / np.sqrt(24), sigma)) * scale
    return FaceBlur(
        level=level,
        length=length * scale,
        direction=direction if length else None,
        sharpness=1 / (1 + (level / (HALF_SHARP * side)) ** 2),
    )


def _fit(power: NDArray[np.float64], pixels: float) -> tuple[float, float, float]:
    """Length, direction and deviation in the crop that explain its power [SECTORS * RINGS] best."""
    table = _blurs()
    held = np.tile(0.45 * pixels > _CENTRES, SECTORS)  # the frame has no finer detail to show
    outer = power.reshape(SECTORS, RINGS)[:, held[:RINGS]][:, -2:]
    noise = float(min(np.median(outer[:, -1]), np.quantile(outer, 0.25)))
    noise = max(noise, _LEAST_NOISE * float(power.reshape(SECTORS, RINGS)[:, :5].mean()))
    seen = power > max(_NOISE_MARGIN * noise, 1e-12)
    measured = np.log(np.maximum(power - noise, 1e-12)).astype(np.float32)
    inside, lost = (held & seen).astype(np.float32), (held & ~seen).astype(np.float32)
    if not inside.any():
        return 0.0, 0.0, 0.0
    floor = np.float32(np.log(max(2 * noise, 1e-12)))

    def best(rows: NDArray[np.intp]) -> int:
        spectra = table.spectra[rows]
        gain = (measured - spectra) @ inside / inside.sum()
        spectra = spectra + gain[:, None]
        error = np.minimum((measured - spectra) ** 2, _LARGEST_ERROR) @ inside
        error += np.minimum(np.maximum(spectra - floor, 0) ** 2, _LARGEST_ERROR) @ lost
        return int(rows[error.argmin()])

    place = table.places[best(table.coarse)]
    apart = np.abs(table.places - place)
    apart[:, 1] = np.minimum(apart[:, 1], len(_ANGLES) - apart[:, 1])
    still = (table.places[:, 0] == 0) | (place[0] == 0)
    near = (apart[:, 0] <= _COARSE) & (apart[:, 2] <= _COARSE) & ((apart[:, 1] <= _COARSE) | still)
    length, angle, sigma = table.places[best(np.flatnonzero(near))]
    return float(_LENGTHS[length]), float(_ANGLES[angle]), float(_SIGMAS[sigma])


class _Blurs(NamedTuple):
    """All blurs: indices [B, 3] of length, angle and deviation; logarithmic spectra [B, bins]; which to try first."""

    places: NDArray[np.intp]
    spectra: NDArray[np.float32]
    coarse: NDArray[np.intp]


@cache
def _blurs() -> _Blurs:
    """The mean sharp spectrum under every blur."""
    # Frequencies within each bin, and beside each the two neighbours that the window mixes into it.
    turns = (np.arange(SECTORS)[:, None] + np.array([-1, 0, 1]) / 3) * np.pi / SECTORS
    rings = _CENTRES[:, None] * (_RADII[1] / _RADII[0]) ** (np.array([-1, 0, 1]) / 3)
    radius, angle = np.broadcast_arrays(rings[None, :, None, :], turns[:, None, :, None])
    radius, angle = (values.reshape(SECTORS * RINGS, 9) for values in (radius, angle))
    sharp = np.exp(_sharp_log_power(radius, angle))
    step, share = np.array([-1, 0, 1]), np.array([1, 4, 1]) / 6
    across = (radius * np.cos(angle))[..., None, None] + step[:, None]
    down = (radius * np.sin(angle))[..., None, None] + step
    shares = share[:, None] * share
    places, spectra = [], []
    gaussian = np.exp(-((2 * np.pi * np.tile(_CENTRES, SECTORS) / SIDE * _SIGMAS[:, None]) ** 2))
    for i, length in enumerate(_LENGTHS):
        for j, degrees in enumerate(np.radians(_ANGLES if length else _ANGLES[:1])):
            moved = length / SIDE * (across * np.cos(degrees) + down * np.sin(degrees))
            power = (sharp * (np.sinc(moved) ** 2 * shares).sum((-1, -2))).mean(1)
            spectra.append(np.log(power * gaussian + 1e-12))
            places += [(i, j, k) for k in range(len(_SIGMAS))]
    indices = np.array(places, np.intp)
    coarse = np.flatnonzero((indices % _COARSE == 0).all(axis=1))
    return _Blurs(indices, np.concatenate(spectra).astype(np.float32), coarse)


def _sharp_log_power(radius: NDArray[np.float64], angle: NDArray[np.float64]) -> NDArray[np.float64]:
    fall = np.log(radius / 20)
    terms = [fall**i * np.cos(2 * k * angle) for i in range(4) for k in range(3)]
    return np.asarray(np.tensordot(_SHARP, np.array(terms), axes=1))


_PADDED = 2 * SIDE


@cache
def _window() -> NDArray[np.float64]:
    axis = np.hanning(SIDE + 2)[1:-1]
    return np.outer(axis, axis)


@cache
def _bins() -> tuple[NDArray[np.bool_], NDArray[np.intp], NDArray[np.float64]]:
    """Which frequencies of the padded crop are looked at, the bin of each, and how many each bin has."""
    cycles = np.fft.fftfreq(_PADDED) * SIDE
    across, up = cycles[None, : _PADDED // 2 + 1], -cycles[:, None]
    across = np.abs(across)
    radius = np.hypot(across, up)
    sector = np.floor(np.mod(np.arctan2(up, across) / np.pi * SECTORS + 0.5, SECTORS)).astype(np.intp)
    ring = np.searchsorted(_RADII, radius, side="right") - 1
    used = (ring >= 0) & (ring < RINGS)
    places = (sector * RINGS + ring)[used]
    return used, places, np.bincount(places, minlength=SECTORS * RINGS).astype(np.float64)


def _binned_power(grey: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean power in each bin, [SECTORS * RINGS]."""
    window = _window()
    centred = (grey - (grey * window).sum() / window.sum()) * window
    power = np.abs(np.fft.rfft2(centred, (_PADDED, _PADDED))) ** 2 / (window**2).sum()
    used, places, counts = _bins()
    return np.bincount(places, power[used], minlength=len(counts)) / counts
