"""Measuring restoration: metrics and protocols."""

from fvdeblur.evaluation.metrics import psnr, ssim

__all__ = ["psnr", "ssim"]
