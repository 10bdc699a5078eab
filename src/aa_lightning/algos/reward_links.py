"""Links that read the two rewards of a pair, or of all pairs, and not their difference alone."""

from __future__ import annotations

from typing import Literal

from aa_lightning import losses
from aa_lightning.algos.hyperparameters import Flipped, Part, hyperparameters


@hyperparameters
class ApoZero(Part):
    """Chosen up, rejected down."""

    name: Literal["apo_zero"]

    def __call__(self, pairs, logit):
        return losses.preference.apo_zero(*pairs.rewards.unbind(1))


@hyperparameters
class ApoDown(Part):
    """Both down, the rejected one more."""

    name: Literal["apo_down"]

    def __call__(self, pairs, logit):
        return losses.preference.apo_down(*pairs.rewards.unbind(1))


@hyperparameters
class Nca(Part):
    """Noise contrast of both rewards with zero."""

    name: Literal["nca"]

    def __call__(self, pairs, logit):
        return losses.preference.nca(*pairs.rewards.unbind(1))


@hyperparameters
class Bco(Part):
    """A classifier of both rewards; shift: none, or the mean of all rewards so far."""

    name: Literal["bco"]
    shift: Literal["none", "running"]

    @property
    def remembers(self) -> tuple[str, ...]:
        return () if self.shift == "none" else ("reward_sum", "reward_count")

    def __call__(self, pairs, logit):
        shift = 0.0 if self.shift == "none" else losses.distributed.running_mean(pairs.rewards, pairs.batch.memory)
        return losses.preference.bco(*pairs.rewards.unbind(1), shift)


@hyperparameters
class KtoPair(Part):
    """KTO's value of both responses, each against the mean reward of the other kind over all processes."""

    name: Literal["kto_pair"]

    def __call__(self, pairs, logit):
        return losses.preference.kto_pair(
            *pairs.rewards.unbind(1), *map(losses.distributed.mean, pairs.rewards.unbind(1))
        )


@hyperparameters
class Sppo(Part):
    """Squares around the probability of winning; soft: σ(margin of the data) instead of certainty."""

    name: Literal["sppo"]
    soft: bool
    sides: Literal["sum", "mean"]

    @property
    def wants(self) -> tuple[str, ...]:
        return ("margin",) if self.soft else ()

    def __call__(self, pairs, logit):
        win = pairs.batch.supervision["margin"].sigmoid() if self.soft else 1.0
        both = losses.preference.sppo(*pairs.rewards.unbind(1), win, pairs.beta)
        return both if self.sides == "sum" else both / 2


@hyperparameters
class Anchor(Part):
    """−log σ(r_chosen − delta): the chosen response alone, kept above the reference (mDPO, 2406.11839)."""

    name: Literal["anchor"]
    delta: float

    def __call__(self, pairs, logit):
        return losses.preference.logistic(pairs.rewards[:, 0] - self.delta)


@hyperparameters
class Aot(Part):
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
        ahead, behind = (losses.distributed.gathered(side).sort().values for side in (ahead, behind))
        return losses.preference.logistic(pairs.beta * (ahead - behind), self.label_smoothing)
