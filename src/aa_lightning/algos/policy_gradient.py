"""One objective on drawn and scored responses, of which published algorithms are settings."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from aa_lightning import losses
from aa_lightning.algos.advantages import AnyAdvantage
from aa_lightning.algos.experience import Experience, actions_of
from aa_lightning.algos.hyperparameters import PolicyObjective, Positive, hyperparameters
from aa_lightning.algos.policy_metrics import of_actions
from aa_lightning.algos.shaping import LossPenalty, Overlong, Penalty
from aa_lightning.algos.step import ALONE, Step
from aa_lightning.algos.surrogates import AnySurrogate
from aa_lightning.types import Batch, Policy, Rollout

if TYPE_CHECKING:
    from torch import Tensor

    from aa_lightning.losses.advantages import Summed


@hyperparameters
class PolicyGradient(PolicyObjective):
    """GRPO (2402.03300) with options.

    credit: reward = Σ weight · reward − reward_kl, A = advantage(reward), whitened and clipped where asked;
    loss = aggregate(importance · surrogate(π, π_old, A) + loss_kl).

    Attributes:
        advantage: from rewards to advantages (`advantages.py`).
        whiten: whether advantages get mean 0 and variance 1 over all actions of a rollout.
        surrogate: of the ratio and the advantage (`surrogates.py`).
        aggregation: the mean over all actions of the step (`token`), of the batch at hand (`token_of_batch`); over responses
            of the mean over their actions (`response`), of the sum (`sum`), of the sum divided by `constant_length`
            (`constant`).
        constant_length: of the aggregation `constant`; another number only scales the loss.
        reward_kl: taken from the reward; None: none. loss_kl: added to the loss, outside of the surrogate; None: none.
        reward_clip: rewards are kept within ± this; None: as they are.
        advantage_clip: the same of advantages.
        overlong: taken from the reward of long responses; None: nothing.
        drop_unfinished: whether responses that were cut off at the limit are left out of the loss.
        importance_cap: C: what an engine of another program drew counts min(π_old / π_engine, C); None: 1.
    """

    advantage: AnyAdvantage
    whiten: bool
    surrogate: AnySurrogate
    aggregation: Literal["token", "token_of_batch", "response", "sum", "constant"]
    constant_length: Positive | None
    reward_kl: Penalty | None
    loss_kl: LossPenalty | None
    reward_clip: Positive | None
    advantage_clip: Positive | None
    overlong: Overlong | None
    drop_unfinished: bool
    importance_cap: Positive | None

    supervision: ClassVar = "prompt"
    draws_responses: ClassVar = True
    of_reference: ClassVar = None  # responses are drawn anew

    def __post_init__(self):
        if (self.aggregation == "constant") != (self.constant_length is not None):
            raise ValueError(
                f"algo.aggregation={self.aggregation} with algo.constant_length={self.constant_length}: the aggregation "
                "constant divides by a constant length, the others by none: type algo.aggregation=constant "
                "algo.constant_length=64, or algo.constant_length=null"
            )

    @property
    def uses_reference(self) -> bool:
        return self.reward_kl is not None or self.loss_kl is not None

    @property
    def needs_values(self) -> bool:
        """Tell whether a critic reads the responses."""
        return self.advantage.needs_values

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
            latter 0 for responses left out; and where they are used, `reference_logprobs`, `importance` (P, K, A).
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
        """Responses and chosen actions."""
        chosen = batch.supervision["chosen"]
        return [float(chosen.shape[:2].numel()), chosen.sum().item()]

    def __call__(self, policy: Policy, batch: Batch, step: Step = ALONE):
        given = batch.supervision
        drawn = Rollout(batch, [], given["old_logprobs"], given["chosen"], given["ended"])
        logprobs = policy.action_logprobs(drawn)
        actions = actions_of(batch, logprobs)
        each = self.surrogate(actions)
        if "importance" in given:
            each = each * given["importance"]
        if self.loss_kl is not None:
            each = each + self.loss_kl(actions, given["reference_logprobs"], self.surrogate.level)
        return self._mean(each, actions.mask, step), of_actions(actions, self.surrogate, given)

    def _mean(self, each: Tensor, mask: Tensor, step: Step) -> Tensor:
        """() of a loss of each action (P, K, A), or of each response (P, K, 1)."""
        of_tokens, of_batch = self.aggregation.startswith("token"), self.aggregation == "token_of_batch"
        if step.normalizer is None or of_batch:
            count = mask.sum().clamp(min=1) if of_tokens else mask.shape[0] * mask.shape[1]
        else:
            count = step.normalizer[1 if of_tokens else 0].clamp(min=1)
        how = "token" if of_tokens else self.aggregation
        return losses.policy_gradient.aggregated(each, mask, how, count, self.constant_length)
