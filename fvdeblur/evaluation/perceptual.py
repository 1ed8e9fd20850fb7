"""Distances between pictures in the features of networks: LPIPS and d_VGG, where their weights lie on the disk.

Nothing of these networks is shipped or downloaded. They are read from a folder, as safetensors:

==================== =============================================================================================
file                 tensors
==================== =============================================================================================
lpips.safetensors    AlexNet of torchvision, ``features.0.weight``, ``.bias`` to ``features.10``, and the linear
                     layers of LPIPS 0.1, ``lin0.model.1.weight`` to ``lin4``
vggface.safetensors  the convolutions of VGGFace, ``conv1_1.weight``, ``.bias`` to ``conv5_3``, for R'G'B' in 0..255
                     less `fvdeblur.networks.recognition.VGG_MEAN`
==================== =============================================================================================
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from fvdeblur.errors import InputError, UsageError
from fvdeblur.faces.geometry import square_inside
from fvdeblur.networks.recognition import VGGFace

Frames = NDArray[np.uint8]
Box = tuple[int, int, int, int]
Distance = Callable[[Tensor, Tensor], Tensor]

SIDE = 128
"""Pixels that the square around a face is brought to; the size of the faces of Jung et al. 2022."""

BATCH = 8


class LearnedSimilarity(nn.Module):
    """LPIPS 0.1 on AlexNet (Zhang et al. 2018, equation 1): weighted squared distances of features of unit length."""

    LAYERS = (
        (0, 3, 64, 11, 4, 2),
        (3, 64, 192, 5, 1, 2),
        (6, 192, 384, 3, 1, 1),
        (8, 384, 256, 3, 1, 1),
        (10, 256, 256, 3, 1, 1),
    )
    """Number, inputs, outputs, kernel, stride and padding of each convolution; pooling comes before 3 and 6."""

    SHIFT, SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)
    """Of R'G'B' in -1..1."""

    def __init__(self) -> None:
        super().__init__()
        for number, inputs, outputs, kernel, stride, padding in self.LAYERS:
            self.add_module(f"features_{number}", nn.Conv2d(inputs, outputs, kernel, stride, padding))
        for number, (_, _, outputs, *_) in enumerate(self.LAYERS):
            self.add_module(f"lin{number}", nn.Conv2d(outputs, 1, 1, bias=False))

    @staticmethod
    def named(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Weights under the names of this module."""
        return {
            name.replace("features.", "features_").replace(".model.1.", "."): value
            for name, value in weights.items()
        }

    def forward(self, one: Tensor, other: Tensor) -> Tensor:
        """Distances float [B] of pictures float [B, 3, S, S], R'G'B' in 0..1."""
        shift, scale = (one.new_tensor(values)[:, None, None] for values in (self.SHIFT, self.SCALE))
        x = (torch.cat([one, other]) * 2 - 1 - shift) / scale
        total = one.new_zeros(len(one))
        for number, (layer, *_) in enumerate(self.LAYERS):
            x = functional.max_pool2d(x, 3, 2) if layer in (3, 6) else x
            x = functional.relu(self.get_submodule(f"features_{layer}")(x))
            unit = x / (x.square().sum(1, keepdim=True).sqrt() + 1e-10)
            apart = (unit[: len(one)] - unit[len(one) :]).square()
            total = total + self.get_submodule(f"lin{number}")(apart).mean(dim=(1, 2, 3))
        return total


class VGGFaceDistance(VGGFace):
    """d_VGG of Jung et al. 2022, section 4.2: the Euclidean distance of VGGFace's features behind its last pooling.

    The paper names neither the layer nor the norm; these are those of the works that it compares with.
    """

    def __init__(self) -> None:
        super().__init__(blocks=5)

    def distance(self, one: Tensor, other: Tensor) -> Tensor:
        """Distances float [B] of pictures float [B, 3, S, S], R'G'B' in 0..1."""
        last = functional.max_pool2d(self.stages(torch.cat([one, other]))[-1], 2)
        return (last[: len(one)] - last[len(one) :]).flatten(1).norm(dim=1)


def read_distances(folder: str | Path | None) -> dict[str, Distance]:
    """The distances whose networks lie in a folder: ``lpips``, ``d_vgg``; None: none.

    Raises
    ------
    UsageError
        There is no such folder.
    InputError
        A file does not hold the network that its name says.
    """
    if folder is None:
        return {}
    if not Path(folder).is_dir():
        raise UsageError(
            f"{folder}: is no folder; --networks takes one with lpips.safetensors or vggface.safetensors"
        )
    found: dict[str, Distance] = {}
    learned, vggface = (Path(folder) / f"{name}.safetensors" for name in ("lpips", "vggface"))
    if learned.is_file():
        similarity = LearnedSimilarity()
        _fill(similarity, learned, LearnedSimilarity.named)
        found["lpips"] = similarity
    if vggface.is_file():
        features = VGGFaceDistance()
        _fill(features, vggface, dict)
        found["d_vgg"] = features.distance
    return found


def _fill(network: nn.Module, path: Path, named: Callable[[Mapping[str, Tensor]], dict[str, Tensor]]) -> None:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        weights = named(load_file(path))
        network.load_state_dict({name: weights[name].float() for name in network.state_dict()})
    except (OSError, RuntimeError, SafetensorError) as error:
        raise InputError(f"{path}: cannot be read ({textwrap.shorten(str(error), 120)})") from error
    except KeyError as error:
        raise InputError(
            f"{path}: holds no {error}; see fvdeblur.evaluation.perceptual for what it must hold"
        ) from error
    network.eval().requires_grad_(False)


@torch.inference_mode()
def measure_distances(
    distances: Mapping[str, Distance], frames: Frames, truth: Frames, boxes: Sequence[Box]
) -> dict[str, NDArray[np.float64]]:
    """Distances of the faces of frames from the true ones, float64 [T] each; both uint8 [T, H, W, 3], R'G'B'.

    Faces are the squares around the boxes, as far as the picture allows, brought to `SIDE` pixels.
    """
    if not distances:
        return {}
    pairs = [
        torch.stack([_square(frame, box) for frame, box in zip(each, boxes, strict=True)])
        for each in (frames, truth)
    ]
    return {
        name: np.concatenate(
            [
                distance(*(pictures[k : k + BATCH] for pictures in pairs)).double().numpy()
                for k in range(0, len(frames), BATCH)
            ]
        )
        for name, distance in distances.items()
    }


def _square(frame: Frames, box: Box) -> Tensor:
    """The square around a box of a frame, float32 [3, SIDE, SIDE] in 0..1."""
    cut = frame[square_inside(np.array(box, np.float64), 1.0, frame.shape[1], frame.shape[0])]
    how = cv2.INTER_AREA if len(cut) > SIDE else cv2.INTER_CUBIC
    resized = cv2.resize(cut, (SIDE, SIDE), interpolation=how)
    return torch.from_numpy(resized).permute(2, 0, 1).float() / 255
