"""Warnings while a run goes on."""

from __future__ import annotations

from typing import Any

import lightning as L
import torch
from torch import Tensor

from aa_lightning.report.warnings import STOPPING, WATCHED, alarms, logged_as
from aa_lightning.system.console import say

WINDOW = 10  # steps that a mean is taken over


class Alarms(L.Callback):
    """Says once each what `report/warnings.py` finds, of the first steps and of the latest ones.

    Args:
        accumulate: micro-batches of a step.
        stops: whether the run ends where drawn responses get out of hand.
    """

    def __init__(self, accumulate: int = 1, stops: bool = False) -> None:
        self.accumulate, self.stops, self._parts = accumulate, stops, 0
        self._first: dict[str, float] = {}
        self._said: set[str] = set()
        self._seen: list[dict[str, Tensor]] = []

    def on_train_batch_end(self, trainer: L.Trainer, module: L.LightningModule, outputs, batch, batch_idx) -> None:
        self._parts += 1
        if self._parts % self.accumulate:  # within a step
            return
        logged = trainer.callback_metrics
        self._seen.append({name: logged[logged_as(name)] for name in WATCHED if logged_as(name) in logged})
        if len(self._seen) == WINDOW:  # numbers leave the device once in a while, not at every step
            means, self._seen = _means(self._seen), []
            self._compare(means)
            if self.stops and self._said & {*STOPPING}:
                say("the run ends here, as rollout.stop_on_alarm=true says")
                trainer.should_stop = True

    def _compare(self, means: dict[str, float]) -> None:
        if not self._first:
            self._first = means
            return
        for name, text in alarms(self._first, means).items():
            if name not in self._said:
                self._said.add(name)
                say(f"warning: {text}")

    def state_dict(self) -> dict[str, Any]:
        return {"first": self._first, "said": sorted(self._said)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._first, self._said = state["first"], set(state["said"])


def _means(seen: list[dict[str, Tensor]]) -> dict[str, float]:
    return {name: torch.stack([one[name].float() for one in seen]).mean().item() for name in seen[0]}
