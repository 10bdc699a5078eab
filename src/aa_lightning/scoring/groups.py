"""Rows by the columns of their questions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from aa_lightning.scoring.question import Scored


def column(row: Scored, name: str) -> object:
    """Return what a column says of a row.

    Raises:
        ValueError: there is no such column.
    """
    if name not in row.question.meta:
        there = ", ".join(row.question.meta) or "none"
        raise ValueError(f"question {row.question.id} has no column {name} to group by; there is: {there}")
    return row.question.meta[name]


def labels(rows: Sequence[Scored], by: str | None) -> list[str] | None:
    """Write what a column says of each row as text; None without a column."""
    return None if by is None else [str(column(row, by)) for row in rows]


def scores(rows: Sequence[Scored], name: str) -> np.ndarray:
    """A score of each row.

    Raises:
        ValueError: a row has no such score.
    """
    for row in rows:
        if name not in row.scores:
            raise ValueError(
                f"question {row.question.id} has no score {name}; its scorer gives {', '.join(row.scores)}"
            )
    return np.array([row.scores[name] for row in rows], float)


def grouped(rows: Sequence[Scored], by: str | list[str], modulo: int | None = None) -> list[list[Scored]]:
    """Rows that say the same in some columns, in the order of their first ones; the last column may count modulo a number."""
    groups: dict[tuple, list[Scored]] = {}
    for row in rows:
        said = [column(row, name) for name in ([by] if isinstance(by, str) else by)]
        if modulo is not None:
            said[-1] = int(said[-1]) % modulo  # type: ignore[call-overload]
        groups.setdefault(tuple(said), []).append(row)
    return list(groups.values())


def group_means(weights: np.ndarray, values: np.ndarray, groups: Sequence[str]) -> tuple[list[str], np.ndarray]:
    """Weighted means of groups; NaN of a group without weight.

    Args:
        weights: (B, U).
        values: (U,).
        groups: name of each unit's.

    Returns:
        Names of the G groups in their order, and means (B, G).
    """
    names = list(dict.fromkeys(groups))
    of = {name: i for i, name in enumerate(names)}
    member = np.zeros((len(groups), len(names)))
    member[np.arange(len(groups)), [of[name] for name in groups]] = 1
    with np.errstate(invalid="ignore"):
        return names, weights @ (member * values[:, None]) / (weights @ member)
