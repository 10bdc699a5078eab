"""The random generators of a process, as one value: kept, set back, or fixed for a while."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch


@contextlib.contextmanager
def fixed_draws(seed: int) -> Iterator[None]:
    """Inside, every generator starts from a seed; afterwards all go on as if nothing had been drawn."""
    with kept_draws():
        seed_generators(seed)
        yield


@contextlib.contextmanager
def kept_draws() -> Iterator[None]:
    """Afterwards every generator goes on as if nothing had been drawn inside."""
    before = capture()
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
