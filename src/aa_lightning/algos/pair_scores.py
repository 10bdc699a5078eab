"""Scores of pairs, which the components of a preference objective read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from aa_lightning.algos.step import Step
from aa_lightning.types import Batch, LogLikelihood

if TYPE_CHECKING:
    from torch import Tensor


@dataclass
class Pairs:
    """Scores of (chosen, rejected).

    Attributes:
        likelihood: of the policy.
        ours, theirs: (P, 2) reduced log-likelihoods of policy and reference in nats; 0 where there is no reference.
        rewards: (P, 2) β h, with h the transformed difference of the two.
        beta: a number, or (P, 1).
        batch, step: for what only some parts read.
    """

    likelihood: LogLikelihood
    ours: Tensor
    theirs: Any
    rewards: Tensor
    beta: Any
    batch: Batch
    step: Step

    @property
    def ratio(self) -> Tensor:
        """(P, 2) u = log π − log π_ref, reduced."""
        return self.ours - self.theirs

    @property
    def gap(self) -> Tensor:
        """(P,) the difference of rewards."""
        return self.rewards[:, 0] - self.rewards[:, 1]
