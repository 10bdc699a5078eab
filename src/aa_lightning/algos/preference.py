"""One objective on preference pairs, of which published algorithms are settings."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar, Literal

from pydantic import Field

from aa_lightning import losses
from aa_lightning.algos import metrics
from aa_lightning.algos.counts import chosen_terms
from aa_lightning.algos.hyperparameters import Moving, NonNegative, PolicyObjective, Positive, hyperparameters
from aa_lightning.algos.links import Link
from aa_lightning.algos.pair_scores import Pairs
from aa_lightning.algos.pair_weights import Strength, Weight
from aa_lightning.algos.readings import statistic_of
from aa_lightning.algos.target_margins import Offset
from aa_lightning.algos.token_weights import Terms
from aa_lightning.algos.views import Compare
from aa_lightning.data.corruption.options import CorruptionOptions
from aa_lightning.types import Batch, LikelihoodKind, LogLikelihood, Policy

_OF_PROBABILITIES = ("forward_kl", "jensen_shannon", "alpha", "odds")


@hyperparameters
class PreferenceOptimization(PolicyObjective):
    """DPO (2305.18290) with options.

    s = reduce(terms · log π), u = s − s_ref, rewards = β · transform(u), z = rewards_chosen − rewards_rejected − offset;
    loss = scale · mean(weight · link(z)) + nll · NLL(chosen).

    Attributes:
        beta: pull to the reference, per nat.
        reduce: total log-likelihoods, or their length-normalised means.
        reference: whether log-likelihoods are taken relative to a reference.
        transform: of u: f′(e^u) of a divergence (f-DPO, AlphaPO), or log odds (ORPO). alpha: of the transform alpha.
        link: from rewards to a loss (algos/links.py).
        compare: the two responses, or the same one in two lights (algos/views.py).
        terms, offset, strength, weight: what counts inside a response, what the gap must reach, β per pair, weight per
            pair (algos/token_weights.py, offsets.py, strengths.py).
        guidance: γ of log-likelihoods guided away from the corrupted prompt, γ log π(y|v) − (γ−1) sg log π(y|v′); 1: none.
        nll: weight of the chosen response's negative log-likelihood. nll_reduce: its total, its mean per response, or the
            mean over all chosen tokens of a step.
        scale: of the preference term beside it.
        moving: how the reference follows the policy; None: it stays.
    """

    beta: Positive
    reduce: Literal["total", "mean"]
    reference: bool
    transform: Literal["identity", "forward_kl", "jensen_shannon", "alpha", "odds"]
    alpha: float | None
    link: Link
    compare: Compare
    terms: Terms | None
    offset: Offset | None
    strength: Strength | None
    weight: Weight | None
    guidance: float
    nll: NonNegative
    nll_reduce: Literal["total", "response", "token"]
    scale: Positive
    moving: Moving | None = Field()  # to be given, like the others; the base has one

    supervision: ClassVar = "preference"

    def __post_init__(self):
        statistic_of(self.compare, self.offset, self.weight)

    @property
    def uses_reference(self) -> bool:
        return self.reference

    @property
    def accepts(self) -> tuple[LikelihoodKind, ...]:
        """A denoising error has one size, is no probability, and has no tokens."""
        of_tokens = self.terms or self.weight or self.transform in _OF_PROBABILITIES
        of_tokens = of_tokens or self.compare.name != "responses" or self.guidance != 1.0
        of_length = self.reduce == "mean" or (self.offset and self.offset.name in ("length", "divergence"))
        return ("exact",) if of_tokens or of_length or not self.reference else ("exact", "bound")

    @property
    def wants(self) -> tuple[str, ...]:
        """What a batch must bring besides its responses."""
        parts = [self.link, self.compare, *filter(None, (self.terms, self.offset, self.strength))]
        asked = {name for part in parts for name in part.wants} | ({"corrupted"} if self.guidance != 1.0 else set())
        return tuple(sorted(asked))

    @property
    def corruption(self) -> CorruptionOptions | None:
        """How the corrupted branch of a batch is made."""
        if self.compare.name in ("prompts", "own"):
            return self.compare.corruption
        return CorruptionOptions(name="blank") if self.guidance != 1.0 else None

    @property
    def remembers(self) -> tuple[str, ...]:
        """Statistics that are carried from step to step."""
        return (*self.link.remembers, *(self.strength.remembers if self.strength else ()))

    def normalizer(self, batch: Batch) -> float:
        """The likelihood term is of chosen responses alone."""
        return chosen_terms(batch)

    def __call__(self, policy: Policy, batch: Batch):
        view = self.compare.of(policy, batch, statistic_of(self.compare, self.offset, self.weight))
        likelihood = view.read(policy)
        weights = None if self.terms is None else self.terms(likelihood, batch)
        ours, theirs, fixed = self._reduced(self._guided(policy, batch, likelihood), weights), 0.0, None
        if self.reference:
            with policy.as_reference() as reference:
                fixed = view.read(reference)
            theirs = self._reduced(fixed, weights)
        beta, counted = (self.beta, 1.0) if self.strength is None else self.strength(self.beta, ours - theirs, batch)
        pairs = Pairs(likelihood, ours, theirs, beta * self._transformed(ours - theirs), beta, batch)
        per_pair = counted * self.link(pairs, pairs.gap - (self.offset(pairs) if self.offset else 0.0))
        if self.weight:
            per_pair = self.weight(pairs) * per_pair
        loss = self.scale * per_pair.mean()
        if self.nll:
            terms, mask = likelihood.terms, likelihood.mask
            loss = loss + self.nll * losses.supervised.mean_nll(terms, mask, self.nll_reduce, batch.normalizer)
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
        return likelihood.nats if self.reduce == "total" else likelihood.mean

    def _transformed(self, ratio):
        """(P, 2)."""
        if self.transform == "identity":
            return ratio
        if self.transform == "alpha":
            return losses.transforms.alpha_divergence(ratio, self.alpha)
        of = losses.transforms
        kinds = {"forward_kl": of.forward_kl, "jensen_shannon": of.jensen_shannon, "odds": of.log_odds}
        return kinds[self.transform](ratio)
