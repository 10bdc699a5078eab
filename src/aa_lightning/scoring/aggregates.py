"""Aggregates by name: `aggregate: [mean, {name: macro, by: subject}, {name: f1, positive: "yes"}]`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field, PositiveInt

from aa_lightning.configuration.schema import BY_NAME, hyperparameters
from aa_lightning.scoring.agreement import F1, Pearson
from aa_lightning.scoring.groups import Columns, column, grouped, mean, mean_of_means, scores, share
from aa_lightning.scoring.leaderboards import Mme, RewardBench, VBench
from aa_lightning.scoring.question import Aggregating, Scored, Weighed


@hyperparameters
class Mean(Aggregating):
    """The mean over rows.

    Attributes:
        key: its name. of: the score that it is the mean of.
    """

    name: Literal["mean"] = "mean"
    key: str = "mean"
    of: str = "score"

    def weighed(self, rows: Sequence[Scored]) -> tuple[int, Weighed]:
        values = scores(rows, self.of)
        return len(rows), lambda weights: {self.key: mean(weights, values)}


@hyperparameters
class Sum(Aggregating):
    """The sum over rows: points.

    Attributes:
        key: its name. of: the score that is added.
    """

    name: Literal["sum"] = "sum"
    key: str = "sum"
    of: str = "score"

    def weighed(self, rows: Sequence[Scored]) -> tuple[int, Weighed]:
        values = scores(rows, self.of)
        return len(rows), lambda weights: {self.key: weights @ values}


@hyperparameters
class Ratio(Aggregating):
    """A sum over rows by another; NaN where the other is 0.

    Attributes:
        key: its name. of, to: the scores above and below.
    """

    name: Literal["ratio"] = "ratio"
    key: str = "ratio"
    of: str
    to: str

    def weighed(self, rows: Sequence[Scored]) -> tuple[int, Weighed]:
        above, below = scores(rows, self.of), scores(rows, self.to)
        return len(rows), lambda weights: {self.key: share(weights @ above, weights @ below)}


@hyperparameters
class PassAtK(Aggregating):
    """The chance that one of k answers to a question is right, of the n that it has (Codex, 2107.03374 eq. 1).

    Attributes:
        key: its name. of: the score of a right answer, 1. k: answers that are drawn.
    """

    name: Literal["pass_at_k"] = "pass_at_k"
    key: str = "pass_at_k"
    of: str = "score"
    k: PositiveInt

    def weighed(self, rows: Sequence[Scored]) -> tuple[int, Weighed]:
        several: dict[str, list[float]] = {}
        for row, score in zip(rows, scores(rows, self.of), strict=True):
            several.setdefault(row.question.id, []).append(score)
        values = np.array([pass_at_k(len(one), one.count(1.0), self.k) for one in several.values()])
        return len(values), lambda weights: {self.key: mean(weights, values)}


@hyperparameters
class AllInGroup(Aggregating):
    """The share of groups whose rows all have the full score: rotations of a question, both questions of a picture.

    Attributes:
        key: its name. of: the score that counts where it is 1.
        by: columns that name a group. modulo: of their last one, a number; None: as it is.
        without: column → what rows say in it that are left out, where they say all of this; empty: none.
    """

    name: Literal["all_in_group"] = "all_in_group"
    key: str = "all_in_group"
    of: str = "score"
    by: Columns
    modulo: PositiveInt | None = None
    without: dict[str, Any] = Field(default_factory=dict)

    def weighed(self, rows: Sequence[Scored]) -> tuple[int, Weighed]:
        kept = [row for row in rows if not self._left_out(row)]
        right = [float((scores(group, self.of) == 1).all()) for group in grouped(kept, self.by, self.modulo).values()]
        return len(right), lambda weights: {self.key: mean(weights, np.array(right))}

    def _left_out(self, row: Scored) -> bool:
        return bool(self.without) and all(str(column(row, name)) == str(value) for name, value in self.without.items())


_Plain = AllInGroup | F1 | Mean | Mme | PassAtK | Pearson | Ratio | RewardBench | Sum | VBench


@hyperparameters
class Macro(Aggregating):
    """The mean over groups of what another aggregate says of each; names begin with `macro_`.

    Attributes:
        by: column of the groups; of several, groups of the first hold groups of the next, which count the same in theirs.
        of: the other aggregate.
    """

    name: Literal["macro"] = "macro"
    by: Columns
    of: Annotated[_Plain, Field(discriminator="name"), BY_NAME] = Mean()

    def weighed(self, rows: Sequence[Scored]) -> tuple[int, Weighed]:
        units, of = self._nested(rows, [self.by] if isinstance(self.by, str) else self.by)
        return units, lambda weights: {f"macro_{name}": value for name, value in of(weights).items()}

    def _nested(self, rows: Sequence[Scored], by: Sequence[str]) -> tuple[int, Weighed]:
        if not by:
            return self.of.weighed(rows)
        parts = [self._nested(group, by[1:]) for group in grouped(rows, by[0]).values()]
        edges = np.cumsum([0, *(units for units, _ in parts)])

        def of(weights: np.ndarray) -> dict[str, np.ndarray]:
            told = [part(weights[:, a:b]) for (_, part), a, b in zip(parts, edges, edges[1:], strict=False)]
            return {name: mean_of_means([one[name] for one in told if name in one]) for name in told[0]}

        return int(edges[-1]), of


def pass_at_k(n: int, right: int, k: int) -> float:
    """The chance that k of n answers, of which some are right, have a right one among them.

    Raises:
        ValueError: there are fewer than k answers.
    """
    if n < k:
        raise ValueError(f"pass@{k} needs {k} answers to each question, and one has {n}")
    if n - right < k:
        return 1.0
    return 1.0 - float(np.prod(1.0 - k / np.arange(n - right + 1, n + 1)))


Aggregate = Annotated[_Plain | Macro, Field(discriminator="name"), BY_NAME]
