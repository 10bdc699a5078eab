"""Terms beside the reward and beside the surrogate: the divergence from the reference, and the price of long responses."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from aa_lightning import losses
from aa_lightning.algos.experience import Actions
from aa_lightning.algos.hyperparameters import Component, NonNegative, Positive, hyperparameters

if TYPE_CHECKING:
    from torch import Tensor


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
class LossPenalty(Penalty):
    """The same in a loss.

    Attributes:
        corrected: the estimate times the ratio π / π_old: of k3, its gradient is then that of the divergence.
    """

    corrected: bool

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
