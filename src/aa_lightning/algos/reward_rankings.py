"""Learning a reward from K ranked responses."""

from __future__ import annotations

from typing import ClassVar, Literal

from aa_lightning import losses
from aa_lightning.algos import metrics
from aa_lightning.algos.hyperparameters import NonNegative, RewardObjective, hyperparameters
from aa_lightning.types import Batch, RewardModel


@hyperparameters
class RankedRewards(RewardObjective):
    """A reward model of K ranked responses.

    Attributes:
        form: plackett_luce: the likelihood of the whole order; pairs: Bradley–Terry over all pairs of a prompt
            (InstructGPT, 2203.02155).
        center: weight of the squared mean reward of a prompt.
    """

    form: Literal["plackett_luce", "pairs"]
    center: NonNegative

    supervision: ClassVar = "ranking"

    def __call__(self, policy: RewardModel, batch: Batch):
        rewards, scores = policy.score(batch), batch.supervision["scores"]  # (P, K)
        of = losses.reward.plackett_luce if self.form == "plackett_luce" else losses.reward.all_pairs
        loss = (of(rewards, scores) + self.center * rewards.mean(1) ** 2).mean()
        return loss, metrics.of_rewards(rewards, metrics.response_sizes(batch))
