"""Held-out numbers and samples before and after training, under whatever strategy trains."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning as L

from aa_lightning.evaluation.samples import save_samples
from aa_lightning.evaluation.suite import Suite
from aa_lightning.training import strategies
from aa_lightning.types import Example


class HeldOut(L.Callback):
    """Runs a suite when training starts and when it ends.

    Args:
        suite: what to measure.
        before: whether to measure the starting point.
        shown: the held-out examples whose answers go into the report.
        folder: for samples.
    """

    def __init__(self, suite: Suite, before: bool, shown: Sequence[Example], folder: Path):
        self.suite, self.measure_before, self.shown, self.folder = suite, before, shown, folder
        self.results: dict[str, dict[str, float]] = {}
        self.examples: dict[str, int] = {}

    def on_train_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        if self.measure_before and "before" not in self.results:
            self._measure(trainer, module, "before")

    def on_train_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        self._measure(trainer, module, "after")

    def on_fit_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        if "after" not in self.results:  # resumed at the very end: no step was left to train, nor an end to reach
            self._measure(trainer, module, "after")

    def state_dict(self) -> dict[str, Any]:
        return {"results": self.results, "examples": self.examples}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.results, self.examples = state["results"], state["examples"]

    def _measure(self, trainer: L.Trainer, module: L.LightningModule, moment: str) -> None:
        measured = self.suite.run(
            module.policy,
            module.device,
            whole=lambda: strategies.whole_weights(trainer, module.policy),
            untrained=trainer.global_step == 0,
        )
        named = {f"heldout/{key}": value for key, value in measured.measures.items()}
        self.results[moment] = named
        self.examples |= {f"heldout/{key}": count for key, count in measured.examples.items()}
        for logger in trainer.loggers if named else ():
            logger.log_metrics(named, step=trainer.global_step)
        if trainer.is_global_zero and measured.responses:
            shown = [example for example in self.shown if example.id in measured.responses]
            answers = {"policy": [measured.responses[example.id] for example in shown]}
            if all(example.responses for example in shown):
                answers["data"] = [example.responses[0] for example in shown]
            save_samples(self.folder, moment, shown, answers, measured.verdicts)
