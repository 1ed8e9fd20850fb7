"""The training recipe: one TOML file."""

from __future__ import annotations

import dataclasses
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from fvdeblur.datasets import BlurSettings
from fvdeblur.datasets.protocols import PROTOCOLS
from fvdeblur.errors import UsageError
from fvdeblur.training import losses

OPTIMISERS = ("muon", "adam", "sgd")
SCHEDULES = ("cosine", "steps")


@dataclass(frozen=True)
class LoopConfig:
    """What every training run is told.

    Attributes
    ----------
    network, network_options
        Registered name and constructor arguments.
    data
        Folder of the material.
    steps, batch
        Number of optimiser steps, samples a step.
    optimiser
        ``muon`` (AdamW for biases), or for everything ``adam``, as in Ren et al. 2019, section 4.1, or ``sgd`` with
        momentum, as in Chrysos & Zafeiriou 2017, section 5.1.
    learning_rate, weight_decay
        Highest rate, and the decay of the weights (decoupled from the gradient, but for ``sgd``).
    schedule
        How the rate goes on after a linear warm-up of ``warmup`` steps: ``cosine`` down to ``final_learning_rate``
        at the last step, or ``steps``, times ``decay`` every ``decay_steps`` steps, as in the papers: 0.3 in Ren et
        al. 2019, 0.5 in Chrysos & Zafeiriou 2017, 0.99 an epoch in Jung et al. 2022.
    final_learning_rate
        Of the cosine.
    decay, decay_steps
        Of the steps.
    warmup
        Of both.
    gradient_clip
        Largest norm of the gradient (``inf`` for none).
    ema
        Decay of the exponential moving average of the weights.
    pool
        Blurred pieces of material held at once.
    workers
        Processes that make them (0: made by the trainer itself, which is right on a GPU).
    seed
        Seed of everything random.
    log_every, save_every, validate_every
        Steps between log lines, between checkpoints with pictures, and between validations (0: none).
    """

    network: str = "fvd"
    network_options: dict[str, Any] = field(default_factory=dict)
    data: str = "."
    steps: int = 60000
    batch: int = 8
    optimiser: str = "muon"
    learning_rate: float = 1.5e-3
    schedule: str = "cosine"
    final_learning_rate: float = 1e-5
    decay: float = 0.3
    decay_steps: int = 50000
    warmup: int = 300
    weight_decay: float = 1e-4
    gradient_clip: float = 0.15
    ema: float = 0.999
    pool: int = 64
    workers: int = 1
    seed: int = 0
    log_every: int = 100
    save_every: int = 1000
    validate_every: int = 2000

    def rules(self) -> Iterator[tuple[bool, str]]:
        """Whether each rule that the values must obey holds, and its text."""
        for name in ("steps", "batch", "pool", "decay_steps", "log_every", "save_every"):
            yield getattr(self, name) >= 1, f"{name} must be at least 1"
        for name in ("workers", "warmup", "seed", "validate_every"):
            yield getattr(self, name) >= 0, f"{name} must not be negative"
        yield 0 <= self.ema < 1, "ema must be at least 0 and below 1"
        yield 0 < self.decay <= 1, "decay must be above 0 and at most 1"
        yield self.optimiser in OPTIMISERS, f"optimiser must be one of {', '.join(OPTIMISERS)}"
        yield self.schedule in SCHEDULES, f"schedule must be one of {', '.join(SCHEDULES)}"


@dataclass(frozen=True)
class TrainConfig(LoopConfig):
    """Everything that determines the training of a network that deblurs.

    ``data`` is a folder with ``clips.tsv``, ``clips/`` and, where stills are used, ``portraits.tsv`` and
    ``portraits/``, or a dataset with its index.

    A network with ``prior_channels`` or ``identity_size`` is told of the face that `regressor` reads off the blurred
    frames of a segment (`fvdeblur.training.guides`). Its segments must show the whole face, which should fill about
    half of them: with faces of 196 pixels in clips of 352, a ``blur.size`` of 224 to 288 with ``blur.scale`` of
    1.0 to 1.3.

    Attributes
    ----------
    stills_share
        Share of segments made from stills.
    patch
        Side of a patch in pixels.
    loss
        The main loss: ``charbonnier``; ``euclidean``, equation (4) of Ren et al. 2019; ``huber`` and ``huber-norm``,
        equation (3) of Chrysos & Zafeiriou 2017 of each sample and as printed; ``absolute``, equation (7) of Jung et
        al. 2022.
    frequency_weight, log_error_weight
        Weights of the frequency loss and of the logarithmic error beside the main loss.
    prior_weight, adversarial_weight
        Weights of the prior loss and of the adversarial loss of Jung et al. 2022, equation (10), for a network that
        estimates deep features (`fvdeblur.training.adversarial`); 0: none.
    perceptual_weight
        Weight of the squared distance between deep features of the restored and of the sharp patch
        (`fvdeblur.training.losses.perceptual`), for any network; 0: none.
    recogniser
        Weights of the face recognition network that these features come from
        (`fvdeblur.networks.recognition`). A relative path is one in the folder of the material.
    discriminator_learning_rate
        Of the discriminator's Adam; it falls as that of the network does.
    discriminator_attention
        Whether the discriminator weighs channels, and the prior loss with it.
    patches_per_segment
        Patches drawn before one segment of the pool is replaced.
    blur
        Ranges of the blur.
    colour_change
        How far the colours of a segment may lie from the material's, 0 to 0.5 (`fvdeblur.training.colours`).
    regressor
        Weights of the regressor (``light``) that reads the faces; empty for the released one.
    prior_dropout
        Share of patches whose rendered face and identity vector are zero, so that the network works without them.
    photograph_share
        Share of patches whose window is the central frame alone, repeated, as a photograph gives it.
    protocols
        Shares of segments that named protocols blur instead (``fvdeblur.datasets.protocols``), by name.
    """

    stills_share: float = 0.4
    patch: int = 128
    loss: str = "charbonnier"
    frequency_weight: float = 0.05
    log_error_weight: float = 0.05
    prior_weight: float = 0.0
    adversarial_weight: float = 0.0
    perceptual_weight: float = 0.0
    recogniser: str = "nets/mobilefacenet-casia.ckpt"
    discriminator_learning_rate: float = 1e-5
    discriminator_attention: bool = True
    patches_per_segment: int = 64
    colour_change: float = 0.0
    regressor: str = ""
    prior_dropout: float = 0.15
    photograph_share: float = 0.0
    blur: BlurSettings = field(default_factory=BlurSettings)
    protocols: dict[str, float] = field(default_factory=dict)

    def rules(self) -> Iterator[tuple[bool, str]]:
        """Whether each rule that the values must obey holds, and its text."""
        yield from super().rules()
        for name in ("patch", "patches_per_segment"):
            yield getattr(self, name) >= 1, f"{name} must be at least 1"
        for name in ("stills_share", "prior_dropout", "photograph_share"):
            yield 0 <= getattr(self, name) <= 1, f"{name} must lie in 0..1"
        yield 0 <= self.colour_change <= 0.5, "colour_change must lie in 0..0.5"
        yield self.loss in losses.MAIN, f"loss must be one of {', '.join(losses.MAIN)}"
        for name in ("prior_weight", "adversarial_weight", "perceptual_weight"):
            yield getattr(self, name) >= 0, f"{name} must not be negative"
        for name, share in self.protocols.items():
            yield name in PROTOCOLS, f"unknown protocol {name!r}; known are: {', '.join(PROTOCOLS)}"
            yield _alike(share, 0.0) and 0 <= share <= 1, f"protocols.{name} must lie in 0..1"
        fits = sum(share for share in self.protocols.values() if _alike(share, 0.0)) <= 1
        yield fits, "the shares of the protocols must not be more than 1 together"
        yield from _blur_rules(self.blur)
        fits = self.patch <= self.blur.size
        yield fits, f"patch ({self.patch}) must not be larger than blur.size ({self.blur.size})"


def _blur_rules(blur: BlurSettings) -> Iterator[tuple[bool, str]]:
    for name in ("size", "length"):
        yield getattr(blur, name) >= 1, f"blur.{name} must be at least 1"
    for name in ("shake_share", "varying_share", "sharp_share", "compression_share", "codec_share"):
        yield 0 <= getattr(blur, name) <= 1, f"blur.{name} must lie in 0..1"
    fits = blur.compression_share + blur.codec_share <= 1
    yield fits, "blur.compression_share and blur.codec_share must not be more than 1 together"
    for name in ("scale", "exposure", "speed", "compression", "codec_quality"):
        pair = getattr(blur, name)
        yield len(pair) == 2 and pair[0] <= pair[1], f"blur.{name} must be two numbers, the smaller first"
        yield pair[0] > 0 or (name == "exposure" and pair[0] == 0), f"blur.{name} must be above 0"
    yield blur.noise >= 0, "blur.noise must not be negative"
    yield min(blur.strides, default=0) >= 1, "blur.strides must be whole numbers from 1"


Config = TypeVar("Config", bound=LoopConfig)


def load_config(path: str | Path, **overrides: Any) -> TrainConfig:
    """Read the recipe of a network that deblurs, as `read_recipe` does."""
    return read_recipe(path, TrainConfig, **overrides)


def read_recipe(path: str | Path, kind: type[Config], **overrides: Any) -> Config:
    """Read a recipe; keyword arguments that are not None replace its values.

    Raises
    ------
    UsageError
        The file is missing, is not TOML, or holds an unknown key or a value of the wrong kind or range.
    """
    path = Path(path)
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror})") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: is not valid TOML ({error})") from error
    values.update({key: value for key, value in overrides.items() if value is not None})
    defaults = kind()
    for name, default in _tables(defaults).items():
        table = values.get(name, {})
        if not isinstance(table, dict):
            raise UsageError(f"{path}: {name} must be a table, not {table!r}")
        _check(path, table, default, f"{name}.")
        table = {key: tuple(value) if isinstance(value, list) else value for key, value in table.items()}
        values[name] = type(default)(**table)
    _check(path, values, defaults)
    values = {key: tuple(value) if isinstance(value, list) else value for key, value in values.items()}
    config = kind(**values)
    for fits, rule in config.rules():
        if not fits:
            raise UsageError(f"{path}: {rule}")
    return config


def _tables(defaults: LoopConfig) -> dict[str, Any]:
    """Values that are tables of their own in the file."""
    pairs = ((item.name, getattr(defaults, item.name)) for item in dataclasses.fields(defaults))
    return {name: value for name, value in pairs if dataclasses.is_dataclass(value)}


def _check(path: Path, values: dict[str, Any], defaults: Any, prefix: str = "") -> None:
    """Every key must be known, and every value of the kind of its default."""
    known = {item.name for item in dataclasses.fields(defaults)}
    for key, value in values.items():
        if key not in known:
            raise UsageError(f"{path}: unknown key {prefix + key!r}; known are: {', '.join(sorted(known))}")
        default = getattr(defaults, key)
        if isinstance(default, tuple):
            sample = default[0] if default else ""  # what may be empty is a list of names
            fits = isinstance(value, list | tuple) and all(_alike(item, sample) for item in value)
            kind = f"a list of {type(sample).__name__}"
        else:
            fits, kind = _alike(value, default), type(default).__name__
        if not fits:
            raise UsageError(f"{path}: {prefix + key} must be {kind}, not {value!r}")


def _alike(value: Any, default: Any) -> bool:
    expected = (float, int) if isinstance(default, float) else type(default)
    return isinstance(value, expected) and isinstance(value, bool) == isinstance(default, bool)
