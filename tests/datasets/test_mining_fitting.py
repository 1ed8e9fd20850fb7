"""The classifier of fittings on the faces of two photographs, and what it learns from them."""

import hashlib
import importlib.util
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import click.testing
import cv2
import numpy as np
import pytest
import skimage.data
from face_material import write_material

from fvdeblur.cli.train_fitting import train_fitting
from fvdeblur.datasets import Clip
from fvdeblur.datasets.mining import fitting_training
from fvdeblur.datasets.mining.fitting import (
    LOWEST_SCORE,
    FittingClassifier,
    PatchSettings,
    fitting_features,
    released_folder,
)
from fvdeblur.datasets.mining.fitting_training import train_classifier
from fvdeblur.datasets.mining.fittings import (
    PERTURBATIONS,
    Fitting,
    aligned,
    mean_distance,
    mean_shape,
    motion_blur,
    reduced,
    right_fittings,
    wrong_landmarks,
)
from fvdeblur.errors import InputError, UsageError
from fvdeblur.faces import Detection, Detector, create_detector, create_landmarker

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("dlib") is None, reason="the extra landmarks is not installed"
)
needs_sklearn = pytest.mark.skipif(
    importlib.util.find_spec("sklearn") is None, reason="scikit-learn is not installed"
)

POINTS = (5, 68)


@pytest.fixture(scope="module")
def detector() -> Detector:
    return create_detector("centerface")


@pytest.fixture(scope="module")
def faces(detector: Detector) -> dict[int, list[Fitting]]:
    """Right fittings of seven people: the astronaut first, then six in one photograph."""
    folder = Path(str(importlib.util.find_spec("insightface").origin)).parent
    crowd = cv2.cvtColor(cv2.imread(str(folder / "data" / "images" / "t1.jpg")), cv2.COLOR_BGR2RGB)
    found: dict[int, list[Fitting]] = {5: [], 68: []}
    landmarkers = {5: create_landmarker("five"), 68: create_landmarker("dlib68")}
    for image, name in ((skimage.data.astronaut(), "astronaut"), (crowd, "crowd")):
        for number, face in enumerate(detector.detect(image)):
            for points, landmarker in landmarkers.items():
                shape = landmarker.landmarks(image, face).astype(np.float64)
                found[points].append(Fitting(image, shape, face.box.astype(np.float64), f"{name}{number}"))
    assert {points: len(fittings) for points, fittings in found.items()} == {5: 7, 68: 7}
    return found


@pytest.fixture(scope="module", params=POINTS)
def points(request: pytest.FixtureRequest) -> int:
    return int(request.param)


@pytest.fixture(scope="module")
def classifier(points: int) -> FittingClassifier:
    return FittingClassifier.load(points)


def moved(fitting: Fitting, factor: float, angle: float) -> Fitting:
    """The picture around the face, scaled and turned, and the landmarks with it."""
    centre = (fitting.box[:2] + fitting.box[2:]) / 2
    side = round(2.4 * fitting.size * factor)
    matrix = cv2.getRotationMatrix2D(tuple(centre), angle, factor)
    matrix[:, 2] += side / 2 - centre
    indices = matrix.copy()
    indices[:, 2] += matrix[:, :2] @ [0.5, 0.5] - 0.5
    source = fitting.image
    if factor < 1:  # warpAffine samples; a camera does not
        source = cv2.GaussianBlur(source, (0, 0), 0.4 / factor)
    image = cv2.warpAffine(
        source, indices, (side, side), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE
    )
    half = (fitting.box[2:] - fitting.box[:2]) * factor / 2
    box = np.concatenate([side / 2 - half, side / 2 + half])
    return replace(
        fitting, image=image, landmarks=fitting.landmarks @ matrix[:, :2].T + matrix[:, 2], box=box
    )


class TestReleased:
    def test_right_fittings_are_kept(
        self, classifier: FittingClassifier, points: int, faces: dict[int, list[Fitting]]
    ) -> None:
        scores = [classifier.score(face.image, face.landmarks) for face in faces[points]]
        assert min(scores) > 0, scores

    @pytest.mark.parametrize("angle", range(0, 360, 45))
    def test_shifted_ones_are_rejected(
        self, classifier: FittingClassifier, points: int, faces: dict[int, list[Fitting]], angle: int
    ) -> None:
        way = np.array([np.cos(np.deg2rad(angle)), np.sin(np.deg2rad(angle))])
        for distance in (0.12, 0.25, 0.4):
            scores = [
                classifier.score(face.image, face.landmarks + distance * face.size * way)
                for face in faces[points]
            ]
            assert np.count_nonzero(np.array(scores) <= 0) >= (6 if distance < 0.2 else 7), (distance, scores)

    @pytest.mark.parametrize("angle", [-150, -90, -40, 40, 90, 180])
    def test_turned_ones_are_rejected(
        self, classifier: FittingClassifier, points: int, faces: dict[int, list[Fitting]], angle: int
    ) -> None:
        for face in faces[points]:
            matrix = cv2.getRotationMatrix2D(tuple(face.landmarks.mean(axis=0)), angle, 1)
            turned = face.landmarks @ matrix[:, :2].T + matrix[:, 2]
            assert classifier.score(face.image, turned) < 0

    @pytest.mark.parametrize("factor", [0.5, 1.7])
    def test_ones_of_the_wrong_size_are_rejected(
        self, classifier: FittingClassifier, points: int, faces: dict[int, list[Fitting]], factor: float
    ) -> None:
        for face in faces[points]:
            centre = face.landmarks.mean(axis=0)
            assert classifier.score(face.image, centre + factor * (face.landmarks - centre)) < 0

    def test_each_kind_of_wrong_fitting_is_rejected(
        self, classifier: FittingClassifier, points: int, faces: dict[int, list[Fitting]]
    ) -> None:
        rng = np.random.default_rng(3)
        for kind in PERTURBATIONS:
            scores = []
            for face in faces[points] * 2:
                wrong = wrong_landmarks(kind, face, faces[points], rng)
                if wrong is not None:
                    scores.append(classifier.score(face.image, wrong))
            assert len(scores) >= 7
            assert np.count_nonzero(np.array(scores) > 0) <= 1, (kind, scores)

    def test_another_persons_place_is_no_fitting(
        self, classifier: FittingClassifier, points: int, faces: dict[int, list[Fitting]]
    ) -> None:
        """The six in their photograph, half way between two faces."""
        crowd = faces[points][1:]
        for face, other in zip(crowd, crowd[1:] + crowd[:1], strict=True):
            assert classifier.score(face.image, (face.landmarks + other.landmarks) / 2) < 0

    def test_no_face_at_all(
        self, classifier: FittingClassifier, points: int, faces: dict[int, list[Fitting]]
    ) -> None:
        shape = faces[points][0].landmarks
        centred = shape - shape.mean(axis=0)
        rng = np.random.default_rng(1)
        for picture in (skimage.data.coffee(), skimage.data.rocket(), np.full((300, 300, 3), 128, np.uint8)):
            size = np.array(picture.shape[1::-1])
            for scale in (0.5, 1.0, 2.0):
                landmarks = centred * scale + rng.uniform(0.3, 0.7, 2) * size
                assert classifier.score(picture, landmarks) < 0

    @pytest.mark.parametrize("factor", [0.6, 1.5, 3.0])
    def test_the_size_of_the_picture_does_not_matter(
        self, classifier: FittingClassifier, points: int, faces: dict[int, list[Fitting]], factor: float
    ) -> None:
        for face in faces[points]:
            score = classifier.score(face.image, face.landmarks)
            other = moved(face, factor, 0)
            found = classifier.score(other.image, other.landmarks)
            assert found > 0
            assert found == pytest.approx(score, abs=0.5 if factor < 1 else 0.35)

    @pytest.mark.parametrize("angle", [-100, -30, 15, 45, 180])
    def test_nor_does_its_rotation(
        self, classifier: FittingClassifier, points: int, faces: dict[int, list[Fitting]], angle: int
    ) -> None:
        for face in faces[points]:
            score = classifier.score(face.image, face.landmarks)
            other = moved(face, 1.0, angle)
            found = classifier.score(other.image, other.landmarks)
            assert found > 0
            assert found == pytest.approx(score, abs=0.35)

    def test_nor_do_contrast_and_brightness(
        self, classifier: FittingClassifier, points: int, faces: dict[int, list[Fitting]]
    ) -> None:
        for face in faces[points]:
            score = classifier.score(face.image, face.landmarks)
            darker = (0.5 * face.image + 20).astype(np.uint8)
            assert classifier.score(darker, face.landmarks) == pytest.approx(score, abs=0.3)

    def test_motion_blur_does_not_make_it_wrong(
        self, classifier: FittingClassifier, points: int, faces: dict[int, list[Fitting]]
    ) -> None:
        kept = [
            classifier.score(motion_blur(face.image, 0.05 * face.size, angle), face.landmarks) > 0
            for face in faces[points]
            for angle in (0.0, 0.8, 1.6)
        ]
        assert np.mean(kept) >= 0.9

    @pytest.mark.parametrize("value", [0.0, 50.0, np.nan, np.inf, 1e200])
    def test_landmarks_that_are_no_shape(self, classifier: FittingClassifier, value: float) -> None:
        landmarks = np.full((classifier.points, 2), value)
        assert classifier.score(skimage.data.astronaut(), landmarks) == LOWEST_SCORE

    def test_landmarks_far_outside(
        self, classifier: FittingClassifier, points: int, faces: dict[int, list[Fitting]]
    ) -> None:
        face = faces[points][0]
        for far in (600.0, -5000.0, 1e6):
            assert classifier.score(face.image, face.landmarks + far) < 0
        assert np.isfinite(classifier.score(face.image, face.landmarks * 1e4))
        assert np.isfinite(classifier.score(face.image, face.landmarks * 1e-4))

    def test_another_number_of_points(self, classifier: FittingClassifier) -> None:
        with pytest.raises(ValueError, match="landmarks of shape"):
            classifier.score(skimage.data.astronaut(), np.ones((7, 2)))


class TestFiles:
    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        for path in released_folder().iterdir():
            if path.suffix in (".json", ".safetensors"):
                (tmp_path / path.name).write_bytes(path.read_bytes())
        return tmp_path

    def failure(self, folder: Path, error: type[Exception], *words: str) -> None:
        with pytest.raises(error) as caught:
            FittingClassifier.load(68, folder)
        assert "\n" not in str(caught.value)
        for word in words:
            assert word in str(caught.value)

    def test_the_digests_are_those_of_the_files(self) -> None:
        config = json.loads((released_folder() / "config.json").read_text())
        assert set(config["classifiers"]) == {"5", "68"}
        for points, entry in config["classifiers"].items():
            data = (released_folder() / f"fitting{points}.safetensors").read_bytes()
            assert hashlib.sha256(data).hexdigest() == entry["sha256"]

    @pytest.mark.parametrize("place", [0, 500, -1])
    def test_damaged_weights(self, folder: Path, place: int) -> None:
        path = folder / "fitting68.safetensors"
        data = bytearray(path.read_bytes())
        data[place] ^= 1
        path.write_bytes(data)
        self.failure(
            folder, InputError, "fitting68.safetensors", "damaged (SHA-256 differs)", "train it again"
        )
        assert FittingClassifier.load(5, folder).points == 5

    def test_the_remedy_for_the_released_ones(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (folder / "fitting5.safetensors").write_bytes(b"")
        monkeypatch.setattr("fvdeblur.datasets.mining.fitting.released_folder", lambda: folder)
        with pytest.raises(InputError, match=r"fitting5\.safetensors.*reinstall fvdeblur$"):
            FittingClassifier.load(5)

    def test_missing_weights(self, folder: Path) -> None:
        (folder / "fitting68.safetensors").unlink()
        self.failure(folder, InputError, "fitting68.safetensors", "missing")

    def test_weights_of_other_settings(self, folder: Path) -> None:
        config = json.loads((folder / "config.json").read_text())
        config["classifiers"]["68"]["settings"]["cells"] += 1
        (folder / "config.json").write_text(json.dumps(config))
        self.failure(folder, InputError, "fitting68.safetensors", "do not fit")

    def test_no_classifier_for_so_many_points(self) -> None:
        with pytest.raises(UsageError, match=r"of 106 points; there are: 5, 68$"):
            FittingClassifier.load(106)

    def test_no_classifiers_at_all(self, tmp_path: Path) -> None:
        self.failure(tmp_path, UsageError, "config.json", "there are no classifiers")

    @pytest.mark.parametrize("text", ["", "[]", "{}", '{"classifiers": 3}', '{"classifiers": {"68": 1}}'])
    def test_a_damaged_configuration(self, folder: Path, text: str) -> None:
        (folder / "config.json").write_text(text)
        self.failure(folder, InputError, "damaged")

    def test_what_is_saved_is_loaded(self, folder: Path, faces: dict[int, list[Fitting]]) -> None:
        settings = PatchSettings(radius=20, cell=4, cells=2, orientations=4)
        rng = np.random.default_rng(0)
        shape = mean_shape(face.landmarks for face in faces[5])
        made = FittingClassifier(settings, shape, rng.normal(size=85), 0.25)
        made.save(folder, training={"note": 1})
        found = FittingClassifier.load(5, folder)
        face = faces[5][0]
        assert found.settings == settings
        score = made.score(face.image, face.landmarks)
        assert found.score(face.image, face.landmarks) == pytest.approx(score, abs=1e-4)
        assert FittingClassifier.load(68, folder).points == 68
        config = json.loads((folder / "config.json").read_text())
        assert list(config["classifiers"]) == ["5", "68"]
        assert config["classifiers"]["5"]["training"] == {"note": 1}

    def test_weights_must_fit_the_shape(self) -> None:
        with pytest.raises(ValueError, match="weights for"):
            FittingClassifier(PatchSettings(20, 4, 2), np.ones((5, 2)), np.ones(7), 0)


class TestFittings:
    def test_wrong_ones_are_off_by_a_tenth(self, points: int, faces: dict[int, list[Fitting]]) -> None:
        rng = np.random.default_rng(0)
        for kind in PERTURBATIONS:
            for face in faces[points]:
                wrong = wrong_landmarks(kind, face, faces[points], rng)
                if wrong is None:
                    assert kind == "background"
                    continue
                assert wrong.shape == face.landmarks.shape
                distance = mean_distance(wrong, face.landmarks) / face.size
                assert distance >= 0.1 - 1e-6
                if kind in ("shifted", "scaled", "turned"):
                    assert mean_distance(aligned(wrong, face.landmarks), face.landmarks) < 1e-6 * face.size
                if kind == "background":
                    low, high = wrong.min(axis=0), wrong.max(axis=0)
                    assert (high <= face.box[:2]).any() or (low >= face.box[2:]).any()

    def test_there_is_no_other_person(self, faces: dict[int, list[Fitting]]) -> None:
        face = faces[5][0]
        assert wrong_landmarks("another face's", face, [face], np.random.default_rng(0)) is None

    def test_the_mean_shape(self, points: int, faces: dict[int, list[Fitting]]) -> None:
        """Neither size nor place nor turn of the shapes matters."""
        shapes = [face.landmarks for face in faces[points]]
        mean = mean_shape(shapes)
        assert np.allclose(mean.mean(axis=0), 0)
        assert np.square(mean).sum(axis=1).mean() == pytest.approx(1)
        other = mean_shape(3.0 * shape + [50, -20] for shape in shapes)
        assert np.allclose(mean, other, atol=1e-6)
        assert mean_distance(aligned(shapes[0], mean), mean) < 0.2

    def test_motion_along_a_line(self) -> None:
        image = skimage.data.astronaut()
        kernel = np.array([[0.5, 1, 1, 1, 1, 1, 0.5]]) / 6
        expected = cv2.filter2D(image, -1, kernel, borderType=cv2.BORDER_REPLICATE)
        found = motion_blur(image, 6.0, 0.0)
        assert np.abs(found.astype(int) - expected).max() <= 1
        assert np.abs(image.astype(int) - expected).mean() > 4
        upright = motion_blur(np.ascontiguousarray(image.transpose(1, 0, 2)), 6.0, np.pi / 2)
        assert np.abs(upright.transpose(1, 0, 2).astype(int) - found).max() <= 1

    def test_a_smaller_picture(self, faces: dict[int, list[Fitting]]) -> None:
        face = faces[5][0]
        smaller = reduced(face, 40.0)
        assert smaller.size == pytest.approx(40, rel=0.01)
        scale = smaller.image.shape[1] / face.image.shape[1]
        assert np.allclose(smaller.landmarks, face.landmarks * scale, atol=0.2)
        assert reduced(face, 2 * face.size) is face

    def test_checked_fittings(self, detector: Detector) -> None:
        """A landmarker that fails is found out, by the detector's points and by what the next frame shows."""
        image = skimage.data.astronaut()[0:240, 100:340]
        clip = Clip("a", "someone", np.stack([image] * 5), 25.0)
        landmarker = create_landmarker("dlib68")

        class Failing:
            points = 68

            def __init__(self, failure: Callable[[np.ndarray], np.ndarray]) -> None:
                self.calls = 0
                self.failure = failure

            def landmarks(self, image: np.ndarray, detection: Detection) -> np.ndarray:
                self.calls += 1
                found = landmarker.landmarks(image, detection)
                return self.failure(found) if self.calls % 2 == 0 else found

        def jaw_lost(found: np.ndarray) -> np.ndarray:
            return found + np.where(np.arange(68) < 17, 15, 0)[:, None]

        found, counts = right_fittings([clip], detector, landmarker, 2)
        assert dict(counts) == {"taken": 2}
        assert [fitting.landmarks.shape for fitting in found[5] + found[68]] == [(5, 2)] * 2 + [(68, 2)] * 2
        assert found[68][0].identity == "someone"
        for failing, reason in (
            (Failing(lambda found: found + 12), "points disagree"),
            (Failing(jaw_lost), "not stable"),
        ):
            found, counts = right_fittings([clip], detector, failing, 2)
            assert dict(counts) == {reason: 2}
            assert found == {5: [], 68: []}
        still = Clip("b", "b", skimage.data.coffee()[None, :240, :240], 0.0)
        assert dict(right_fittings([still], detector, landmarker, 2)[1]) == {"not one face": 1}


@needs_sklearn
class TestTraining:
    SETTINGS = PatchSettings(radius=20.0, cell=6, cells=3)

    def test_features(self, faces: dict[int, list[Fitting]]) -> None:
        face = faces[5][0]
        mean = mean_shape(each.landmarks for each in faces[5])
        found = fitting_features(face.image, face.landmarks, mean, self.SETTINGS)
        assert found.shape == (5 * 9 * 8 + 5,)
        assert found.dtype == np.float32
        lengths = np.linalg.norm(found[:-5].reshape(5, -1), axis=1)
        assert (lengths <= 1 + 1e-5).all()
        assert (lengths > 0.9).all()
        flat = fitting_features(np.full_like(face.image, 77), face.landmarks, mean, self.SETTINGS)
        assert not flat[:-5].any()
        distances = np.linalg.norm(aligned(face.landmarks, mean) - mean, axis=1)
        assert np.allclose(found[-5:], distances, atol=1e-5)
        assert np.allclose(flat[-5:], found[-5:])

    def test_an_edge_falls_into_the_bin_of_its_gradient(self) -> None:
        image = np.zeros((100, 100, 3), np.uint8)
        image[:, 50:] = 200  # the gradient points along x: bin 0; turned by a quarter: bin 4 of 8
        shape = np.array([[30, 30], [70, 30], [50, 50], [30, 70], [70, 70.0]])
        mean = mean_shape([shape])
        settings = PatchSettings(radius=25.3, cell=4, cells=1)
        for picture, expected in ((image, 0), (image.transpose(1, 0, 2).copy(), 4)):
            histograms = fitting_features(picture, shape, mean, settings)[:-5].reshape(5, 8)
            assert histograms[2].argmax() == expected
            assert not histograms[0].any()

    def test_a_small_set_gives_a_classifier_that_separates(
        self, points: int, faces: dict[int, list[Fitting]]
    ) -> None:
        astronaut, crowd = faces[points][0], faces[points][1:]
        shown = [
            moved(face, factor, angle) for face in crowd for factor, angle in ((1, 0), (0.9, 10), (1.1, -10))
        ]
        said: list[str] = []
        made, facts = train_classifier(shown, self.SETTINGS, seed=3, report=said.append)
        assert facts["cross_validation"]["penalty"] in fitting_training.PENALTIES
        assert facts["cross_validation"]["kept"] > 0.7
        assert len(said) == 1 + len(fitting_training.PENALTIES)
        rng = np.random.default_rng(5)
        wrong = [
            wrong_landmarks(kind, astronaut, crowd, rng)
            for kind in ("shifted", "turned", "noisy", "torn")
            for _ in range(5)
        ]
        scores = [made.score(astronaut.image, landmarks) for landmarks in wrong if landmarks is not None]
        right = made.score(astronaut.image, astronaut.landmarks)
        assert right > np.max(scores)
        assert np.mean(np.array(scores) <= 0) >= 0.9

    def test_one_seed_gives_one_classifier(self, faces: dict[int, list[Fitting]]) -> None:
        made = [
            train_classifier(faces[5], self.SETTINGS, seed=seed, report=lambda _: None)[0]
            for seed in (1, 1, 2)
        ]
        assert np.array_equal(made[0].weights, made[1].weights)
        assert not np.array_equal(made[0].weights, made[2].weights)

    def test_one_person_is_not_enough(self, faces: dict[int, list[Fitting]]) -> None:
        with pytest.raises(UsageError, match="at least two identities"):
            train_classifier([faces[5][0]] * 3, self.SETTINGS)

    def test_the_command(self, tmp_path: Path) -> None:
        data, folder = write_material(tmp_path / "data", frames=4), tmp_path / "my classifiers"
        runner = click.testing.CliRunner()
        done = runner.invoke(train_fitting, [str(data), "-o", str(folder), "--points", "5"])
        assert done.exit_code == 0, done.output
        assert "fittings: " in done.output
        assert done.output.splitlines()[-1] == str(folder / "fitting5.safetensors")
        entry = json.loads((folder / "config.json").read_text())["classifiers"]["5"]
        assert entry["training"]["seed"] == 1
        assert FittingClassifier.load(5, folder).settings == fitting_training.SETTINGS[5]

    def test_mistakes(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def failure(*arguments: str) -> str:
            runner = click.testing.CliRunner()
            done = runner.invoke(train_fitting, [*arguments, "-o", str(tmp_path / "out")])
            assert isinstance(done.exception, UsageError), done
            assert "\n" not in str(done.exception)
            return str(done.exception)

        assert "clips.tsv" in failure(str(tmp_path))
        assert "choose one of 5, 68" in failure(str(tmp_path), "--points", "7")
        find = importlib.util.find_spec
        monkeypatch.setattr(
            importlib.util, "find_spec", lambda name: None if name == "sklearn" else find(name)
        )
        assert "scikit-learn" in failure(str(tmp_path))
        assert not (tmp_path / "out").exists()
