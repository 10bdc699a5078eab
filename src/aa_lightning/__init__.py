"""Align any-modality models with human intent: one seam for token and diffusion models, on PyTorch Lightning."""

from aa_lightning import _torchvision

__version__ = "0.1.0"

_torchvision.install()
