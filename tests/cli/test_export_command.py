"""A network as an ONNX file gives what the network gives."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from fvdeblur.errors import FvdeblurError, OutputError, UsageError
from fvdeblur.networks import WindowShape
from fvdeblur.restoration import export as exporting
from fvdeblur.restoration.export import export_onnx, sample_inputs
from fvdeblur.restoration.weights import load_model

pytestmark = pytest.mark.usefixtures("small_model")

Run = Callable[..., Any]


def test_the_file_gives_what_the_network_gives(fvdeblur: Run, tmp_path: Path) -> None:
    target = tmp_path / "fvd.onnx"
    result = fvdeblur("export", "-o", target, "--json")
    assert (result.code, result.err) == (0, "")
    told = json.loads(result.out)
    assert told["bytes"] == target.stat().st_size
    assert 0 <= told["largest_difference"] < 1 / 255
    session = onnxruntime.InferenceSession(str(target), providers=["CPUExecutionProvider"])
    network, card = load_model("fvd")
    shape = WindowShape.of(network)
    assert [each.name for each in session.get_inputs()] == list(told["inputs"])
    about = session.get_modelmeta().custom_metadata_map
    assert (about["model"], about["sha256"], about["multiple"]) == ("fvd", card.sha256, str(shape.multiple))
    inputs = sample_inputs(
        shape, 3, 5 * shape.multiple, 7 * shape.multiple, seed=9
    )  # sizes never seen in exporting
    with torch.inference_mode():
        wanted = network(**inputs).numpy()
    [got] = session.run(["change"], {name: value.numpy() for name, value in inputs.items()})
    assert got.shape == wanted.shape
    assert np.abs(got - wanted).max() < 1e-4
    assert np.abs(wanted).max() > 1e-3
    assert list(tmp_path.iterdir()) == [target]
    fvdeblur("export", "-o", target).failed(2, "fvd.onnx: exists; use --overwrite")


def test_a_wrong_file_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that gives the first frame back; it is made by hand, as converting takes long."""
    shape = WindowShape.of(load_model("fvd")[0])
    kinds = {name: value.ndim for name, value in sample_inputs(shape, 1, 64, 64).items()}
    inputs = [onnx.helper.make_tensor_value_info(name, 1, [None] * ndim) for name, ndim in kinds.items()]
    three = onnx.helper.make_tensor("three", 7, [3], [3, 3, shape.frames * 3 - 6])
    nodes = [onnx.helper.make_node("Split", ["frames", "three"], ["first", "second", "rest"], axis=1)]
    outputs = [onnx.helper.make_tensor_value_info("first", 1, [None] * 4)]
    graph = onnx.helper.make_graph(nodes, "wrong", inputs, outputs, [three])
    wrong = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=10)
    monkeypatch.setattr(exporting, "convert", lambda *_: wrong)
    with pytest.raises(FvdeblurError, match="not written, as its result would differ"):
        export_onnx("fvd", tmp_path / "wrong.onnx")
    assert not list(tmp_path.iterdir())


def test_places_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="name a file"):
        export_onnx("fvd", tmp_path / "missing" / "fvd.onnx")
    with pytest.raises(UsageError, match="unknown model 'nobody'"):
        export_onnx("nobody", tmp_path / "nobody.onnx")


def test_without_the_exporter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(UsageError, match=r"fvdeblur\[export\]"):
        export_onnx("fvd", tmp_path / "fvd.onnx")
