"""β and weight of each pair: `dynamic_beta(beta, ratio, batch, step) -> beta and who counts`, `weight(pairs) -> (P,)`."""

from __future__ import annotations

from random import Random
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from aa_lightning import losses
from aa_lightning.algos.hyperparameters import Component, NonNegative, Positive, Share, hyperparameters
from aa_lightning.configuration.schema import BY_NAME


@hyperparameters
class MarginBeta(Component):
    """MM-DPO (2502.10391): beta grows with the data's margin, up to (1 + weight) beta."""

    name: Literal["margin"]
    weight: NonNegative
    rate: NonNegative
    wants: ClassVar = ("margin",)

    def __call__(self, beta, ratio, batch, step):
        margin = batch.supervision["margin"]
        return losses.transforms.scaled_beta(beta, margin, self.weight, self.rate)[:, None], 1.0


@hyperparameters
class BatchBeta(Component):
    """β-DPO (2407.08639): beta follows the mean margin of a batch, whose outliers are left out.

    Attributes:
        rate: how far beta follows.
        keep: share of pairs kept, drawn with the density of a normal around the mean margin.
        momentum: of the running mean and deviation of margins.
    """

    name: Literal["batch"]
    rate: NonNegative
    keep: Share
    momentum: Annotated[float, Field(ge=0, lt=1)]
    remembers: ClassVar = ("margin_mean", "margin_std", "margin_steps")

    def __call__(self, beta, ratio, batch, step):
        margin = ratio[:, 0] - ratio[:, 1]
        luck = [Random(f"{step.memory['margin_steps']:.0f}/{row}").random() for row in batch.ids]
        return losses.distributed.beta_dpo_beta(
            beta, margin, margin.new_tensor(luck), self.rate, self.keep, self.momentum, step.memory
        )


@hyperparameters
class OnPolicyWeight(Component):
    """WPO (2406.11827): pairs count as much as the policy itself would say them; the authors cap the weight at 1."""

    name: Literal["on_policy"]
    cap: Positive | None
    statistic: ClassVar = "collision"

    def __call__(self, pairs):
        likelihood = pairs.likelihood
        both = losses.transforms.on_policy_weights(likelihood.terms, likelihood.statistic, likelihood.mask).prod(1)
        return both if self.cap is None else both.clamp(max=self.cap)


DynamicBeta = Annotated[MarginBeta | BatchBeta, Field(discriminator="name"), BY_NAME]
Weight = OnPolicyWeight
