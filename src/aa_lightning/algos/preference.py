"""One objective on preference pairs, of which published algorithms are settings."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar, Literal

from pydantic import Field

from aa_lightning import losses
from aa_lightning.algos import metrics
from aa_lightning.algos.comparisons import Comparison, statistic_of
from aa_lightning.algos.counts import chosen_terms
from aa_lightning.algos.hyperparameters import NonNegative, PolicyObjective, Positive, ReferenceSync, hyperparameters
from aa_lightning.algos.pair_scores import Pairs
from aa_lightning.algos.pair_weights import DynamicBeta, Weight
from aa_lightning.algos.pairwise_losses import PairwiseLoss
from aa_lightning.algos.step import ALONE, Step
from aa_lightning.algos.target_margins import TargetMargin
from aa_lightning.algos.token_weights import TokenWeights
from aa_lightning.data.corruption.options import CorruptionOptions
from aa_lightning.types import Batch, LikelihoodKind, LogLikelihood, Policy

_OF_PROBABILITIES = ("forward_kl", "jensen_shannon", "alpha", "odds")


@hyperparameters
class PreferenceOptimization(PolicyObjective):
    """DPO (2305.18290) with options.

    s = reduction(token_weights · log π), u = s − s_ref, rewards = β · transform(u),
    z = rewards_chosen − rewards_rejected − target_margin, loss = scale · mean(weight · loss(z)) + nll · NLL(chosen).

    Attributes:
        beta: pull to the reference, per nat.
        reduction: total log-likelihoods, or their length-normalised means.
        reference: whether log-likelihoods are taken relative to a reference.
        transform: of u: f′(e^u) of a divergence (f-DPO, AlphaPO), or log odds (ORPO). alpha: of the transform alpha.
        loss: from rewards to a value per pair (`pairwise_losses.py`).
        comparison: the two responses, or one response under two inputs (`comparisons.py`).
        token_weights: what counts inside a response. target_margin: what the gap must reach. dynamic_beta: β per pair.
        weight: of each pair.
        guidance: γ of log-likelihoods guided away from the corrupted prompt, γ log π(y|v) − (γ−1) sg log π(y|v′); 1: none.
        nll: weight of the chosen response's negative log-likelihood. nll_reduction: its sum, its mean per response, or the
            mean over all chosen tokens of a step.
        scale: of the preference term beside it.
        ref_sync: how the reference follows the policy; None: it stays.
    """

    beta: Positive
    reduction: Literal["sum", "mean"]
    reference: bool
    transform: Literal["identity", "forward_kl", "jensen_shannon", "alpha", "odds"]
    alpha: float | None
    loss: PairwiseLoss
    comparison: Comparison
    token_weights: TokenWeights | None
    target_margin: TargetMargin | None
    dynamic_beta: DynamicBeta | None
    weight: Weight | None
    guidance: float
    nll: NonNegative
    nll_reduction: Literal["sum", "response", "token"]
    scale: Positive
    ref_sync: ReferenceSync | None = Field()  # to be given, like the others; the base has one

    supervision: ClassVar = "preference"

    def __post_init__(self):
        statistic_of(self.comparison, self.target_margin, self.weight)

    @property
    def uses_reference(self) -> bool:
        return self.reference

    @property
    def of_reference(self) -> tuple[str, ...] | None:
        """A divergence is from the reference's whole distributions."""
        of_divergence = self.target_margin and self.target_margin.statistic == "divergence"
        return None if of_divergence else self.comparison.of_reference

    @property
    def accepts(self) -> tuple[LikelihoodKind, ...]:
        """A denoising error has one size, is no probability, and has no tokens."""
        of_tokens = self.token_weights or self.weight or self.transform in _OF_PROBABILITIES
        of_tokens = of_tokens or self.comparison.name != "responses" or self.guidance != 1.0
        of_length = self.reduction == "mean" or (
            self.target_margin and self.target_margin.name in ("length", "divergence")
        )
        return ("exact",) if of_tokens or of_length or not self.reference else ("exact", "elbo")

    @property
    def wants(self) -> tuple[str, ...]:
        """Names of the things that a batch must bring besides its responses."""
        optional = filter(None, (self.token_weights, self.target_margin, self.dynamic_beta))
        asked = {name for component in (self.loss, self.comparison, *optional) for name in component.wants}
        return tuple(sorted(asked | ({"corrupted"} if self.guidance != 1.0 else set())))

    @property
    def corruption(self) -> CorruptionOptions | None:
        """Corruption with which the corrupted branch of a batch is made."""
        if self.comparison.name in ("prompts", "self_generated"):
            return self.comparison.corruption
        return CorruptionOptions(name="blank") if self.guidance != 1.0 else None

    @property
    def remembers(self) -> tuple[str, ...]:
        """Statistics that are carried from step to step."""
        return (*self.loss.remembers, *(self.dynamic_beta.remembers if self.dynamic_beta else ()))

    def normalizer(self, batch: Batch) -> float:
        """The likelihood term is of chosen responses alone."""
        return chosen_terms(batch)

    def __call__(self, policy: Policy, batch: Batch, step: Step = ALONE):
        view = self.comparison.of(policy, batch)
        statistic = statistic_of(self.comparison, self.target_margin, self.weight)
        likelihood = view.read(policy, statistic, step.measured)
        weights = None if self.token_weights is None else self.token_weights(likelihood, batch)
        ours, theirs, fixed = self._reduced(self._guided(policy, batch, likelihood), weights), 0.0, None
        if self.reference:
            with policy.as_reference() as reference:
                fixed = view.read(reference)
            theirs = self._reduced(fixed, weights)
        beta, counted = (
            (self.beta, 1.0) if self.dynamic_beta is None else self.dynamic_beta(self.beta, ours - theirs, batch, step)
        )
        pairs = Pairs(likelihood, ours, theirs, beta * self._transformed(ours - theirs), beta, batch, step)
        per_pair = counted * self.loss(pairs, pairs.gap - (self.target_margin(pairs) if self.target_margin else 0.0))
        if self.weight:
            per_pair = self.weight(pairs) * per_pair
        loss = self.scale * per_pair.mean()
        if self.nll:
            terms, mask = likelihood.terms, likelihood.mask
            loss = loss + self.nll * losses.supervised.mean_nll(terms, mask, self.nll_reduction, step.normalizer)
        return loss, {**metrics.of_rewards(pairs.rewards, likelihood.size), **metrics.of_likelihoods(likelihood, fixed)}

    def _guided(self, policy: Policy, batch: Batch, likelihood: LogLikelihood) -> LogLikelihood:
        """V-DPO, 2411.02712."""
        if self.guidance == 1.0:
            return likelihood
        unseen = policy.log_likelihood(batch.branches["corrupted"]).terms.detach()
        return replace(likelihood, terms=self.guidance * likelihood.terms - (self.guidance - 1) * unseen)

    def _reduced(self, likelihood: LogLikelihood, weights):
        """(P, 2) nats."""
        if weights is not None:
            likelihood = replace(likelihood, terms=weights * likelihood.terms)
        return likelihood.nats if self.reduction == "sum" else likelihood.mean

    def _transformed(self, ratio):
        """(P, 2)."""
        if self.transform == "identity":
            return ratio
        if self.transform == "alpha":
            return losses.transforms.alpha_divergence(ratio, self.alpha)
        of = losses.transforms
        kinds = {"forward_kl": of.forward_kl, "jensen_shannon": of.jensen_shannon, "odds": of.log_odds}
        return kinds[self.transform](ratio)
