"""Rows by the columns of their questions, and their scores."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from aa_lightning.scoring.question import Scored

Columns = str | list[str]


def column(row: Scored, name: str) -> object:
    """Return what a column says of a row.

    Raises:
        ValueError: there is no such column.
    """
    if name not in row.question.meta:
        there = ", ".join(row.question.meta) or "none"
        raise ValueError(f"question {row.question.id} has no column {name} to group by; there is: {there}")
    return row.question.meta[name]


def scores(rows: Sequence[Scored], name: str) -> np.ndarray:
    """Return a score of each row.

    Raises:
        ValueError: a row has no such score.
    """
    for row in rows:
        if name not in row.scores:
            raise ValueError(
                f"question {row.question.id} has no score {name}; its scorer gives {', '.join(row.scores)}"
            )
    return np.array([row.scores[name] for row in rows], float)


def grouped(rows: Sequence[Scored], by: Columns, modulo: int | None = None) -> dict[tuple, list[Scored]]:
    """Group rows that say the same in some columns, in the order of their first ones.

    Args:
        rows: of a table.
        by: columns.
        modulo: of the last column, a number; None: as it is.
    """
    groups: dict[tuple, list[Scored]] = {}
    for row in rows:
        said = [column(row, name) for name in ([by] if isinstance(by, str) else by)]
        if modulo is not None:
            said[-1] = int(said[-1]) % modulo  # type: ignore[call-overload]
        groups.setdefault(tuple(said), []).append(row)
    return groups


def mean(weights: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Weighted means (B,) of values (U,) under weights (B, U); NaN without weight."""
    return share(weights @ values, weights.sum(1))


def share(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """A part of a whole, both (B,); NaN of nothing."""
    return np.divide(part, whole, out=np.full(len(part), np.nan), where=whole != 0)


def mean_of_means(several: Sequence[np.ndarray]) -> np.ndarray:
    """The mean (B,) of several numbers (B,), without those that are NaN."""
    table = np.stack(several)
    there = ~np.isnan(table)
    return share(np.where(there, table, 0.0).sum(0), there.sum(0))
