"""The recipe of a regressor."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from fvdeblur.training.config import LoopConfig


@dataclass(frozen=True)
class RegressionConfig(LoopConfig):
    """Everything that determines the training of a regressor (Ren et al. 2019, section 3.1).

    Attributes
    ----------
    meshes
        Folder with ``clips/`` and ``portraits/``, which hold the labels ``<stem>.mesh.npz``.
    pictures
        Folders of the material with further pictures, each of a person of its own; their labels lie in folders of
        the same names in ``meshes``.
    mirror_share
        Share of crops that are mirrored left to right (none where the model is not symmetric).
    mesh_every
        Take every n-th labelled frame of a clip.
    sharp_steps
        Steps on sharp faces alone, before the blur begins.
    exposure
        Shortest and longest exposure in frame intervals.
    strides
        Steps between the frames that an exposure is counted in; one is drawn.
    kernel_share
        Share of faces blurred by a motion or Gaussian kernel (after their own motion).
    kernel_supports
        Sides of the smallest and the largest of these kernels in pixels of a face about 107 pixels wide; odd.
    noise
        Largest standard deviation of the noise, in units of 1/255.
    compression_share, compression
        Share of faces compressed by a block transform, and its finest and coarsest quantiser step in units of 1/255.
    uses
        How often a face is cropped anew before another takes its place.
    shift, zoom, roll
        Largest shift of a crop in units of half its side, largest factor of its size, largest roll in degrees.
    landmark_weight, coefficient_weight, photometric_weight
        Weights of the losses: dense landmarks (in hundredths of half the crop's side), coefficients, equation (3).
    photometric_from
        Step from which equation (3) is used.
    photometric_batch, photometric_size
        Faces of a batch that are rendered for it, and the side of the pictures in pixels.
    """

    network: str = "light"
    meshes: str = "meshes"
    steps: int = 30000
    batch: int = 32
    learning_rate: float = 2e-3
    gradient_clip: float = 1.0
    pool: int = 1500
    pictures: tuple[str, ...] = ()
    mirror_share: float = 0.5
    mesh_every: int = 1
    sharp_steps: int = 2000
    exposure: tuple[float, float] = (0.0, 4.4)
    strides: tuple[int, ...] = (1, 2, 3)
    kernel_share: float = 0.6
    kernel_supports: tuple[int, int] = (3, 27)
    noise: float = 3.0
    compression_share: float = 0.4
    compression: tuple[float, float] = (1.0, 12.0)
    uses: int = 12
    shift: float = 0.12
    zoom: float = 1.2
    roll: float = 15.0
    landmark_weight: float = 1.0
    coefficient_weight: float = 0.3
    photometric_weight: float = 1.0
    photometric_from: int = 4000
    photometric_batch: int = 8
    photometric_size: int = 64

    def rules(self) -> Iterator[tuple[bool, str]]:
        """Whether each rule that the values must obey holds, and its text."""
        yield from super().rules()
        for name in ("mesh_every", "uses", "photometric_size"):
            yield getattr(self, name) >= 1, f"{name} must be at least 1"
        for name in ("sharp_steps", "noise", "shift", "roll", "photometric_from", "photometric_batch"):
            yield getattr(self, name) >= 0, f"{name} must not be negative"
        for name in ("landmark_weight", "coefficient_weight", "photometric_weight"):
            yield getattr(self, name) >= 0, f"{name} must not be negative"
        for name in ("kernel_share", "compression_share", "mirror_share"):
            yield 0 <= getattr(self, name) <= 1, f"{name} must lie in 0..1"
        for name in ("exposure", "kernel_supports", "compression"):
            pair = getattr(self, name)
            fits = len(pair) == 2 and 0 <= pair[0] <= pair[1]
            yield fits, f"{name} must be two numbers from 0 on, the smaller first"
        yield all(side % 2 for side in self.kernel_supports), "kernel_supports must be odd"
        yield min(self.strides, default=0) >= 1, "strides must be whole numbers from 1"
        yield self.zoom >= 1, "zoom must be at least 1"
        yield self.photometric_batch <= self.batch, "photometric_batch must not be larger than batch"
