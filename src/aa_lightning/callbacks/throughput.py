"""How fast, how padded, how large: measured where the user waits."""

from __future__ import annotations

import resource
import sys
import time

import lightning as L
import torch

from aa_lightning.types import Batch


class Throughput(L.Callback):
    """Logs seconds per step, prompts and tokens per second, the share of padding and the peak of memory."""

    def __init__(self):
        self.prompts, self.seconds, self.steps = 0, 0.0, 0
        self._started = self._ready = 0.0
        self._waited = 0.0

    def state_dict(self) -> dict[str, float]:
        return {"prompts": self.prompts, "seconds": self.seconds, "steps": self.steps}

    def load_state_dict(self, state: dict[str, float]) -> None:
        self.prompts, self.seconds, self.steps = state["prompts"], state["seconds"], state["steps"]

    def on_train_start(self, trainer: L.Trainer, module) -> None:
        self._ready = time.perf_counter()
        if torch.cuda.is_available():
            torch.cuda.reset_peak_memory_stats()

    def on_train_batch_start(self, trainer: L.Trainer, module, batch: Batch, batch_idx: int) -> None:
        self._started = time.perf_counter()
        self._waited = self._started - self._ready

    def on_train_batch_end(self, trainer: L.Trainer, module, outputs, batch: Batch, batch_idx: int) -> None:
        self._ready = time.perf_counter()
        took = self._ready - self._started + self._waited
        self.steps, self.seconds = self.steps + 1, self.seconds + took
        self.prompts += len(batch) * trainer.world_size
        values = {
            "time/step_s": took,
            "time/data_s": self._waited,
            "throughput/prompts_per_s": len(batch) * trainer.world_size / took,
            "memory/peak_gib": peak_memory_gib(),
        }
        if "mask" in batch.response:
            real = batch.prompt["attention_mask"].sum().item() + batch.response["mask"].sum().item()
            total = batch.prompt["attention_mask"].numel() + batch.response["mask"].numel()
            values["throughput/tokens_per_s"] = real * trainer.world_size / took
            values["data/padding_share"] = 1 - real / total
        module.log_dict(values, batch_size=len(batch))

    def summary(self) -> dict[str, float]:
        """Averages over the whole training."""
        seconds = max(self.seconds, 1e-9)
        return {"train_s": self.seconds, "steps": self.steps, "prompts_per_s": self.prompts / seconds}


def peak_memory_gib() -> float:
    """Of the GPU where there is one, of this process elsewhere."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 2**30
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return used / (2**30 if sys.platform == "darwin" else 2**20)
