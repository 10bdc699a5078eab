"""Learning one reward per criterion."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from aa_lightning import losses
from aa_lightning.algos import metrics
from aa_lightning.algos.hyperparameters import Positive, RewardObjective, hyperparameters
from aa_lightning.algos.step import ALONE, Step
from aa_lightning.types import Batch, RewardModel


@hyperparameters
class CriteriaRewards(RewardObjective):
    """One reward per criterion, each learnt from the ratings in it (VideoAlign 2501.13918).

    Attributes:
        criteria: names as in the ratings of the data, and their weights in the loss.
    """

    criteria: dict[str, Positive] = Field(min_length=1)

    supervision: ClassVar = "feedback"
    wants: ClassVar = ("ratings",)

    @property
    def heads(self) -> int:
        return len(self.criteria)

    def normalizer(self, batch: Batch) -> float:
        """Weights of the criteria in which responses are rated apart, summed over rows."""
        ratings = batch.supervision["ratings"]
        apart = (ratings[:, 0] - ratings[:, 1]).nan_to_num(0.0) != 0  # (P, C)
        return (apart * apart.new_tensor(list(self.criteria.values()), dtype=ratings.dtype)).sum().item()

    def __call__(self, policy: RewardModel, batch: Batch, step: Step = ALONE):
        rewards, ratings = policy.score_criteria(batch), batch.supervision["ratings"]  # (P, 2, C)
        weights = rewards.new_tensor(list(self.criteria.values()))
        loss = losses.reward.per_criterion(rewards, ratings, weights, step.normalizer)
        found = metrics.of_rewards(rewards.mean(-1), metrics.response_sizes(batch))
        right = (rewards[:, 0] - rewards[:, 1]).sign() == (ratings[:, 0] - ratings[:, 1]).sign()
        apart = (ratings[:, 0] - ratings[:, 1]).nan_to_num(0.0) != 0
        for column, name in enumerate(self.criteria):
            found[f"accuracy/{name}/count"] = apart[:, column].sum()
            found[f"accuracy/{name}"] = metrics.mean_of(right[:, column].to(rewards.dtype), apart[:, column])
        return loss, found
