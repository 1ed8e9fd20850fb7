"""Landmarks on real photographs, turned, scaled and cut; what is said when the predictor is not there."""

import importlib.util
import subprocess
import sys
from dataclasses import replace

import cv2
import numpy as np
import pytest

from fvdeblur.errors import FvdeblurError, UsageError
from fvdeblur.faces import LANDMARKERS, Detection, Detector, Landmarker, create_landmarker, face_size
from fvdeblur.faces import landmarks as module
from fvdeblur.faces.landmarks import five_of_68, similarity, warp_region

needs_dlib = pytest.mark.skipif(
    bool(module._missing_packages()), reason="the extra landmarks is not installed"
)


@pytest.fixture(scope="module")
def dlib68() -> Landmarker:
    return create_landmarker("dlib68")


def moved(image: np.ndarray, matrix: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Picture mapped by a similarity of continuous coordinates."""
    indices = matrix.copy()
    indices[:, 2] += matrix[:, :2] @ [0.5, 0.5] - 0.5
    return cv2.warpAffine(image, indices, size, flags=cv2.INTER_AREA, borderMode=cv2.BORDER_REPLICATE)


def turn(angle: float, centre: tuple[float, float]) -> np.ndarray:
    return cv2.getRotationMatrix2D(centre, angle, 1.0)


def mapped(points: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    return points @ matrix[:, :2].T + matrix[:, 2]


def error(first: np.ndarray, second: np.ndarray, box: np.ndarray) -> float:
    """Mean distance in units of the face's size."""
    return float(np.linalg.norm(first - second, axis=1).mean() / face_size(box))


class TestFive:
    def test_gives_the_points_of_the_detector(self, astronaut: np.ndarray, detector: Detector) -> None:
        face = detector.detect(astronaut)[0]
        landmarker = create_landmarker("five")
        found = landmarker.landmarks(astronaut, face)
        assert landmarker.points == 5
        assert found.dtype == np.float32
        assert np.array_equal(found, face.landmarks)
        found += 1
        assert not np.array_equal(found, face.landmarks)

    def test_a_detector_without_points(self, astronaut: np.ndarray) -> None:
        face = Detection(np.array([180, 60, 270, 170], np.float32), 0.9)
        with pytest.raises(UsageError, match="choose the detector centerface"):
            create_landmarker("five").landmarks(astronaut, face)


@needs_dlib
class TestDlib68:
    def test_the_face_in_the_photograph(
        self, astronaut: np.ndarray, detector: Detector, dlib68: Landmarker
    ) -> None:
        face = detector.detect(astronaut)[0]
        found = dlib68.landmarks(astronaut, face)
        assert dlib68.points == 68
        assert found.shape == (68, 2)
        assert found.dtype == np.float32
        # As they are seen in the photograph.
        assert np.abs(found[36:42].mean(axis=0) - [204, 102]).max() < 4
        assert np.abs(found[42:48].mean(axis=0) - [247, 104]).max() < 4
        assert np.abs(found[[48, 54]].mean(axis=0) - [223, 143]).max() < 6
        assert (np.diff(found[:17, 0]) > -1).all()  # the jaw from left to right, its lowest point the chin
        assert 165 < found[8, 1] < 185
        for brow, eye in ((slice(17, 22), slice(36, 42)), (slice(22, 27), slice(42, 48))):
            assert found[brow, 1].mean() < found[eye, 1].min()

    def test_agrees_with_the_detector_on_six_faces(
        self, crowd: np.ndarray, detector: Detector, dlib68: Landmarker
    ) -> None:
        faces = detector.detect(crowd)
        assert len(faces) == 6
        for face in faces:
            found = dlib68.landmarks(crowd, face)
            assert error(five_of_68(found), face.landmarks, face.box) < 0.06

    @pytest.mark.parametrize("angle", [-150, -60, -30, 30, 60, 90])
    def test_turned_pictures(
        self, angle: int, astronaut: np.ndarray, detector: Detector, dlib68: Landmarker
    ) -> None:
        """The detector's points say how the face is turned; given those, the fit turns with the picture."""
        face = detector.detect(astronaut)[0]
        upright = dlib68.landmarks(astronaut, face)
        matrix = turn(angle, (256, 256))
        centre = mapped((face.box[:2] + face.box[2:]) / 2, matrix)
        half = (face.box[2:] - face.box[:2]) / 2
        turned_face = Detection(
            np.concatenate([centre - half, centre + half]), 0.9, mapped(face.landmarks, matrix)
        )
        found = dlib68.landmarks(moved(astronaut, matrix, (512, 512)), turned_face)
        assert error(found, mapped(upright, matrix), face.box) < 0.015

    @pytest.mark.parametrize("factor", [0.3, 0.5, 2.0, 3.0])
    def test_scaled_pictures(
        self, factor: float, astronaut: np.ndarray, detector: Detector, dlib68: Landmarker
    ) -> None:
        face = detector.detect(astronaut)[0]
        size = (round(512 * factor), round(512 * factor))
        picture = cv2.resize(astronaut, size, interpolation=cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC)
        scale = np.float32(size[0] / 512)
        found = dlib68.landmarks(picture, Detection(face.box * scale, 0.9, face.landmarks * scale))
        assert error(found / scale, dlib68.landmarks(astronaut, face), face.box) < 0.02

    def test_a_detector_without_points(
        self, crowd: np.ndarray, detector: Detector, dlib68: Landmarker
    ) -> None:
        """The box alone is enough for all but the most inclined of the six heads."""
        errors = []
        for face in detector.detect(crowd):
            with_points = dlib68.landmarks(crowd, face)
            without = dlib68.landmarks(crowd, replace(face, landmarks=None))
            errors.append(error(without, with_points, face.box))
        assert sorted(errors)[4] < 0.05

    @pytest.mark.parametrize("shift", [(-0.05, 0.0), (0.05, 0.0), (0.0, -0.05), (0.0, 0.05)])
    def test_the_square_need_not_be_exact(
        self, shift: tuple[float, float], astronaut: np.ndarray, detector: Detector, dlib68: Landmarker
    ) -> None:
        face = detector.detect(astronaut)[0]
        points = face.landmarks + np.float32(shift) * np.float32(face_size(face.box))
        found = dlib68.landmarks(astronaut, replace(face, landmarks=points))
        assert error(found, dlib68.landmarks(astronaut, face), face.box) < 0.02

    def test_a_face_at_the_edge(self, astronaut: np.ndarray, detector: Detector, dlib68: Landmarker) -> None:
        face = detector.detect(astronaut)[0]
        cut = np.array([190, 70], np.float32)
        seen = Detection(face.box - np.tile(cut, 2), 0.9, face.landmarks - cut)
        found = dlib68.landmarks(np.ascontiguousarray(astronaut[70:, 190:]), seen)
        assert error(found + cut, dlib68.landmarks(astronaut, face), face.box) < 0.06

    def test_auto_takes_it(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(module, "Dlib68Landmarker", lambda: "loaded")
        assert create_landmarker() == "loaded"

    def test_a_damaged_file(self, tmp_path, monkeypatch) -> None:
        path = tmp_path / "predictor.dat"
        path.write_bytes(b"half a download")
        monkeypatch.setattr(module, "_find_predictor", lambda: path)
        with pytest.raises(FvdeblurError, match=r"predictor\.dat.*reinstall") as caught:
            create_landmarker("dlib68")
        assert "\n" not in str(caught.value)

    def test_a_package_without_its_file(self, tmp_path, monkeypatch) -> None:
        monkeypatch.setattr(module, "PREDICTOR_FILE", "another.dat")
        with pytest.raises(FvdeblurError, match=r"another\.dat is missing .*reinstall"):
            create_landmarker("dlib68")


@pytest.mark.parametrize(("absent", "package"), [("dlib", "dlib-bin"), ("face_recognition_models",) * 2])
def test_without_the_extra(absent: str, package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == absent else find(name))
    assert create_landmarker("auto").points == 5
    with pytest.raises(UsageError) as caught:
        create_landmarker("dlib68")
    text = str(caught.value)
    assert package.replace("_", "-") in text
    assert 'pip install "fvdeblur[landmarks]"' in text
    assert "\n" not in text


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(UsageError, match="'dlib'") as caught:
        create_landmarker("dlib")
    assert all(name in str(caught.value) for name in LANDMARKERS)


def test_the_room_of_faces_does_not_import_dlib() -> None:
    script = "import sys, fvdeblur.faces; print([n for n in ('dlib', 'face_recognition_models') if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


class TestSimilarity:
    def test_finds_the_transform(self) -> None:
        points = np.random.default_rng(1).normal(size=(9, 2)) * 30 + 100
        matrix = turn(35, (10, 20)) * 1.7
        assert np.allclose(similarity(points, mapped(points, matrix)), matrix)

    def test_is_the_least_squares_solution(self) -> None:
        rng = np.random.default_rng(2)
        source, target = rng.normal(size=(2, 7, 2))
        rows = [([x, -y, 1, 0], [y, x, 0, 1]) for x, y in source]
        a, b, x, y = np.linalg.lstsq(np.concatenate(rows), target.ravel(), rcond=None)[0]
        assert np.allclose(similarity(source, target), [[a, -b, x], [b, a, y]])

    def test_does_not_mirror(self) -> None:
        points = np.array([[0, 0], [4, 0], [1, 2.0]])
        matrix = similarity(points, points * [-1, 1])
        assert np.linalg.det(matrix[:, :2]) >= 0

    @pytest.mark.parametrize("value", [3.0, np.nan, np.inf])
    def test_points_that_say_nothing(self, value: float) -> None:
        with pytest.raises(ValueError, match="coincide or are not finite"):
            similarity(np.full((5, 2), value), np.ones((5, 2)))


class TestWarpRegion:
    def test_nothing_changes(self, astronaut: np.ndarray) -> None:
        assert np.array_equal(warp_region(astronaut, np.eye(2, 3), (512, 512)), astronaut)

    def test_whole_pixels(self, astronaut: np.ndarray) -> None:
        matrix = np.array([[1.0, 0, -100], [0, 1, -40]])
        assert np.array_equal(warp_region(astronaut, matrix, (200, 150)), astronaut[40:190, 100:300])

    @pytest.mark.parametrize("factor", [2, 4, 8])
    def test_a_reduction_is_averaged(self, factor: int, astronaut: np.ndarray) -> None:
        """Not sampled: the picture of every other pixel is much further from the truth."""
        size = (512 // factor, 512 // factor)
        reduced = cv2.resize(astronaut, size, interpolation=cv2.INTER_AREA).astype(float)
        found = warp_region(astronaut, np.eye(2, 3) / factor, size).astype(float)
        sampled = astronaut[factor // 2 :: factor, factor // 2 :: factor].astype(float)
        assert np.abs(found - reduced).mean() < 0.4 * np.abs(sampled - reduced).mean()

    def test_outside_repeats_the_edge(self, astronaut: np.ndarray) -> None:
        picture = warp_region(astronaut, np.array([[1.0, 0, 700], [0, 1, 0]]), (50, 512))
        assert np.array_equal(picture, np.repeat(astronaut[:, :1], 50, axis=1))
