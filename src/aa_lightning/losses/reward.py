"""Losses on rewards of preference pairs. Each takes values per pair and returns values per pair."""

from __future__ import annotations

from torch import Tensor

from aa_lightning.losses.preference import logistic


def bradley_terry(
    chosen: Tensor, rejected: Tensor, margin: Tensor | None = None, label_smoothing: float = 0.0
) -> Tensor:
    """−log σ(r_chosen − r_rejected − margin).

    Args:
        chosen, rejected: (P,) rewards.
        margin: (P,) by how much the chosen one should win (2307.09288 eq. 2), or None.

    Returns:
        (P,) nats. 2203.02155 eq. 1.
    """
    difference = chosen - rejected
    return logistic(difference if margin is None else difference - margin, label_smoothing)


def center(chosen: Tensor, rejected: Tensor) -> Tensor:
    """(P,) (r_chosen + r_rejected)², which fixes the free constant of Bradley–Terry. 2312.09244 §3."""
    return (chosen + rejected) ** 2


def square(chosen: Tensor, rejected: Tensor) -> Tensor:
    """(P,) the mean square of the two rewards, as Safe RLHF regularises them. 2310.12773."""
    return (chosen**2 + rejected**2) / 2
