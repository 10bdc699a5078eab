"""Learning whether answers, or steps of them, are right."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from aa_lightning import losses
from aa_lightning.algos.options import hyperparameters
from aa_lightning.algos.reward_model import RewardObjective
from aa_lightning.types import Batch, Metrics, Policy, RewardModel


@hyperparameters
class OutcomeReward(RewardObjective):
    """A verifier of whole responses (2110.14168): σ(reward) is the probability that a response is right."""

    supervision: ClassVar = "rating"

    def __call__(self, policy: RewardModel, batch: Batch):
        logits, right = policy.score(batch), batch.supervision["desirable"]  # (P, K)
        return losses.reward.right_or_wrong(logits, right).mean(), judged(logits, right)


@hyperparameters
class ProcessReward(RewardObjective):
    """A verifier of steps (2305.20050): a logit read at the last token of each step."""

    supervision: ClassVar = "rating"
    wants: ClassVar = ("steps",)

    def __call__(self, policy: RewardModel, batch: Batch):
        labels = batch.supervision["steps"]  # (P, K, S), NaN: no step
        there = ~labels.isnan()
        logits = policy.score_steps(batch, batch.supervision["step_ends"])[there]
        right = labels[there].bool()
        return losses.reward.right_or_wrong(logits, right).mean(), judged(logits, right)


@hyperparameters
class ImplicitReward:
    """A process reward that needs no step labels (PRIME, 2502.01456): r = β (log π − log π_ref), trained with right
    and wrong answers; each token's share of r is its reward.

    Attributes:
        beta: of the reward.
    """

    beta: Annotated[float, Field(gt=0)]

    supervision: ClassVar = "rating"
    trains: ClassVar = "policy"
    accepts: ClassVar = ("exact",)
    uses_reference: ClassVar = True
    moving: ClassVar = None
    wants: ClassVar = ()
    remembers: ClassVar = ()

    def __call__(self, policy: Policy, batch: Batch):
        likelihood, right = policy.log_likelihood(batch), batch.supervision["desirable"]
        with policy.as_reference() as reference:
            rewards = self.beta * (likelihood.total - reference.log_likelihood(batch).total)  # (P, K)
        loss = losses.reward.right_or_wrong(rewards, right).mean()
        return loss, {
            **judged(rewards, right),
            "logp/chosen": _mean(likelihood.total.detach(), right),
            "logp/rejected": _mean(likelihood.total.detach(), ~right),
            "length/chosen": _mean(likelihood.size, right),
        }


def judged(logits, right) -> Metrics:
    """Mean logits of right and of wrong ones, 0 where there is none, and how often the sign tells."""
    logits = logits.detach()
    return {
        "reward/chosen": _mean(logits, right),
        "reward/rejected": _mean(logits, ~right),
        "reward/accuracy": ((logits > 0) == right).to(logits.dtype).mean(),
    }


def _mean(values, counted):
    share = counted.to(values.dtype)
    return (values * share).sum() / share.sum().clamp(min=1)
