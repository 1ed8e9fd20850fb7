"""Right fittings of landmarks on sharp faces, and wrong ones made of them: what `FittingClassifier` is trained on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from fvdeblur.datasets.clips import Clip
from fvdeblur.faces import Detector, Landmarker, face_size
from fvdeblur.faces.geometry import iou_matrix
from fvdeblur.faces.landmarks import five_of_68, similarity

Floats = NDArray[np.float64]

WRONG = 0.1
"""A fitting is wrong if its points are off by this share of the face's size, averaged over them."""

FAR = 0.4
"""Wrong fittings are off by up to this share of the face's size."""

LEAST_SCORE = 0.6
"""Detections below this score give no right fittings."""

AGREEMENT = 0.06
"""Share of the face's size by which the detector's five points and the 68 may differ, averaged over the five."""

STABILITY = 0.03
"""Share of the face's size by which the points may move against each other from one frame to the next, averaged."""


@dataclass(frozen=True, eq=False)
class Fitting:
    """Landmarks of one face in one picture.

    Attributes
    ----------
    image : uint8 [H, W, 3]
        R'G'B'.
    landmarks : float64 [N, 2]
        x, y in pixels.
    box : float64 [4]
        The face's box, x0, y0, x1, y1 in pixels.
    identity
        Whose face it is.
    """

    image: NDArray[np.uint8]
    landmarks: Floats
    box: Floats
    identity: str

    @property
    def size(self) -> float:
        """Size of the face in pixels."""
        return face_size(self.box)


def right_fittings(
    clips: Iterable[Clip], detector: Detector, landmarker68: Landmarker, frames: int
) -> tuple[dict[int, list[Fitting]], Counter[str]]:
    """Fittings of both landmarkers on sharp frames, without their gross failures.

    A frame is taken if one face is found, with a high score; if the detector's five points agree with the 68 (two
    methods that share nothing but the place rarely fail alike); and, in a clip, if the points of the next frame have
    the same shape.

    Parameters
    ----------
    clips
        Sharp clips and stills.
    detector
        A face detector that gives five points.
    landmarker68
        The 68-point landmarker.
    frames
        Frames to look at in each clip, spread evenly.

    Returns
    -------
    dict of list of Fitting
        Under 5 the fittings of the detector's points, under 68 those of the landmarker, on copies of the same pictures.
    Counter
        How many frames were ``taken``, and how many left out, by reason.
    """
    fittings: dict[int, list[Fitting]] = {5: [], 68: []}
    counts = Counter[str]()
    for clip in clips:
        last = max(len(clip.frames) - 2, 0)
        for index in sorted({round(float(k)) for k in np.linspace(0, last, frames)}):
            pair = [np.array(frame) for frame in clip.frames[index : index + 2]]
            reason, box, shapes = _checked(pair, detector, landmarker68)
            counts[reason] += 1
            for points, landmarks in shapes.items():
                fittings[points].append(Fitting(pair[0], landmarks, box, clip.identity))
    return fittings, counts


def _checked(
    pair: list[NDArray[np.uint8]], detector: Detector, landmarker68: Landmarker
) -> tuple[str, Floats, dict[int, Floats]]:
    """What became of the first picture's fitting; its box; its landmarks by their number, none if it was left out."""
    shapes: list[dict[int, Floats]] = []
    boxes: list[Floats] = []
    for image in pair:
        found = [face for face in detector.detect(image) if face.score >= LEAST_SCORE]
        if len(found) != 1 or found[0].landmarks is None:
            return "not one face", np.empty(4), {}
        five = np.asarray(found[0].landmarks, np.float64)
        fitted = np.asarray(landmarker68.landmarks(image, found[0]), np.float64)
        if mean_distance(five_of_68(fitted), five) > AGREEMENT * face_size(found[0].box):
            return "points disagree", np.empty(4), {}
        boxes.append(np.asarray(found[0].box, np.float64))
        shapes.append({5: five, 68: fitted})
    for points, landmarks in shapes[0].items():
        if mean_distance(aligned(shapes[-1][points], landmarks), landmarks) > STABILITY * face_size(boxes[0]):
            return "not stable", np.empty(4), {}
    return "taken", boxes[0], shapes[0]


def mean_distance(first: Floats, second: Floats) -> float:
    """Mean distance of the points [N, 2] of two shapes."""
    return float(np.linalg.norm(first - second, axis=1).mean())


def aligned(shape: Floats, target: Floats) -> Floats:
    """A shape [N, 2] turned, scaled and shifted to lie as close to another as it can."""
    matrix = similarity(shape, target)
    return np.asarray(shape @ matrix[:, :2].T + matrix[:, 2])


def mean_shape(shapes: Iterable[Floats]) -> Floats:
    """Mean of shapes [N, 2] by generalised Procrustes analysis: centred, of root-mean-square radius 1, upright."""
    given = [shape - shape.mean(axis=0) for shape in shapes]
    given = [shape / np.sqrt(np.square(shape).sum(axis=1).mean()) for shape in given]
    plain = np.mean(given, axis=0)
    mean = plain
    for _ in range(5):
        mean = np.mean([aligned(shape, mean) for shape in given], axis=0)
    mean = aligned(mean, plain)
    mean = mean - mean.mean(axis=0)
    return np.asarray(mean / np.sqrt(np.square(mean).sum(axis=1).mean()))


def motion_blur(image: NDArray[np.uint8], length: float, angle: float) -> NDArray[np.uint8]:
    """A picture blurred by straight motion over ``length`` pixels at ``angle`` (radians), in gamma-encoded light."""
    steps = max(2, 2 * int(np.ceil(length)))
    reach = int(np.ceil(length / 2)) + 1
    kernel = np.zeros((2 * reach + 1, 2 * reach + 1), np.float32)
    for share in (np.arange(steps) + 0.5) / steps - 0.5:
        x, y = reach + share * length * np.cos(angle), reach + share * length * np.sin(angle)
        column, row = int(x), int(y)
        for dy, dx in ((0, 0), (0, 1), (1, 0), (1, 1)):
            kernel[row + dy, column + dx] += (1 - abs(x - column - dx)) * (1 - abs(y - row - dy))
    blurred = cv2.filter2D(image, -1, kernel / kernel.sum(), borderType=cv2.BORDER_REPLICATE)
    return np.asarray(blurred, np.uint8)


def blurred(fitting: Fitting, rng: np.random.Generator, length: tuple[float, float]) -> Fitting:
    """The fitting on a motion-blurred picture; ``length`` is the range of the motion in shares of the face's size."""
    pixels = fitting.size * rng.uniform(*length)
    return replace(fitting, image=motion_blur(fitting.image, pixels, rng.uniform(0, np.pi)))


def reduced(fitting: Fitting, size: float) -> Fitting:
    """The fitting on a smaller picture, in which the face is ``size`` pixels large (a smaller face stays as it is)."""
    factor = size / fitting.size
    if factor >= 1:
        return fitting
    height, width = fitting.image.shape[:2]
    smaller = (max(round(width * factor), 1), max(round(height * factor), 1))
    image = np.asarray(cv2.resize(fitting.image, smaller, interpolation=cv2.INTER_AREA), np.uint8)
    factors = np.array([smaller[0] / width, smaller[1] / height])
    return replace(
        fitting, image=image, landmarks=fitting.landmarks * factors, box=fitting.box * np.tile(factors, 2)
    )


def blanked(fitting: Fitting, rng: np.random.Generator) -> Fitting:
    """The fitting on a picture that shows nothing of the face: as if it were 3 to 6 pixels large, with noise."""
    height, width = fitting.image.shape[:2]
    tiny = reduced(fitting, rng.uniform(3, 6)).image
    smooth = cv2.resize(tiny, (width, height), interpolation=cv2.INTER_CUBIC)
    noise = rng.normal(0, rng.uniform(0, 4), smooth.shape)
    return replace(fitting, image=np.clip(np.round(smooth + noise), 0, 255).astype(np.uint8))


def _distance(fitting: Fitting, rng: np.random.Generator) -> float:
    return fitting.size * rng.uniform(WRONG, FAR)


def _direction(rng: np.random.Generator) -> Floats:
    angle = rng.uniform(0, 2 * np.pi)
    return np.array([np.cos(angle), np.sin(angle)])


def shifted(fitting: Fitting, other: Fitting, rng: np.random.Generator) -> Floats | None:
    """All landmarks shifted alike."""
    return fitting.landmarks + _distance(fitting, rng) * _direction(rng)


def scaled(fitting: Fitting, other: Fitting, rng: np.random.Generator) -> Floats | None:
    """The landmarks' distances from their mean made larger or smaller (to three tenths at the least)."""
    centred = fitting.landmarks - fitting.landmarks.mean(axis=0)
    radius = float(np.linalg.norm(centred, axis=1).mean())
    change = _distance(fitting, rng) / radius
    if rng.random() < 0.5:
        least = WRONG * fitting.size / radius
        change = -rng.uniform(least, max(least, min(0.7, change)))
    return fitting.landmarks + change * centred


def turned(fitting: Fitting, other: Fitting, rng: np.random.Generator) -> Floats | None:
    """The landmarks turned around their mean, up to upside down."""
    centred = fitting.landmarks - fitting.landmarks.mean(axis=0)
    radius = float(np.linalg.norm(centred, axis=1).mean())
    least = 2 * np.arcsin(min(1.0, WRONG * fitting.size / (2 * radius)))
    angle = rng.uniform(least, np.pi) * rng.choice([-1.0, 1.0])
    matrix = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return np.asarray(fitting.landmarks + centred @ matrix.T - centred)


def noisy(fitting: Fitting, other: Fitting, rng: np.random.Generator) -> Floats | None:
    """Each landmark shifted in a direction of its own."""
    noise = rng.normal(size=fitting.landmarks.shape)
    noise *= _distance(fitting, rng) / np.linalg.norm(noise, axis=1).mean()
    return np.asarray(fitting.landmarks + noise)


def torn(fitting: Fitting, other: Fitting, rng: np.random.Generator) -> Floats | None:
    """The landmarks on one side of a line, a third to all but one, shifted; the others stay."""
    along = fitting.landmarks @ _direction(rng)
    count = len(along)
    moved = np.argsort(along)[: int(rng.integers(-(-count // 3), count))]
    landmarks = fitting.landmarks.copy()
    landmarks[moved] += _distance(fitting, rng) * count / len(moved) * _direction(rng)
    return landmarks


def foreign(fitting: Fitting, other: Fitting, rng: np.random.Generator) -> Floats | None:
    """Another face's landmarks, at their place in this face's box and then shifted until they are off."""
    low, high = fitting.box[:2], fitting.box[2:]
    relative = (other.landmarks - other.box[:2]) / (other.box[2:] - other.box[:2])
    landmarks = low + relative * (high - low)
    step = 0.01 * fitting.size * _direction(rng)
    wanted = _distance(fitting, rng)
    while mean_distance(landmarks, fitting.landmarks) < wanted:
        landmarks = landmarks + step
    return np.asarray(landmarks)


def beside(fitting: Fitting, other: Fitting, rng: np.random.Generator) -> Floats | None:
    """Another face's landmarks, smaller and turned a little, beside the face; None where there is no room."""
    height, width = fitting.image.shape[:2]
    centred = other.landmarks - other.landmarks.mean(axis=0)
    for _ in range(40):
        scale = fitting.size / other.size * rng.uniform(0.15, 0.7)
        angle = rng.uniform(-0.5, 0.5)
        turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        shape = centred @ turn.T
        low, high = -shape.min(axis=0), np.array([width, height]) - shape.max(axis=0)
        if (high <= low).any():
            continue
        landmarks = shape + rng.uniform(low, high)
        box = np.concatenate([landmarks.min(axis=0), landmarks.max(axis=0)])
        if iou_matrix(box[None], fitting.box[None])[0, 0] == 0:
            return np.asarray(landmarks)
    return None


def elsewhere(fitting: Fitting, other: Fitting, rng: np.random.Generator) -> Floats | None:
    """Another face's landmarks, of any size and turn, anywhere in the picture: on hair, on a cheek, beside the face."""
    height, width = fitting.image.shape[:2]
    scale = fitting.size / other.size * float(np.exp(rng.uniform(np.log(0.15), np.log(1.2))))
    angle = rng.uniform(-np.pi, np.pi)
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    centred = other.landmarks - other.landmarks.mean(axis=0)
    return np.asarray(centred @ turn.T + rng.uniform((0, 0), (width, height)))


Perturbation = Callable[[Fitting, Fitting, np.random.Generator], Floats | None]

PERTURBATIONS: dict[str, Perturbation] = {
    "shifted": shifted,
    "scaled": scaled,
    "turned": turned,
    "noisy": noisy,
    "torn": torn,
    "another face's": foreign,
    "background": beside,
    "elsewhere": elsewhere,
}
"""Ways to make a wrong fitting of a right one, given a fitting of another person and a generator."""


def wrong_landmarks(
    kind: str, fitting: Fitting, others: list[Fitting], rng: np.random.Generator
) -> Floats | None:
    """Landmarks of a wrong fitting, float64 [N, 2], or None where this kind cannot be made.

    ``others`` are fittings of any people; one of another person than this face's is drawn from them.
    """
    strangers = [other for other in others if other.identity != fitting.identity]
    if not strangers:
        return None
    landmarks = PERTURBATIONS[kind](fitting, strangers[int(rng.integers(len(strangers)))], rng)
    if landmarks is None or mean_distance(landmarks, fitting.landmarks) < WRONG * fitting.size * (1 - 1e-9):
        return None
    return landmarks
