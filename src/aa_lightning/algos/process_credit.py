"""Credit of tokens by a model that learns along, from which answers are right.

PRIME (2502.01456) has a second model of likelihoods: where it likes a token better than the reference does, the token is
rewarded. OREAL (2502.06781) has a reward model of tokens, which says how much each of them counts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from aa_lightning import losses
from aa_lightning.algos.advantages import Advantage, Credit, filled
from aa_lightning.algos.experience import Experience
from aa_lightning.algos.hyperparameters import Component, NonNegative, Positive, hyperparameters
from aa_lightning.algos.metrics import mean_of
from aa_lightning.types import Metrics

if TYPE_CHECKING:
    from torch import Tensor

    from aa_lightning.losses.advantages import Summed


@hyperparameters
class ImplicitProcess(Advantage):
    """The sum of what is rewarded from a token on, each over the leave-one-out mean of its group: log φ − log π_ref of each
    token, and the reward with the last.

    Attributes:
        process, outcome: weights of the two.
        right: rewards above it are those of right answers, which φ learns to like.
    """

    name: Literal["implicit_process"]
    process: NonNegative
    outcome: NonNegative
    right: float

    per_action: ClassVar[bool] = True
    critics: ClassVar[int] = 1
    needs_group: ClassVar[bool] = True
    process_reward: ClassVar[bool] = True
    learns_by: ClassVar[str] = "implicit_reward"

    def __call__(self, experience: Experience, rewards: Tensor, penalty: Tensor, summed: Summed) -> Credit:
        of, counted = losses.advantages, experience.counted
        mask = experience.chosen * counted[..., None]
        liked = (experience.values_of(0) - experience.reference_logprobs).where(mask > 0, 0)
        outcome = of.leave_one_out(filled(rewards, counted), counted)
        each = self.process * of.leave_one_out_of_actions(liked, mask) + self.outcome * of.at_last(outcome, mask)
        found, _ = of.generalized(each + penalty, 0 * each, mask, 1.0, 1.0)
        return {"advantages": found, "right": rewards > self.right}


@hyperparameters
class TokenWeighted(Advantage):
    """The reward over the mean of the others in its group, and a weight of each action: how sure a reward model of tokens is
    of the answer by then, where it agrees with what the answer came to (OREAL, 2502.06781 section 3.3).

    Attributes:
        right: rewards above it are those of right answers.
    """

    name: Literal["token_weighted"]
    right: float

    critics: ClassVar[int] = 1
    needs_group: ClassVar[bool] = True
    learns_by: ClassVar[str] = "token_reward"

    def __call__(self, experience: Experience, rewards: Tensor, penalty: Tensor, summed: Summed) -> Credit:
        of, counted, right = losses.advantages, experience.counted, rewards > self.right
        reward = filled(rewards + penalty.sum(-1), counted)
        weights = of.by_certainty(experience.values_of(0), experience.chosen, right)
        return {"advantages": of.leave_one_out(reward, counted), "importance": weights, "right": right}


@hyperparameters
class TokenReward(Component):
    """The loss of a reward model of tokens: coefficient · cross entropy of σ(the mean score of an answer's tokens) with
    whether it is right.

    Attributes:
        coefficient: beside the policy's loss.
    """

    name: Literal["token_reward"]
    coefficient: Positive

    def __call__(self, values: Tensor, given: dict[str, Tensor], mask: Tensor, count: Tensor) -> Tensor:
        """() the mean over responses.

        Args:
            values: (P, K, A) scores, with gradients.
            given: the minibatch's supervision, with `right` (P, K).
            mask: (P, K, A) the actions that count.
            count: (3,) the step's, as `aggregations.counts` gives them.
        """
        there = (mask.sum(-1) > 0).to(values.dtype)
        lost = losses.reward.binary_cross_entropy(_mean_score(values, mask), given["right"].bool())
        return self.coefficient * (lost * there).sum() / count[0]

    @staticmethod
    def metrics(values: Tensor, given: dict[str, Tensor], mask: Tensor) -> Metrics:
        """Share of answers, (P, K), whose mean score has their sign: positive where they are right."""
        scores, there = _mean_score(values.detach(), mask), mask.sum(-1) > 0
        return {"process/accuracy": mean_of(((scores > 0) == given["right"].bool()).to(scores.dtype), there)}


def _mean_score(values: Tensor, mask: Tensor) -> Tensor:
    """(P, K) of the actions (P, K, A) that count."""
    return values.where(mask > 0, 0).sum(-1) / mask.sum(-1).clamp(min=1)


@hyperparameters
class ImplicitReward(Component):
    """The loss of φ: coefficient · cross entropy of σ(beta · Σ (log φ − log π_ref)) with whether an answer is right.

    Attributes:
        coefficient: beside the policy's loss.
        beta: of the reward.
    """

    name: Literal["implicit_reward"]
    coefficient: Positive
    beta: Positive

    def __call__(self, values: Tensor, given: dict[str, Tensor], mask: Tensor, count: Tensor) -> Tensor:
        """() the mean over responses.

        Args:
            values: (P, K, A) log φ, with gradients.
            given: the minibatch's supervision, with `right` (P, K).
            mask: (P, K, A) the actions that count.
            count: (3,) the step's, as `aggregations.counts` gives them.
        """
        there = (mask.sum(-1) > 0).to(values.dtype)
        lost = losses.reward.binary_cross_entropy(self._rewards(values, given, mask), given["right"].bool())
        return self.coefficient * (lost * there).sum() / count[0]

    def _rewards(self, values: Tensor, given: dict[str, Tensor], mask: Tensor) -> Tensor:
        apart = values - given["reference_logprobs"].to(values.dtype)
        return self.beta * apart.where(mask > 0, 0).sum(-1)

    def metrics(self, values: Tensor, given: dict[str, Tensor], mask: Tensor) -> Metrics:
        """Share of answers, (P, K), whose reward has their sign: positive where they are right."""
        rewards, there = self._rewards(values.detach(), given, mask), mask.sum(-1) > 0
        return {"process/accuracy": mean_of(((rewards > 0) == given["right"].bool()).to(rewards.dtype), there)}
