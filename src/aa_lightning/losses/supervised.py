"""Losses on demonstrations."""

from __future__ import annotations

from torch import Tensor


def negative_log_likelihood(terms: Tensor, mask: Tensor) -> Tensor:
    """Summed over the counted terms of each response.

    Args:
        terms: (P, K, T) log-likelihood terms.
        mask: (P, K, T) what counts.

    Returns:
        (P, K).
    """
    return -(terms * mask).sum(-1)
