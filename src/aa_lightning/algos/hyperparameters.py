"""Hyperparameters of algorithms: typed, immutable, and nothing else accepted."""

from typing import Annotated, ClassVar

from pydantic import Field

from aa_lightning.algos.counts import supervised_terms
from aa_lightning.configuration.schema import hyperparameters
from aa_lightning.types import Batch, LogLikelihood, Policy

NonNegative = Annotated[float, Field(ge=0)]
Positive = Annotated[float, Field(gt=0)]
Share = Annotated[float, Field(gt=0, le=1)]
Flipped = Annotated[float, Field(ge=0, lt=0.5)]  # share of labels taken to be wrong
Count = Annotated[int, Field(ge=1)]


@hyperparameters
class Component:
    """A part of an objective, chosen by its name: a loss, a comparison, weights, a margin.

    Attributes:
        wants: what a batch must bring besides its responses.
        remembers: statistics that are carried from step to step.
        of_reference: as for algorithms.
        statistic: a number of each term's whole distribution that it reads: its `collision`, or its `divergence` from the
            reference's.
    """

    wants: ClassVar[tuple[str, ...]] = ()
    remembers: ClassVar[tuple[str, ...]] = ()
    of_reference: ClassVar[tuple[str, ...] | None] = ()
    statistic: ClassVar[str | None] = None


@hyperparameters
class ReferenceSync:
    """A reference that moves `mixup` of the way to the policy every so many steps (TR-DPO, 2404.09656); None: before each
    drawing, so that what is drawn is compared with what drew it."""

    every_n_steps: Count | None
    mixup: Share


class Objective:
    """Defaults of the attributes of an algorithm (`types.Algorithm`)."""

    wants: ClassVar = ()
    of_reference: ClassVar = ()
    corruption: ClassVar = None
    criteria: ClassVar = ()
    remembers: ClassVar = ()
    ref_sync: ClassVar = None
    noise: ClassVar = 0.0
    heads: ClassVar = 1
    speaks: ClassVar = 0
    draws_responses: ClassVar = False
    critics: ClassVar = 0
    process_reward: ClassVar = False
    needs_greedy: ClassVar = False
    needs_group: ClassVar = False
    reads_equal: ClassVar = True
    rivals: ClassVar = 0.0

    @property
    def needs_values(self) -> bool:
        """Tell whether critics read the responses."""
        return self.critics > 0

    def normalizer(self, batch: Batch) -> float | list[float]:
        """Return this batch's share of the number that a mean over the terms of a whole step divides by."""
        return supervised_terms(batch)


@hyperparameters
class PolicyObjective(Objective):
    """Base of objectives that train policies."""

    trains: ClassVar = "policy"
    accepts: ClassVar = ("exact", "elbo")
    uses_reference: ClassVar = True

    @staticmethod
    def with_reference(policy: Policy, batch: Batch, measure: bool = False) -> tuple[LogLikelihood, LogLikelihood]:
        """Log-likelihoods of the responses of a batch under the policy, measured where asked for, and under its reference."""
        likelihood = policy.log_likelihood(batch, measure=measure)
        with policy.as_reference() as reference:
            return likelihood, reference.log_likelihood(batch)


@hyperparameters
class RewardObjective(Objective):
    """Base of objectives that train reward models."""

    supervision: ClassVar = "preference"
    trains: ClassVar = "reward_model"
    accepts: ClassVar = ("exact",)
    uses_reference: ClassVar = False
