"""Throughput, padding and memory, measured where the user waits."""

from __future__ import annotations

import resource
import sys
import time
from dataclasses import dataclass

import lightning as L
import torch
from torch import Tensor

from aa_lightning.types import Batch


class Throughput(L.Callback):
    """Logs seconds per step, prompts and tokens per second, the share of padding and the peak of memory."""

    def __init__(self):
        self.prompts, self.seconds, self.steps = 0, 0.0, 0
        self._started = self._ready = 0.0
        self._step = _Step()

    def state_dict(self) -> dict[str, float]:
        return {"prompts": self.prompts, "seconds": self.seconds, "steps": self.steps}

    def load_state_dict(self, state: dict[str, float]) -> None:
        self.prompts, self.seconds, self.steps = state["prompts"], state["seconds"], state["steps"]

    def on_train_start(self, trainer: L.Trainer, module) -> None:
        self._ready, self._step = time.perf_counter(), _Step()
        if torch.cuda.is_available():
            torch.cuda.reset_peak_memory_stats()

    def on_train_batch_start(self, trainer: L.Trainer, module, batch, batch_idx: int) -> None:
        self._started = time.perf_counter()
        self._step.waited += self._started - self._ready

    def on_train_batch_end(
        self, trainer: L.Trainer, module, outputs, batch: tuple[Batch, Tensor | None], batch_idx: int
    ) -> None:
        self._ready, step = time.perf_counter(), self._step
        step.worked += self._ready - self._started
        step.add(batch[0])
        if step.parts < trainer.accumulate_grad_batches:
            return
        self._step = _Step()
        self.steps, self.seconds = self.steps + 1, self.seconds + step.took
        self.prompts += step.prompts * trainer.world_size
        module.log_dict(step.measures(trainer))

    def summary(self) -> dict[str, float]:
        """Averages over the whole training."""
        seconds = max(self.seconds, 1e-9)
        return {"train_s": self.seconds, "steps": self.steps, "prompts_per_s": self.prompts / seconds}


@dataclass
class _Step:
    """Sums over the micro-batches of a step on this process."""

    parts: int = 0
    prompts: int = 0
    waited: float = 0.0
    worked: float = 0.0
    tokens: Tensor | int = 0  # that are no padding; counted where the batch is, so that nobody waits for the number
    places: int = 0  # padding too

    @property
    def took(self) -> float:
        return self.waited + self.worked

    def add(self, batch: Batch) -> None:
        self.parts, self.prompts = self.parts + 1, self.prompts + len(batch)
        if "mask" in batch.response:
            masks = batch.prompt["attention_mask"], batch.response["mask"]
            self.tokens = self.tokens + sum(mask.sum() for mask in masks)
            self.places += sum(mask.numel() for mask in masks)

    def measures(self, trainer: L.Trainer) -> dict[str, float]:
        """By the names of metrics; prompts and tokens are those of all processes."""
        values = {
            "time/step_s": self.took,
            "time/data_s": self.waited,
            "throughput/prompts_per_s": self.prompts * trainer.world_size / self.took,
            "memory/peak_gib": peak_memory_gib(),
        }
        if self.places:
            counts = torch.stack([self.tokens, torch.full_like(self.tokens, self.places)])
            real, total = trainer.strategy.reduce(counts, reduce_op="sum").tolist()
            values["throughput/tokens_per_s"] = real / self.took
            values["data/padding_share"] = 1 - real / total
        return values


def peak_memory_gib() -> float:
    """Of the GPU where there is one, of this process elsewhere."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 2**30
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return used / (2**30 if sys.platform == "darwin" else 2**20)
