"""Target margins: `target_margin(pairs) -> (P,)`, taken from the gap of two rewards."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from aa_lightning import losses
from aa_lightning.algos.hyperparameters import Component, NonNegative, hyperparameters
from aa_lightning.configuration.schema import BY_NAME


@hyperparameters
class ConstantMargin(Component):
    """SimPO (2405.14734): a margin gamma that the gap must reach. Some codes give gamma / beta instead."""

    name: Literal["constant"]
    gamma: float

    def __call__(self, pairs):
        return self.gamma


@hyperparameters
class LengthMargin(Component):
    """R-DPO (2403.19159): longer chosen responses must win by more."""

    name: Literal["length"]
    alpha: NonNegative

    def __call__(self, pairs):
        size = pairs.likelihood.size
        return self.alpha * (size[:, 0] - size[:, 1])


@hyperparameters
class PositiveMargin(Component):
    """DPOP (2402.13228): a chosen response below the reference costs weight times the shortfall."""

    name: Literal["positive"]
    weight: NonNegative

    def __call__(self, pairs):
        return pairs.beta * self.weight * losses.transforms.dpop_penalty(pairs.ratio[:, 0])


@hyperparameters
class ScoreMargin(Component):
    """ODPO (2402.10571): the gap must reach alpha log(score_chosen − score_rejected)."""

    name: Literal["margin"]
    alpha: NonNegative
    wants: ClassVar = ("margin",)

    def __call__(self, pairs):
        return self.alpha * pairs.batch.supervision["margin"].log()


@hyperparameters
class DivergenceMargin(Component):
    """TDPO (2404.11999): differences of summed KL(reference ‖ policy); detach: the chosen one as a constant (TDPO2)."""

    name: Literal["divergence"]
    alpha: NonNegative
    detach: bool
    statistic: ClassVar = "divergence"

    def __call__(self, pairs):
        likelihood = pairs.likelihood
        chosen, rejected = (likelihood.statistic * likelihood.mask).sum(-1).unbind(1)
        chosen = chosen.detach() if self.detach else chosen
        return pairs.beta * self.alpha * (rejected - chosen)


TargetMargin = Annotated[
    ConstantMargin | LengthMargin | PositiveMargin | ScoreMargin | DivergenceMargin,
    Field(discriminator="name"),
    BY_NAME,
]
