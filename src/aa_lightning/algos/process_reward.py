"""Learning whether answers, or steps of them, are right."""

from __future__ import annotations

from typing import ClassVar

from aa_lightning import losses
from aa_lightning.algos import metrics
from aa_lightning.algos.counts import labelled_steps
from aa_lightning.algos.hyperparameters import PolicyObjective, Positive, RewardObjective, hyperparameters
from aa_lightning.algos.step import ALONE, Step
from aa_lightning.types import Batch, Policy, RewardModel


@hyperparameters
class OutcomeReward(RewardObjective):
    """A verifier of whole responses (2110.14168): σ(reward) is the probability that a response is right."""

    supervision: ClassVar = "rating"

    def __call__(self, policy: RewardModel, batch: Batch):
        logits, right = policy.score(batch), batch.supervision["desirable"]  # (P, K)
        return losses.reward.binary_cross_entropy(logits, right).mean(), metrics.of_ratings(logits, right)


@hyperparameters
class ProcessReward(RewardObjective):
    """A verifier of steps (2305.20050): a logit read at the last token of each step."""

    supervision: ClassVar = "rating"
    wants: ClassVar = ("steps",)

    def normalizer(self, batch: Batch) -> float:
        return labelled_steps(batch)

    def __call__(self, policy: RewardModel, batch: Batch, step: Step = ALONE):
        labels = batch.supervision["steps"]  # (P, K, S), NaN: no step
        there = ~labels.isnan()
        logits = policy.score_steps(batch, batch.supervision["step_ends"])[there]
        right = labels[there].bool()
        count = there.sum() if step.normalizer is None else step.normalizer
        loss = losses.reward.binary_cross_entropy(logits, right).sum() / count.clamp(min=1e-9)
        return loss, metrics.of_ratings(logits, right)


@hyperparameters
class ImplicitReward(PolicyObjective):
    """A process reward that needs no step labels (PRIME, 2502.01456): r = β (log π − log π_ref), trained with right
    and wrong answers; each token's share of r is its reward.

    Attributes:
        beta: of the reward.
    """

    beta: Positive

    supervision: ClassVar = "rating"
    accepts: ClassVar = ("exact",)

    def __call__(self, policy: Policy, batch: Batch, step: Step = ALONE):
        likelihood, fixed = self.with_reference(policy, batch, step.measured)
        right = batch.supervision["desirable"]
        rewards = self.beta * (likelihood.nats - fixed.nats)  # (P, K)
        loss = losses.reward.binary_cross_entropy(rewards, right).mean()
        return loss, metrics.of_ratings(rewards, right, 0.0, likelihood, fixed)
