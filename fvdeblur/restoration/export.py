"""Released networks as ONNX files, for other programs and other machines."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from torch import Tensor

from fvdeblur import __version__
from fvdeblur.errors import FvdeblurError, OutputError, UsageError
from fvdeblur.flow import FLOW_STEP
from fvdeblur.networks import WindowShape
from fvdeblur.restoration.weights import load_model
from fvdeblur.whole_file import whole_file

MOST_DIFFERENCE = 1 / 255
"""Largest difference of the change that a written file may give from that of the network."""

CHECKED_SIDES = ((64, 64), (128, 96), (256, 256))
"""Heights and widths that a written file is compared at."""


@dataclass(frozen=True)
class Export:
    """A network that was written.

    Attributes
    ----------
    path
        The file.
    inputs
        Its inputs with what they are, in their order.
    difference
        Largest difference from the network's own output, on R'G'B' in 0..1.
    size
        Bytes of the file.
    """

    path: Path
    inputs: dict[str, str]
    difference: float
    size: int


def export_onnx(model: str, path: str | os.PathLike[str], *, overwrite: bool = False) -> Export:
    """Write a released network as one ONNX file, and compare what it gives with what the network gives.

    Batch, height and width may be of any size (the sides multiples of what the file's metadata says). The output is
    ``change``, float32 [B, 3, H, W], to be added to the central frame.

    Parameters
    ----------
    model
        Name of a released model.
    path
        The file to write.
    overwrite
        Whether a file that is there already is replaced.

    Raises
    ------
    UsageError
        There is no such model; the file exists; or the exporter is not installed.
    InputError
        The model's files are damaged.
    OutputError
        The file cannot be written.
    FvdeblurError
        The file gives something else than the network.
    """
    path = Path(path)
    if os.path.lexists(path) and not overwrite:
        raise UsageError(f"{path}: exists; use --overwrite or another name")
    if path.is_dir() or not path.parent.is_dir():
        raise OutputError(f"{path}: is a folder, or lies in none; name a file")
    try:
        import onnxscript  # noqa: F401  torch's exporter needs it
    except ImportError as error:
        raise UsageError('exporting needs an extra: pip install "fvdeblur[export]"') from error
    network, card = load_model(model)
    shape = WindowShape.of(network)
    meaning = _meanings(shape)
    # A size of 1 would be taken for fixed, equal sizes for the same.
    side = max(8 * shape.multiple, card.smallest_side)
    given = sample_inputs(shape, 2, side, side + 4 * shape.multiple)
    data = convert(network, given)
    data.graph.output[0].name, renamed = "change", data.graph.output[0].name
    for node in data.graph.node:
        node.output[:] = ["change" if name == renamed else name for name in node.output]
        node.input[:] = ["change" if name == renamed else name for name in node.input]
    onnx.helper.set_model_props(
        data,
        {
            "model": model,
            "sha256": card.sha256,
            "fvdeblur": __version__,
            "multiple": str(shape.multiple),
            "largest_side": str(card.largest_side),
            "smallest_side": str(card.smallest_side),
            "output": "change of the central frame, float32 [B, 3, H, W], R'G'B' in 0..1",
            **{f"input {name}": text for name, text in meaning.items()},
        },
    )
    difference = _difference(network, shape, data)
    if not difference <= MOST_DIFFERENCE:
        raise FvdeblurError(
            f"{path}: not written, as its result would differ by {difference * 255:.2f} of 255 from the network's"
        )
    with whole_file(path) as partial:
        partial.write_bytes(data.SerializeToString())
    return Export(path, meaning, difference, path.stat().st_size)


def sample_inputs(
    shape: WindowShape, batch: int, height: int, width: int, seed: int = 0
) -> dict[str, Tensor]:
    """Random inputs that a network of this shape takes, float32, by name."""
    generator = torch.Generator().manual_seed(seed)

    def noise(*sides: int) -> Tensor:
        return torch.randn(sides, generator=generator)

    inputs = {"frames": torch.rand((batch, 3 * shape.frames, height, width), generator=generator)}
    if shape.takes_flow:
        inputs["flow"] = 3 * noise(batch, 2 * (shape.frames - 1), height // FLOW_STEP, width // FLOW_STEP)
    if shape.prior_channels:
        inputs["prior"] = noise(batch, shape.prior_channels, height, width).clamp(-1, 1)
    if shape.identity_size:
        inputs["identity"] = noise(batch, shape.identity_size)
    return inputs


def _meanings(shape: WindowShape) -> dict[str, str]:
    texts = {
        "frames": f"float32 [B, {3 * shape.frames}, H, W], {shape.frames} consecutive frames, R'G'B' in 0..1",
        "flow": f"float32 [B, {2 * (shape.frames - 1)}, H/{FLOW_STEP}, W/{FLOW_STEP}], optical flow from the central "
        "frame to the others, x and y in pixels",
        "prior": f"float32 [B, {shape.prior_channels}, H, W], the rendered face: R'G'B' in 0..1, then mask and normals "
        "where there are more channels",
        "identity": f"float32 [B, {shape.identity_size}], identity coefficients of the morphable model",
    }
    return {name: texts[name] for name in sample_inputs(shape, 1, shape.multiple, shape.multiple)}


def convert(network: torch.nn.Module, given: dict[str, Tensor]) -> onnx.ModelProto:
    """A network as ONNX, every size but the channels free.

    Parameters
    ----------
    network
        On the processor, in single precision.
    given
        Inputs to trace it with, by name.
    """
    free = torch.export.Dim.DYNAMIC
    sizes = {
        name: {0: free, 2: free, 3: free} if value.ndim == 4 else {0: free} for name, value in given.items()
    }
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)  # the exporter talks a lot
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            program = torch.onnx.export(
                network, kwargs=given, dynamo=True, dynamic_shapes=sizes, verbose=False, optimize=False
            )
    finally:
        logging.disable(before)
    assert program is not None
    converted = program.model_proto
    assert isinstance(converted, onnx.ModelProto)
    return converted


def _difference(network: torch.nn.Module, shape: WindowShape, data: onnx.ModelProto) -> float:
    """Largest difference between what the network and ONNX Runtime give for the same inputs."""
    session = onnxruntime.InferenceSession(data.SerializeToString(), providers=["CPUExecutionProvider"])
    largest = 0.0
    for number, (height, width) in enumerate(CHECKED_SIDES):
        inputs = sample_inputs(shape, 1 + number % 2, height, width, seed=number)
        with torch.inference_mode():
            wanted = network(**inputs).numpy()
        [got] = session.run(["change"], {name: value.numpy() for name, value in inputs.items()})
        difference = np.abs(np.asarray(got) - wanted)
        largest = max(largest, float(difference.max()) if np.isfinite(difference).all() else float("inf"))
    return largest
