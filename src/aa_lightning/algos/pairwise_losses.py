"""Losses of pairs: `loss(pairs, logit) -> (P,)` from both rewards, or from logit = their difference − the target margin."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from aa_lightning import losses
from aa_lightning.algos.hyperparameters import Component, Flipped, Positive, hyperparameters
from aa_lightning.configuration.schema import BY_NAME


@hyperparameters
class Sigmoid(Component):
    """−log σ(z), label_smoothing: the share of labels taken to be flipped (cDPO)."""

    name: Literal["sigmoid"]
    label_smoothing: Flipped

    def __call__(self, pairs, logit):
        return losses.preference.sigmoid(logit, self.label_smoothing)


@hyperparameters
class Robust(Component):
    """Unbiased under labels flipped at the rate label_smoothing."""

    name: Literal["robust"]
    label_smoothing: Flipped

    def __call__(self, pairs, logit):
        return losses.preference.robust(logit, self.label_smoothing)


@hyperparameters
class Hinge(Component):
    """max(0, target − z)."""

    name: Literal["hinge"]
    target: Positive

    def __call__(self, pairs, logit):
        return losses.preference.hinge(logit, self.target)


@hyperparameters
class Ipo(Component):
    """(margin − 1/(2β))², the margin in nats."""

    name: Literal["ipo"]

    def __call__(self, pairs, logit):
        return losses.preference.ipo(logit, pairs.beta)


@hyperparameters
class ExoPair(Component):
    """Reverse KL to the smoothed label."""

    name: Literal["exo_pair"]
    label_smoothing: Annotated[float, Field(gt=0, lt=0.5)]

    def __call__(self, pairs, logit):
        return losses.preference.exo_pair(logit, self.label_smoothing)


@hyperparameters
class DiscoPop(Component):
    """Log-ratio modulated, tau: where it changes from logistic to exponential."""

    name: Literal["discopop"]
    tau: Positive

    def __call__(self, pairs, logit):
        return losses.preference.discopop(logit, self.tau)


@hyperparameters
class ApoZero(Component):
    """Chosen up, rejected down."""

    name: Literal["apo_zero"]

    def __call__(self, pairs, logit):
        return losses.preference.apo_zero(*pairs.rewards.unbind(1))


@hyperparameters
class ApoDown(Component):
    """Both down, the rejected one more."""

    name: Literal["apo_down"]

    def __call__(self, pairs, logit):
        return losses.preference.apo_down(*pairs.rewards.unbind(1))


@hyperparameters
class Nca(Component):
    """Noise contrast of both rewards with zero."""

    name: Literal["nca"]

    def __call__(self, pairs, logit):
        return losses.preference.nca(*pairs.rewards.unbind(1))


@hyperparameters
class Bco(Component):
    """A classifier of both rewards; shift: none, or the mean of all rewards so far."""

    name: Literal["bco"]
    shift: Literal["none", "running"]

    @property
    def remembers(self) -> tuple[str, ...]:
        return () if self.shift == "none" else ("reward_sum", "reward_count")

    def __call__(self, pairs, logit):
        shift = 0.0 if self.shift == "none" else losses.distributed.running_mean(pairs.rewards, pairs.step.memory)
        return losses.preference.bco(*pairs.rewards.unbind(1), shift)


@hyperparameters
class KtoPair(Component):
    """KTO's value of both responses, each against the mean reward of the other kind over all processes."""

    name: Literal["kto_pair"]

    def __call__(self, pairs, logit):
        return losses.preference.kto_pair(
            *pairs.rewards.unbind(1), *map(losses.distributed.mean, pairs.rewards.unbind(1))
        )


@hyperparameters
class Sppo(Component):
    """Squares around the probability of winning; soft: σ(margin of the data) instead of certainty."""

    name: Literal["sppo"]
    soft: bool
    reduction: Literal["sum", "mean"]

    @property
    def wants(self) -> tuple[str, ...]:
        return ("margin",) if self.soft else ()

    def __call__(self, pairs, logit):
        win = pairs.batch.supervision["margin"].sigmoid() if self.soft else 1.0
        both = losses.preference.sppo(*pairs.rewards.unbind(1), win, pairs.beta)
        return both if self.reduction == "sum" else both / 2


@hyperparameters
class Anchor(Component):
    """−log σ(r_chosen − delta): the chosen response alone, kept above the reference (mDPO, 2406.11839)."""

    name: Literal["anchor"]
    delta: float

    def __call__(self, pairs, logit):
        return losses.preference.sigmoid(pairs.rewards[:, 0] - self.delta)


@hyperparameters
class Aot(Component):
    """Logistic on sorted values of all rows: stochastic dominance instead of pairs. 2406.05882.

    paired: margins of the policy against margins of the reference, each sorted; otherwise the chosen log-ratios against
    the rejected ones.
    """

    name: Literal["aot"]
    paired: bool
    label_smoothing: Flipped

    def __call__(self, pairs, logit):
        if self.paired:
            ahead = pairs.ours[:, 0] - pairs.ours[:, 1]
            behind = pairs.theirs[:, 0] - pairs.theirs[:, 1]
        else:
            ahead, behind = pairs.ratio.unbind(1)
        ahead, behind = (losses.distributed.all_gather_with_grad(side).sort().values for side in (ahead, behind))
        return losses.preference.sigmoid(pairs.beta * (ahead - behind), self.label_smoothing)


PairwiseLoss = Annotated[
    Sigmoid | Robust | Hinge | Ipo | ExoPair | DiscoPop | ApoZero | ApoDown | Nca | Bco | Sppo | Anchor | Aot | KtoPair,
    Field(discriminator="name"),
    BY_NAME,
]
