"""Losses on rewards. Each takes values per response and returns values per prompt, or per response where it says so."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from aa_lightning.losses.preference import sigmoid

# ---------------------------------------------------------------- pairs


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
    return sigmoid(difference if margin is None else difference - margin, label_smoothing)


def rao_kupper(chosen: Tensor, rejected: Tensor, tie: Tensor, theta: float) -> Tensor:
    """Negative log-likelihood where a tie is an outcome of its own. VideoAlign, 2501.13918 (Rao and Kupper 1967).

    With Δ = r_chosen − r_rejected, P(≻) = σ(Δ − log θ) and P(tie) = (θ² − 1) σ(Δ − log θ) σ(−Δ − log θ).

    Args:
        chosen, rejected: (P,) rewards; of a tie, in any order.
        tie: (P,) booleans.
        theta: above 1; the larger, the more ties.

    Returns:
        (P,) nats.
    """
    difference, threshold = chosen - rejected, math.log(theta)
    wins, loses = F.logsigmoid(difference - threshold), F.logsigmoid(-difference - threshold)
    return torch.where(tie, -(math.log(theta**2 - 1) + wins + loses), -wins)


def center(chosen: Tensor, rejected: Tensor) -> Tensor:
    """(P,) (r_chosen + r_rejected)², which fixes the free constant of Bradley–Terry. 2312.09244 §3."""
    return (chosen + rejected) ** 2


def l2(chosen: Tensor, rejected: Tensor) -> Tensor:
    """(P,) the mean square of the two rewards, as Safe RLHF regularises them. 2310.12773."""
    return (chosen**2 + rejected**2) / 2


def cost(chosen: Tensor, rejected: Tensor, safe: Tensor, sign: float) -> Tensor:
    """−log σ(C_rejected − C_chosen) − κ Σ log σ(s C) with s = 1 for a harmful response, −1 for a harmless one.

    Args:
        chosen, rejected: (P,) costs; the chosen response is the less harmful one.
        safe: (P, 2) whether each is harmless.
        sign: κ, of the terms that put harmless responses below 0.

    Returns:
        (P,) nats. Safe RLHF, 2310.12773.
    """
    costs = torch.stack([chosen, rejected], 1)
    signs = torch.where(safe, -1.0, 1.0).to(costs.dtype)
    return -F.logsigmoid(rejected - chosen) - sign * F.logsigmoid(signs * costs).sum(-1)


def per_criterion(rewards: Tensor, ratings: Tensor, weights: Tensor, normalizer: Tensor | None = None) -> Tensor:
    """Bradley–Terry of each criterion, the weighted mean over those in which the two responses are rated apart.

    Args:
        rewards: (P, 2, C), one head per criterion.
        ratings: (P, 2, C) of the data; NaN where there is none.
        weights: (C,).
        normalizer: () the weights that count in the step; None: in this batch.

    Returns:
        () nats; 0 where nothing is rated apart. VideoAlign, 2501.13918, in each of its dimensions.
    """
    apart = (ratings[:, 0] - ratings[:, 1]).nan_to_num(0.0).sign()  # (P, C) 1, −1, 0
    counted = weights * apart.abs()
    losses = -F.logsigmoid(apart * (rewards[:, 0] - rewards[:, 1]))
    return (counted * losses).sum() / (counted.sum() if normalizer is None else normalizer).clamp(min=1e-9)


# ---------------------------------------------------------------- rankings of K responses


def plackett_luce(rewards: Tensor, scores: Tensor) -> Tensor:
    """−Σ_i log (e^{r_i} / Σ_j e^{r_j}) over responses i, with j those that are ranked no higher. K-wise
    comparisons of 2301.11270 (Plackett–Luce).

    Responses with equal scores stand in each other's sum, so that a tie pulls them together.

    Args:
        rewards: (P, K).
        scores: (P, K), the larger the better.

    Returns:
        (P,) nats; of K different scores, the likelihood of their order.
    """
    below = scores[:, None, :] <= scores[:, :, None]  # (P, i, j)
    sums = rewards[:, None, :].masked_fill(~below, -torch.inf).logsumexp(-1)
    return (sums - rewards).sum(-1)


def all_pairs(rewards: Tensor, scores: Tensor) -> Tensor:
    """(P,) the mean of −log σ(r_i − r_j) over pairs with score_i > score_j. InstructGPT, 2203.02155 eq. 1."""
    better = (scores[:, :, None] > scores[:, None, :]).to(rewards.dtype)
    pairs = -F.logsigmoid(rewards[:, :, None] - rewards[:, None, :])
    return (better * pairs).sum((1, 2)) / better.sum((1, 2)).clamp(min=1)


# ---------------------------------------------------------------- right or wrong


def binary_cross_entropy(logits: Tensor, right: Tensor) -> Tensor:
    """Binary cross entropy of responses (outcome rewards, 2110.14168) or of their steps (2305.20050), element by element.

    Args:
        logits: of any shape.
        right: of the same shape, 1 or 0, or booleans.
    """
    return F.binary_cross_entropy_with_logits(logits, right.to(logits.dtype), reduction="none")
