"""Learning from demonstrations."""

from __future__ import annotations

from typing import ClassVar, Literal

from aa_lightning import losses
from aa_lightning.algos.options import hyperparameters
from aa_lightning.types import Batch, Policy


@hyperparameters
class SupervisedFineTuning:
    """The negative log-likelihood of demonstrations; on a diffusion model, its denoising error.

    Attributes:
        reduce: `token`: the mean over all supervised terms of a step, exact over ranks and accumulated batches;
            `response`: the mean over responses of their own means.
    """

    reduce: Literal["token", "response"]

    supervision: ClassVar = "demonstration"
    trains: ClassVar = "policy"
    accepts: ClassVar = ("exact", "bound")
    uses_reference: ClassVar = False

    def __call__(self, policy: Policy, batch: Batch):
        likelihood = policy.log_likelihood(batch)
        nll = losses.supervised.negative_log_likelihood(likelihood.terms, likelihood.mask)  # (P, 1)
        if self.reduce == "response":
            loss = -likelihood.mean.mean()
        else:
            terms = likelihood.size.sum() if batch.normalizer is None else batch.normalizer
            loss = nll.sum() / terms
        return loss, {"logp/chosen": -nll.detach().mean(), "logp/per_term": likelihood.mean.detach().mean()}
