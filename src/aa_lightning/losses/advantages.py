"""From rewards of drawn responses to advantages: baselines, scales, returns. No gradients flow through any of them.

The K responses of a prompt are a group, which is never divided among processes. What is taken over all responses of all
processes goes through `summed`, which sums a tensor over processes; alone, it gives it back.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

Summed = Callable[[Tensor], Tensor]


def alone(sums: Tensor) -> Tensor:
    """Sums over one process, of any shape: themselves."""
    return sums


def group_mean(rewards: Tensor, counted: Tensor, weights: Tensor | None = None) -> Tensor:
    """(P, 1) the mean reward of a group.

    Args:
        rewards, counted: (P, K) and 1 for those that are looked at.
        weights: (P, K) of each; with lengths, the baseline of OPO (2505.23585 eq. 6).
    """
    weights = counted if weights is None else counted * weights
    return (rewards * weights).sum(1, keepdim=True) / weights.sum(1, keepdim=True).clamp(min=1e-9)


def leave_one_out(rewards: Tensor, counted: Tensor) -> Tensor:
    """(P, K) the reward over the mean of the others in its group, K/(K−1) (r − mean). RLOO, 2402.14740 section 3; of a
    response without others 0.

    Args:
        rewards, counted: (P, K).
    """
    size = counted.sum(1, keepdim=True)
    return size / (size - 1).clamp(min=1) * (rewards - group_mean(rewards, counted)) * counted


def leave_one_out_of_actions(values: Tensor, mask: Tensor) -> Tensor:
    """(P, K, A) K/(K−1) v − Σ_j v̄_j / (K−1), with the mean v̄_j over the actions of each response of the group. PRIME,
    2502.01456 eq. 7.

    Args:
        values, mask: (P, K, A) and 1 for the actions that count.
    """
    counted = (mask.sum(-1, keepdim=True) > 0).to(values.dtype)  # (P, K, 1)
    means = (values * mask).sum(-1, keepdim=True) / mask.sum(-1, keepdim=True).clamp(min=1)
    size = counted.sum(1, keepdim=True)
    others = (size - 1).clamp(min=1)
    return (size * values - means.sum(1, keepdim=True)) / others * mask * (size > 1)


def group_std(rewards: Tensor, counted: Tensor, correction: int = 1) -> Tensor:
    """(P, 1) the standard deviation of a group's rewards (P, K), over n − correction of those counted (P, K)."""
    apart = (rewards - group_mean(rewards, counted)).square() * counted
    return (apart.sum(1, keepdim=True) / (counted.sum(1, keepdim=True) - correction).clamp(min=1)).sqrt()


def preferred(rewards: Tensor, rivals: Tensor) -> Tensor:
    """(P, K) σ(r − r′) − ½: how much likelier than not a response is preferred to its rival where
    preferences follow rewards (Bradley–Terry). Nash-MD, 2312.00886 section 7.

    Args:
        rewards, rivals: (P, K).
    """
    return torch.sigmoid(rewards - rivals) - 0.5


def moments(values: Tensor, mask: Tensor, summed: Summed = alone, correction: int = 1) -> tuple[Tensor, Tensor]:
    """() mean and () variance of values over all that the mask, of the same shape, counts, on all processes."""
    values = torch.where(mask > 0, values, 0)
    count, total = summed(torch.stack([mask.sum().to(values.dtype), values.sum()])).unbind()
    mean = total / count.clamp(min=1)
    apart = summed(((values - mean).square() * mask).sum())
    return mean, apart / (count - correction).clamp(min=1)


def by_certainty(scores: Tensor, mask: Tensor, right: Tensor) -> Tensor:
    """(P, K, A) weights of actions: with p = σ(the mean score up to an action), max((p − ½) / ½, 0) in right answers and
    max((½ − p) / ½, 0) in wrong ones; 0 where the mask is. OREAL, 2502.06781 section 3.3.

    Args:
        scores, mask: (P, K, A) of a reward model of tokens, and 1 for the actions that count.
        right: (P, K) whether an answer is.
    """
    sums = scores.where(mask > 0, 0).cumsum(-1)
    sure = 2 * torch.sigmoid(sums / mask.cumsum(-1).clamp(min=1)) - 1
    return torch.where(right[..., None], sure, -sure).clamp(min=0) * mask


def by_history(history: Tensor, fewest: int, mean: Tensor, std: Tensor) -> tuple[Tensor, Tensor]:
    """(P, 1) mean and (P, 1) deviation of what is known of each prompt's rewards, as DDPO (2305.13301) tracks them.

    Args:
        history: (P, N) rewards, and NaN where there are none.
        fewest: rewards that are enough.
        mean, std: () of prompts with fewer.
    """
    known = (~history.isnan()).to(history.dtype)
    count = known.sum(1, keepdim=True)
    own = history.where(known > 0, 0)
    means = own.sum(1, keepdim=True) / count.clamp(min=1)
    variance = ((own - means).square() * known).sum(1, keepdim=True) / count.clamp(min=1)
    return means.where(count >= fewest, mean), variance.sqrt().where(count >= fewest, std)


def whitened(values: Tensor, mask: Tensor, shift: bool = True, eps: float = 1e-8, summed: Summed = alone) -> Tensor:
    """(x − mean) / √(variance + eps) over all that counts; 0 elsewhere.

    Args:
        values, mask: of the same shape, (P, K) or (P, K, A).
        shift: whether the mean becomes 0; else it stays, as PPO's rewards are whitened.

    Returns:
        Of the same shape.
    """
    mean, variance = moments(values, mask, summed)
    found = (values - mean) * (variance + eps).rsqrt() + (0.0 if shift else mean)
    return torch.where(mask > 0, found, 0)


def at_last(scores: Tensor, mask: Tensor) -> Tensor:
    """(P, K, A) the score (P, K) of a response at its last action that counts (P, K, A), 0 elsewhere."""
    later = mask.flip(-1).cumsum(-1).flip(-1)
    return scores[..., None] * ((later == 1) & (mask > 0))


def generalized(
    rewards: Tensor, values: Tensor, mask: Tensor, gamma: float, smoothing: Tensor | float
) -> tuple[Tensor, Tensor]:
    """Generalised advantages δ_t + γλ A_(t+1), δ_t = r_t + γ V_(t+1) − V_t, and returns A + V. 1506.02438 eq. 16.

    Behind the last action nothing is expected. Places without a choice are passed over. With values 0 and λ = 1 advantages
    are the discounted sums of later rewards.

    Args:
        rewards, values, mask: (P, K, A).
        gamma: γ. smoothing: λ, one or (P, K) of each response.

    Returns:
        (P, K, A) advantages and (P, K, A) returns, 0 where the mask is.
    """
    ahead = following = torch.zeros_like(values[..., 0])
    found = []
    for t in reversed(range(values.shape[-1])):
        counts = mask[..., t] > 0
        surprise = rewards[..., t] + gamma * following - values[..., t]
        ahead = torch.where(counts, surprise + gamma * smoothing * ahead, ahead)
        following = torch.where(counts, values[..., t], following)
        found.append(torch.where(counts, ahead, 0))
    advantages = torch.stack(found[::-1], -1)
    return advantages, torch.where(mask > 0, advantages + values, 0)


def by_length(lengths: Tensor, alpha: float) -> Tensor:
    """λ = 1 − 1/(α l) of responses with l actions, at least 0, of the same shape (P, K). VAPO, 2504.05118 eq. 8."""
    return (1 - 1 / (alpha * lengths.clamp(min=1))).clamp(min=0)


def overlong_penalty(lengths: Tensor, limit: float, margin: float) -> Tensor:
    """0 up to limit − margin, falling to −1 at the limit, −1 beyond. DAPO, 2503.14476 eq. 13.

    Args:
        lengths: (P, K) actions, or any shape.

    Returns:
        Of the same shape.
    """
    return -((lengths - (limit - margin)) / margin).clamp(0, 1)


def growth(divergence: Tensor, target: float, horizon: float, responses: Tensor) -> Tensor:
    """() by how much a coefficient of a divergence grows: 1 + clip(KL / target − 1, −0.2, 0.2) · n / horizon. 1909.08593.

    Args:
        divergence: () nats of a response in the mean.
        responses: () n.
    """
    return 1 + (divergence / target - 1).clamp(-0.2, 0.2) * responses / horizon


def mixed(reward: Tensor, cost: Tensor, multiplier: Tensor) -> Tensor:
    """(A_R − λ A_C) / (1 + λ) of advantages of the same shape and a multiplier (). PPO-Lagrangian, 2310.12773 eq. 10."""
    return (reward - multiplier * cost) / (1 + multiplier)
