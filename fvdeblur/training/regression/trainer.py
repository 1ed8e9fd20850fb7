"""Training of a regressor: first on sharp, then on blurred faces, then held to the sharp picture too."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from fvdeblur.datasets import load_clips, load_pictures, load_stills
from fvdeblur.errors import UsageError
from fvdeblur.morphable import Coefficients, MorphableModel, load_default, render
from fvdeblur.morphable.mirror import find_mirror
from fvdeblur.morphable.regressor import Regressor, create_regressor
from fvdeblur.morphable.squares import Squares
from fvdeblur.training import checkpoints
from fvdeblur.training.loop import Figures, Measure, conduct
from fvdeblur.training.parallel import Processes
from fvdeblur.training.regression import losses
from fvdeblur.training.regression.config import RegressionConfig
from fvdeblur.training.regression.labels import LabelledClip, label_clips
from fvdeblur.training.regression.samples import Face, FaceMaker, FacePool, Faces, crop

SHOWN = 6
"""Faces of the sample picture."""

VALIDATION_FACES = 8
"""Of each clip."""

BATCH = 32


def train_regressor(
    config: RegressionConfig,
    output: str | Path,
    *,
    device: str = "cpu",
    initial: str | Path | None = None,
    max_minutes: float | None = None,
    report: Callable[[str], None] = print,
) -> dict[str, float | None]:
    """Train a regressor, resuming where ``output`` was left.

    Parameters
    ----------
    config
        The recipe.
    output
        Folder for ``checkpoint.pt``, ``weights.safetensors`` (moving average), ``log.jsonl``, ``validation.jsonl``
        and pictures of both and of samples.
    device
        ``cpu``, ``cuda`` or ``cuda:N``; one process.
    initial
        Weights file to begin with when there is no checkpoint.
    max_minutes
        Stop with a checkpoint after this time.
    report
        Receives one line now and then.

    Returns
    -------
    Figures of the last line that was logged.

    Raises
    ------
    UsageError
        The device, the regressor, the material or the initial weights do not fit.
    InputError
        The checkpoint, the model or a part of the material cannot be read.
    OutputError
        The output folder cannot be made.
    """

    def make_task(
        network: Regressor, step: int, processes: Processes, tell: Callable[[str], None]
    ) -> _Regression:
        if processes.world > 1:
            raise UsageError("a regressor is trained by one process; start the command without torchrun")
        return _Regression(config, network, step, device, tell)

    def make_network() -> Regressor:
        return create_regressor(config.network, **config.network_options)

    return conduct(config, output, device, initial, max_minutes, report, make_network, make_task)


class _Regression:
    """The task: coefficients of the sharp face from the blurred one."""

    measure = Measure("error_percent", "landmark error", "% of the eye distance")

    def __init__(
        self,
        config: RegressionConfig,
        network: Regressor,
        first_step: int,
        device: str,
        report: Callable[[str], None],
    ) -> None:
        self._config, self._network, self._device = config, network, device
        plain = load_default()
        self._model = plain.to(device)
        training = _material(plain, config, "train")
        if not training:
            raise UsageError(f"{config.meshes}: no labels of the material in {config.data}")
        faces = sum(len(clip.frames) for clip in training)
        report(f"{len(training)} clips and stills, {faces} faces, from step {first_step} to {config.steps}")
        self._vertices = training[0].vertices.to(device)
        self._pool = FacePool(config, training, network.size, first_step, find_mirror(plain))
        self._validation: dict[str, Faces] = {}
        if config.validate_every:
            held_out = _material(plain, config, "validation")
            if held_out:
                self._validation = _validation(config, held_out, network.size)
            else:
                report(f"{config.meshes}: no labels of validation people; training goes on without")

    def loss(self, step: int) -> tuple[Tensor, dict[str, Tensor]]:
        config = self._config
        faces = Faces(*(value.to(self._device, non_blocking=True) for value in self._pool.batch(step)))
        with torch.autocast(torch.device(self._device).type, torch.bfloat16):
            found = self._network(faces.blurred.contiguous(memory_format=torch.channels_last))
        truth = Coefficients.split(faces.coefficients)
        landmarks = losses.landmark_loss(self._model, found, faces.points, self._vertices)
        coefficients = losses.coefficient_loss(found, truth, self._model.supported)
        total = config.landmark_weight * landmarks + config.coefficient_weight * coefficients
        photometric = torch.zeros((), device=total.device)
        if step >= config.photometric_from and config.photometric_batch:
            rendered = Coefficients(*(part[: config.photometric_batch] for part in found))
            photometric = losses.photometric_loss(self._model, rendered, faces.sharp)
            total = total + config.photometric_weight * photometric
        with torch.no_grad():
            error = self._error(found, faces).mean()
        figures = {"landmarks": landmarks, "coefficients": coefficients, "photometric": photometric}
        return total, {**{name: value.detach() for name, value in figures.items()}, "error_percent": error}

    def _error(self, found: Coefficients, faces: Faces) -> Tensor:
        """Mean distance from the labelled points in % of the eye distance, [B]."""
        apart = losses.place(self._model, found, self._vertices) - faces.points
        return 100 * apart.norm(dim=2).mean(1) / (faces.points[:, -1] - faces.points[:, -2]).norm(dim=1)

    @torch.no_grad()
    def validate(self, average: dict[str, Tensor]) -> Figures:
        figures = {}
        self._network.eval()
        for name, faces in self._validation.items():
            errors = []
            for i in range(0, len(faces.blurred), BATCH):
                part = Faces(*(value[i : i + BATCH].to(self._device) for value in faces))
                found = self._found(part.blurred, average)
                errors.append(self._error(found, part))
            figures[name] = {"error_percent": round(float(torch.cat(errors).mean()), 3)}
        self._network.train()
        return figures

    def _found(self, blurred: Tensor, average: dict[str, Tensor]) -> Coefficients:
        given = blurred.to(self._device).contiguous(memory_format=torch.channels_last)
        with torch.autocast(torch.device(self._device).type, torch.bfloat16):
            found: Coefficients = torch.func.functional_call(self._network, average, (given,))
        return found

    @torch.no_grad()
    def draw_sample(self, path: Path, average: dict[str, Tensor]) -> None:
        """Write blurred, rendered (by the averaged weights) and sharp faces of people that are held out."""
        for faces in list(self._validation.values())[-1:]:
            step = max(1, len(faces.blurred) // SHOWN)
            shown = Faces(*(value[::step][:SHOWN] for value in faces))
            self._network.eval()
            size = shown.blurred.shape[-1]
            rendering = render(self._model, self._found(shown.blurred, average), size)
            self._network.train()
            face = (rendering.rgb + (1 - rendering.mask) * 0.5).float().cpu()
            sharp = torch.nn.functional.interpolate(shown.sharp, (size, size), mode="bilinear")
            rows = torch.cat([shown.blurred, face, sharp], dim=3)
            picture = torch.cat(list(rows), dim=1).permute(1, 2, 0).numpy()
            bgr = cv2.cvtColor(np.round(picture.clip(0, 1) * 255).astype(np.uint8), cv2.COLOR_RGB2BGR)
            encoded = cv2.imencode(".png", bgr)[1].tobytes()
            checkpoints.replace(path, lambda partial, data=encoded: partial.write_bytes(data))  # type: ignore[misc]


def _material(model: MorphableModel, config: RegressionConfig, split: str) -> list[LabelledClip]:
    meshes = Path(config.meshes)
    clips = label_clips(model, load_clips(config.data, split), meshes / "clips", config.mesh_every)
    material = clips + label_clips(model, load_stills(config.data, split), meshes / "portraits")
    for folder in config.pictures:
        material += label_clips(model, load_pictures(Path(config.data) / folder, split), meshes / folder)
    return material


def _validation(config: RegressionConfig, clips: list[LabelledClip], size: int) -> dict[str, Faces]:
    """Crops of people that are held out, sharp and blurred, the same for the same material and recipe."""
    maker = FaceMaker(config, clips, 0)
    protocols = {}
    for name, blur in (("sharp", False), ("blurred", True)):
        made: list[Face] = []
        for number, clip in enumerate(clips):
            rng = np.random.default_rng((number, int(blur)))
            count = min(VALIDATION_FACES, len(clip.frames))
            chosen = np.linspace(0, len(clip.frames) - 1, count).astype(int)
            made += [maker.make(clip, int(frame), rng, blur) for frame in chosen]
        faces = Face(*(torch.stack(values) for values in zip(*made, strict=True)))
        protocols[name] = crop(faces, Squares.around(faces.points), size, size, len(made))
    return protocols
