"""Align any-modality models with human intent: one seam for token and diffusion models, on PyTorch Lightning."""

__version__ = "0.1.0"
