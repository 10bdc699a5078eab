"""Checkpoints that a kill at any moment cannot break: written aside, then renamed; the oldest ones go."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Checkpoint

_NAME = re.compile(r"step_(\d+)\.ckpt$")


class SteadyCheckpoint(Checkpoint):
    """Saves every n steps and at the end.

    A checkpoint gets its name once the next step has a finite loss. Its own step stands in metrics.csv by then, so that a
    resumed run leaves no gap there, and its weights are known to be good.

    Args:
        folder: for `step_<number>.ckpt`, a file or (sharded strategies) a folder each.
        every_n_steps: optimiser steps between checkpoints.
        keep: how many of the newest stay.
    """

    def __init__(self, folder: Path, every_n_steps: int, keep: int):
        self.folder, self.every_n_steps, self.keep = folder, every_n_steps, keep
        self._saved_step = -1
        self._aside: Path | None = None

    def on_load_checkpoint(self, trainer: L.Trainer, module, checkpoint: dict[str, Any]) -> None:
        self._saved_step = checkpoint["global_step"]

    def on_before_backward(self, trainer: L.Trainer, module, loss) -> None:
        self._publish(trainer)

    def on_train_batch_end(self, trainer: L.Trainer, module, outputs, batch, batch_idx) -> None:
        step = trainer.global_step
        if step and step % self.every_n_steps == 0 and step != self._saved_step:
            self._save(trainer)

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
            for stale in self.folder.glob("*.partial"):  # left by a kill
                _remove(stale)
        trainer.strategy.barrier()
        trainer.save_checkpoint(self._aside)
        trainer.strategy.barrier()

    def _publish(self, trainer: L.Trainer) -> None:
        aside, self._aside = self._aside, None
        if aside is None or not trainer.is_global_zero:
            return
        final = aside.with_suffix(".ckpt")
        _remove(final)
        aside.rename(final)
        for old in complete(self.folder)[: -self.keep]:
            _remove(old)


def complete(folder: Path) -> list[Path]:
    """Finished checkpoints of a folder, oldest first."""
    found = [path for path in folder.glob("step_*.ckpt") if _NAME.search(path.name)]
    return sorted(found, key=step_of)


def newest(run: Path) -> Path | None:
    """The newest finished checkpoint of a run folder; None where there is none yet."""
    return next(reversed(complete(run / "checkpoints")), None)


def step_of(checkpoint: Path) -> int:
    """The optimiser steps behind a finished checkpoint."""
    return int(_NAME.search(checkpoint.name).group(1))


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
