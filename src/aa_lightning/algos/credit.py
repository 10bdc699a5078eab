"""Credit: from the scored responses of a rollout to what minibatches of it learn from."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field

from aa_lightning import losses
from aa_lightning.algos.advantages import AgainstRivals, EachReward, Group, Returns
from aa_lightning.algos.critics import Generalized, Lagrangian
from aa_lightning.algos.experience import Experience
from aa_lightning.algos.hyperparameters import PolicyObjective, Positive, hyperparameters
from aa_lightning.algos.process_credit import ImplicitProcess, TokenWeighted
from aa_lightning.algos.shaping import Overlong, RewardPenalty
from aa_lightning.algos.tracking import Moving, PerPrompt
from aa_lightning.configuration.schema import BY_NAME

if TYPE_CHECKING:
    from torch import Tensor

    from aa_lightning.losses.advantages import Summed

AnyAdvantage = Annotated[
    Group
    | EachReward
    | AgainstRivals
    | Moving
    | PerPrompt
    | Returns
    | Generalized
    | Lagrangian
    | ImplicitProcess
    | TokenWeighted,
    Field(discriminator="name"),
    BY_NAME,
]


@hyperparameters
class Credited(PolicyObjective):
    """An objective on drawn responses that turns rewards into advantages: A = advantage(Σ weight · reward − reward_kl).

    Attributes:
        advantage: from rewards to advantages (`advantages.py`, `tracking.py`, `critics.py`, `process_credit.py`).
        whiten: whether advantages get mean 0 and variance 1 over all actions of a rollout.
        reward_kl: the divergence from the reference, taken from the reward; None: none.
        reward_clip: rewards are kept within ± this; None: as they are.
        advantage_clip: the same of advantages.
        overlong: taken from the reward of long responses; None: nothing.
        drop_unfinished: whether responses that were cut off at the limit are left out of the loss.
        importance_cap: C: what an engine of another program drew counts min(π_old / π_engine, C); None: 1.
    """

    advantage: AnyAdvantage
    whiten: bool
    reward_kl: RewardPenalty | None
    reward_clip: Positive | None
    advantage_clip: Positive | None
    overlong: Overlong | None
    drop_unfinished: bool
    importance_cap: Positive | None

    supervision: ClassVar = "prompt"
    draws_responses: ClassVar = True
    of_reference: ClassVar = None  # responses are drawn anew

    @property
    def uses_reference(self) -> bool:
        return self.reward_kl is not None or self.process_reward or self.rivals > 0

    @property
    def remembers(self) -> tuple[str, ...]:
        """Statistics that are carried from step to step."""
        return (*self.advantage.remembers, *(self.reward_kl.remembers if self.reward_kl else ()))

    @property
    def critics(self) -> int:
        """Count the critics that read the responses."""
        return self.advantage.critics

    @property
    def process_reward(self) -> bool:
        """Tell whether the critic is a model of likelihoods."""
        return self.advantage.process_reward

    @property
    def needs_greedy(self) -> bool:
        """Tell whether the likeliest response to each prompt is drawn and scored too."""
        return self.advantage.needs_greedy

    @property
    def needs_group(self) -> bool:
        """Tell whether prompts need more than one response."""
        return self.advantage.needs_group

    @property
    def rivals(self) -> float:
        """Return the share of the reference in what draws the rivals of responses; 0: there are none."""
        return self.advantage.rivals

    def credit(
        self, experience: Experience, summed: Summed | None = None, memory: dict[str, Tensor] | None = None
    ) -> dict[str, Tensor]:
        """Turn rewards into what a minibatch learns from. Without gradients, over a whole rollout.

        Args:
            experience: all groups, of all processes; or those of this process, with `summed`.
            summed: sums a tensor of any shape over processes, where each has its own groups; None: they are all here.
            memory: the running statistics that the algorithm remembers; None: it starts anew.

        Returns:
            By name, of the first half of each group where the second are rivals:
            `advantages` (P, K) or (P, K, A); `rewards`, `ended` (P, K); `old_logprobs`, `chosen` (P, K, A), the
            latter 0 for responses left out; and where they are used, `reference_logprobs`, `importance` (P, K, A), `returns`,
            `old_values` (P, K, A, C) of C critics.
        """
        import torch

        summed = losses.advantages.alone if summed is None else summed
        experience = replace(experience.halved() if self.rivals else experience, memory=memory)
        with torch.no_grad():
            chosen = self._counting(experience)
            penalty = self._penalty(experience, chosen, summed, memory)
            found = self.advantage(experience, self._shaped(experience), penalty, summed)
            found["advantages"] = self._finished(found["advantages"], chosen, summed)
            found |= {"rewards": experience.reward, "ended": experience.ended}
            found |= {"old_logprobs": experience.old_logprobs, "chosen": chosen}
            if self.uses_reference:
                found["reference_logprobs"] = experience.reference_logprobs
            if self.importance_cap is not None and experience.engine_logprobs is not None:
                apart = (experience.old_logprobs - experience.engine_logprobs).where(chosen > 0, 0)
                found["importance"] = found.get("importance", 1.0) * apart.exp().clamp(max=self.importance_cap)
        return found

    def _counting(self, experience: Experience) -> Tensor:
        """(P, K, A) the actions that are learned from."""
        kept = experience.counted
        if self.drop_unfinished:
            kept = kept * experience.ended
        return experience.chosen * kept[..., None]

    def _shaped(self, experience: Experience) -> Tensor:
        """(P, K) the reward that advantages are made of."""
        reward = experience.reward
        if self.overlong is not None:
            reward = reward + self.overlong(experience.lengths)
        return reward if self.reward_clip is None else reward.clamp(-self.reward_clip, self.reward_clip)

    def _penalty(self, experience: Experience, chosen: Tensor, summed: Summed, memory: dict | None) -> Tensor:
        """(P, K, A) what the reference takes from the reward of each action."""
        if self.reward_kl is None:
            return 0 * experience.old_logprobs
        return -self.reward_kl(experience, chosen, summed, memory)

    def _finished(self, advantages: Tensor, chosen: Tensor, summed: Summed) -> Tensor:
        """(P, K) or (P, K, A)."""
        if self.whiten:
            each = advantages[..., None].expand_as(chosen) if advantages.ndim == 2 else advantages
            advantages = losses.advantages.whitened(each, chosen, summed=summed)
        clip = self.advantage_clip
        return advantages if clip is None else advantages.clamp(-clip, clip)
