"""The Lightning half: module, data module, loader, strategies, callbacks, summary."""

from aa_lightning.system.lazy_packages import torchmetrics_lazily

torchmetrics_lazily()  # before anything here imports lightning
