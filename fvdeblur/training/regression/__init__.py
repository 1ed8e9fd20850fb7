"""Training of the regressors that read the morphable model's coefficients off blurred faces."""

from fvdeblur.training.regression.config import RegressionConfig
from fvdeblur.training.regression.trainer import train_regressor

__all__ = ["RegressionConfig", "train_regressor"]
