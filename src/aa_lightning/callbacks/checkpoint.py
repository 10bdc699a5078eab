"""Checkpoints that a kill at any moment cannot break: written aside, then renamed; the oldest ones go."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import lightning as L
from lightning.pytorch.callbacks import Checkpoint

_NAME = re.compile(r"step_(\d+)\.ckpt$")


class SteadyCheckpoint(Checkpoint):
    """Saves every n steps and at the end.

    Args:
        folder: for `step_<number>.ckpt`, a file or (sharded strategies) a folder each.
        every_n_steps: optimiser steps between checkpoints.
        keep: how many of the newest stay.
    """

    def __init__(self, folder: Path, every_n_steps: int, keep: int):
        self.folder, self.every_n_steps, self.keep = folder, every_n_steps, keep
        self._saved_step = -1

    def on_train_batch_end(self, trainer: L.Trainer, module, outputs, batch, batch_idx) -> None:
        step = trainer.global_step
        if step and step % self.every_n_steps == 0 and step != self._saved_step:
            self._save(trainer)

    def on_train_end(self, trainer: L.Trainer, module) -> None:
        if trainer.global_step != self._saved_step:
            self._save(trainer)

    def _save(self, trainer: L.Trainer) -> None:
        self._saved_step = trainer.global_step
        final = self.folder / f"step_{trainer.global_step:08d}.ckpt"
        aside = final.with_suffix(".partial")
        if trainer.is_global_zero:
            self.folder.mkdir(parents=True, exist_ok=True)
            _remove(aside)
        trainer.strategy.barrier()
        trainer.save_checkpoint(aside)
        trainer.strategy.barrier()
        if trainer.is_global_zero:
            _remove(final)
            aside.rename(final)
            for old in complete(self.folder)[: -self.keep]:
                _remove(old)
        trainer.strategy.barrier()


def complete(folder: Path) -> list[Path]:
    """Finished checkpoints of a folder, oldest first."""
    found = [path for path in folder.glob("step_*.ckpt") if _NAME.search(path.name)]
    return sorted(found, key=lambda path: int(_NAME.search(path.name).group(1)))


def newest(run: Path) -> Path:
    """The newest finished checkpoint of a run folder.

    Raises:
        ValueError: there is none.
    """
    found = complete(run / "checkpoints")
    if not found:
        raise ValueError(
            f"resume={run}: there is no finished checkpoint in {run / 'checkpoints'}, so there is nothing to continue: "
            "start the run again, with a smaller checkpoint.every_n_steps"
        )
    return found[-1]


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
