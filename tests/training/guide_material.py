"""Stand-ins for what networks are told, made of pictures so that a test can tell where each pixel came from."""

from pathlib import Path

import numpy as np
import torch
from face_model import frontal
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional

from fvdeblur.morphable import load_default
from fvdeblur.morphable.reader import Reading
from fvdeblur.morphable.regressor import create_regressor
from fvdeblur.networks import WindowShape
from fvdeblur.training.guides import Guide, pack_prior


def slopes(pictures: Tensor) -> Tensor:
    """Twice the change of the red channel to the right and up, with zero at the edges: [B, 2, H, W]."""
    red = pictures[:, :1]
    across = functional.pad(red[..., 2:] - red[..., :-2], (1, 1, 0, 0))
    upwards = functional.pad(red[..., :-2, :] - red[..., 2:, :], (0, 0, 1, 1))
    return torch.cat([across, upwards], dim=1)


class PictureGuide(Guide):
    """Tells the picture itself: its colours as a face, in the mask the column, as normals its slopes.

    The identity begins with the frame's number.
    """

    identity = torch.linspace(0.1, 2, 80)

    def of(self, blurred: Tensor, windows: np.ndarray) -> dict[str, Tensor]:
        centres = windows[:, windows.shape[1] // 2]
        pictures = blurred[centres].float() / 255
        columns = (torch.arange(blurred.shape[-1]) / 255).expand(len(pictures), 1, *blurred.shape[2:])
        prior = torch.cat([pictures, columns, slopes(pictures), 0 * columns], dim=1)
        identity = self.identity.repeat(len(pictures), 1)
        identity[:, 0] = torch.from_numpy(centres) + 1.0
        return {"prior": pack_prior(prior), "identity": identity}


GUIDED = WindowShape(5, 4, takes_flow=False, prior_channels=7, identity_size=80)


class FixedReader:
    """Reads of frame i the mean face, turned by 0.1 * i, and this doubt; remembers what it was shown."""

    def __init__(self, doubt: float = 0.0) -> None:
        self.model = load_default()
        self.shown: list[Tensor] = []
        self._doubt = doubt

    def readings(self, count: int) -> Reading:
        face = frontal(0.5, count)
        pose = face.pose.clone()
        pose[:, 1] = 0.1 * torch.arange(count)
        identity = torch.linspace(-1, 1, 80).repeat(count, 1)
        return Reading(face._replace(pose=pose, identity=identity), torch.full((count,), self._doubt))

    def follow(self, pictures: Tensor) -> Reading:
        self.shown.append(pictures)
        return self.readings(len(pictures))


def guide_with(reader: FixedReader, **shape: int) -> Guide:
    """One for windows of three frames that asks this reader."""
    guide = Guide(WindowShape(3, 4, False, **shape))
    guide.__dict__["reader"] = reader
    return guide


def write_regressor(path: Path) -> Path:
    """Weights of an untrained regressor, which reads something different off every picture."""
    with torch.random.fork_rng():
        torch.manual_seed(3)
        network = create_regressor("light")
        torch.nn.init.normal_(network.last.weight, std=0.01)
    save_file({name: value.half() for name, value in network.state_dict().items()}, path)
    return path
