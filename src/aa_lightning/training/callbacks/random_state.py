"""Random numbers that a resumed run draws exactly as the uninterrupted one would have."""

from __future__ import annotations

import contextlib
from typing import Any

import lightning as L
import torch
import torch.distributed as dist

from aa_lightning.system.random_state import capture, fixed_draws, restore

RANK_STRIDE = 100_003  # between the seeds of two ranks


class RandomStates(L.Callback):
    """Keeps every rank's generators in the checkpoint, gives each rank its own, and shields training from validation.

    The seed is the one that torch's generator has when the run is set up. Rank r trains with draws of its own: dropout,
    timesteps, noise. Validation draws the same numbers every time, and training goes on as if there had been none.
    """

    def __init__(self) -> None:
        self.seed = 0
        self._next: dict[str, Any] | None = None
        self._validation = contextlib.ExitStack()

    def setup(self, trainer: L.Trainer, module: L.LightningModule, stage: str) -> None:
        self.seed = torch.initial_seed() % 2**32 + RANK_STRIDE * trainer.global_rank
        with fixed_draws(self.seed):
            self._next = capture()

    def on_train_batch_start(self, trainer: L.Trainer, module: L.LightningModule, batch: Any, batch_idx: int) -> None:
        # not before: what the start of a fit draws, which a resumed one may leave out, would shift everything
        if self._next is not None:
            restore(self._next)
            self._next = None

    def on_validation_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        self._validation.enter_context(fixed_draws(self.seed))

    def on_validation_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        self._validation.close()

    def on_save_checkpoint(self, trainer: L.Trainer, module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        # runs on every rank, while only rank 0's dictionary is written
        checkpoint["random_state"] = _gathered(capture())

    def on_load_checkpoint(self, trainer: L.Trainer, module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        saved = checkpoint["random_state"]
        if trainer.global_rank < len(saved):  # a rank that did not exist then keeps its own seed
            self._next = saved[trainer.global_rank]


def _gathered(mine: dict[str, Any]) -> list[dict[str, Any]]:
    if not dist.is_initialized():
        return [mine]
    everyone: list[dict[str, Any]] = [mine] * dist.get_world_size()
    dist.all_gather_object(everyone, mine)
    return everyone
