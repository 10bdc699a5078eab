"""Losses on preference pairs. Each takes values per pair and returns values per pair."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def logistic(logit: Tensor, label_smoothing: float = 0.0) -> Tensor:
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
