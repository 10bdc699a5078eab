"""Drawn responses, as they are known when rewards are turned into credit, and when a minibatch of them is learned from."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

from aa_lightning import losses
from aa_lightning.types import Batch

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(kw_only=True)
class Experience:
    """A rollout: K responses to each of P prompts, scored. Groups are whole; a reward of NaN leaves its response out.

    Attributes:
        rewards: (P, K) of each reward by its name, the larger the better.
        weights: of each reward in the sum.
        old_logprobs, chosen: (P, K, A) log-probabilities under the policy that drew, and 1 where there was a choice.
        ended: (P, K) whether a response came to its own end within the limit.
        reference_logprobs: (P, K, A) where the algorithm uses a reference.
        values: (P, K, A) the critic's, (P, K, A, C) of C critics, where the algorithm has some; log-probabilities of one that
            is a process reward.
        greedy_rewards: (P,) of the likeliest response to each prompt, where the algorithm asks for it.
        engine_logprobs: (P, K, A) as what drew them reported, where that was another program than the one that trains.
        prompts, memory: (P,) their rows in the data; what is remembered of earlier rollouts, None: nothing.
        rival_reward: (P, K) of what each response is compared with, where that is another response (`halved`).
    """

    rewards: dict[str, Tensor]
    weights: dict[str, float]
    old_logprobs: Tensor
    chosen: Tensor
    ended: Tensor
    reference_logprobs: Tensor | None = None
    values: Tensor | None = None
    greedy_rewards: Tensor | None = None
    engine_logprobs: Tensor | None = None
    prompts: list[int] | None = None
    memory: dict[str, Tensor] | None = None
    rival_reward: Tensor | None = None

    def halved(self) -> Experience:
        """The first half of each group, with the rewards of the second, its rivals."""
        half = self.chosen.shape[1] // 2
        names = ("old_logprobs", "chosen", "ended", "reference_logprobs", "values")
        own = {name: value[:, :half] for name in names if (value := getattr(self, name)) is not None}
        rewards = {name: reward[:, :half] for name, reward in self.rewards.items()}
        return replace(self, rewards=rewards, rival_reward=self.reward[:, half:], **own)

    @cached_property
    def reward(self) -> Tensor:
        """(P, K) the weighted sum."""
        return sum(self.weights[name] * reward for name, reward in self.rewards.items()).to(self.old_logprobs.dtype)

    @cached_property
    def counted(self) -> Tensor:
        """(P, K) 1 for responses that have a reward."""
        return self.reward.isfinite().to(self.old_logprobs.dtype)

    def values_of(self, place: int) -> Tensor:
        """(P, K, A) of one critic."""
        values = self.values.to(self.old_logprobs.dtype)
        return values[..., place] if values.ndim > self.chosen.ndim else values

    @property
    def lengths(self) -> Tensor:
        """(P, K) how many actions each response took."""
        return self.chosen.sum(-1).to(self.old_logprobs.dtype)


@dataclass(kw_only=True)
class Actions:
    """The actions of a minibatch, (P, K, A) each, as a surrogate reads them.

    Attributes:
        logprobs: now, with gradients. old: of the drawing policy. mask: 1 where there was a choice.
        advantages: (P, K, A) or (P, K, 1).
    """

    logprobs: Tensor
    old: Tensor
    mask: Tensor
    advantages: Tensor

    def ratio(self, level: str) -> Tensor:
        """(P, K, A) of each action, or (P, K, 1) of each response."""
        return losses.policy_gradient.log_ratio(self.logprobs, self.old, self.mask, level).exp()


def actions_of(batch: Batch, logprobs: Tensor) -> Actions:
    """The actions of a batch of drawn responses, by their log-probabilities (P, K, A) now; whatever stands where nothing was
    chosen is 0."""
    given = batch.supervision
    mask, advantages = given["chosen"].to(logprobs.dtype), given["advantages"].to(logprobs.dtype)
    there = mask > 0
    return Actions(
        logprobs=logprobs.where(there, 0),
        old=given["old_logprobs"].to(logprobs.dtype).where(there, 0),
        mask=mask,
        advantages=advantages[..., None] if advantages.ndim == 2 else advantages,
    )
