"""Noise on the embeddings of tokens (NEFTune, 2310.05914)."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


def scaled(uniform: Tensor, alpha: float) -> Tensor:
    """α / √(L d) times numbers in (−1, 1), (…, L, d). 2310.05914 algorithm 1; L is the padded length, as others take it."""
    length, width = uniform.shape[-2:]
    return alpha / math.sqrt(length * width) * uniform


@contextmanager
def noisy_embeddings(model: nn.Module, alpha: float) -> Iterator[None]:
    """Noise on what the token embedding returns, while the context lasts. Media are put in later and get none."""

    def add(module: nn.Module, given: tuple, embedded: Tensor) -> Tensor:
        return embedded + scaled(torch.empty_like(embedded).uniform_(-1, 1), alpha)

    hook = model.get_input_embeddings().register_forward_hook(add)
    try:
        yield
    finally:
        hook.remove()
