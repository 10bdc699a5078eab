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


def mean_nll(terms: Tensor, mask: Tensor, reduction: str, normalizer: Tensor | None = None) -> Tensor:
    """() of the first response of each prompt: summed (`sum`) or averaged per `response`, then the mean over prompts;
    or the mean over all tokens of the step (`token`).

    Args:
        terms, mask: (P, K, T).
        normalizer: () tokens of the step; None: those of this batch.
    """
    summed, size = negative_log_likelihood(terms[:, 0], mask[:, 0]), mask[:, 0].sum(-1)
    if reduction == "token":
        return summed.sum() / (size.sum() if normalizer is None else normalizer)
    return summed.mean() if reduction == "sum" else (summed / size.clamp(min=1e-9)).mean()


def exponential_weights(scores: Tensor, temperature: float, cap: float) -> Tensor:
    """min(cap, exp((s − mean_k s) / temperature)) / K of scores (P, K). Advantage-weighted regression, 1910.00177."""
    ahead = (scores - scores.mean(1, keepdim=True)) / temperature
    return ahead.exp().clamp(max=cap) / scores.shape[1]
