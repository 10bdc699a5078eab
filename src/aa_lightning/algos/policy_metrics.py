"""Metrics of objectives on drawn responses, under names whose meanings stand in docs/algorithms.md."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aa_lightning import losses
from aa_lightning.algos.experience import Actions
from aa_lightning.algos.surrogates import Surrogate
from aa_lightning.types import Metrics

if TYPE_CHECKING:
    from torch import Tensor


def of_actions(actions: Actions, surrogate: Surrogate, given: dict[str, Tensor]) -> Metrics:
    """Metrics () of a minibatch of drawn responses.

    Args:
        actions: with their log-probabilities now.
        surrogate: whose ratio and bounds are told.
        given: the batch's supervision.
    """
    import torch

    with torch.no_grad():
        mask, rewards = actions.mask, given["rewards"].to(actions.mask.dtype)
        ratio, advantages = actions.ratio(surrogate.level).expand_as(mask), actions.advantages.expand_as(mask)
        low, high = surrogate.bounds
        found = {
            "reward/mean": rewards.nanmean(),
            "length/mean": mask.sum(-1).mean(),
            "advantage/std": _mean(advantages.square(), mask).sqrt(),
            "advantage/zero": ((advantages * mask).abs().amax((1, 2)) == 0).to(mask.dtype).mean(),
            "ratio/mean": _mean(ratio, mask),
            "entropy/mean": -_mean(actions.old, mask),
        }
        if low is not None:
            found["clip/low"] = _mean(((ratio < low) & (advantages < 0)).to(mask.dtype), mask)
        if high is not None:
            found["clip/high"] = _mean(((ratio > high) & (advantages > 0)).to(mask.dtype), mask)
        if "reference_logprobs" in given:
            apart = losses.policy_gradient.kl_estimate(actions.logprobs, given["reference_logprobs"], "k1")
            found["kl"] = (apart.where(mask > 0, 0)).sum(-1).mean()
        return found


def _mean(values: Tensor, mask: Tensor) -> Tensor:
    """() over the actions that count."""
    return (values * mask).sum() / mask.sum().clamp(min=1)
