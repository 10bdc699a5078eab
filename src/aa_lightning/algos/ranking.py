"""Learning a policy from K scored responses to a prompt."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from aa_lightning import losses
from aa_lightning.algos.options import hyperparameters
from aa_lightning.types import Batch, Policy


@hyperparameters
class RankingOptimization:
    """Noise contrastive alignment of K responses (2402.05369): rewards r = β (log π − log π_ref) against the distribution
    softmax(scores / alpha).

    Attributes:
        beta: pull to the reference.
        alpha: temperature of the scores; small: the best response takes all.
        link: info_nca: relative rewards (eq. 9); nca: also their height (eq. 11).
    """

    beta: Annotated[float, Field(gt=0)]
    alpha: Annotated[float, Field(gt=0)]
    link: Literal["info_nca", "nca"]

    supervision: ClassVar = "ranking"
    trains: ClassVar = "policy"
    accepts: ClassVar = ("exact", "bound")
    uses_reference: ClassVar = True
    moving: ClassVar = None
    wants: ClassVar = ()
    remembers: ClassVar = ()

    def __call__(self, policy: Policy, batch: Batch):
        likelihood = policy.log_likelihood(batch)
        with policy.as_reference() as reference:
            rewards = self.beta * (likelihood.total - reference.log_likelihood(batch).total)  # (P, K)
        target = (batch.supervision["scores"] / self.alpha).softmax(-1).to(rewards.dtype)
        of = losses.preference.info_nca if self.link == "info_nca" else losses.preference.nca_ranked
        return of(rewards, target).mean(), _summary(rewards.detach(), likelihood)


def _summary(rewards, likelihood):
    """Of the best and of the worst response."""
    logp, size, margin = likelihood.total.detach(), likelihood.size, rewards[:, 0] - rewards[:, -1]
    return {
        "reward/chosen": rewards[:, 0].mean(),
        "reward/rejected": rewards[:, -1].mean(),
        "reward/margin": margin.mean(),
        "reward/accuracy": (margin > 0).to(margin.dtype).mean(),
        "logp/chosen": logp[:, 0].mean(),
        "logp/rejected": logp[:, -1].mean(),
        "length/chosen": size[:, 0].mean(),
        "length/rejected": size[:, -1].mean(),
    }
