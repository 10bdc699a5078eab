"""A reward model that says what is wrong before it scores."""

from __future__ import annotations

from typing import ClassVar

from aa_lightning import losses
from aa_lightning.algos import metrics
from aa_lightning.algos.hyperparameters import Count, NonNegative, RewardObjective, hyperparameters
from aa_lightning.types import Batch, RewardModel


@hyperparameters
class CritiqueReward(RewardObjective):
    """Bradley–Terry on rewards read after a critique of each response, and the cross entropy of the critiques (MM-RLHF,
    2502.10391). In training the critiques are those of the data, afterwards the model writes them itself.

    Attributes:
        critique: weight of the cross entropy, a mean over tokens of each critique, summed over the two.
        center: weight of (r_chosen + r_rejected)².
        max_new_tokens: of a critique that the model writes.
    """

    critique: NonNegative
    center: NonNegative
    max_new_tokens: Count

    supervision: ClassVar = "feedback"
    wants: ClassVar = ("critique",)

    @property
    def speaks(self) -> int:
        return self.max_new_tokens

    def __call__(self, policy: RewardModel, batch: Batch):
        rewards, said = policy.score_and_speak(batch, batch.supervision["critique"])  # (P, 2), terms (P, 2, T)
        nll = -said.mean[: len(rewards)]
        chosen, rejected = rewards.unbind(1)
        per_pair = losses.reward.bradley_terry(chosen, rejected) + self.center * losses.reward.center(chosen, rejected)
        loss = (per_pair + self.critique * nll.sum(1)).mean()
        return loss, {**metrics.of_rewards(rewards), "loss/critique": nll.detach().sum(1).mean()}
