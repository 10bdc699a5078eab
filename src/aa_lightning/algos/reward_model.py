"""Learning a reward from preferences."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from aa_lightning import losses
from aa_lightning.algos import metrics
from aa_lightning.algos.hyperparameters import Flipped, NonNegative, RewardObjective, hyperparameters
from aa_lightning.types import Batch, RewardModel


@hyperparameters
class RewardModelling(RewardObjective):
    """A Bradley–Terry reward model (2203.02155 eq. 1).

    Attributes:
        margin: how a margin in the data enters: not at all, subtracted from the difference (2307.09288 eq. 2), or as a
            factor of the loss (2410.01257).
        center: weight of (r_chosen + r_rejected)² (2312.09244).
        l2: weight of the mean square of all rewards (2310.12773).
        label_smoothing: share of labels taken to be flipped.
    """

    margin: Literal["none", "subtract", "scale"]
    center: NonNegative
    l2: NonNegative
    label_smoothing: Flipped

    @property
    def wants(self) -> tuple[str, ...]:
        return () if self.margin == "none" else ("margin",)

    def __call__(self, policy: RewardModel, batch: Batch):
        rewards = policy.score(batch)  # (P, 2)
        chosen, rejected = rewards[:, 0], rewards[:, 1]
        gap = None if self.margin == "none" else batch.supervision["margin"]
        subtracted = gap if self.margin == "subtract" else None
        per_pair = losses.reward.bradley_terry(chosen, rejected, subtracted, self.label_smoothing)
        if self.margin == "scale":
            per_pair = per_pair * gap
        per_pair = per_pair + self.center * losses.reward.center(chosen, rejected)
        loss = (per_pair + self.l2 * losses.reward.l2(chosen, rejected)).mean()
        return loss, metrics.of_rewards(rewards, metrics.response_sizes(batch))


@hyperparameters
class RewardWithTies(RewardObjective):
    """A reward model of preferences and ties (Rao–Kupper; VideoAlign 2501.13918).

    Attributes:
        theta: how readily two responses tie; above 1.
        center: weight of (r_chosen + r_rejected)².
    """

    theta: Annotated[float, Field(gt=1)]
    center: NonNegative

    wants: ClassVar = ("tie",)

    def __call__(self, policy: RewardModel, batch: Batch):
        rewards, tie = policy.score(batch), batch.supervision["tie"]  # (P, 2), (P,)
        chosen, rejected = rewards.unbind(1)
        per_pair = losses.reward.rao_kupper(chosen, rejected, tie, self.theta)
        loss = (per_pair + self.center * losses.reward.center(chosen, rejected)).mean()
        found = metrics.of_rewards(rewards, metrics.response_sizes(batch), ~tie)
        return loss, {**found, "reward/ties": tie.float().mean()}
