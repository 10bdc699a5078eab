"""Advantages by a critic, which says after each action what is still to come, and how it learns to."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar, Literal

from aa_lightning import losses
from aa_lightning.algos.advantages import Advantage, Credit, each_action
from aa_lightning.algos.experience import Experience
from aa_lightning.algos.hyperparameters import Component, Positive, Share, hyperparameters
from aa_lightning.configuration.schema import Share as Portion
from aa_lightning.types import Metrics

if TYPE_CHECKING:
    from torch import Tensor

    from aa_lightning.losses.advantages import Summed


@hyperparameters
class ByLength(Component):
    """λ = 1 − 1/(alpha · length), at least 0 (VAPO, 2504.05118)."""

    alpha: Positive


@hyperparameters
class Generalized(Advantage):
    """Generalised advantages (GAE, 1506.02438), the penalty with each action and the reward with the last.

    Attributes:
        gamma: discount of what is still to come.
        smoothing: λ: 1 trusts what followed, 0 the critic. One number, or by the length of a response.
        returns_smoothing: λ of the returns that the critic learns; None: the same.
        whiten_rewards: whether rewards get variance 1 over all actions of a rollout, and keep their mean.
    """

    name: Literal["generalized"]
    gamma: Share
    smoothing: Portion | ByLength
    returns_smoothing: Portion | None
    whiten_rewards: bool

    per_action: ClassVar[bool] = True
    critics: ClassVar[int] = 1
    learns_by: ClassVar[str] = "values"

    def __call__(self, experience: Experience, rewards: Tensor, penalty: Tensor, summed: Summed) -> Credit:
        each = each_action(experience, rewards, penalty)
        if self.whiten_rewards:
            each = losses.advantages.whitened(each, experience.chosen, shift=False, summed=summed)
        values = experience.values_of(0)
        advantages, returns = self._generalized(each, values, experience, self.smoothing)
        if self.returns_smoothing is not None:
            _, returns = self._generalized(each, values, experience, self.returns_smoothing)
        return {"advantages": advantages, "returns": returns[..., None], "old_values": values[..., None]}

    def _generalized(self, each: Tensor, values: Tensor, experience: Experience, smoothing: float | ByLength):
        of = losses.advantages
        if isinstance(smoothing, ByLength):
            smoothing = of.by_length(experience.lengths, smoothing.alpha)
        return of.generalized(each, values, experience.chosen, self.gamma, smoothing)


@hyperparameters
class Lagrangian(Advantage):
    """(A_R − λ A_C) / (1 + λ): reward at a bounded cost, each with a critic of its own, and a multiplier λ that grows while
    the cost is above its threshold (Safe RLHF, 2310.12773).

    Attributes:
        cost: the name of the reward that says minus the cost of a response; it is no part of the sum of rewards.
        threshold: of the mean cost.
        rate, limit: of the steps of log λ along the mean cost over its threshold; what λ never passes.
        gamma, smoothing: as in `Generalized`.
    """

    name: Literal["lagrangian"]
    cost: str
    threshold: float
    rate: Positive
    limit: Positive
    gamma: Share
    smoothing: Portion

    per_action: ClassVar[bool] = True
    critics: ClassVar[int] = 2
    learns_by: ClassVar[str] = "values"
    remembers: ClassVar = ("log_multiplier",)

    def __call__(self, experience: Experience, rewards: Tensor, penalty: Tensor, summed: Summed) -> Credit:
        """The divergence is taken from the reward and added to the cost, so that it counts once in the mixture.

        Raises:
            ValueError: there is no reward of that name.
        """
        import torch

        if self.cost not in experience.rewards:
            raise ValueError(
                f"algo.advantage.cost={self.cost} is the name of a reward, and there are {', '.join(experience.rewards)}: "
                f"type a reward= that has it, or algo.advantage.cost={next(iter(experience.rewards))}"
            )
        costs = -experience.rewards[self.cost].to(rewards.dtype)
        gained = rewards + experience.weights[self.cost] * costs
        found, returns = [], []
        for place, each in enumerate(
            (each_action(experience, gained, penalty), each_action(experience, costs, -penalty))
        ):
            advantages, ahead = losses.advantages.generalized(
                each, experience.values_of(place), experience.chosen, self.gamma, self.smoothing
            )
            found.append(advantages)
            returns.append(ahead)
        values = torch.stack([experience.values_of(place) for place in range(2)], -1)
        credit = {"advantages": found[0], "cost_advantages": found[1], "costs": costs}
        return {**credit, "returns": torch.stack(returns, -1), "old_values": values}

    def mixed(self, given: dict[str, Tensor], memory: dict[str, Tensor]) -> tuple[Tensor, Metrics]:
        """(P, K, A) advantages of a minibatch at today's multiplier, which takes its step then.

        Args:
            given: the minibatch's supervision.
            memory: log_multiplier ().
        """
        advantages = given["advantages"]
        level, cost = memory["log_multiplier"], losses.distributed.mean(given["costs"])
        multiplier = level.exp()
        risen = level + self.rate * (cost.to(level.device) - self.threshold) * multiplier
        memory["log_multiplier"] = risen.clamp(max=math.log(self.limit))
        found = losses.advantages.mixed(advantages, given["cost_advantages"], multiplier.to(advantages))
        return found, {"multiplier": multiplier, "cost/mean": given["costs"].mean()}


@hyperparameters
class Critic(Component):
    """The loss of critics: coefficient · ½ (V − G)², the mean over actions.

    Attributes:
        coefficient: beside the policy's loss.
        clip: how far a value may go from that at the time of drawing before it learns no more; None: as far as it likes.
    """

    name: Literal["values"]
    coefficient: Positive
    clip: Positive | None

    def __call__(self, values: Tensor, given: dict[str, Tensor], mask: Tensor, count: Tensor) -> Tensor:
        """() of values (P, K, A) or (P, K, A, C), summed over critics.

        Args:
            given: the minibatch's supervision, with `returns` and `old_values` (P, K, A, C).
            mask: (P, K, A) the actions that count.
            count: (3,) the step's, as `aggregations.counts` gives them.
        """
        values, there = values.view(given["returns"].shape), mask[..., None] > 0
        old, returns = (given[name].to(values.dtype).where(there, 0) for name in ("old_values", "returns"))
        lost = losses.policy_gradient.value_loss(values.where(there, 0), old, returns, self.clip).sum(-1)
        return self.coefficient * losses.policy_gradient.aggregated(lost, mask, "token", count[1].clamp(min=1))

    @staticmethod
    def metrics(values: Tensor, given: dict[str, Tensor], mask: Tensor) -> Metrics:
        """Share () of the first critic's returns that its values explained at the time of drawing, (P, K, A) each; 0: no more
        than their mean did."""
        returns, old = (given[name][..., 0] for name in ("returns", "old_values"))
        of = losses.advantages
        missed, spread = of.moments(returns - old, mask)[1], of.moments(returns, mask)[1]
        return {"value/explained": (1 - missed / spread.clamp(min=1e-9)) * (spread > 1e-9)}
