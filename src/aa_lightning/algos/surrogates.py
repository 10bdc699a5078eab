"""Surrogates: from the actions of a minibatch to a loss of each, (P, K, A), or of each response, (P, K, 1)."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from aa_lightning import losses
from aa_lightning.algos.experience import Actions
from aa_lightning.algos.hyperparameters import Component, NonNegative, Positive, hyperparameters
from aa_lightning.configuration.schema import BY_NAME

Level = Literal["action", "response_mean", "response_mean_action", "response_total"]
Above1 = Annotated[float, Field(gt=1)]


@hyperparameters
class Surrogate(Component):
    """A surrogate without a ratio and without bounds, as far as its class says nothing else.

    Attributes:
        level: of the ratio. bounds: of the ratio, beyond which an action's gradient is cut or weakened; None: none.
    """

    level: ClassVar[str] = "action"
    bounds: ClassVar[tuple[float | None, float | None]] = (None, None)


@hyperparameters
class Clip(Surrogate):
    """−min(ρ A, clip(ρ, 1 − low, 1 + high) A) (PPO, 1707.06347).

    Attributes:
        ratio: of each action, or of a response: its geometric mean (GSPO), that with each action's own gradient
            (GSPO-token), its product (RLOO).
        low, high: how far ρ may go.
        dual: of A < 0, no more than dual · |A| is lost (1912.09729); None: no bound.
        two_sided: no ratio counts more than this (INTELLECT-2); None: no bound.
    """

    name: Literal["clip"]
    ratio: Level
    low: NonNegative
    high: NonNegative
    dual: Above1 | None
    two_sided: Above1 | None

    @property
    def level(self) -> str:
        return self.ratio

    @property
    def bounds(self) -> tuple[float | None, float | None]:
        return 1 - self.low, 1 + self.high

    def __call__(self, actions: Actions):
        ratio = actions.ratio(self.ratio)
        return losses.policy_gradient.clipped(ratio, actions.advantages, self.low, self.high, self.dual, self.two_sided)


@hyperparameters
class Truncate(Surrogate):
    """−sg[clip(ρ, lowest, highest)] A log π, so that no action loses its gradient (CISPO, 2506.13585).

    Attributes:
        lowest, highest: bounds of ρ itself; lowest null: none.
    """

    name: Literal["truncate"]
    lowest: NonNegative | None
    highest: Positive

    @property
    def bounds(self) -> tuple[float | None, float | None]:
        return self.lowest, self.highest

    def __call__(self, actions: Actions):
        ratio = actions.ratio("action")
        return losses.policy_gradient.truncated(actions.logprobs, ratio, actions.advantages, self.lowest, self.highest)


@hyperparameters
class SoftGate(Surrogate):
    """−(4/τ) σ(τ (ρ − 1)) A (SAPO, 2511.20347).

    Attributes:
        positive, negative: τ of A > 0, and of the others.
    """

    name: Literal["soft_gate"]
    positive: Positive
    negative: Positive

    def __call__(self, actions: Actions):
        return losses.policy_gradient.soft_gated(
            actions.ratio("action"), actions.advantages, self.positive, self.negative
        )


@hyperparameters
class Geometric(Surrogate):
    """−A times the geometric mean of ratios that are clipped each (GMPO, 2507.20673).

    Attributes:
        low, high: bounds of |log ρ|.
    """

    name: Literal["geometric"]
    low: NonNegative
    high: NonNegative

    def __call__(self, actions: Actions):
        return losses.policy_gradient.geometric(
            actions.logprobs, actions.old, actions.mask, actions.advantages, self.low, self.high
        )


@hyperparameters
class Reinforce(Surrogate):
    """−A log π: what is learned from is taken for the policy's own."""

    name: Literal["reinforce"]

    def __call__(self, actions: Actions):
        return losses.policy_gradient.reinforce(actions.logprobs, actions.advantages)


@hyperparameters
class ImitateBetter(Surrogate):
    """−A log π of what was better than expected, −A ρ of the others (OREAL, 2502.06781)."""

    name: Literal["imitate_better"]

    def __call__(self, actions: Actions):
        imitated = losses.policy_gradient.reinforce(actions.logprobs, actions.advantages)
        return imitated.where(actions.advantages > 0, -actions.ratio("action") * actions.advantages)


AnySurrogate = Annotated[
    Clip | Truncate | SoftGate | Geometric | Reinforce | ImitateBetter,
    Field(discriminator="name"),
    BY_NAME,
]
