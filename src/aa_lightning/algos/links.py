"""Links: how the rewards of a pair become its loss. `link(pairs, logit) -> (P,)` with logit = gap of rewards − offset."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from aa_lightning import losses
from aa_lightning.algos.hyperparameters import Flipped, Part, Positive, hyperparameters
from aa_lightning.algos.reward_links import Anchor, Aot, ApoDown, ApoZero, Bco, KtoPair, Nca, Sppo


@hyperparameters
class Logistic(Part):
    """−log σ(z), label_smoothing: the share of labels taken to be flipped (cDPO)."""

    name: Literal["logistic"]
    label_smoothing: Flipped

    def __call__(self, pairs, logit):
        return losses.preference.logistic(logit, self.label_smoothing)


@hyperparameters
class Robust(Part):
    """Unbiased under labels flipped at the rate label_smoothing."""

    name: Literal["robust"]
    label_smoothing: Flipped

    def __call__(self, pairs, logit):
        return losses.preference.robust(logit, self.label_smoothing)


@hyperparameters
class Hinge(Part):
    """max(0, target − z)."""

    name: Literal["hinge"]
    target: Positive

    def __call__(self, pairs, logit):
        return losses.preference.hinge(logit, self.target)


@hyperparameters
class Square(Part):
    """(margin − 1/(2β))², the margin in nats."""

    name: Literal["square"]

    def __call__(self, pairs, logit):
        return losses.preference.square(logit, pairs.beta)


@hyperparameters
class Exo(Part):
    """Reverse KL to the smoothed label."""

    name: Literal["exo"]
    label_smoothing: Annotated[float, Field(gt=0, lt=0.5)]

    def __call__(self, pairs, logit):
        return losses.preference.exo(logit, self.label_smoothing)


@hyperparameters
class Disco(Part):
    """Log-ratio modulated, tau: where it changes from logistic to exponential."""

    name: Literal["disco"]
    tau: Positive

    def __call__(self, pairs, logit):
        return losses.preference.disco(logit, self.tau)


Link = Annotated[
    Logistic | Robust | Hinge | Square | Exo | Disco | ApoZero | ApoDown | Nca | Bco | Sppo | Anchor | Aot | KtoPair,
    Field(discriminator="name"),
]
