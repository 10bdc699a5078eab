"""Learning a reward from preferences."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from aa_lightning import losses
from aa_lightning.algos.options import hyperparameters
from aa_lightning.types import Batch, Metrics, RewardModel


@hyperparameters
class RewardObjective:
    """What all objectives of reward models share.

    Attributes:
        heads: numbers that the model gives a response; its reward is their mean.
        speaks: tokens that the model may say about a response before it scores it.
    """

    supervision: ClassVar = "preference"
    trains: ClassVar = "reward_model"
    accepts: ClassVar = ("exact",)
    uses_reference: ClassVar = False
    moving: ClassVar = None
    wants: ClassVar = ()
    remembers: ClassVar = ()
    heads: ClassVar = 1
    speaks: ClassVar = 0


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
    center: Annotated[float, Field(ge=0)]
    l2: Annotated[float, Field(ge=0)]
    label_smoothing: Annotated[float, Field(ge=0, lt=0.5)]

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
        loss = (per_pair + self.l2 * losses.reward.square(chosen, rejected)).mean()
        return loss, ranked(rewards)


@hyperparameters
class RewardWithTies(RewardObjective):
    """A reward model of preferences and ties (Rao–Kupper; VideoAlign 2501.13918).

    Attributes:
        theta: how readily two responses tie; above 1.
        center: weight of (r_chosen + r_rejected)².
    """

    theta: Annotated[float, Field(gt=1)]
    center: Annotated[float, Field(ge=0)]

    wants: ClassVar = ("tie",)

    def __call__(self, policy: RewardModel, batch: Batch):
        rewards, tie = policy.score(batch), batch.supervision["tie"]  # (P, 2), (P,)
        chosen, rejected = rewards.unbind(1)
        per_pair = losses.reward.rao_kupper(chosen, rejected, tie, self.theta)
        loss = (per_pair + self.center * losses.reward.center(chosen, rejected)).mean()
        return loss, {**ranked(rewards[~tie] if (~tie).any() else rewards), "reward/ties": tie.float().mean()}


@hyperparameters
class CriteriaRewards(RewardObjective):
    """One reward per criterion, each learnt from the ratings in it (VideoAlign 2501.13918).

    Attributes:
        criteria: names as in the ratings of the data, and their weights in the loss.
    """

    criteria: Annotated[dict[str, Annotated[float, Field(gt=0)]], Field(min_length=1)]

    supervision: ClassVar = "feedback"
    wants: ClassVar = ("ratings",)

    @property
    def heads(self) -> int:
        return len(self.criteria)

    def __call__(self, policy: RewardModel, batch: Batch):
        rewards, ratings = policy.score_criteria(batch), batch.supervision["ratings"]  # (P, 2, C)
        weights = rewards.new_tensor(list(self.criteria.values()))
        loss = losses.reward.per_criterion(rewards, ratings, weights)
        found = ranked(rewards.mean(-1))
        right = (rewards[:, 0] - rewards[:, 1]).sign() == (ratings[:, 0] - ratings[:, 1]).sign()
        apart = (ratings[:, 0] - ratings[:, 1]).nan_to_num(0.0) != 0
        for column, name in enumerate(self.criteria):
            count = apart[:, column].sum().clamp(min=1)
            found[f"accuracy/{name}"] = (right & apart)[:, column].sum() / count
        return loss, found


@hyperparameters
class RankedRewards(RewardObjective):
    """A reward model of K ranked responses.

    Attributes:
        form: plackett_luce: the likelihood of the whole order; pairs: Bradley–Terry over all pairs of a prompt
            (InstructGPT, 2203.02155).
        center: weight of the squared mean reward of a prompt.
    """

    form: Literal["plackett_luce", "pairs"]
    center: Annotated[float, Field(ge=0)]

    supervision: ClassVar = "ranking"

    def __call__(self, policy: RewardModel, batch: Batch):
        rewards, scores = policy.score(batch), batch.supervision["scores"]  # (P, K)
        of = losses.reward.plackett_luce if self.form == "plackett_luce" else losses.reward.all_pairs
        loss = (of(rewards, scores) + self.center * rewards.mean(1) ** 2).mean()
        return loss, ranked(rewards[:, [0, -1]])


def ranked(rewards) -> Metrics:
    """The metrics of every reward model, of the rewards (P, 2) of the better and the worse response."""
    chosen, rejected = rewards.detach().unbind(1)
    return {
        "reward/chosen": chosen.mean(),
        "reward/rejected": rejected.mean(),
        "reward/margin": (chosen - rejected).mean(),
        "reward/accuracy": (chosen > rejected).float().mean(),
    }
