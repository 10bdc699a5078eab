"""Intervals of the numbers of a table, were its questions drawn again."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from aa_lightning.scoring.question import Aggregating, Scored

_CELLS = 2_000_000  # weights that are in memory at once


def intervals(
    aggregate: Aggregating, rows: Sequence[Scored], draws: int = 1000, level: float = 0.95, seed: int = 0
) -> dict[str, tuple[float, float]]:
    """Return an interval of each number of an aggregate: quantiles over tables whose units are drawn with replacement.

    Rows that count together, such as the rotations of a question, are drawn together.

    Args:
        aggregate: whose numbers they are.
        rows: of the table, one at least.
        draws: tables.
        level: share of them inside.
        seed: of the draws; the same ones for every aggregate of as many units.
    """
    units, of = aggregate.weighed(rows)
    if units == 0:
        return {}
    generator = np.random.default_rng(seed)
    at_once = max(_CELLS // units, 1)
    told = []
    for start in range(0, draws, at_once):
        size = min(at_once, draws - start)
        told.append(of(generator.multinomial(units, np.full(units, 1 / units), size=size).astype(float)))
    outside = (1 - level) / 2
    return {name: _inside(np.concatenate([one[name] for one in told]), outside) for name in told[0]}


def _inside(values: np.ndarray, outside: float) -> tuple[float, float]:
    """Quantiles of values (B,) without those that are NaN; NaN where all are."""
    there = values[~np.isnan(values)]
    low, high = np.quantile(there, [outside, 1 - outside]) if len(there) else (np.nan, np.nan)
    return float(low), float(high)
