"""Surrogates of the policy gradient. Each takes values per action (P, K, A) and returns values per action or per response.

ρ = π / π_old is the ratio of an action's probability now to that of its drawing, A an advantage, ε a bound. What is returned
is minimised. Names say what a method changes in PPO's clipped surrogate.
"""

from __future__ import annotations

import torch
from torch import Tensor

_FARTHEST = 20.0  # nats of a log-ratio that are looked at: beyond, e^x says nothing that a float holds well


def log_ratio(logprobs: Tensor, old: Tensor, mask: Tensor, level: str) -> Tensor:
    """log ρ of each action, or of each whole response.

    Args:
        logprobs, old, mask: (P, K, A) now, at the time of drawing, and 1 where there was a choice.
        level: `action`: of each; `response_total`: summed over a response (RLOO, 2402.14740); `response_mean`: the mean over
            its actions (GSPO, 2507.18071 eq. 7); `response_mean_action`: the value of the mean, with the gradient of each
            action's own (GSPO-token, eq. 14).

    Returns:
        (P, K, A) or (P, K, 1) nats, within ±20.
    """
    own = (logprobs - old) * mask
    if level == "action":
        return own.clamp(-_FARTHEST, _FARTHEST)
    found = own.sum(-1, keepdim=True)
    if level != "response_total":
        found = found / mask.sum(-1, keepdim=True).clamp(min=1)
    if level == "response_mean_action":
        found = found.detach() + logprobs - logprobs.detach()
    return found.clamp(-_FARTHEST, _FARTHEST)


def clipped(
    ratio: Tensor,
    advantages: Tensor,
    low: float,
    high: float,
    dual: float | None = None,
    two_sided: float | None = None,
) -> Tensor:
    """−min(ρ A, clip(ρ, 1 − ε_low, 1 + ε_high) A). PPO, 1707.06347 eq. 7.

    Args:
        ratio, advantages: of any shape that broadcasts to (P, K, A).
        low, high: ε of each side.
        dual: c of dual clipping: of A < 0 no more than −c A is lost (1912.09729 eq. 5); None: no bound.
        two_sided: δ: no ratio counts more than δ, those of A < 0 neither (INTELLECT-2, 2505.07291); None: no bound.

    Returns:
        (P, K, A).
    """
    counted = ratio if two_sided is None else ratio.clamp(max=two_sided)
    gained = torch.minimum(counted * advantages, ratio.clamp(1 - low, 1 + high) * advantages)
    if dual is not None:
        gained = torch.where(advantages < 0, torch.maximum(gained, dual * advantages), gained)
    return -gained


def truncated(logprobs: Tensor, ratio: Tensor, advantages: Tensor, lowest: float | None, highest: float) -> Tensor:
    """(P, K, A) −sg[clip(ρ, lowest, highest)] A log π: what is clipped keeps a gradient. CISPO, 2506.13585 eq. 4.

    Args:
        logprobs, ratio, advantages: (P, K, A).
        lowest, highest: bounds of the ratio itself, not of its distance from 1. None: no bound.
    """
    return -ratio.detach().clamp(lowest, highest) * advantages * logprobs


def soft_gated(ratio: Tensor, advantages: Tensor, positive: float, negative: float) -> Tensor:
    """(P, K, A) −(4/τ) σ(τ (ρ − 1)) A: a smooth gate in place of a clip, τ by the sign of A. SAPO, 2511.20347 eq. 5.

    Args:
        ratio, advantages: (P, K, A).
        positive, negative: τ for A > 0, and for the others.
    """
    steepness = torch.full_like(advantages, negative).masked_fill(advantages > 0, positive)
    return -4 / steepness * torch.sigmoid(steepness * (ratio - 1)) * advantages


def geometric(logprobs: Tensor, old: Tensor, mask: Tensor, advantages: Tensor, low: float, high: float) -> Tensor:
    """−A times the geometric mean of a response's ratios, each clipped before. GMPO, 2507.20673 eq. 4.

    Args:
        logprobs, old, mask, advantages: (P, K, A).
        low, high: bounds of |log ρ|, in nats.

    Returns:
        (P, K, 1).
    """
    own = (logprobs - old) * mask
    clip = own.clamp(-low, high)
    kept = torch.where(advantages > 0, torch.minimum(own, clip), torch.maximum(own, clip))
    mean = kept.sum(-1, keepdim=True) / mask.sum(-1, keepdim=True).clamp(min=1)
    return -mean_over_actions(advantages, mask) * mean.clamp(-_FARTHEST, _FARTHEST).exp()


def mean_over_actions(values: Tensor, mask: Tensor) -> Tensor:
    """(P, K, 1) the mean of values (P, K, A) or (P, K, 1) over a response's actions."""
    mask = mask.to(values.dtype)
    return (values * mask).sum(-1, keepdim=True) / mask.sum(-1, keepdim=True).clamp(min=1)


def reinforce(logprobs: Tensor, advantages: Tensor) -> Tensor:
    """(P, K, A) −A log π. REINFORCE, Williams 1992."""
    return -advantages * logprobs


def kl_estimate(logprobs: Tensor, reference: Tensor, estimator: str) -> Tensor:
    """Estimate KL(π ‖ π_ref) by what was drawn from π.

    With d = log π − log π_ref: k1 = d, k2 = d²/2, k3 = e^(−d) + d − 1 (Schulman 2020). k1 and k3 are unbiased; as a loss,
    only k2's gradient is that of the divergence, and k1's is 0 in the mean.

    Args:
        logprobs, reference: (P, K, A) of the same actions.
        estimator: k1, k2 or k3.

    Returns:
        (P, K, A) nats.
    """
    apart = (logprobs - reference).clamp(-_FARTHEST, _FARTHEST)
    if estimator == "k1":
        return apart
    return apart.square() / 2 if estimator == "k2" else torch.expm1(-apart) + apart


def aggregated(values: Tensor, mask: Tensor, how: str, count: Tensor | float, length: float | None = None) -> Tensor:
    """() a mean over what was drawn.

    Args:
        values: (P, K, A) per action, or (P, K, 1) per response.
        mask: (P, K, A) the actions that count.
        how: `token`: over all actions (DAPO, 2503.14476 eq. 8); `response`: over responses of the mean over their actions
            (GRPO, 2402.03300 eq. 3); `sum`: over responses of the sum over their actions; `constant`: of these sums divided
            by a constant length (Dr. GRPO, 2503.20783).
        count: what a mean divides by: how many actions (`token`) or responses (the others) the whole step has.
        length: of `constant`.
    """
    mask = mask.to(values.dtype)
    sums = (values * mask).sum(-1)
    if how == "response":
        sums = sums / mask.sum(-1).clamp(min=1)
    if how == "constant":
        sums = sums / length
    return sums.sum() / count


def value_loss(values: Tensor, old: Tensor, returns: Tensor, clip: float | None) -> Tensor:
    """½ max((V − G)², (V_clipped − G)²), with V kept within ±clip of its value at the time of drawing. 2005.12729.

    Args:
        values, old, returns: (P, K, A) or any shape.
        clip: None: ½ (V − G)².

    Returns:
        Of the same shape.
    """
    lost = (values - returns).square()
    if clip is not None:
        lost = torch.maximum(lost, (values.clamp(old - clip, old + clip) - returns).square())
    return lost / 2
