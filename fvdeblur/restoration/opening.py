"""What the doors of this room have in common: settings, detector, and who is who."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from fvdeblur.faces import Detector, create_detector
from fvdeblur.faces.identity import Embedder, create_embedder
from fvdeblur.media.acceleration import find_accelerator
from fvdeblur.morphable.reader import FaceReader
from fvdeblur.restoration.people import Portrayer
from fvdeblur.restoration.settings import Settings


def open_settings(settings: Settings | None, values: Mapping[str, object]) -> Settings:
    """The settings with single values changed; PyTorch is given their number of threads.

    Raises
    ------
    UsageError
        A setting is unknown or out of its range.
    """
    settings = (settings or Settings()).changed(values)
    if settings.threads:
        torch.set_num_threads(settings.threads)
    find_accelerator(settings.hwaccel)  # what is not there is to be known before the first file
    return settings


def open_detector(settings: Settings, device: torch.device) -> Detector:
    """The detector of the settings; see `fvdeblur.faces.create_detector`."""
    return create_detector(settings.detector, threads=settings.threads, device=str(device))


def open_portrayer(
    embedder: Embedder | str | None,
    settings: Settings,
    device: torch.device,
    reader: FaceReader | None = None,
) -> Portrayer:
    """What tells people apart: an embedder or its name; None or ``shape``: the 3D face (`reader`) and colours."""
    if embedder == "shape":
        embedder = None
    if isinstance(embedder, str):
        embedder = create_embedder(embedder, threads=settings.threads, device=str(device))
    return Portrayer(embedder, reader)
