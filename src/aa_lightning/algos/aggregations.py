"""Aggregations: from a loss of each action to the loss of a step, exact over its micro-batches and processes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from aa_lightning import losses
from aa_lightning.algos.hyperparameters import Component, Positive, hyperparameters
from aa_lightning.configuration.schema import BY_NAME
from aa_lightning.types import Batch

if TYPE_CHECKING:
    from torch import Tensor


def counts(batch: Batch) -> list[float]:
    """Count what means of a step divide by: responses, chosen actions, and those of them whose advantage is positive."""
    chosen, advantages = batch.supervision["chosen"], batch.supervision["advantages"]
    advantages = advantages[..., None] if advantages.ndim == 2 else advantages
    return [float(chosen.shape[:2].numel()), chosen.sum().item(), (chosen * (advantages > 0)).sum().item()]


@hyperparameters
class Mean(Component):
    """The mean over all actions of the step (`token`), over those of the batch at hand (`token_of_batch`), over responses of
    the mean over their actions (`response`) or of the sum (`sum`)."""

    name: Literal["token", "token_of_batch", "response", "sum"]

    def __call__(self, each: Tensor, mask: Tensor, advantages: Tensor, count: Tensor) -> Tensor:
        """() of a loss of each action (P, K, A), or of each response (P, K, 1).

        Args:
            mask: (P, K, A) the actions that count.
            advantages: (P, K, A) or (P, K, 1).
            count: (3,) the step's, as `counts` gives them.
        """
        if self.name.startswith("token"):
            whole = mask.sum() if self.name == "token_of_batch" else count[1]
            return losses.policy_gradient.aggregated(each, mask, "token", whole.clamp(min=1))
        return losses.policy_gradient.aggregated(each, mask, self.name, count[0])


@hyperparameters
class Constant(Component):
    """The mean over responses of the sum over their actions, divided by a constant length (Dr. GRPO, 2503.20783).

    Attributes:
        length: another one scales the loss and nothing else.
    """

    name: Literal["constant"]
    length: Positive

    def __call__(self, each: Tensor, mask: Tensor, advantages: Tensor, count: Tensor) -> Tensor:
        """() as for `Mean`."""
        return losses.policy_gradient.aggregated(each, mask, "constant", count[0], self.length)


@hyperparameters
class BySign(Component):
    """The mean over actions of positive advantage, and that over the others, each over as many as there are (2502.06781).

    Attributes:
        positive, negative: weights of the two.
    """

    name: Literal["by_sign"]
    positive: Positive
    negative: Positive

    def __call__(self, each: Tensor, mask: Tensor, advantages: Tensor, count: Tensor) -> Tensor:
        """() as for `Mean`."""
        better = (advantages > 0).to(mask.dtype).expand_as(mask)
        sides = ((self.positive, better, count[2]), (self.negative, 1 - better, count[1] - count[2]))
        return sum(
            weight * losses.policy_gradient.aggregated(each, mask * side, "token", whole.clamp(min=1))
            for weight, side, whole in sides
        )


AnyAggregation = Annotated[Mean | Constant | BySign, Field(discriminator="name"), BY_NAME]
