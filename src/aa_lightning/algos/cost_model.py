"""Learning what harms."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from aa_lightning import losses
from aa_lightning.algos.options import hyperparameters
from aa_lightning.algos.reward_model import RewardObjective, ranked
from aa_lightning.types import Batch, RewardModel


@hyperparameters
class CostModelling(RewardObjective):
    """The cost model of Safe RLHF (2310.12773 eq. 6): above 0 for harmful responses, below for harmless ones.

    The model's reward is minus the cost, so that everywhere a larger reward is better and the chosen response is the
    safer one; Safe RLHF and its successors call the more harmful one the better.

    Attributes:
        sign: weight κ of the terms on the sign of each cost.
        l2: weight of the mean square of the two costs.
    """

    sign: Annotated[float, Field(ge=0)]
    l2: Annotated[float, Field(ge=0)]

    wants: ClassVar = ("safe",)

    def __call__(self, policy: RewardModel, batch: Batch):
        rewards, safe = policy.score(batch), batch.supervision["safe"]  # (P, 2)
        chosen, rejected = (-rewards).unbind(1)
        per_pair = losses.reward.cost(chosen, rejected, safe, self.sign)
        loss = (per_pair + self.l2 * losses.reward.square(chosen, rejected)).mean()
        told = (rewards > 0) == safe
        return loss, {**ranked(rewards), "cost/sign_accuracy": told.to(rewards.dtype).mean()}
