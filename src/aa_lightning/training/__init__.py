"""The Lightning half: module, data module, loader, strategies, callbacks, summary."""

from aa_lightning.system.lazy_packages import import_torchmetrics_lazily

import_torchmetrics_lazily()  # before anything here imports lightning
