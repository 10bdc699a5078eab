"""Advantages: from the rewards of a rollout to how much better each response, or each of its actions, was than expected."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from aa_lightning import losses
from aa_lightning.algos.experience import Experience
from aa_lightning.algos.hyperparameters import Component, NonNegative, Share, hyperparameters

if TYPE_CHECKING:
    from torch import Tensor

    from aa_lightning.losses.advantages import Summed

Credit = dict[str, "Tensor"]
Baseline = Literal["none", "batch", "group", "leave_one_out", "length_weighted", "greedy"]


@hyperparameters
class Advantage(Component):
    """An estimator of advantages.

    Attributes:
        process_reward: whether the critic is a model of likelihoods. learns_by: the `algo.critic` that teaches it, or None.
        per_action: whether the KL in the reward is given action by action, else as a sum over the response.
        critics: how many it reads. needs_greedy, needs_group: what it reads besides: the reward of the likeliest response,
            more than one response to each prompt. rivals: as for algorithms.
    """

    per_action: ClassVar[bool] = False
    critics: ClassVar[int] = 0
    process_reward: ClassVar[bool] = False
    learns_by: ClassVar[str | None] = None
    needs_greedy: ClassVar[bool] = False
    needs_group: ClassVar[bool] = False
    rivals: ClassVar[float] = 0.0


@hyperparameters
class Group(Advantage):
    """The reward over a baseline, divided by a scale (GRPO, 2402.03300).

    Attributes:
        baseline: group: the mean reward of a prompt's responses; leave_one_out: of the others (RLOO); length_weighted: the
            mean weighted by lengths (OPO); batch: of all responses of a rollout; greedy: the reward of the likeliest response
            (ReMax); none.
        scale: group: the standard deviation of a prompt's rewards; rewards: of all rewards of a rollout; advantages: the
            advantages are brought to mean 0 and deviation 1 over a rollout; none.
        eps: added to the deviation.
        population: whether a deviation is that of n responses, not of n − 1.
    """

    name: Literal["group"]
    baseline: Baseline
    scale: Literal["none", "group", "rewards", "advantages"]
    eps: NonNegative
    population: bool

    @property
    def needs_greedy(self) -> bool:
        return self.baseline == "greedy"

    @property
    def needs_group(self) -> bool:
        return self.scale == "group" or self.baseline in ("group", "leave_one_out", "length_weighted")

    def __call__(self, experience: Experience, rewards: Tensor, penalty: Tensor, summed: Summed) -> Credit:
        reward = filled(rewards + penalty.sum(-1), experience.counted)
        return {"advantages": self.of(reward, experience, summed)}

    def of(self, reward: Tensor, experience: Experience, summed: Summed) -> Tensor:
        """(P, K) of a reward (P, K)."""
        of, counted, correction = losses.advantages, experience.counted, 0 if self.population else 1
        found = self._centred(reward, experience, summed) * counted
        if self.scale == "none":
            return found
        if self.scale == "group":
            return found / (of.group_std(reward, counted, correction) + self.eps)
        mean, variance = of.moments(found if self.scale == "advantages" else reward, counted, summed, correction)
        return (found - (mean if self.scale == "advantages" else 0.0)) / (variance.sqrt() + self.eps) * counted

    def _centred(self, reward: Tensor, experience: Experience, summed: Summed) -> Tensor:
        of, counted = losses.advantages, experience.counted
        if self.baseline == "none":
            return reward
        if self.baseline == "leave_one_out":
            return of.leave_one_out(reward, counted)
        if self.baseline == "greedy":
            return reward - experience.greedy_rewards.to(reward.dtype)[:, None]
        if self.baseline == "batch":
            return reward - of.moments(reward, counted, summed)[0]
        weights = experience.lengths if self.baseline == "length_weighted" else None
        return reward - of.group_mean(reward, counted, weights)


@hyperparameters
class EachReward(Advantage):
    """Each reward's own advantage in its group, summed by their weights, then brought to mean 0 and deviation 1 over the
    rollout (GDPO, 2601.05242).

    Attributes:
        eps: added to deviations.
    """

    name: Literal["each_reward"]
    eps: NonNegative

    needs_group: ClassVar[bool] = True

    def __call__(self, experience: Experience, rewards: Tensor, penalty: Tensor, summed: Summed) -> Credit:
        group = Group(name="group", baseline="group", scale="group", eps=self.eps, population=False)
        parts = {name: reward.to(rewards.dtype) for name, reward in experience.rewards.items()}
        each = {name: group.of(filled(part, experience.counted), experience, summed) for name, part in parts.items()}
        found = sum(experience.weights[name] * advantages for name, advantages in each.items()) + penalty.sum(-1)
        mean, variance = losses.advantages.moments(found, experience.counted, summed)
        return {"advantages": (found - mean) / (variance.sqrt() + self.eps) * experience.counted}


@hyperparameters
class AgainstRivals(Advantage):
    """The probability that a response is preferred to its rival, less ½; the geometric mixture π^(1−s) π_ref^s drew
    rivals (Nash-MD, 2312.00886 section 7).

    Attributes:
        rivals: s, the share of the reference.
        preference: bradley_terry: σ(r − r′) − ½ of their rewards; larger: ½ for the larger reward, −½ for the other.
        penalty: the KL in the reward as a sum over the response (the paper), or each action's own alone (TRL).
    """

    name: Literal["against_rivals"]
    rivals: Share = Field()  # to be given; the base has one
    preference: Literal["bradley_terry", "larger"]
    penalty: Literal["response", "action"]

    needs_group: ClassVar[bool] = True

    def __call__(self, experience: Experience, rewards: Tensor, penalty: Tensor, summed: Summed) -> Credit:
        theirs = experience.rival_reward
        found = losses.advantages.preferred(rewards, theirs)
        if self.preference == "larger":
            found = (rewards - theirs).sign() / 2
        found = filled(found, experience.counted * theirs.isfinite())
        return {"advantages": found + penalty.sum(-1) if self.penalty == "response" else found[..., None] + penalty}


@hyperparameters
class Returns(Advantage):
    """The discounted sum of what is rewarded from an action on: the penalty of each, the reward at the end (REINFORCE++,
    2501.03262).

    Attributes:
        gamma: discount.
    """

    name: Literal["returns"]
    gamma: Share

    per_action: ClassVar[bool] = True

    def __call__(self, experience: Experience, rewards: Tensor, penalty: Tensor, summed: Summed) -> Credit:
        each = each_action(experience, rewards, penalty)
        found, _ = losses.advantages.generalized(each, 0 * each, experience.chosen, self.gamma, 1.0)
        return {"advantages": found}


def filled(reward: Tensor, counted: Tensor) -> Tensor:
    """(P, K) rewards, and 0 where there is none."""
    return reward.where(counted > 0, 0)


def each_action(experience: Experience, rewards: Tensor, penalty: Tensor) -> Tensor:
    """(P, K, A) the penalty of each action (P, K, A), and the reward (P, K) with the last."""
    return penalty + losses.advantages.at_last(filled(rewards, experience.counted), experience.chosen)
