"""One bar over all steps of a run, with what a researcher watches."""

from __future__ import annotations

import lightning as L
from tqdm.auto import tqdm

_WATCHED = {"loss": "train/loss", "accuracy": "train/reward/accuracy", "margin": "train/reward/margin"}


class Progress(L.Callback):
    """A progress bar over optimiser steps; a resumed run goes on where it stood."""

    def __init__(self) -> None:
        self._bar: tqdm | None = None

    def on_train_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        total = int(trainer.estimated_stepping_batches)
        self._bar = tqdm(
            total=total, initial=trainer.global_step, desc="training", unit="step", disable=not trainer.is_global_zero
        )

    def on_train_batch_end(self, trainer: L.Trainer, module: L.LightningModule, outputs, batch, batch_idx) -> None:
        assert self._bar is not None
        if trainer.global_step == self._bar.n:
            return
        logged = trainer.callback_metrics
        shown = {short: f"{logged[name].item():.3g}" for short, name in _WATCHED.items() if name in logged}
        self._bar.set_postfix(shown, refresh=False)
        self._bar.update(trainer.global_step - self._bar.n)

    def on_train_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        self._close()

    def on_exception(self, trainer: L.Trainer, module: L.LightningModule, exception: BaseException) -> None:
        self._close()

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.close()
