"""Transforms between log-likelihoods and a preference loss: token weights, f-divergences of log-ratios, target margins."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

# ---------------------------------------------------------------- weights of terms, (P, K, T)


def tail_weights(mask: Tensor, alpha: float) -> Tensor:
    """(P, K, T) 1 on the first min(size) terms of every response of a pair, α on those beyond. LD-DPO, 2409.06411."""
    place = mask.cumsum(-1)
    shorter = mask.sum(-1).amin(1)  # (P,)
    return torch.where(place > shorter[:, None, None], alpha, 1.0).to(mask.dtype)


def changed_weights(mask: Tensor, changed: Tensor, gamma: float) -> Tensor:
    """(P, K, T) γ on changed terms and 1 on others, divided by their sum, so that a total is a weighted mean. 2312.00849."""
    weights = changed_sums(mask, changed, gamma)
    return weights / (weights * mask).sum(-1, keepdim=True).clamp(min=1e-9)


def changed_sums(mask: Tensor, changed: Tensor, gamma: float) -> Tensor:
    """(P, K, T) γ on changed terms and 1 on others, as RLAIF-V's code sums them."""
    return torch.where(changed.bool(), gamma, 1.0).to(mask.dtype)


def on_policy_weights(terms: Tensor, collision: Tensor, mask: Tensor) -> Tensor:
    """(P, K) how likely each response is under the policy itself: exp of the mean over terms of log p − log Σ_v p_v².

    WPO with weight alignment, 2406.11827 eq. 2. Detached.
    """
    aligned = ((terms - collision) * mask).sum(-1) / mask.sum(-1).clamp(min=1)
    return aligned.detach().exp()


# ---------------------------------------------------------------- transforms of the log-ratio u, (P, K)


def forward_kl(ratio: Tensor) -> Tensor:
    """(P, K) f′(e^u) of the forward KL without its constant: 1 − e^{−u}. 2309.16240."""
    return -torch.expm1(-ratio)


def jensen_shannon(ratio: Tensor) -> Tensor:
    """(P, K) log 2 + log σ(u), f′(e^u) of the Jensen–Shannon divergence. 2309.16240."""
    return math.log(2.0) + F.logsigmoid(ratio)


def alpha_divergence(ratio: Tensor, alpha: float) -> Tensor:
    """(P, K) (1 − e^{−αu}) / α: the reverse KL at α → 0, the forward KL at α = 1. 2309.16240; AlphaPO 2501.03884.

    TRL's coefficient is 1 − α.
    """
    return -torch.expm1(-alpha * ratio) / alpha


def log_odds(mean: Tensor) -> Tensor:
    """(P, K) log p/(1−p) of a mean log-likelihood, p = e^mean. ORPO, 2403.07691 eq. 4. Stable as p → 1."""
    near = mean > -0.693
    safe_near, safe_far = torch.where(near, mean, -1.0), torch.where(near, -1.0, mean)
    rest = torch.where(near, torch.log(-torch.expm1(safe_near)), torch.log1p(-torch.exp(safe_far)))
    return mean - rest


# ---------------------------------------------------------------- strength per pair, offsets, (P,)


def scaled_beta(beta: float, margin: Tensor, weight: float, rate: float) -> Tensor:
    """(P,) β (1 + w (1 − e^{−kδ})): pairs with a clearer margin pull harder. MM-DPO, 2502.10391."""
    return beta * (1 + weight * -torch.expm1(-rate * margin))


def dpop_penalty(ratio: Tensor) -> Tensor:
    """(P,) max(0, −u_chosen): what DPOP takes from the margin when the chosen response falls below the reference.
    2402.13228."""
    return (-ratio).clamp(min=0)
