"""One objective on drawn and scored responses, of which published algorithms are settings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field

from aa_lightning import losses
from aa_lightning.algos.advantages import EachReward, Group, Returns
from aa_lightning.algos.aggregations import AnyAggregation, Mean, counts
from aa_lightning.algos.critics import Critic, Generalized, Lagrangian
from aa_lightning.algos.experience import Experience, actions_of
from aa_lightning.algos.hyperparameters import NonNegative, PolicyObjective, Positive, hyperparameters
from aa_lightning.algos.policy_metrics import of_actions
from aa_lightning.algos.shaping import LossPenalty, Overlong, Penalty
from aa_lightning.algos.step import ALONE, Step
from aa_lightning.algos.surrogates import AnySurrogate
from aa_lightning.configuration.schema import BY_NAME
from aa_lightning.types import Batch, LikelihoodKind, Policy, Rollout

if TYPE_CHECKING:
    from torch import Tensor

    from aa_lightning.losses.advantages import Summed


AnyAdvantage = Annotated[Group | EachReward | Returns | Generalized | Lagrangian, Field(discriminator="name"), BY_NAME]

TOKEN = Mean(name="token")


@hyperparameters
class PolicyGradient(PolicyObjective):
    """GRPO (2402.03300) with options.

    credit: reward = Σ weight · reward − reward_kl, A = advantage(reward), whitened and clipped where asked;
    loss = aggregate(importance · surrogate(π, π_old, A) + loss_kl).

    Attributes:
        advantage: from rewards to advantages (`advantages.py`).
        whiten: whether advantages get mean 0 and variance 1 over all actions of a rollout.
        surrogate: of the ratio and the advantage (`surrogates.py`).
        aggregation: of losses of actions to that of a step (`aggregations.py`).
        reward_kl: taken from the reward; None: none. loss_kl: added to the loss, outside of the surrogate; None: none.
        reward_clip: rewards are kept within ± this; None: as they are.
        advantage_clip: the same of advantages.
        overlong: taken from the reward of long responses; None: nothing.
        drop_unfinished: whether responses that were cut off at the limit are left out of the loss.
        critic: how the critic learns of an advantage that has one; None: there is none.
        entropy: weight of a bonus on the mean entropy of the distributions that were drawn from.
        importance_cap: C: what an engine of another program drew counts min(π_old / π_engine, C); None: 1.
    """

    advantage: AnyAdvantage
    whiten: bool
    surrogate: AnySurrogate
    aggregation: AnyAggregation
    reward_kl: Penalty | None
    loss_kl: LossPenalty | None
    reward_clip: Positive | None
    advantage_clip: Positive | None
    overlong: Overlong | None
    drop_unfinished: bool
    critic: Critic | None
    entropy: NonNegative
    importance_cap: Positive | None

    supervision: ClassVar = "prompt"
    draws_responses: ClassVar = True
    of_reference: ClassVar = None  # responses are drawn anew

    def __post_init__(self):
        if (self.critic is None) != (self.advantage.critics == 0):
            raise ValueError(
                f"algo.advantage={self.advantage.name} reads {self.advantage.critics or 'no'} critics, and algo.critic says "
                f"{'that there is none' if self.critic is None else 'how one learns'}: type "
                "'algo.critic={coefficient:0.1,clip:0.2}' with the advantages generalized and lagrangian, algo.critic=null "
                "with others"
            )

    @property
    def accepts(self) -> tuple[LikelihoodKind, ...]:
        """A denoising step has no distribution over tokens, and hidden states are those of tokens."""
        return ("exact",) if self.entropy or self.critic else ("exact", "elbo")

    @property
    def remembers(self) -> tuple[str, ...]:
        """Statistics that are carried from step to step."""
        return self.advantage.remembers

    @property
    def uses_reference(self) -> bool:
        return self.reward_kl is not None or self.loss_kl is not None

    @property
    def critics(self) -> int:
        """Count the critics that read the responses."""
        return self.advantage.critics

    @property
    def needs_greedy(self) -> bool:
        """Tell whether the likeliest response to each prompt is drawn and scored too."""
        return self.advantage.needs_greedy

    @property
    def needs_group(self) -> bool:
        """Tell whether prompts need more than one response."""
        return self.advantage.needs_group

    # ------------------------------------------------------------ credit

    def credit(self, experience: Experience, summed: Summed | None = None) -> dict[str, Tensor]:
        """Turn rewards into what a minibatch learns from. Without gradients, over a whole rollout.

        Args:
            experience: all groups, of all processes; or those of this process, with `summed`.
            summed: sums a tensor of any shape over processes, where each has its own groups; None: they are all here.

        Returns:
            By name: `advantages` (P, K) or (P, K, A); `rewards`, `ended` (P, K); `old_logprobs`, `chosen` (P, K, A), the
            latter 0 for responses left out; and where they are used, `reference_logprobs`, `importance` (P, K, A), `returns`,
            `old_values` (P, K, A, C) of C critics.
        """
        import torch

        summed = losses.advantages.alone if summed is None else summed
        with torch.no_grad():
            chosen = self._counting(experience)
            found = self.advantage(experience, self._shaped(experience), self._penalty(experience), summed)
            found["advantages"] = self._finished(found["advantages"], chosen, summed)
            found |= {"rewards": experience.reward, "ended": experience.ended}
            found |= {"old_logprobs": experience.old_logprobs, "chosen": chosen}
            if self.uses_reference:
                found["reference_logprobs"] = experience.reference_logprobs
            if self.importance_cap is not None and experience.engine_logprobs is not None:
                apart = (experience.old_logprobs - experience.engine_logprobs).where(chosen > 0, 0)
                found["importance"] = apart.exp().clamp(max=self.importance_cap)
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

    def _penalty(self, experience: Experience) -> Tensor:
        """(P, K, A) what the reference takes from the reward of each action."""
        old, reference = experience.old_logprobs, experience.reference_logprobs
        return 0 * old if self.reward_kl is None else -self.reward_kl.of(old, reference, experience.chosen)

    def _finished(self, advantages: Tensor, chosen: Tensor, summed: Summed) -> Tensor:
        """(P, K) or (P, K, A)."""
        if self.whiten:
            each = advantages[..., None].expand_as(chosen) if advantages.ndim == 2 else advantages
            advantages = losses.advantages.whitened(each, chosen, summed=summed)
        clip = self.advantage_clip
        return advantages if clip is None else advantages.clamp(-clip, clip)

    # ------------------------------------------------------------ loss

    def normalizer(self, batch: Batch) -> list[float]:
        """Responses, actions, and actions of positive advantage."""
        return counts(batch)

    def __call__(self, policy: Policy, batch: Batch, step: Step = ALONE):
        given = batch.supervision
        drawn = Rollout(batch, [], given["old_logprobs"], given["chosen"], given["ended"])
        actions = actions_of(batch, policy.action_logprobs(drawn))
        told = {}
        if isinstance(self.advantage, Lagrangian):
            actions.advantages, told = self.advantage.mixed(given, step.memory)
        each = self.surrogate(actions)
        if "importance" in given:
            each = each * given["importance"]
        mask, advantages = actions.mask, actions.advantages
        count = mask.new_tensor(counts(batch)) if step.normalizer is None else step.normalizer
        loss = self.aggregation(each, mask, advantages, count)
        if self.loss_kl is not None:
            apart = self.loss_kl(actions, given["reference_logprobs"], self.surrogate.level)
            loss = loss + (TOKEN if self.aggregation.name == "by_sign" else self.aggregation)(
                apart, mask, advantages, count
            )
        if self.critic is not None:
            lost = self.critic(policy.values(batch), given, mask, count[1].clamp(min=1))
            loss, told = loss + lost, {**told, "value/loss": lost.detach(), **self.critic.metrics(given, mask)}
        if self.entropy:
            spread = policy.log_likelihood(batch, statistic="entropy").statistic
            loss = loss - self.entropy * TOKEN(spread, mask, advantages, count)
        return loss, {**of_actions(actions, self.surrogate, given), **told}
