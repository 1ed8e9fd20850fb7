"""Embeddings of real faces, and what is said where they cannot be had."""

from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from fvdeblur.errors import FvdeblurError, UsageError
from fvdeblur.faces import Detection, create_detector
from fvdeblur.faces.identity import (
    ARCFACE_POINTS,
    DlibEmbedder,
    InsightfaceEmbedder,
    arcface_alignment,
    create_embedder,
    robust_mean,
    unit,
)


@pytest.fixture(scope="module")
def faces(crowd: np.ndarray) -> list[Detection]:
    return sorted(create_detector("centerface", threads=1).detect(crowd), key=lambda found: found.box[0])


@pytest.fixture(autouse=True)
def no_pack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INSIGHTFACE_HOME", str(tmp_path / "none"))


def moved(face: Detection, by: float) -> Detection:
    assert face.landmarks is not None
    return Detection(face.box + np.float32(by), face.score, face.landmarks + np.float32(by))


def test_dlib_knows_people_again(crowd: np.ndarray, faces: list[Detection]) -> None:
    """Darker, softer and smaller, a face is nearer to itself than to any other of the group."""
    embedder = create_embedder("auto")
    assert isinstance(embedder, DlibEmbedder)
    assert embedder.name.startswith("dlib (dlib_face_recognition")
    known = np.array([embedder.embed(crowd, face) for face in faces])
    assert known.shape == (6, 128)
    np.testing.assert_allclose(np.linalg.norm(known, axis=1), 1, atol=1e-5)
    alike = known @ known.T
    assert alike[np.triu_indices(6, 1)].max() < embedder.threshold
    assert alike[np.triu_indices(6, 1)].max() < embedder.photo_threshold
    other = cv2.convertScaleAbs(cv2.GaussianBlur(crowd, (0, 0), 1.5), alpha=0.75)
    for number, face in enumerate(faces[:3]):
        again = known @ embedder.embed(other, moved(face, 1.0))
        assert again.argmax() == number
        assert again[number] > embedder.photo_threshold


def test_what_is_missing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="unknown embedder 'eyes'; choose one of auto, insightface, dlib"):
        create_embedder("eyes")
    with pytest.raises(UsageError, match="no recognition model"):
        create_embedder("insightface")
    monkeypatch.setattr("fvdeblur.faces.identity.missing_packages", lambda: ["dlib-bin"])
    assert create_embedder("auto") is None
    with pytest.raises(
        UsageError, match=r'the embedder dlib needs dlib-bin: pip install "fvdeblur\[identity\]"'
    ):
        create_embedder("dlib")


def write_recogniser(path: Path, side: int = 112) -> Path:
    """A network that gives the means of four stripes of its picture."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = helper.make_tensor_value_info("data", TensorProto.FLOAT, ["n", 3, side, side])
    answer = helper.make_tensor_value_info("out", TensorProto.FLOAT, ["n", 12])
    shape = numpy_helper.from_array(np.array([-1, 12], np.int64), "shape")
    pool = {"kernel_shape": [side // 4, side], "strides": [side // 4, side]}
    nodes = [
        helper.make_node("AveragePool", ["data"], ["stripes"], **pool),
        helper.make_node("Reshape", ["stripes", "shape"], ["out"]),
    ]
    graph = helper.make_graph(nodes, "recogniser", [image], [answer], [shape])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), str(path))
    return path


def test_a_pack_is_used_where_it_lies(tmp_path: Path, crowd: np.ndarray, faces: list[Detection]) -> None:
    write_recogniser(tmp_path / "models" / "small" / "w600k_mbf.onnx")
    embedder = create_embedder("auto", threads=1, model_root=tmp_path)
    assert isinstance(embedder, InsightfaceEmbedder)
    assert embedder.name == "insightface (small/w600k_mbf.onnx)"
    face = faces[2]
    found = embedder.embed(crowd, face)
    # The same by hand: the aligned picture in R'G'B' (which insightface makes of B'G'R') from -1 to 1, by stripes.
    matrix = arcface_alignment(face)
    matrix[:, 2] += matrix[:, :2].sum(axis=1) / 2 - 0.5
    aligned = cv2.warpAffine(crowd, matrix, (112, 112), borderMode=cv2.BORDER_REPLICATE).astype(np.float64)
    stripes = ((aligned - 127.5) / 127.5).reshape(4, 28, 112, 3).mean(axis=(1, 2))
    assert found @ unit(stripes.T.ravel()) > 0.995
    assert found @ unit(stripes[:, ::-1].T.ravel()) < found @ unit(stripes.T.ravel())


def test_a_wrong_or_broken_pack(tmp_path: Path) -> None:
    path = write_recogniser(tmp_path / "w600k_r50.onnx", 128)
    with pytest.raises(FvdeblurError, match=r"w600k_r50\.onnx is not a recognition model"):
        create_embedder("insightface", threads=1, model_root=tmp_path)
    path.write_bytes(b"nothing")
    with pytest.raises(FvdeblurError, match="cannot load the identity model"):
        create_embedder("insightface", threads=1, model_root=tmp_path)


def test_alignment_brings_the_points_where_they_are_expected() -> None:
    points = (ARCFACE_POINTS * 2.5 + 30).astype(np.float32)
    matrix = arcface_alignment(Detection(np.float32([30, 30, 310, 310]), 1.0, points))
    np.testing.assert_allclose(points @ matrix[:, :2].T + matrix[:, 2], ARCFACE_POINTS, atol=1e-3)
    by_box = arcface_alignment(Detection(np.float32([100, 100, 180, 200]), 1.0, None))
    middle = by_box[:, :2] @ np.array([140, 150]) + by_box[:, 2]
    assert np.abs(middle - 56).max() < 12


def test_a_robust_mean_passes_over_a_stranger() -> None:
    own = [unit(np.array([1, small, -small])) for small in (0.0, 0.05, 0.1, -0.05)]
    mean = robust_mean(np.array([*own, unit(np.array([0, 0, 1.0]))]))
    assert mean @ own[0] > 0.995
    assert np.linalg.norm(mean) == pytest.approx(1)
    np.testing.assert_allclose(robust_mean(np.array(own[:1])), own[0], atol=1e-6)
