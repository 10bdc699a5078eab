"""Losses on preference pairs. Each takes values per pair and returns values per pair.

A *logit* is z = β (h_chosen − h_rejected) − offset, a *reward* is β u. Names say what an algorithm changes in DPO.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor


def sigmoid(logit: Tensor, label_smoothing: float = 0.0) -> Tensor:
    """Negative log-likelihood of the preference under Bradley–Terry, −log σ(z).

    With label smoothing ε the label counts as flipped with probability ε: −(1−ε) log σ(z) − ε log σ(−z) (cDPO).

    Args:
        logit: (P,) z = β (u_chosen − u_rejected). 2305.18290 eq. 7.
        label_smoothing: ε in [0, ½).

    Returns:
        (P,) nats.
    """
    if label_smoothing == 0.0:
        return -F.logsigmoid(logit)
    return -(1 - label_smoothing) * F.logsigmoid(logit) - label_smoothing * F.logsigmoid(-logit)


def robust(logit: Tensor, label_smoothing: float) -> Tensor:
    """(P,) unbiased under labels flipped at rate ε: [−(1−ε) log σ(z) + ε log σ(−z)] / (1−2ε). 2403.00409.

    It has no minimum: the wrong pairs' term falls without bound.
    """
    kept, flipped = F.logsigmoid(logit), F.logsigmoid(-logit)
    return (label_smoothing * flipped - (1 - label_smoothing) * kept) / (1 - 2 * label_smoothing)


def hinge(logit: Tensor, target: float = 1.0) -> Tensor:
    """(P,) max(0, δ − z). With log-ratios RSO (2309.06657), with bare log-likelihoods SLiC-HF (2305.10425)."""
    return (target - logit).clamp(min=0)


def ipo(logit: Tensor, beta: float) -> Tensor:
    """(P,) (m − 1/(2β))² of the unscaled margin m = z/β: pulled to its target from both sides. 2310.12036 eq. 17."""
    return ((logit - 0.5) / beta) ** 2


def exo_pair(logit: Tensor, label_smoothing: float) -> Tensor:
    """(P,) KL((σ(z), σ(−z)) ‖ (1−ε, ε)), the reverse of DPO's. 2402.00856 eq. 16; ε must not be 0."""
    right, wrong = F.logsigmoid(logit), F.logsigmoid(-logit)
    right_label, wrong_label = math.log1p(-label_smoothing), math.log(label_smoothing)
    return right.exp() * (right - right_label) + wrong.exp() * (wrong - wrong_label)


def discopop(logit: Tensor, tau: float) -> Tensor:
    """(P,) the log-ratio modulated loss −log σ(z) (1 − σ(z/τ)) + e^{−z} σ(z/τ). 2406.08414 eq. 5."""
    share = torch.sigmoid(logit / tau)
    return -F.logsigmoid(logit) * (1 - share) + torch.exp(-logit) * share


# ---------------------------------------------------------------- on the two rewards of a pair


def apo_zero(chosen: Tensor, rejected: Tensor) -> Tensor:
    """(P,) 1 − σ(r_chosen) + σ(r_rejected): one up, the other down. 2408.06266 eq. 7."""
    return torch.sigmoid(-chosen) + torch.sigmoid(rejected)


def apo_down(chosen: Tensor, rejected: Tensor) -> Tensor:
    """(P,) σ(r_chosen) + 1 − σ(r_chosen − r_rejected): both down, the rejected one more. 2408.06266 eq. 8."""
    return torch.sigmoid(chosen) + torch.sigmoid(rejected - chosen)


def nca(chosen: Tensor, rejected: Tensor) -> Tensor:
    """(P,) −log σ(r_chosen) − ½ log σ(−r_chosen) − ½ log σ(−r_rejected), which keeps likelihood up. 2402.05369."""
    return -F.logsigmoid(chosen) - 0.5 * F.logsigmoid(-chosen) - 0.5 * F.logsigmoid(-rejected)


def bco(chosen: Tensor, rejected: Tensor, shift: Tensor | float = 0.0) -> Tensor:
    """(P,) a binary classifier of the two rewards against their detached mean δ. 2404.04656."""
    return -F.logsigmoid(chosen - shift) - F.logsigmoid(shift - rejected)


def sppo(chosen: Tensor, rejected: Tensor, win: Tensor | float, beta: float) -> Tensor:
    """(P,) Σ over both of (u − (p − ½)/β)², with u = r/β and p the probability of winning. 2405.00675 eq. 4.7.

    The authors' code has the mean of the two squares, TRL their sum.
    """
    return ((chosen - (win - 0.5)) / beta) ** 2 + ((rejected - (0.5 - win)) / beta) ** 2


def kto_pair(chosen: Tensor, rejected: Tensor, mean_chosen: Tensor, mean_rejected: Tensor) -> Tensor:
    """(P,) half of 1 − σ(r_chosen − z_rejected) and of 1 − σ(z_chosen − r_rejected), z = max(0, mean reward): the paired
    KTO of older codes, which need no mismatched responses. They let gradients through z, the paper (2402.01306) has none.

    Args:
        chosen, rejected: (P,) rewards. mean_chosen, mean_rejected: () their means.
    """
    up = torch.sigmoid(mean_rejected.detach().clamp(min=0) - chosen)
    down = torch.sigmoid(rejected - mean_chosen.detach().clamp(min=0))
    return (up + down) / 2


# ---------------------------------------------------------------- on single responses


def kto(reward: Tensor, desirable: Tensor, baseline: Tensor, weights: tuple[float, float]) -> Tensor:
    """λ_D (1 − σ(r − z₀)) for desirable responses, λ_U (1 − σ(z₀ − r)) for others. 2402.01306 eq. 7.

    Args:
        reward: (P, K) β u.
        desirable: (P, K) booleans.
        baseline: () β z₀, detached and never negative.
        weights: (λ_D, λ_U).
    """
    up = weights[0] * torch.sigmoid(baseline - reward)
    down = weights[1] * torch.sigmoid(reward - baseline)
    return torch.where(desirable, up, down)


def bco_single(reward: Tensor, desirable: Tensor, shift: Tensor | float) -> Tensor:
    """(P, K) −log σ(±(r − δ)): a binary classifier of single responses. 2404.04656."""
    return torch.where(desirable, -F.logsigmoid(reward - shift), -F.logsigmoid(shift - reward))


def apo_zero_single(reward: Tensor, desirable: Tensor) -> Tensor:
    """(P, K) 1 − σ(r) for desirable responses, σ(r) for others. 2408.06266 eq. 7, unpaired."""
    return torch.where(desirable, torch.sigmoid(-reward), torch.sigmoid(reward))


# ---------------------------------------------------------------- on K ranked responses


def info_nca(rewards: Tensor, target: Tensor) -> Tensor:
    """(P,) cross entropy of softmax(r) with a target distribution over K responses. 2402.05369."""
    return -(target * rewards.log_softmax(-1)).sum(-1)


def nca_ranked(rewards: Tensor, target: Tensor) -> Tensor:
    """(P,) −Σ_K [p log σ(r) + (1/K) log σ(−r)]. 2402.05369."""
    return -(target * F.logsigmoid(rewards) + F.logsigmoid(-rewards) / rewards.shape[-1]).sum(-1)
