"""Learning a reward from preferences."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from aa_lightning import losses
from aa_lightning.algos.options import hyperparameters
from aa_lightning.types import Batch, RewardModel


@hyperparameters
class RewardModelling:
    """A Bradley–Terry reward model (2203.02155 eq. 1).

    Attributes:
        margin: how a margin in the data enters: not at all, subtracted from the difference (2307.09288 eq. 2), or as a
            factor of the loss (2410.01257).
        center: weight of (r_chosen + r_rejected)² (2312.09244).
        l2: weight of the mean square of all rewards (2310.12773).
        label_smoothing: share of labels taken to be flipped.
    """

    margin: Literal["none", "subtract", "scale"]
    center: Annotated[float, Field(ge=0)]
    l2: Annotated[float, Field(ge=0)]
    label_smoothing: Annotated[float, Field(ge=0, lt=0.5)]

    supervision: ClassVar = "preference"
    trains: ClassVar = "reward_model"
    accepts: ClassVar = ("exact",)
    uses_reference: ClassVar = False
    moving: ClassVar = None
    wants: ClassVar = ()
    remembers: ClassVar = ()

    def __call__(self, policy: RewardModel, batch: Batch):
        rewards = policy.score(batch)  # (P, 2)
        chosen, rejected = rewards[:, 0], rewards[:, 1]
        gap = None if self.margin == "none" else batch.supervision["margin"]
        subtracted = gap if self.margin == "subtract" else None
        per_pair = losses.reward.bradley_terry(chosen, rejected, subtracted, self.label_smoothing)
        if self.margin == "scale":
            per_pair = per_pair * gap
        per_pair = per_pair + self.center * losses.reward.center(chosen, rejected)
        loss = (per_pair + self.l2 * losses.reward.square(chosen, rejected)).mean()
        margin = (chosen - rejected).detach()
        return loss, {
            "reward/chosen": chosen.detach().mean(),
            "reward/rejected": rejected.detach().mean(),
            "reward/margin": margin.mean(),
            "reward/accuracy": (margin > 0).float().mean(),
        }
