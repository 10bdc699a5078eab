"""Objectives on single responses that are desirable or not."""

from __future__ import annotations

from typing import ClassVar, Literal

from aa_lightning import losses
from aa_lightning.algos import metrics
from aa_lightning.algos.hyperparameters import NonNegative, PolicyObjective, Positive, hyperparameters
from aa_lightning.algos.step import ALONE, Step
from aa_lightning.types import Batch, LikelihoodKind, Policy


@hyperparameters
class UnpairedOptimization(PolicyObjective):
    """KTO (2402.01306) and its kin: rewards r = β (log π − log π_ref) of rated responses.

    Attributes:
        beta: pull to the reference, per nat.
        loss: kto: λ_D (1 − σ(r − z₀)) and λ_U (1 − σ(z₀ − r)); bco: a classifier around the running mean of rewards;
            apo_zero: 1 − σ(r) and σ(r).
        baseline: of kto. mismatched: z₀ is the mean log-ratio of responses to other prompts, an estimate of the KL
            divergence (2402.01306 eq. 7); batch: the mean of the batch itself (Diffusion-KTO). Never negative, never
            with a gradient, over all processes.
        desirable_weight, undesirable_weight: λ_D, λ_U of kto.
    """

    beta: Positive
    loss: Literal["kto", "bco", "apo_zero"]
    baseline: Literal["mismatched", "batch"]
    desirable_weight: NonNegative
    undesirable_weight: NonNegative

    supervision: ClassVar = "rating"

    @property
    def accepts(self) -> tuple[LikelihoodKind, ...]:
        """A response to another prompt is no picture of this one's draws."""
        return ("exact",) if "mismatched" in self.wants else ("exact", "elbo")

    @property
    def wants(self) -> tuple[str, ...]:
        return ("mismatched",) if self.loss == "kto" and self.baseline == "mismatched" else ()

    @property
    def of_reference(self) -> tuple[str, ...]:
        return self.wants

    @property
    def remembers(self) -> tuple[str, ...]:
        return ("reward_sum", "reward_count") if self.loss == "bco" else ()

    def __call__(self, policy: Policy, batch: Batch, step: Step = ALONE):
        likelihood, fixed = self.with_reference(policy, batch, step.measured)
        rewards = self.beta * (likelihood.nats - fixed.nats)  # (P, K)
        desirable = batch.supervision["desirable"]
        middle = self._middle(policy, batch, rewards, step)
        if self.loss == "kto":
            per_response = losses.preference.kto(
                rewards, desirable, middle, (self.desirable_weight, self.undesirable_weight)
            )
        elif self.loss == "bco":
            per_response = losses.preference.bco_single(rewards, desirable, middle)
        else:
            per_response = losses.preference.apo_zero_single(rewards, desirable)
        found = metrics.of_ratings(rewards, desirable, middle, likelihood, fixed)
        return per_response.mean(), {**found, "reward/baseline": middle}

    def _middle(self, policy: Policy, batch: Batch, rewards, step: Step):
        """() what rewards are compared with."""
        if self.loss == "apo_zero":
            return rewards.new_zeros(())
        if self.loss == "bco":
            return losses.distributed.running_mean(rewards, step.memory)
        if self.baseline == "batch":
            return losses.distributed.mean(rewards).clamp(min=0)
        likelihood, fixed = self.with_reference(policy, batch.branches["mismatched"])
        return losses.distributed.mean(self.beta * (likelihood.nats - fixed.nats)).clamp(min=0)
