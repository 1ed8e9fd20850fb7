"""A model-free tracker: a discriminative correlation filter with spatial regularisation.

After "Learning Spatially Regularized Correlation Filters for Visual Tracking" (Danelljan et al., ICCV 2015,
SRDCF). The tracker is told one box in one picture and knows nothing else of what it follows.

**Samples.** A square around the target is resampled to a fixed size and described on cells of 4x4 pixels by
channels :math:`x^l`: a histogram of 9 gradient orientations, normalised by its neighbourhood, the brightness and
two colour differences. A Hann window takes the square's border away.

**Learning.** With the channels of the samples :math:`x_k` of all frames so far, the filter :math:`f` minimises

.. math:: \\sum_k a_k \\Big\\| \\sum_l x_k^l * f^l - y \\Big\\|^2 + \\sum_l \\| w \\cdot f^l \\|^2

where ``*`` is the circular convolution, :math:`y` a Gaussian on the target's centre, :math:`a_k` falls
exponentially with the age of a sample, and :math:`w(m, n) = w_0 + w_1 ((m / P)^2 + (n / Q)^2)` grows with the
distance in cells from the target's centre, P x Q being the target's size. So the filter lives on the target, while
the samples can show much more of the background than a plain correlation filter could bear.

It is solved by conjugate gradients. In Fourier space (hats) all samples together are one C x C matrix a frequency,
:math:`R = \\sum_k a_k \\bar{\\hat x}_k \\hat x_k^T`, kept up to date by :math:`R \\leftarrow (1 - a) R + a
\\bar{\\hat x} \\hat x^T` and the same for the right side :math:`r = \\sum_k a_k \\bar{\\hat x}_k \\hat y`. With the
unknown :math:`g = w \\cdot f`, which makes the second term the identity and the system well conditioned,

.. math:: w^{-1} F^{-1} R F w^{-1} g + g = w^{-1} F^{-1} r

is symmetric and positive definite. Each frame takes a few steps from the last frame's solution.

**Search.** The filter is applied to the square at a few scales around the last one. On each the maximum of the
response is refined between cells by Newton's method on its Fourier series, and the scale is the top of the parabola
fitted to the maxima.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from fvdeblur.datasets.mining.cells import CELL, CHANNELS, cell_channels, patches_around
from fvdeblur.errors import UsageError

LEAST_SIDE = 4.0
"""Shortest side of a target in pixels."""

LEAST_WEIGHT, WEIGHT_GROWTH = 0.1, 1.0
"""w_0 and w_1 of the spatial regularisation, for samples whose channels have a mean square of 1."""

LABEL_WIDTH = 1 / 16
"""Standard deviation of the label y in units of the target's size (the root of its area)."""

FIRST_STEPS, STEPS = 60, 4
"""Steps of conjugate gradients in the first frame and in each later one."""

NEWTON_STEPS = 5

LEAST_RESPONSE = 0.02
"""Under this nothing in the picture answers at all, and the box stays where it is."""

Floats = NDArray[np.float32]
Spectrum = NDArray[np.complex64]


@dataclass(frozen=True)
class CorrelationSettings:
    """How a `CorrelationTracker` looks and learns.

    Attributes
    ----------
    search
        Side of the square that is searched, in units of the target's size (the root of its area); 1.5 or more.
    cells
        Cells along the square's side (even, at least 16); the square is resampled to 4 times as many pixels.
    scales, scale_step
        Number of scales that are tried in each frame (odd, at least 3), and the factor from one to the next.
    learning_rate
        Weight of a new sample against all before, 0..1.
    least_confidence
        Under this confidence nothing is learned, so that what hides the target does not become the target.

    Raises
    ------
    UsageError
        A value is outside the range that is given here.
    """

    search: float = 3.0
    cells: int = 48
    scales: int = 7
    scale_step: float = 1.015
    learning_rate: float = 0.025
    least_confidence: float = 0.2

    def __post_init__(self) -> None:
        wrong = {
            "search must be 1.5 or more": self.search < 1.5,
            "cells must be even and at least 16": self.cells < 16 or self.cells % 2 != 0,
            "scales must be odd and at least 3": self.scales < 3 or self.scales % 2 != 1,
            "scale_step must be above 1": self.scale_step <= 1,
            "learning_rate must be in 0..1": not 0 <= self.learning_rate <= 1,
        }
        for text, found in wrong.items():
            if found:
                raise UsageError(f"settings of the correlation tracker: {text}; got {self}")


class CorrelationTracker:
    """Follows one target through the frames of one shot, without any model of what it is.

    It is deterministic, never starts anew, and always answers with a box: whether that can be believed is what the
    confidence says, and what the overlap with a detector's boxes decides.

    Parameters
    ----------
    image
        uint8 [H, W, 3], R'G'B': the picture in which the target is known.
    box
        [4], x0, y0, x1, y1 in pixels; at least 4 pixels wide and high, its centre within the picture.
    settings
        How to look and learn.

    Raises
    ------
    UsageError
        The picture or the box is not as described.
    """

    def __init__(
        self, image: NDArray[np.uint8], box: Any, settings: CorrelationSettings | None = None
    ) -> None:
        self._settings = settings = settings or CorrelationSettings()
        self._frame_size = _checked_size(image)
        corners = _checked_box(box, self._frame_size).reshape(2, 2)
        self._centre = corners.mean(axis=0)
        self._size = corners[1] - corners[0]
        self._scale = 1.0  # of the target against its first size

        self._side = settings.search * float(np.sqrt(self._size.prod()))
        target = self._size / self._side * settings.cells
        window = np.hanning(settings.cells + 2)[1:-1]
        self._window = np.outer(window, window).astype(np.float32)
        steps = np.arange(settings.scales) - settings.scales // 2
        self._factors = settings.scale_step ** steps.astype(np.float64)

        self._filter = _Filter(settings.cells, target)
        self._filter.learn(self._sample(image, np.ones(1))[0], 1.0, FIRST_STEPS)

    @property
    def box(self) -> Floats:
        """The present box, float32 [4], x0, y0, x1, y1 in pixels; may reach beyond the picture's edges."""
        half = self._size * self._scale / 2
        return np.concatenate([self._centre - half, self._centre + half]).astype(np.float32)

    def update(self, image: NDArray[np.uint8]) -> tuple[Floats, float]:
        """Find the target in the next frame and learn what it looks like there.

        Parameters
        ----------
        image
            uint8 [H, W, 3], R'G'B', of the same size as the first.

        Returns
        -------
        box
            float32 [4], x0, y0, x1, y1 in pixels; may reach beyond the picture's edges. Its shape is the first box's.
        confidence
            0..1. The response is learned to be 1 on the target and 0 elsewhere: the confidence is its maximum
            (limited to 0..1) times 1 minus the ratio of the highest response farther than half the target's size
            to that maximum. So it falls where the target changes or is hidden, and where something else answers
            as well. A target that is seen clearly has 0.5 to 0.9. At 0 the box stays where it was.

        Raises
        ------
        UsageError
            The picture is not as described.
        """
        if _checked_size(image) != self._frame_size:
            raise UsageError(
                "all pictures of a shot must be of one size; the tracker began with "
                f"{self._frame_size[0]}x{self._frame_size[1]}, and this one has {image.shape[1]}x{image.shape[0]}"
            )
        responses = self._filter.respond(self._sample(image, self._factors))
        places, peaks = _refined_peaks(responses)
        best = int(peaks.argmax())
        if peaks[best] < LEAST_RESPONSE:
            return self.box, 0.0
        confidence = self._confidence(responses[best], places[best], float(peaks[best]))

        pixel = self._side * self._scale * self._factors[best] / self._settings.cells
        self._centre = self._centre + (places[best] - self._settings.cells // 2) * pixel
        self._centre = np.clip(self._centre, 0, np.array(self._frame_size, np.float64))
        self._scale *= self._settings.scale_step ** _parabola_top(peaks)
        smallest = LEAST_SIDE / self._size.min()
        largest = max(2 * float((np.array(self._frame_size) / self._size).min()), 1.0)
        self._scale = float(np.clip(self._scale, smallest, largest))

        if confidence >= self._settings.least_confidence:
            self._filter.learn(self._sample(image, np.ones(1))[0], self._settings.learning_rate, STEPS)
        return self.box, confidence

    def _sample(self, image: NDArray[np.uint8], factors: NDArray[np.float64]) -> Spectrum:
        """Spectra of the channels around the target at some factors of its scale: [S, C, cells, cells // 2 + 1]."""
        pixels = self._settings.cells * CELL
        patches = patches_around(image, self._centre, self._side * self._scale * factors, pixels)
        return np.asarray(fft.rfft2(cell_channels(patches) * self._window), np.complex64)

    def _confidence(self, response: Spectrum, place: NDArray[np.float64], peak: float) -> float:
        if peak <= 0:
            return 0.0
        cells = self._settings.cells
        values = fft.irfft2(response, s=(cells, cells))
        distance = np.abs(np.arange(cells)[None] - place[:, None])
        half = self._size / self._side * cells / 2
        elsewhere = (distance[1][:, None] > half[1]) | (distance[0][None] > half[0])
        other = float(values[elsewhere].max(initial=0.0))
        return min(peak, 1.0) * max(1.0 - other / peak, 0.0)


class _Filter:
    """The filter and all that was learned: see the module's text for the equations."""

    def __init__(self, cells: int, target: NDArray[np.float64]) -> None:
        offset = np.arange(cells) - cells // 2
        squares = [(offset / extent) ** 2 for extent in target]
        weight = LEAST_WEIGHT + WEIGHT_GROWTH * (squares[1][:, None] + squares[0][None])
        # the filter's centre is its first element, and it goes on at the other end
        self._inverse_weight = np.asarray(1 / fft.ifftshift(weight), np.float32)
        width = LABEL_WIDTH * float(np.sqrt(target.prod()))
        bell = np.exp(-0.5 * (offset / width) ** 2)
        self._label = np.asarray(fft.rfft2(np.outer(bell, bell)), np.complex64).ravel()
        self._cells = cells
        self._matrix = np.zeros((len(self._label), CHANNELS, CHANNELS), np.complex64)
        self._right_side = np.zeros((len(self._label), CHANNELS), np.complex64)
        self._solution = np.zeros((CHANNELS, cells, cells), np.float32)
        self._spectrum = np.zeros((CHANNELS, cells, cells // 2 + 1), np.complex64)

    def respond(self, samples: Spectrum) -> Spectrum:
        """Spectra [S, cells, cells // 2 + 1] of the responses to samples [S, C, cells, cells // 2 + 1]."""
        return np.asarray((samples * self._spectrum).sum(axis=1), np.complex64)

    def learn(self, sample: Spectrum, rate: float, steps: int) -> None:
        """Add a sample [C, cells, cells // 2 + 1] with the weight ``rate`` and improve the filter."""
        values = sample.reshape(CHANNELS, -1).T
        conjugate = values.conj() * np.float32(rate)
        self._matrix *= np.float32(1 - rate)
        self._matrix += conjugate[:, :, None] * values[:, None, :]
        self._right_side *= np.float32(1 - rate)
        self._right_side += conjugate * self._label[:, None]
        self._improve(steps)
        self._spectrum = self._forward(self._solution * self._inverse_weight)

    def _improve(self, steps: int) -> None:
        """Conjugate gradients from the present solution."""
        solution = self._solution
        residual = self._backward(self._right_side) * self._inverse_weight - self._apply(solution)
        direction = residual.copy()
        energy = float(np.vdot(residual, residual))
        for _ in range(steps):
            if energy < 1e-12:
                break
            image = self._apply(direction)
            length = energy / float(np.vdot(direction, image))
            solution = solution + np.float32(length) * direction
            residual -= np.float32(length) * image
            previous, energy = energy, float(np.vdot(residual, residual))
            direction = residual + np.float32(energy / previous) * direction
        self._solution = solution

    def _apply(self, values: Floats) -> Floats:
        """Left side of the system for an unknown [C, cells, cells]."""
        spectrum = self._forward(values * self._inverse_weight).reshape(CHANNELS, -1).T
        product = np.matmul(self._matrix, spectrum[:, :, None])[:, :, 0]
        return self._backward(product) * self._inverse_weight + values

    def _forward(self, values: Floats) -> Spectrum:
        return np.asarray(fft.rfft2(values), np.complex64)

    def _backward(self, spectrum: Spectrum) -> Floats:
        """Real values [C, cells, cells] of spectra [frequencies, C]."""
        shape = CHANNELS, self._cells, self._cells // 2 + 1
        return np.asarray(fft.irfft2(spectrum.T.reshape(shape), s=(self._cells, self._cells)), np.float32)


def _refined_peaks(responses: Spectrum) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Places [S, 2] (x, y in cells) and values [S] of the maxima of responses given by spectra [S, n, n // 2 + 1]."""
    cells = responses.shape[1]
    values = fft.irfft2(responses, s=(cells, cells))
    flat = values.reshape(len(values), -1).argmax(axis=1)
    grid = np.stack([flat % cells, flat // cells], axis=1).astype(np.float64)

    wave_y = 2 * np.pi * fft.fftfreq(cells)
    wave_x = 2 * np.pi * np.arange(cells // 2 + 1) / cells
    doubled = np.where((wave_x > 0) & (wave_x < np.pi), 2.0, 1.0) / cells**2
    weighted = responses * doubled
    places = grid.copy()
    for step in range(NEWTON_STEPS + 1):
        phase_x = np.exp(1j * places[:, :1] * wave_x)
        rows = weighted @ np.stack([phase_x, 1j * wave_x * phase_x, -(wave_x**2) * phase_x], axis=2)
        phase_y = np.exp(1j * places[:, 1:] * wave_y)
        columns = np.stack([phase_y, 1j * wave_y * phase_y, -(wave_y**2) * phase_y], axis=1)
        series = (columns @ rows).real  # [S, derivatives along y, derivatives along x]
        if step == NEWTON_STEPS:
            break
        a, b, c = series[:, 0, 2], series[:, 1, 1], series[:, 2, 0]
        determinant = a * c - b * b
        concave = (a < 0) & (determinant > 0)
        determinant = np.where(concave, determinant, 1.0)
        along_x = (c * series[:, 0, 1] - b * series[:, 1, 0]) / determinant
        along_y = (a * series[:, 1, 0] - b * series[:, 0, 1]) / determinant
        move = np.where(concave[:, None], np.stack([along_x, along_y], axis=1), 0.0)
        places = np.clip(places - move, grid - 1, grid + 1)
    return places, series[:, 0, 0]


def _parabola_top(values: NDArray[np.float64]) -> float:
    """Place of the maximum of the parabola fitted to values [S], counted from the middle one; within the values."""
    reach = len(values) // 2
    curvature, slope, _ = np.polyfit(np.arange(len(values)) - reach, values, 2)
    if curvature >= 0:
        return float(values.argmax() - reach)
    return float(np.clip(-slope / (2 * curvature), -reach, reach))


def _checked_size(image: Any) -> tuple[int, int]:
    """Width and height of a picture that is as it should be."""
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        found = (
            f"{image.dtype} {list(image.shape)}" if isinstance(image, np.ndarray) else type(image).__name__
        )
        raise UsageError(
            f"the tracker takes uint8 pictures [H, W, 3], not {found}; convert the frame to R'G'B'"
        )
    if not image.size:
        raise UsageError("the tracker was given an empty picture; give a frame with pixels")
    return image.shape[1], image.shape[0]


def _checked_box(box: Any, size: tuple[int, int]) -> NDArray[np.float64]:
    """The box as float64 [4] if something can be followed in it."""
    try:
        values = np.asarray(box, np.float64)
    except (TypeError, ValueError):
        values = np.empty(0)
    if values.shape != (4,) or not np.isfinite(values).all():
        raise UsageError(f"a box is four finite numbers x0, y0, x1, y1, not {box!r}")
    shown = ", ".join(f"{value:g}" for value in values)
    if (values[2:] - values[:2]).min() < LEAST_SIDE:
        raise UsageError(
            f"the box [{shown}] is less than {LEAST_SIDE:g} pixels wide or high; give a larger target"
        )
    centre = (values[:2] + values[2:]) / 2
    if (centre < 0).any() or (centre > size).any():
        raise UsageError(
            f"the centre of the box [{shown}] lies outside the picture of {size[0]}x{size[1]} pixels"
        )
    return values
