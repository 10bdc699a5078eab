"""Learning what harms."""

from __future__ import annotations

from typing import ClassVar

from aa_lightning import losses
from aa_lightning.algos import metrics
from aa_lightning.algos.hyperparameters import NonNegative, RewardObjective, hyperparameters
from aa_lightning.types import Batch, RewardModel


@hyperparameters
class CostModelling(RewardObjective):
    """The cost model of Safe RLHF (2310.12773): above 0 for harmful responses, below for harmless ones.

    The model's reward is minus the cost, so that everywhere a larger reward is better and the chosen response is the
    safer one; Safe RLHF and its successors call the more harmful one the better.

    Attributes:
        sign: weight κ of the terms on the sign of each cost.
        l2: weight of the mean square of the two costs.
    """

    sign: NonNegative
    l2: NonNegative

    wants: ClassVar = ("safe",)

    def __call__(self, policy: RewardModel, batch: Batch):
        rewards, safe = policy.score(batch), batch.supervision["safe"]  # (P, 2)
        chosen, rejected = (-rewards).unbind(1)
        per_pair = losses.reward.cost(chosen, rejected, safe, self.sign)
        loss = (per_pair + self.l2 * losses.reward.l2(chosen, rejected)).mean()
        told = (rewards > 0) == safe
        found = metrics.of_rewards(rewards, metrics.response_sizes(batch))
        return loss, {**found, "cost/sign_accuracy": told.to(rewards.dtype).mean()}
