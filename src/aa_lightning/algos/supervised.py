"""Learning from demonstrations."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from aa_lightning import losses
from aa_lightning.algos import metrics
from aa_lightning.algos.counts import supervised_terms
from aa_lightning.algos.hyperparameters import NonNegative, PolicyObjective, Positive, hyperparameters
from aa_lightning.algos.step import ALONE, Step
from aa_lightning.types import Batch, LikelihoodKind, Policy


@hyperparameters
class SupervisedFineTuning(PolicyObjective):
    """The negative log-likelihood of demonstrations; on a diffusion model, its denoising error.

    Attributes:
        reduction: `token`: the mean over all supervised terms of a step, exact over ranks and accumulated batches;
            `response`: the mean over responses of their own means; `sum`: the mean over responses of their sums.
        weighting: `probability`: each token counts its own detached probability (DFT, 2508.05629).
        noise: NEFTune's α (2310.05914): uniform noise on the embeddings of tokens, in training alone; 0: none.
        rows: demonstrations, or the critiques of feedback: what is said about each answer, after question and answer
            (learning from language feedback, 2412.15838).
        branch: of the batch that is trained on: demonstrations of other rows (auxiliary), the refined response of each row
            (gold); None: its own rows.
    """

    reduction: Literal["token", "response", "sum"]
    weighting: Literal["none", "probability"]
    noise: NonNegative = Field()  # to be given, like the others; the base has one
    rows: Literal["demonstration", "critique"]
    branch: Literal["auxiliary", "gold"] | None

    uses_reference: ClassVar = False

    @property
    def supervision(self) -> str:
        return "feedback" if self.branch == "gold" else self.rows

    @property
    def accepts(self) -> tuple[LikelihoodKind, ...]:
        """A denoising error has no probability to weigh it with, and its prompt no embeddings that train."""
        of_tokens = self.weighting == "probability" or self.noise or self.rows == "critique"
        return ("exact",) if of_tokens else ("exact", "elbo")

    @property
    def wants(self) -> tuple[str, ...]:
        return () if self.branch is None else (self.branch,)

    def normalizer(self, batch: Batch) -> float:
        """Of the branch that is trained on."""
        return supervised_terms(self._trained(batch))

    def _trained(self, batch: Batch) -> Batch:
        return batch if self.branch is None else batch.branches[self.branch]

    def __call__(self, policy: Policy, batch: Batch, step: Step = ALONE):
        likelihood = policy.log_likelihood(self._trained(batch), measure=step.measured)
        terms = likelihood.terms
        if self.weighting == "probability":
            terms = (terms.detach() * likelihood.mask).exp() * terms  # whatever stands in padding must not overflow
        nll = losses.supervised.negative_log_likelihood(terms, likelihood.mask)  # (P, 1)
        if self.reduction == "sum":
            loss = nll.mean()
        elif self.reduction == "response":
            loss = (nll / likelihood.size.clamp(min=1e-9)).mean()
        else:
            loss = nll.sum() / (likelihood.size.sum() if step.normalizer is None else step.normalizer)
        return loss, {**metrics.of_likelihoods(likelihood), "logp/per_term": likelihood.mean.detach().mean()}


@hyperparameters
class RewardWeightedFineTuning(PolicyObjective):
    """Imitates K scored responses as much as their scores say: the mean of Σ_k w_k NLL_k per token of each.

    Attributes:
        weighting: softmax: w = softmax(score / temperature) over the responses of a prompt (reward-weighted regression);
            exponential: w = exp((score − mean score) / temperature) / K, at most cap / K (1910.00177).
        temperature: small: the best response alone; large: all alike.
        cap: of the exponential.
    """

    weighting: Literal["softmax", "exponential"]
    temperature: Positive
    cap: Positive

    supervision: ClassVar = "ranking"
    uses_reference: ClassVar = False

    def __call__(self, policy: Policy, batch: Batch, step: Step = ALONE):
        likelihood, scores = policy.log_likelihood(batch, measure=step.measured), batch.supervision["scores"]  # (P, K)
        if self.weighting == "softmax":
            weights = (scores / self.temperature).softmax(-1)
        else:
            weights = losses.supervised.exponential_weights(scores, self.temperature, self.cap)
        loss = -(weights.to(likelihood.mean.dtype) * likelihood.mean).sum(1).mean()
        return loss, {**metrics.of_likelihoods(likelihood), "weight/best": weights[:, 0].mean()}
