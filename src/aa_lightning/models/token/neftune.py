"""Noise on the embeddings of tokens (NEFTune, 2310.05914)."""

from __future__ import annotations

import math
from functools import partial

import torch
from torch import Tensor, nn


def scaled(uniform: Tensor, alpha: float) -> Tensor:
    """α / √(L d) times numbers in (−1, 1), (…, L, d). 2310.05914 algorithm 1; L is the padded length, as others take it."""
    length, width = uniform.shape[-2:]
    return alpha / math.sqrt(length * width) * uniform


def add_noise(model: nn.Module, alpha: float) -> None:
    """Let the token embedding return noisy embeddings in training mode. Media are put in later and get none."""
    model.get_input_embeddings().register_forward_hook(partial(_noisy, alpha))


def _noisy(alpha: float, embedding: nn.Module, given: tuple, embedded: Tensor) -> Tensor:
    if not embedding.training:
        return embedded
    return embedded + scaled(torch.empty_like(embedded).uniform_(-1, 1), alpha)
