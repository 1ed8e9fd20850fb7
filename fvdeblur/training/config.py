"""The training recipe: one TOML file."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import tomllib

from fvdeblur.datasets import BlurSettings
from fvdeblur.errors import UsageError


@dataclass(frozen=True)
class TrainConfig:
    """Everything that determines a training run.

    Attributes
    ----------
    network, network_options
        Registered name and constructor arguments.
    data
        Folder with ``clips.tsv``, ``clips/`` and, where stills are used, ``portraits.tsv`` and ``portraits/``.
    stills_share
        Share of segments made from stills.
    steps, batch, patch
        Number of optimiser steps, patches a step, side of a patch in pixels.
    learning_rate, final_learning_rate, warmup, weight_decay
        AdamW with a linear warm-up of ``warmup`` steps and a cosine schedule down to the final rate.
    gradient_clip
        Largest norm of the gradient.
    ema
        Decay of the exponential moving average of the weights.
    frequency_weight, log_error_weight
        Weights of the frequency loss and of the logarithmic error beside the Charbonnier loss.
    pool, patches_per_segment
        Segments held at once, and patches drawn before one of them is replaced.
    workers
        Processes that make segments (0: made by the trainer itself, which is right on a GPU).
    seed
        Seed of everything random.
    log_every, save_every
        Steps between log lines, and between checkpoints with sample pictures.
    blur
        Ranges of the blur.
    """

    network: str = "fvd"
    network_options: dict[str, Any] = field(default_factory=dict)
    data: str = "."
    stills_share: float = 0.4
    steps: int = 60000
    batch: int = 8
    patch: int = 128
    learning_rate: float = 6e-4
    final_learning_rate: float = 1e-6
    warmup: int = 300
    weight_decay: float = 1e-4
    gradient_clip: float = 0.15
    ema: float = 0.999
    frequency_weight: float = 0.05
    log_error_weight: float = 0.05
    pool: int = 64
    patches_per_segment: int = 64
    workers: int = 1
    seed: int = 0
    log_every: int = 100
    save_every: int = 1000
    blur: BlurSettings = field(default_factory=BlurSettings)


def load_config(path: str | Path, **overrides: Any) -> TrainConfig:
    """Read a recipe; keyword arguments that are not None replace its values.

    Raises
    ------
    UsageError
        The file is missing, is not TOML, or holds an unknown key or a value of the wrong kind.
    """
    path = Path(path)
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror})") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: is not valid TOML ({error})") from error
    values.update({key: value for key, value in overrides.items() if value is not None})
    blur = values.pop("blur", {})
    _check(path, values, TrainConfig)
    _check(path, blur, BlurSettings, "blur.")
    blur = {key: tuple(value) if isinstance(value, list) else value for key, value in blur.items()}
    config = TrainConfig(**values, blur=BlurSettings(**blur))
    if config.patch > config.blur.size:
        raise UsageError(
            f"{path}: patch ({config.patch}) must not be larger than blur.size ({config.blur.size})"
        )
    return config


def _check(path: Path, values: dict[str, Any], kind: type, prefix: str = "") -> None:
    defaults = kind()
    known = {item.name for item in dataclasses.fields(kind)} - {"blur"}
    for key, value in values.items():
        if key not in known:
            raise UsageError(f"{path}: unknown key {prefix + key!r}; known are: {', '.join(sorted(known))}")
        default = getattr(defaults, key)
        expected: tuple[type, ...] = (type(default),)
        if isinstance(default, float):
            expected = (float, int)
        elif isinstance(default, tuple):
            expected = (list, tuple)
        if not isinstance(value, expected) or (isinstance(value, bool) and not isinstance(default, bool)):
            raise UsageError(f"{path}: {prefix + key} must be {type(default).__name__}, not {value!r}")
