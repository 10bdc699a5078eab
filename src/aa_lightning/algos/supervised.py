"""Learning from demonstrations."""

from __future__ import annotations

from typing import ClassVar, Literal

from aa_lightning import losses
from aa_lightning.algos.options import hyperparameters
from aa_lightning.types import Batch, LikelihoodKind, Policy


@hyperparameters
class SupervisedFineTuning:
    """The negative log-likelihood of demonstrations; on a diffusion model, its denoising error.

    Attributes:
        reduce: `token`: the mean over all supervised terms of a step, exact over ranks and accumulated batches;
            `response`: the mean over responses of their own means.
        weighting: `probability`: each token counts its own detached probability (DFT, 2508.05629).
        branch: of the batch that is trained on; None: its own rows.
    """

    reduce: Literal["token", "response"]
    weighting: Literal["none", "probability"]
    branch: Literal["auxiliary"] | None

    supervision: ClassVar = "demonstration"
    trains: ClassVar = "policy"
    uses_reference: ClassVar = False
    moving: ClassVar = None
    remembers: ClassVar = ()

    @property
    def accepts(self) -> tuple[LikelihoodKind, ...]:
        """A denoising error has no probability to weigh it with."""
        return ("exact", "bound") if self.weighting == "none" else ("exact",)

    @property
    def wants(self) -> tuple[str, ...]:
        return () if self.branch is None else (self.branch,)

    def __call__(self, policy: Policy, batch: Batch):
        batch = batch if self.branch is None else batch.branches[self.branch]
        likelihood = policy.log_likelihood(batch)
        terms = likelihood.terms
        if self.weighting == "probability":
            terms = terms.detach().exp() * terms
        nll = losses.supervised.negative_log_likelihood(terms, likelihood.mask)  # (P, 1)
        if self.reduce == "response":
            loss = (nll / likelihood.size.clamp(min=1e-9)).mean()
        else:
            count = likelihood.size.sum() if batch.normalizer is None else batch.normalizer
            loss = nll.sum() / count
        plain = likelihood.total.detach()
        return loss, {
            "logp/chosen": plain.mean(),
            "logp/per_term": likelihood.mean.detach().mean(),
            "length/chosen": likelihood.size.mean(),
        }
