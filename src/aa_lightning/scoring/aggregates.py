"""Aggregates by name: `aggregate: [{name: mean, key: accuracy}, {name: macro, by: subject}]`.

Each gives its number under its `key`, and those of groups under `key/group`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from aa_lightning.configuration.schema import BY_NAME, hyperparameters
from aa_lightning.scoring.groups import group_means, grouped, labels, scores
from aa_lightning.scoring.question import Aggregating, Scored, Weighed

Columns = str | list[str]


@hyperparameters
class Mean(Aggregating):
    """The mean over rows.

    Attributes:
        key: its name. of: the score that it is the mean of.
        by: column whose groups get a mean of their own, beside that of all; None: none.
    """

    name: Literal["mean"] = "mean"
    key: str = "mean"
    of: str = "score"
    by: str | None = None

    def weighed(self, rows: Sequence[Scored]) -> tuple[int, Weighed]:
        return len(rows), with_groups(self.key, scores(rows, self.of), labels(rows, self.by))


@hyperparameters
class AllInGroup(Aggregating):
    """The share of groups whose rows all have the full score: rotations of a question, both questions of a picture.

    Attributes:
        key: its name. of: the score that counts where it is 1.
        by: columns that name a group. modulo: of their last one, a number; None: as it is.
        per: column, of the first row of each group, whose values get a share of their own; None: none.
    """

    name: Literal["all_in_group"] = "all_in_group"
    key: str = "all_in_group"
    of: str = "score"
    by: Columns
    modulo: Annotated[int, Field(ge=1)] | None = None
    per: str | None = None

    def weighed(self, rows: Sequence[Scored]) -> tuple[int, Weighed]:
        groups = grouped(rows, self.by, self.modulo)
        right = np.array([float(all(row.scores[self.of] == 1 for row in group)) for group in groups])
        return len(groups), with_groups(self.key, right, labels([group[0] for group in groups], self.per))


def with_groups(key: str, values: np.ndarray, groups: list[str] | None) -> Weighed:
    """The weighted mean of values (U,), and those of their groups."""

    def of(weights: np.ndarray) -> dict[str, np.ndarray]:
        numbers = {key: weights @ values / weights.sum(1)}
        if groups is None:
            return numbers
        names, means = group_means(weights, values, groups)
        return numbers | {f"{key}/{name}": means[:, i] for i, name in enumerate(names)}

    return of


Aggregate = Annotated[Mean | AllInGroup, Field(discriminator="name"), BY_NAME]
