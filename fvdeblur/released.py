"""What is released with the package: a folder for each, with ``config.json`` and ``weights.safetensors``."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import fvdeblur
from fvdeblur.errors import InputError, UsageError

if TYPE_CHECKING:
    from torch import Tensor

CONFIG, WEIGHTS, CARD = "config.json", "weights.safetensors", "README.md"

_OTHERS = {
    "classifiers": "classifier of landmark fittings, for mine",
    "regressor": "reads the 3D face off a blurred one",
    "morphable_model": "3D morphable model of faces",
}
"""What is released besides networks, by the key that its configuration has."""


@dataclass(frozen=True)
class FileCheck:
    """Whether a released file is the one that was released.

    Attributes
    ----------
    file
        Name of the file.
    sha256
        Its digest; None where it cannot be read.
    ok
        Whether that is the digest of the configuration.
    """

    file: str
    sha256: str | None
    ok: bool


@dataclass(frozen=True)
class Released:
    """Something released with the package.

    Attributes
    ----------
    name
        Name of its folder.
    folder
        The folder.
    network
        Name of the network, for `fvdeblur.networks.create`; None of what is no network.
    kind
        What it is.
    digests
        SHA-256 of its files, by name.
    """

    name: str
    folder: Path
    network: str | None
    kind: str
    digests: dict[str, str]

    @property
    def size(self) -> int:
        """Bytes of its files that are there."""
        return sum(
            path.stat().st_size for path in (self.folder / file for file in self.digests) if path.exists()
        )

    def card(self) -> str:
        """Its card, in Markdown.

        Raises
        ------
        InputError
            It is missing.
        """
        path = self.folder / CARD
        try:
            return path.read_text(encoding="utf-8")
        except OSError as error:
            raise InputError(f"{path}: the card is missing ({error.strerror}); reinstall fvdeblur") from error

    def verify(self) -> list[FileCheck]:
        """Compare its files with what was released."""
        checks = []
        for file, expected in self.digests.items():
            try:
                found = hashlib.sha256((self.folder / file).read_bytes()).hexdigest()
            except OSError:
                found = None
            checks.append(FileCheck(file, found, found == expected))
        return checks


def models_folder() -> Path:
    """Folder of all that is released: inside the installed package, or beside it in a source tree."""
    package = Path(fvdeblur.__file__).parent
    installed = package / "models"
    return installed if installed.is_dir() else package.parent / "models"


def names_of_networks() -> list[str]:
    """Names of the networks that are released; the classifiers and the regressor beside them are none.

    A configuration that cannot be read counts as one of a network: loading that says what is wrong with it.
    """
    return sorted(path.parent.name for path in models_folder().glob(f"*/{CONFIG}") if not _is_other(path))


def _is_other(path: Path) -> bool:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(values, dict) and not _OTHERS.keys().isdisjoint(values)


def released() -> list[Released]:
    """Everything that is released, by name.

    Raises
    ------
    InputError
        A configuration is damaged.
    """
    return [find_released(path.parent.name) for path in sorted(models_folder().glob(f"*/{CONFIG}"))]


def find_released(name: str) -> Released:
    """Something released, by its name.

    Raises
    ------
    UsageError
        There is nothing of that name; the text lists what there is.
    InputError
        Its configuration is damaged.
    """
    names = sorted(path.parent.name for path in models_folder().glob(f"*/{CONFIG}"))
    if name not in names:
        raise UsageError(f"unknown model {name!r}; there are: {', '.join(names)}")
    values = read_config(name)
    other = next((key for key in _OTHERS if key in values), None)
    try:
        if other == "classifiers":
            digests = {
                f"{name}{points}.safetensors": each["sha256"]
                for points, each in values["classifiers"].items()
            }
        else:
            file = values["morphable_model"] if other == "morphable_model" else WEIGHTS
            digests = {file: values["sha256"]}
        kind = "deblurs faces" if other is None else _OTHERS[other]
        return Released(name, models_folder() / name, values.get("network"), kind, digests)
    except (KeyError, TypeError, AttributeError) as error:
        path = models_folder() / name / CONFIG
        raise InputError(
            f"{path}: the model's configuration is damaged ({error}); reinstall fvdeblur"
        ) from error


def read_config(name: str) -> dict[str, Any]:
    """Read the configuration of something released.

    Raises
    ------
    InputError
        It is missing or damaged.
    """
    path = models_folder() / name / CONFIG
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(values, dict):
            raise ValueError("no object")
    except (OSError, ValueError) as error:
        raise InputError(
            f"{path}: the model's configuration is damaged ({error}); reinstall fvdeblur"
        ) from error
    return values


def read_weights(name: str, sha256: str) -> dict[str, Tensor]:
    """Read released weights as float32 on the CPU, after a check of their SHA-256.

    Raises
    ------
    InputError
        They are missing or damaged.
    """
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load

    path = models_folder() / name / WEIGHTS
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: the weights are missing ({error.strerror}); reinstall fvdeblur") from error
    if hashlib.sha256(data).hexdigest() != sha256:
        raise InputError(f"{path}: the weights are damaged (SHA-256 differs); reinstall fvdeblur")
    try:
        return {key: value.to(torch.float32) for key, value in load(data).items()}
    except SafetensorError as error:
        raise do_not_fit(name) from error


def do_not_fit(name: str) -> InputError:
    """The error of weights that are not those of the network that their configuration names."""
    path = models_folder() / name / WEIGHTS
    return InputError(f"{path}: the weights do not fit their configuration; reinstall fvdeblur")
