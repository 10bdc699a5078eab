"""What the parts of a preference objective look at, and what they all report."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from aa_lightning.types import Batch, LogLikelihood, Metrics, Policy

if TYPE_CHECKING:
    from torch import Tensor


@dataclass
class Pairs:
    """Scores of (chosen, rejected).

    Attributes:
        likelihood: of the policy.
        ours, theirs: (P, 2) reduced log-likelihoods of policy and reference; 0 where there is no reference.
        rewards: (P, 2) β h, with h the transformed difference of the two.
        beta: a number, or (P, 1).
        policy, batch: for what only some parts read.
    """

    likelihood: LogLikelihood
    ours: Tensor
    theirs: Any
    rewards: Tensor
    beta: Any
    policy: Policy
    batch: Batch

    @property
    def ratio(self) -> Tensor:
        """(P, 2) u = log π − log π_ref, reduced."""
        return self.ours - self.theirs

    @property
    def gap(self) -> Tensor:
        """(P,) the difference of rewards."""
        return self.rewards[:, 0] - self.rewards[:, 1]


def summary(pairs: Pairs) -> Metrics:
    """The metrics of every pairwise algorithm, under the same names."""
    rewards, logp = pairs.rewards.detach(), pairs.likelihood.total.detach()
    gap = rewards[:, 0] - rewards[:, 1]
    size = pairs.likelihood.size
    return {
        "reward/chosen": rewards[:, 0].mean(),
        "reward/rejected": rewards[:, 1].mean(),
        "reward/margin": gap.mean(),
        "reward/accuracy": (gap > 0).to(gap.dtype).mean(),
        "logp/chosen": logp[:, 0].mean(),
        "logp/rejected": logp[:, 1].mean(),
        "length/chosen": size[:, 0].mean(),
        "length/rejected": size[:, 1].mean(),
    }
