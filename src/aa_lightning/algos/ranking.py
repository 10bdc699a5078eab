"""Learning a policy from K scored responses to a prompt."""

from __future__ import annotations

from typing import ClassVar, Literal

from aa_lightning import losses
from aa_lightning.algos import metrics
from aa_lightning.algos.hyperparameters import PolicyObjective, Positive, hyperparameters
from aa_lightning.algos.step import ALONE, Step
from aa_lightning.types import Batch, Policy


@hyperparameters
class RankingOptimization(PolicyObjective):
    """Noise contrastive alignment of K responses (2402.05369): rewards r = β (log π − log π_ref) against the distribution
    softmax(scores / alpha).

    Attributes:
        beta: pull to the reference, per nat.
        alpha: temperature of the scores; small: the best response takes all.
        loss: info_nca: relative rewards; nca: also their height.
    """

    beta: Positive
    alpha: Positive
    loss: Literal["info_nca", "nca"]

    supervision: ClassVar = "ranking"

    def __call__(self, policy: Policy, batch: Batch, step: Step = ALONE):
        likelihood, fixed = self.with_reference(policy, batch, step.measured)
        rewards = self.beta * (likelihood.nats - fixed.nats)  # (P, K)
        target = (batch.supervision["scores"] / self.alpha).softmax(-1).to(rewards.dtype)
        of = losses.preference.info_nca if self.loss == "info_nca" else losses.preference.nca_ranked
        found = {**metrics.of_rewards(rewards, likelihood.size), **metrics.of_likelihoods(likelihood, fixed)}
        return of(rewards, target).mean(), found
