"""Callbacks of runs that learn from drawn responses: numbers of rollouts, samples of what was drawn, held-out answers."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import lightning as L

from aa_lightning.evaluation.samples import save_drawn
from aa_lightning.evaluation.suite import Suite
from aa_lightning.training import strategies
from aa_lightning.training.callbacks.heldout import HeldOut


class RolloutLog(L.Callback):
    """Logs the numbers of rollouts, means over the steps since they were written last, and keeps the first and the latest
    drawn responses as samples.

    Args:
        folder: for samples.
        every_n_steps: between writing samples.
    """

    def __init__(self, folder: Path, every_n_steps: int):
        self.folder, self.every_n_steps = folder, every_n_steps
        self._began = self._learned = 0.0
        self._step = -1
        self._sums: dict[str, float] = {}  # over steps that are not written yet
        self._steps = 0

    def on_train_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        self._step = trainer.global_step

    def on_train_batch_start(self, trainer: L.Trainer, module: L.LightningModule, batch: Any, batch_idx: int) -> None:
        self._began = time.perf_counter()

    def on_train_batch_end(self, trainer: L.Trainer, module: L.LightningModule, outputs, batch, batch_idx) -> None:
        self._learned += time.perf_counter() - self._began
        if trainer.global_step == self._step:  # within a step
            return
        before, self._step = self._step, trainer.global_step
        loader = trainer.datamodule.train_loader
        self._add({**loader.told, **loader.seconds, "time/learn_s": self._learned})
        self._learned = 0.0
        if self._step % trainer.log_every_n_steps == 0:
            module.log_dict({name: total / self._steps for name, total in self._sums.items()})
            self._sums, self._steps = {}, 0
        if before == 0:
            self._save(trainer, "first")
        elif self._step % self.every_n_steps == 0 or self._step == trainer.max_steps:
            self._save(trainer, "latest")

    def on_train_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        self._save(trainer, "latest")

    def state_dict(self) -> dict[str, Any]:
        return {"sums": self._sums, "steps": self._steps}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._sums, self._steps = state["sums"], state["steps"]

    def _add(self, found: dict[str, float]) -> None:
        self._steps += 1
        for name, value in found.items():
            self._sums[name] = self._sums.get(name, 0.0) + value

    def _save(self, trainer: L.Trainer, moment: str) -> None:
        shown = trainer.datamodule.train_loader.drawing.shown
        if trainer.is_global_zero and shown:
            save_drawn(self.folder, moment, self._step, shown)


class HeldOutAnswers(L.Callback):
    """Has held-out prompts answered while a run goes on: rewards may rise where answers get worse.

    Args:
        suite: of held-out measures.
        every_n_steps: optimiser steps between two times; None: never, so that the first numbers stay.
    """

    def __init__(self, suite: Suite, every_n_steps: int | None):
        self.suite, self.every_n_steps = suite, every_n_steps
        self._step = 0
        self._found: dict[str, float] = {}

    def on_train_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        self._step = trainer.global_step

    def on_train_batch_end(self, trainer: L.Trainer, module: L.LightningModule, outputs, batch, batch_idx) -> None:
        if self.every_n_steps is None or trainer.global_step == self._step:
            return
        self._step = trainer.global_step
        if not self._found:  # measured before the first step, by a callback that stands behind this one
            before = next(c for c in trainer.callbacks if isinstance(c, HeldOut)).results.get("before", {})
            said = {name.replace("heldout/", "val/"): value for name, value in before.items()}
            self._found = {name: said[name] for name in _MEASURED if name in said}
        if self._step % self.every_n_steps == 0:
            whole = lambda: strategies.whole_weights(trainer, module.policy)  # noqa: E731
            measured = self.suite.answers(module.policy, module.device, whole)
            strategies.reshard(module.policy)
            self._found = {f"val/{name}": value for name, value in measured.measures.items()}
        if self._step % self.every_n_steps == 0 or self._step % trainer.log_every_n_steps == 0:
            module.log_dict(self._found)

    def state_dict(self) -> dict[str, Any]:
        return {"found": self._found}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._found = state["found"]


_MEASURED = ("val/answer_accuracy", "val/picture_accuracy", "val/sound_accuracy")
