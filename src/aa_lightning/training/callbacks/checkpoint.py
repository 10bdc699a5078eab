"""Checkpoints that a kill at any moment cannot break: written aside, then renamed; the oldest ones go."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.fabric.plugins import TorchCheckpointIO
from lightning.pytorch.callbacks import Checkpoint

from aa_lightning.runs.checkpoints import complete, remove, seal
from aa_lightning.system import signals
from aa_lightning.system.atomic import publish


class SteadyCheckpoint(Checkpoint):
    """Saves every n steps, at the last one, and where a signal asks the run to stop.

    A checkpoint gets its name once the next step has a finite loss. Its own step stands in metrics.csv by then, so that a
    resumed run leaves no gap there, and its weights are known to be good. Only then does a run stop that was asked to.

    Args:
        folder: for `step_<number>.ckpt`, a file or (sharded strategies) a folder each.
        every_n_steps: optimiser steps between checkpoints.
        keep: how many of the newest stay.
    """

    def __init__(self, folder: Path, every_n_steps: int, keep: int):
        self.folder, self.every_n_steps, self.keep = folder, every_n_steps, keep
        self._saved_step = -1
        self._seen_step = 0
        self._aside: Path | None = None
        self._stops = False

    def setup(self, trainer: L.Trainer, module: L.LightningModule, stage: str) -> None:
        trainer.strategy.checkpoint_io = _InPlace()

    def on_load_checkpoint(self, trainer: L.Trainer, module, checkpoint: dict[str, Any]) -> None:
        self._saved_step = self._seen_step = checkpoint["global_step"]

    def on_before_backward(self, trainer: L.Trainer, module, loss) -> None:
        self._publish(trainer)
        if self._stops:
            signals.end_if_asked()
            raise signals.Stopped  # another rank was asked

    def on_train_batch_end(self, trainer: L.Trainer, module, outputs, batch, batch_idx) -> None:
        step = trainer.global_step
        if step == self._seen_step:  # gradients of the next step are being added up
            return
        self._seen_step = step
        self._stops = trainer.strategy.reduce_boolean_decision(signals.asked() is not None, all=False)
        if step % self.every_n_steps == 0 or step == trainer.max_steps or self._stops:
            self._save(trainer)

    def on_train_epoch_end(self, trainer: L.Trainer, module) -> None:
        if trainer.global_step == trainer.max_steps:  # no step follows, and what is measured next may take long
            self._publish(trainer)

    def on_train_end(self, trainer: L.Trainer, module) -> None:
        self._publish(trainer)
        if trainer.global_step != self._saved_step:
            self._save(trainer)
            self._publish(trainer)

    def _save(self, trainer: L.Trainer) -> None:
        self._saved_step = trainer.global_step
        self._aside = self.folder / f"step_{trainer.global_step:08d}.partial"
        if trainer.is_global_zero:
            self.folder.mkdir(parents=True, exist_ok=True)
            remove(self._aside)
        trainer.strategy.barrier()
        trainer.save_checkpoint(self._aside)
        trainer.strategy.barrier()

    def _publish(self, trainer: L.Trainer) -> None:
        aside, self._aside = self._aside, None
        if aside is None or not trainer.is_global_zero:
            return
        final = aside.with_suffix(".ckpt")
        remove(final)
        seal(aside)
        publish(aside, final)
        for old in complete(self.folder)[: -self.keep]:
            remove(old)


class _InPlace(TorchCheckpointIO):
    """Writes where it is told to, while Lightning's own goes by the temporary folder, and holds it all in memory first."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        torch.save(checkpoint, path)
