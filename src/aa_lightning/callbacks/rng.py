"""Random numbers that a resumed run draws exactly as the uninterrupted one would have."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator
from typing import Any

import lightning as L
import numpy as np
import torch
import torch.distributed as dist

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


@contextlib.contextmanager
def fixed_draws(seed: int) -> Iterator[None]:
    """Inside, every generator starts from a seed; afterwards all go on as if nothing had been drawn."""
    before = capture()
    seed_generators(seed)
    try:
        yield
    finally:
        restore(before)


def seed_generators(seed: int) -> None:
    """Seed Python's, NumPy's and torch's generators."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


def capture() -> dict[str, Any]:
    """This process's generators, as tensors, numbers and tuples: a checkpoint loads with `weights_only`."""
    name, keys, place, has_gauss, cached = np.random.get_state()
    return {
        "python": random.getstate(),
        "numpy": (name, torch.from_numpy(keys.astype(np.int64)), place, has_gauss, cached),
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state() if torch.cuda.is_initialized() else None,
    }


def restore(state: dict[str, Any]) -> None:
    """Set this process's generators to what `capture` found."""
    version, internal, gauss = state["python"]
    random.setstate((version, tuple(internal), gauss))
    name, keys, place, has_gauss, cached = state["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), place, has_gauss, cached))
    torch.set_rng_state(state["torch"].cpu())
    if state["cuda"] is not None and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"].cpu())


def _gathered(mine: dict[str, Any]) -> list[dict[str, Any]]:
    if not dist.is_initialized():
        return [mine]
    everyone: list[dict[str, Any]] = [mine] * dist.get_world_size()
    dist.all_gather_object(everyone, mine)
    return everyone
