"""Token weights: `token_weights(likelihood, batch) -> (P, 2, T)`."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from aa_lightning import losses
from aa_lightning.algos.hyperparameters import Component, Positive, hyperparameters
from aa_lightning.configuration.schema import BY_NAME


@hyperparameters
class TailWeights(Component):
    """LD-DPO (2409.06411): terms beyond the shorter response count alpha."""

    name: Literal["tail"]
    alpha: Annotated[float, Field(ge=0, le=1)]

    def __call__(self, likelihood, batch):
        return losses.transforms.tail_weights(likelihood.mask, self.alpha)


@hyperparameters
class ChangedWeights(Component):
    """Dense DPO (RLHF-V, 2312.00849): tokens in which the two responses differ count gamma; normalise: a weighted mean."""

    name: Literal["changed"]
    gamma: Positive
    normalise: bool
    wants: ClassVar = ("changed",)

    def __call__(self, likelihood, batch):
        changed = batch.supervision["changed"]
        if not self.normalise:
            return losses.transforms.changed_sums(likelihood.mask, changed, self.gamma)
        return losses.transforms.changed_weights(likelihood.mask, changed, self.gamma)


TokenWeights = Annotated[TailWeights | ChangedWeights, Field(discriminator="name"), BY_NAME]
