"""A network on a device: windows of face crops in, changes of their central frames out."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from fvdeblur.errors import FvdeblurError, UsageError
from fvdeblur.flow import move_pictures, sequence_flow
from fvdeblur.networks import WindowShape
from fvdeblur.restoration.weights import ModelCard, load_model

if TYPE_CHECKING:
    from fvdeblur.morphable.reader import FaceReader
    from fvdeblur.restoration.priors import Guides

FloatArray = NDArray[np.float32]
Bytes = NDArray[np.uint8]

PRECISIONS = ("auto", "fp32", "bf16", "fp16")
_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def select_device(name: str) -> torch.device:
    """Resolve ``auto``, ``cpu`` or ``cuda[:N]``.

    Raises
    ------
    UsageError
        The name is unknown, or there is no such device.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name == "cpu":
        return torch.device("cpu")
    kind, _, number = name.partition(":")
    if kind != "cuda" or (":" in name and not number.isdecimal()):
        raise UsageError(f"unknown device {name!r}; use auto, cpu or cuda[:N]")
    if not torch.cuda.is_available():
        raise UsageError(
            f"device {name!r} was asked for, but this machine has no usable CUDA device; use cpu"
        )
    if number and int(number) >= torch.cuda.device_count():
        raise UsageError(
            f"device {name!r} does not exist; there are {torch.cuda.device_count()} CUDA devices"
        )
    return torch.device("cuda", int(number)) if number else torch.device("cuda")


def device_name(device: torch.device) -> str:
    """What a device is called in a summary."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"


def select_precision(name: str, device: torch.device) -> str:
    """Resolve ``auto``: bf16 where the device computes it natively, else fp16 on a GPU and fp32 on a CPU.

    Raises
    ------
    UsageError
        The name is unknown, or the device is a CPU and fp16 was asked for.
    """
    if name not in PRECISIONS:
        raise UsageError(f"unknown precision {name!r}; use {', '.join(PRECISIONS)}")
    if device.type == "cuda":
        if name == "auto":
            return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"
        return name
    if name == "fp16":
        raise UsageError("precision 'fp16' needs a GPU; use fp32, bf16 or auto on a CPU")
    if name == "auto":
        return "bf16" if _has_bf16_instructions() else "fp32"
    return name


def native_dtype(device: torch.device) -> torch.dtype:
    """The type of the precision ``auto``."""
    return _DTYPES[select_precision("auto", device)]


def _has_bf16_instructions() -> bool:
    if not hasattr(torch.cpu, "get_capabilities"):  # torch 2.6 has a private function for x86 alone
        return bool(getattr(torch.cpu, "_is_avx512_bf16_supported", bool)())
    capabilities = torch.cpu.get_capabilities()
    return any(bool(capabilities.get(key)) for key in ("avx512_bf16", "amx_bf16", "bf16"))


class Restorer:
    """A released network ready to run.

    Parameters
    ----------
    model
        Name of a released model.
    device
        ``auto``, ``cpu`` or ``cuda[:N]``.
    precision
        ``auto``, ``fp32``, ``bf16`` or ``fp16``.
    """

    def __init__(self, model: str = "fvd", device: str = "auto", precision: str = "auto") -> None:
        self.device = select_device(device)
        self.precision = select_precision(precision, self.device)
        exact, self.card = load_model(model)
        self._prepare(exact)

    @classmethod
    def of(
        cls, network: nn.Module, card: ModelCard, device: str = "auto", precision: str = "auto"
    ) -> Restorer:
        """Wrap a network that is already in memory, e.g. one in training."""
        restorer = cls.__new__(cls)
        restorer.device = select_device(device)
        restorer.precision = select_precision(precision, restorer.device)
        restorer.card = card
        restorer._prepare(network)
        return restorer

    def _prepare(self, exact: nn.Module) -> None:
        shape = WindowShape.of(exact)
        self.frames, self.multiple, self.takes_flow = shape.frames, shape.multiple, shape.takes_flow
        self.prior_channels, self.identity_size = shape.prior_channels, shape.identity_size
        self._exact = exact.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._network = self._exact
        if self.precision != "fp32":
            self._network = copy.deepcopy(exact).to(  # type: ignore[call-overload]
                self.device, dtype=_DTYPES[self.precision], memory_format=torch.channels_last
            )

    @property
    def device_name(self) -> str:
        """The device as a person would call it."""
        return device_name(self.device)

    @cached_property
    def reader(self) -> FaceReader | None:
        """What reads the faces that the network wants to be told of; None where it wants none."""
        if not self.prior_channels and not self.identity_size:
            return None
        from fvdeblur.morphable.reader import FaceReader

        return FaceReader(device=self.device, dtype=_DTYPES[self.precision])

    def changes(
        self, windows: Sequence[Bytes], guides: Sequence[Guides] | None = None
    ) -> list[FloatArray | None]:
        """Change of the central frame of each window: `prepare` and `compute`."""
        return self.compute(self.prepare(windows, guides))

    def prepare(
        self, windows: Sequence[Bytes], guides: Sequence[Guides] | None = None
    ) -> dict[str, torch.Tensor]:
        """What the network is given of some windows.

        Parameters
        ----------
        windows
            uint8 [frames, H, W, 3] each, R'G'B', all of one size whose sides are multiples of ``self.multiple``.
        guides
            What is known of the face of each; left out, the network does without.

        Returns
        -------
        The inputs of the network by name; each has an entry a window.
        """
        inputs = {"frames": _channels([np.concatenate(list(window), axis=2) for window in windows])}
        if self.takes_flow:
            flows = [self._flow(window) for window in windows]
            inputs["flow"] = torch.from_numpy(np.stack(flows)).flatten(1, 2)
            if self.device.type == "cpu":  # a GPU moves them faster than it is given them
                pairs = zip(windows, flows, strict=True)
                inputs["aligned"] = _channels([self._aligned(each, flow) for each, flow in pairs])
        return {**inputs, **_stacked(guides or [])}

    def compute(self, inputs: dict[str, torch.Tensor]) -> list[FloatArray | None]:
        """Change of the central frame of each window.

        Parameters
        ----------
        inputs
            As `prepare` gives them.

        Returns
        -------
        One float32 [H, W, 3] change a window; None where the network gave no finite numbers, not even in fp32.

        Raises
        ------
        FvdeblurError
            The device has too little memory for a single window. Of more, half are tried at a time.
        """
        count = len(inputs["frames"])
        try:
            results: list[FloatArray | None] = list(self._run(self._network, inputs))
        except torch.OutOfMemoryError as error:
            if count == 1:
                height, width = inputs["frames"].shape[-2:]
                raise FvdeblurError(
                    f"{self.device_name} has too little free memory for a face of {width}x{height} pixels; "
                    "close other programs, or give --device cpu"
                ) from error
            results = []
        if not results:  # outside of the handler, which holds what has to be freed
            if self.device.type == "cuda":
                torch.cuda.empty_cache()
            for part in (slice(count // 2), slice(count // 2, None)):
                results += self.compute({name: value[part] for name, value in inputs.items()})
            return results
        for i, change in enumerate(results):
            if change is not None and not np.isfinite(change).all():
                again = self._run(self._exact, {name: value[i : i + 1] for name, value in inputs.items()})[0]
                results[i] = again if np.isfinite(again).all() else None
        return results

    def _flow(self, pictures: Bytes) -> NDArray[np.float16]:
        """Flow from the central frame to the others, float16 [frames - 1, 2, H/4, W/4]."""
        middle = self.frames // 2
        return sequence_flow(pictures, [(middle, other) for other in range(self.frames) if other != middle])

    def _aligned(self, pictures: Bytes, flows: NDArray[np.float16]) -> Bytes:
        """The frames but the central one, moved onto that: uint8 [H, W, 3 * (frames - 1)]."""
        middle = self.frames // 2
        return move_pictures([*pictures[:middle], *pictures[middle + 1 :]], flows)

    @torch.inference_mode()
    def _run(self, network: nn.Module, inputs: dict[str, torch.Tensor]) -> list[FloatArray]:
        dtype = next(network.parameters()).dtype
        given = {name: value.to(self.device) for name, value in inputs.items()}
        for name in {"prior", "identity"} & set(given):  # flow stays in its own type: see FVD
            given[name] = given[name].to(dtype)
        if "aligned" in given:
            given["aligned"] = given["aligned"].to(dtype) / 255
        frames = given.pop("frames").to(dtype=dtype, memory_format=torch.channels_last) / 255
        change = network(frames, **given).float().permute(0, 2, 3, 1).contiguous().cpu().numpy()
        return list(change)


def _channels(pictures: Sequence[NDArray[Any]]) -> torch.Tensor:
    """Pictures [H, W, C] each as [B, C, H, W]; their pixels stay where they are."""
    return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2)


def _stacked(guides: Sequence[Guides]) -> dict[str, torch.Tensor]:
    """The inputs ``prior`` and ``identity`` of a batch: those that are known."""
    priors = [guide.prior for guide in guides if guide.prior is not None]
    identities = [guide.identity for guide in guides if guide.identity is not None]
    parts = {"prior": priors, "identity": identities}
    return {name: torch.stack(values) for name, values in parts.items() if values}
