"""Held-out measures and generation for evaluation."""

from aa_lightning.system.lazy_packages import import_torchmetrics_lazily

import_torchmetrics_lazily()  # before anything here imports it
