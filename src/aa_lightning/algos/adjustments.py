"""What algorithms change in DPO besides its link: weights of terms, the offset, the strength per pair, weights of pairs."""

from __future__ import annotations

from random import Random
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from aa_lightning import losses
from aa_lightning.algos.options import Part, hyperparameters

NonNegative = Annotated[float, Field(ge=0)]
Positive = Annotated[float, Field(gt=0)]

# ---------------------------------------------------------------- terms: (likelihood, batch) -> weights (P, 2, T)


@hyperparameters
class TailTerms(Part):
    """LD-DPO (2409.06411): terms beyond the shorter response count alpha."""

    name: Literal["tail"]
    alpha: Annotated[float, Field(ge=0, le=1)]

    def __call__(self, likelihood, batch):
        return losses.scores.tail_weights(likelihood.mask, self.alpha)


@hyperparameters
class ChangedTerms(Part):
    """Dense DPO (RLHF-V, 2312.00849): tokens in which the two responses differ count gamma; normalise: a weighted mean."""

    name: Literal["changed"]
    gamma: Positive
    normalise: bool
    wants: ClassVar = ("changed",)

    def __call__(self, likelihood, batch):
        changed = batch.supervision["changed"]
        if not self.normalise:
            return losses.scores.changed_sums(likelihood.mask, changed, self.gamma)
        return losses.scores.changed_weights(likelihood.mask, changed, self.gamma)


# ---------------------------------------------------------------- offset: pairs -> (P,), taken from the gap of rewards


@hyperparameters
class ConstantOffset(Part):
    """SimPO (2405.14734): a margin gamma that the gap must reach. Some codes give gamma / beta instead."""

    name: Literal["constant"]
    gamma: float

    def __call__(self, pairs):
        return self.gamma


@hyperparameters
class LengthOffset(Part):
    """R-DPO (2403.19159): longer chosen responses must win by more."""

    name: Literal["length"]
    alpha: NonNegative

    def __call__(self, pairs):
        size = pairs.likelihood.size
        return self.alpha * (size[:, 0] - size[:, 1])


@hyperparameters
class PositiveOffset(Part):
    """DPOP (2402.13228): a chosen response below the reference costs weight times the shortfall."""

    name: Literal["positive"]
    weight: NonNegative

    def __call__(self, pairs):
        return pairs.beta * self.weight * losses.scores.positive_penalty(pairs.ratio[:, 0])


@hyperparameters
class MarginOffset(Part):
    """ODPO (2402.10571): the gap must reach alpha log(score_chosen − score_rejected)."""

    name: Literal["margin"]
    alpha: NonNegative
    wants: ClassVar = ("margin",)

    def __call__(self, pairs):
        return self.alpha * pairs.batch.supervision["margin"].log()


@hyperparameters
class DivergenceOffset(Part):
    """TDPO (2404.11999): differences of summed KL(reference ‖ policy); detach: the chosen one as a constant (TDPO2)."""

    name: Literal["divergence"]
    alpha: NonNegative
    detach: bool

    def __call__(self, pairs):
        chosen, rejected = pairs.policy.divergence(pairs.batch).total.unbind(1)
        chosen = chosen.detach() if self.detach else chosen
        return pairs.beta * self.alpha * (rejected - chosen)


# ---------------------------------------------------------------- strength: (beta, ratio, batch) -> beta and who counts


@hyperparameters
class MarginStrength(Part):
    """MM-DPO (2502.10391): beta grows with the data's margin, up to (1 + weight) beta."""

    name: Literal["margin"]
    weight: NonNegative
    rate: NonNegative
    wants: ClassVar = ("margin",)

    def __call__(self, beta, ratio, batch):
        margin = batch.supervision["margin"]
        return losses.scores.scaled_beta(beta, margin, self.weight, self.rate)[:, None], 1.0


@hyperparameters
class BatchStrength(Part):
    """β-DPO (2407.08639): beta follows the mean margin of a batch, whose outliers are left out.

    Attributes:
        rate: how far beta follows.
        keep: share of pairs kept, drawn with the density of a normal around the mean margin.
        momentum: of the running mean and deviation of margins.
    """

    name: Literal["batch"]
    rate: NonNegative
    keep: Annotated[float, Field(gt=0, le=1)]
    momentum: Annotated[float, Field(ge=0, lt=1)]
    remembers: ClassVar = ("margin_mean", "margin_std", "margin_steps")

    def __call__(self, beta, ratio, batch):
        margin = ratio[:, 0] - ratio[:, 1]
        luck = [Random(f"{batch.memory['margin_steps']:.0f}/{row}").random() for row in batch.ids]
        return losses.coupled.followed_beta(
            beta, margin, margin.new_tensor(luck), self.rate, self.keep, self.momentum, batch.memory
        )


# ---------------------------------------------------------------- weight: pairs -> (P,)


@hyperparameters
class OnPolicyWeight(Part):
    """WPO (2406.11827): pairs count as much as the policy itself would say them; the authors cap the weight at 1."""

    name: Literal["on_policy"]
    cap: Positive | None

    def __call__(self, pairs):
        likelihood = pairs.likelihood
        both = losses.scores.on_policy_weights(likelihood.terms, likelihood.statistic, likelihood.mask).prod(1)
        return both if self.cap is None else both.clamp(max=self.cap)


Terms = Annotated[TailTerms | ChangedTerms, Field(discriminator="name")]
Offset = Annotated[
    ConstantOffset | LengthOffset | PositiveOffset | MarginOffset | DivergenceOffset, Field(discriminator="name")
]
Strength = Annotated[MarginStrength | BatchStrength, Field(discriminator="name")]
Weight = OnPolicyWeight
