"""One objective on preference pairs, of which published algorithms are settings."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from aa_lightning import losses
from aa_lightning.algos.options import hyperparameters
from aa_lightning.types import Batch, LikelihoodKind, Metrics, Policy


@hyperparameters
class PreferenceOptimization:
    """DPO (2305.18290) with options.

    u = reduce(log π) − reduce(log π_ref); loss = −log σ(β (u_chosen − u_rejected)) + nll · NLL(chosen).

    Attributes:
        beta: pull to the reference.
        reduce: total log-likelihoods, or their length-normalised means (2411.15124).
        label_smoothing: share of labels taken to be flipped (cDPO).
        nll: weight of the length-normalised NLL of the chosen response (2404.19733 eq. 2).
        reference: whether log-likelihoods are taken relative to a reference.
    """

    beta: Annotated[float, Field(gt=0)]
    reduce: Literal["total", "mean"]
    label_smoothing: Annotated[float, Field(ge=0, lt=0.5)]
    nll: Annotated[float, Field(ge=0)]
    reference: bool

    supervision: ClassVar = "preference"
    trains: ClassVar = "policy"

    @property
    def uses_reference(self) -> bool:
        return self.reference

    @property
    def accepts(self) -> tuple[LikelihoodKind, ...]:
        """A denoising error has one size, so a mean per length means nothing on it."""
        return ("exact", "bound") if self.reduce == "total" else ("exact",)

    def __call__(self, policy: Policy, batch: Batch):
        likelihood = policy.log_likelihood(batch)
        score = self._reduced(likelihood)  # (P, 2)
        if self.reference:
            with policy.as_reference() as reference:
                score = score - self._reduced(reference.log_likelihood(batch))
        rewards = self.beta * score
        chosen, rejected = rewards[:, 0], rewards[:, 1]
        loss = losses.preference.logistic(chosen - rejected, self.label_smoothing).mean()
        if self.nll:
            loss = loss - self.nll * likelihood.mean[:, 0].mean()
        return loss, self._metrics(rewards.detach(), likelihood.total.detach())

    def _reduced(self, likelihood):
        return likelihood.total if self.reduce == "total" else likelihood.mean

    def _metrics(self, rewards, logp) -> Metrics:
        margin = rewards[:, 0] - rewards[:, 1]
        return {
            "reward/chosen": rewards[:, 0].mean(),
            "reward/rejected": rewards[:, 1].mean(),
            "reward/margin": margin.mean(),
            "reward/accuracy": (margin > 0).float().mean(),
            "logp/chosen": logp[:, 0].mean(),
            "logp/rejected": logp[:, 1].mean(),
        }
