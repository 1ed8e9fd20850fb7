"""Training of networks on blur made by motion; needs torch, numpy and OpenCV only."""

from fvdeblur.training.config import TrainConfig, load_config
from fvdeblur.training.trainer import train

__all__ = ["TrainConfig", "load_config", "train"]
