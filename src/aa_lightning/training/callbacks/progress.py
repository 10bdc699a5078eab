"""Progress of a run: a bar in a terminal, plain lines elsewhere, and the same lines in train.log."""

from __future__ import annotations

import time
from pathlib import Path

import lightning as L
from torch import Tensor
from tqdm import tqdm

from aa_lightning.system.console import bar, tell_progress
from aa_lightning.types import Batch

_WATCHED = {
    "reward": "rollout/reward",
    "length": "rollout/length",
    "loss": "train/loss",
    "accuracy": "train/reward/accuracy",
    "margin": "train/reward/margin",
}


class Progress(L.Callback):
    """Tells of optimiser steps; a resumed run goes on where it stood.

    Args:
        path: of a file that gets a line for each row of metrics.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._bar: tqdm | None = None
        self._step = self._first = 0
        self._prompts, self._began, self._since = 0, 0.0, 0.0  # seconds of a clock; 0: before the first step

    def on_train_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        total = int(trainer.estimated_stepping_batches)
        self._step = self._first = trainer.global_step
        self._bar = bar(None, "training", "step", delay=0.0, leave=True, total=total, initial=self._step)
        self._prompts, self._began, self._since = 0, 0.0, 0.0

    def on_train_batch_start(self, trainer: L.Trainer, module: L.LightningModule, batch, batch_idx) -> None:
        if not self._began:  # what is measured before the first step is none of the time of steps
            self._began = self._since = time.monotonic()

    def on_train_batch_end(
        self, trainer: L.Trainer, module: L.LightningModule, outputs, batch: tuple[Batch, Tensor | None], batch_idx: int
    ) -> None:
        assert self._bar is not None
        self._prompts += len(batch[0]) * trainer.world_size
        if trainer.global_step == self._step:  # within a step
            return
        logged, self._step = trainer.callback_metrics, trainer.global_step
        shown = {short: f"{logged[name].item():.3g}" for short, name in _WATCHED.items() if name in logged}
        self._bar.set_postfix(shown, refresh=False)
        self._bar.update(self._step - self._bar.n)
        total = int(trainer.estimated_stepping_batches)
        if trainer.is_global_zero and (self._step % trainer.log_every_n_steps == 0 or self._step == total):
            self._tell(shown, total)

    def _tell(self, shown: dict[str, str], total: int) -> None:
        """A line: step, what is watched, prompts per second since the last line, time left."""
        now = time.monotonic()
        speed, self._prompts = self._prompts / max(now - self._since, 1e-9), 0
        left = (now - self._began) / (self._step - self._first) * (total - self._step)
        self._since = now
        watched = "".join(f"  {name} {value}" for name, value in shown.items())
        line = f"step {self._step}/{total}{watched}  {speed:.3g} prompts/s  {tqdm.format_interval(left)} left"
        with self.path.open("a", encoding="utf-8") as file:
            file.write(f"{line}\n")
        tell_progress(line)

    def on_train_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        self._close()

    def on_exception(self, trainer: L.Trainer, module: L.LightningModule, exception: BaseException) -> None:
        self._close()

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.close()
