"""Terms beside the reward and beside the surrogate: the divergence from the reference, and the price of long responses."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from aa_lightning import losses
from aa_lightning.algos.experience import Actions, Experience
from aa_lightning.algos.hyperparameters import Component, NonNegative, Positive, hyperparameters
from aa_lightning.types import LogLikelihood

if TYPE_CHECKING:
    from torch import Tensor

    from aa_lightning.losses.advantages import Summed


@hyperparameters
class Penalty(Component):
    """coefficient · KL(π ‖ π_ref), estimated at the drawn actions (`losses.policy_gradient.kl_estimate`).

    Attributes:
        coefficient: β.
        estimator: k1 is the one for rewards, k2 and k3 are for losses.
    """

    coefficient: NonNegative
    estimator: Literal["k1", "k2", "k3"]

    def of(self, logprobs: Tensor, reference: Tensor, mask: Tensor) -> Tensor:
        """(P, K, A) of actions with these log-probabilities (P, K, A); 0 where the mask (P, K, A) is."""
        reference = reference.to(logprobs.dtype).where(mask > 0, 0)
        kl = losses.policy_gradient.kl_estimate(logprobs.where(mask > 0, 0), reference, self.estimator)
        return self.coefficient * kl


@hyperparameters
class Adaptive(Component):
    """A coefficient that follows the divergence: times 1 + clip(KL / target − 1, −0.2, 0.2) · responses / horizon with each
    rollout (1909.08593 section 2.2).

    Attributes:
        target: of the divergence of a response, in nats.
        horizon: responses over which it follows.
    """

    target: Positive
    horizon: Positive


@hyperparameters
class RewardPenalty(Penalty):
    """The same in the reward.

    Attributes:
        adaptive: how the coefficient follows the divergence; None: it stays.
    """

    estimator: Literal["k1", "k2", "k3"] = "k1"
    adaptive: Adaptive | None = None

    @property
    def remembers(self) -> tuple[str, ...]:
        """The logarithm of how much the coefficient has grown."""
        return ("log_penalty",) if self.adaptive else ()

    def __call__(self, experience: Experience, chosen: Tensor, summed: Summed, memory: dict | None) -> Tensor:
        """(P, K, A) of the drawn actions; the coefficient takes its step then.

        Args:
            chosen: (P, K, A) the actions that count.
            summed: sums a tensor of any shape over processes.
            memory: log_penalty (); None: 0.
        """
        found = self.of(experience.old_logprobs, experience.reference_logprobs, chosen)
        if self.adaptive is None or memory is None:
            return found
        level = memory["log_penalty"]
        apart = (experience.old_logprobs - experience.reference_logprobs).where(chosen > 0, 0).sum(-1)
        count = (chosen.sum(-1) > 0).to(apart.dtype)
        divergence, responses = summed(apart.sum()), summed(count.sum())
        grown = losses.advantages.growth(
            divergence / responses.clamp(min=1), self.adaptive.target, self.adaptive.horizon, responses
        )
        memory["log_penalty"] = level + grown.log().to(level)
        return found * level.exp().to(found)


@hyperparameters
class LossPenalty(Penalty):
    """The same in a loss.

    Attributes:
        corrected: the estimate times the ratio π / π_old: of k3, its gradient is then that of the divergence.
    """

    estimator: Literal["k1", "k2", "k3"] = "k3"
    corrected: bool = False

    def __call__(self, actions: Actions, reference: Tensor, level: str) -> Tensor:
        """(P, K, A) of the actions of a minibatch; the ratio is that of the surrogate."""
        found = self.of(actions.logprobs, reference, actions.mask)
        return found * actions.ratio(level) if self.corrected else found


@hyperparameters
class Overlong(Component):
    """A price of long responses: nothing up to limit − margin actions, then up to 1 at the limit.

    Attributes:
        limit: actions. margin: before it.
    """

    limit: Positive
    margin: Positive

    def __call__(self, lengths: Tensor) -> Tensor:
        """(P, K) what is added to the reward of responses of these lengths (P, K)."""
        return losses.advantages.overlong_penalty(lengths, self.limit, self.margin)


@hyperparameters
class Imitation(Component):
    """coefficient · −log π of the actions of responses whose reward is above a bound (VAPO, 2504.05118).

    Attributes:
        coefficient: beside the policy's gain. above: the bound.
    """

    coefficient: Positive
    above: float

    def __call__(self, actions: Actions, rewards: Tensor) -> Tensor:
        """(P, K, A) of the actions of a minibatch with rewards (P, K); the mean is over all of its actions."""
        good = (rewards > self.above).to(actions.mask.dtype)[..., None]
        return -self.coefficient * good * actions.logprobs


@hyperparameters
class Demonstrations(Component):
    """coefficient · the mean of −log π over the tokens of demonstrations, which keeps what the model knew before (PPO-ptx,
    2203.02155 eq. 2).

    Attributes:
        coefficient: beside the policy's gain.
    """

    coefficient: Positive

    def __call__(self, likelihood: LogLikelihood, tokens: Tensor | None) -> Tensor:
        """() of one demonstration for each prompt, (P, 1, T).

        Args:
            tokens: () of the whole step; None: those of this batch.
        """
        nll = losses.supervised.mean_nll(likelihood.terms, likelihood.mask, "token", tokens)
        return self.coefficient * nll
