"""One objective on drawn and scored responses, of which published algorithms are settings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from aa_lightning.algos.aggregations import AnyAggregation, Mean, counts
from aa_lightning.algos.counts import supervised_terms
from aa_lightning.algos.credit import Credited
from aa_lightning.algos.critics import Critic, Lagrangian
from aa_lightning.algos.experience import Actions, actions_of
from aa_lightning.algos.hyperparameters import NonNegative, hyperparameters
from aa_lightning.algos.policy_metrics import of_actions
from aa_lightning.algos.process_credit import ImplicitReward, TokenReward
from aa_lightning.algos.shaping import Demonstrations, Imitation, LossPenalty
from aa_lightning.algos.step import ALONE, Step
from aa_lightning.algos.surrogates import AnySurrogate
from aa_lightning.configuration.schema import BY_NAME
from aa_lightning.types import Batch, LikelihoodKind, Metrics, Policy, Rollout, RowKind

if TYPE_CHECKING:
    from torch import Tensor

TOKEN = Mean(name="token")


@hyperparameters
class PolicyGradient(Credited):
    """GRPO (2402.03300) with options.

    loss = aggregation(importance · surrogate(π, π_old, A)) + aggregation(loss_kl) + critic + imitation + ptx − entropy, with
    the advantages A of `Credited`.

    Attributes:
        surrogate: of the ratio and the advantage (`surrogates.py`).
        aggregation: of losses of actions to that of a step (`aggregations.py`).
        loss_kl: the divergence from the reference, added to the loss; None: none.
        critic: how the critic learns of an advantage that has one; None: there is none.
        imitation: of responses with a high reward; None: none.
        ptx: of demonstrations of other rows; None: none.
        entropy: weight of a bonus on the mean entropy of the distributions that were drawn from.
    """

    surrogate: AnySurrogate
    aggregation: AnyAggregation
    loss_kl: LossPenalty | None
    critic: Annotated[Critic | ImplicitReward | TokenReward, Field(discriminator="name"), BY_NAME] | None
    imitation: Imitation | None
    ptx: Demonstrations | None
    entropy: NonNegative

    def __post_init__(self):
        name, learns = self.advantage.name, None if self.critic is None else self.critic.name
        needed = self.advantage.learns_by
        if learns != needed:
            typed = {
                None: "algo.critic=null",
                "values": "'algo.critic={name:values,coefficient:0.1,clip:0.2}'",
                "implicit_reward": "'algo.critic={name:implicit_reward,coefficient:1.0,beta:0.05}'",
                "token_reward": "'algo.critic={name:token_reward,coefficient:1.0}'",
            }
            raise ValueError(
                f"algo.advantage={name} goes with algo.critic={needed or 'null'}, and algo.critic is {learns or 'null'}: "
                f"type {typed[needed]}, or another algo.advantage"
            )

    @property
    def supervision(self) -> RowKind:
        return "prompt" if self.ptx is None else "demonstration"

    @property
    def wants(self) -> tuple[str, ...]:
        return () if self.ptx is None else ("auxiliary",)

    @property
    def uses_reference(self) -> bool:
        return super().uses_reference or self.loss_kl is not None

    @property
    def reads_equal(self) -> bool:
        """Tell whether responses without an advantage are part of the loss, by what stands beside the surrogate."""
        return any((self.loss_kl, self.critic, self.imitation, self.ptx, self.entropy))

    @property
    def accepts(self) -> tuple[LikelihoodKind, ...]:
        """A denoising step has no distribution over tokens, hidden states are those of tokens, and words can be mixed."""
        return ("exact",) if self.entropy or self.critic or self.rivals else ("exact", "elbo")

    def normalizer(self, batch: Batch) -> list[float]:
        """Responses, actions, and actions of positive advantage; and terms of demonstrations, where there are some."""
        shown = [supervised_terms(branch) for branch in batch.branches.values()]
        return [*counts(batch), *shown]

    def __call__(self, policy: Policy, batch: Batch, step: Step = ALONE):
        given = batch.supervision
        drawn = Rollout(batch, [], given["old_logprobs"], given["chosen"], given["ended"])
        actions, told = actions_of(batch, policy.action_logprobs(drawn)), {}
        if isinstance(self.advantage, Lagrangian):
            actions.advantages, told = self.advantage.mixed(given, step.memory)
        mask, advantages = actions.mask, actions.advantages
        count = mask.new_tensor(self.normalizer(batch)) if step.normalizer is None else step.normalizer
        each = self.surrogate(actions)
        loss = self.aggregation(each * given["importance"] if "importance" in given else each, mask, advantages, count)
        if self.loss_kl is not None:
            apart = self.loss_kl(actions, given["reference_logprobs"], self.surrogate.level)
            mean = TOKEN if self.aggregation.name == "by_sign" else self.aggregation
            loss = loss + mean(apart, mask, advantages, count)
        beside, more = self._beside(policy, batch, actions, count)
        return loss + beside, {**of_actions(actions, self.surrogate, given), **told, **more}

    def _beside(self, policy: Policy, batch: Batch, actions: Actions, count: Tensor) -> tuple[Tensor | float, Metrics]:
        """Losses beside the policy's gain: the critic's loss, imitation, demonstrations, entropy."""
        loss, told, given, mask = 0.0, {}, batch.supervision, actions.mask
        if self.critic is not None:
            values = policy.values(batch)
            loss = self.critic(values, given, mask, count)
            told = {"value/loss": loss.detach(), **self.critic.metrics(values, given, mask)}
        if self.imitation is not None:
            loss = loss + TOKEN(self.imitation(actions, given["rewards"]), mask, actions.advantages, count)
        if self.ptx is not None:
            shown = policy.log_likelihood(batch.branches["auxiliary"])
            known = self.ptx(shown, count[3])
            loss, told["ptx/loss"] = loss + known, known.detach()
        if self.entropy:
            spread = policy.log_likelihood(batch, statistic="entropy").statistic
            loss = loss - self.entropy * TOKEN(spread, mask, actions.advantages, count)
        return loss, told
