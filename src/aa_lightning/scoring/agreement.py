"""Aggregates of what was read against the answers: precision and recall, correlation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from aa_lightning.configuration.schema import hyperparameters
from aa_lightning.scoring.groups import mean, share
from aa_lightning.scoring.question import Aggregating, Scored, Weighed


@hyperparameters
class F1(Aggregating):
    """Precision, recall and their harmonic mean, with the accuracy and the share of positive answers: `f1`, `precision`,
    `recall`, `accuracy`, `positive`. Where nothing is said to be positive, or is, they are 0.

    Attributes:
        positive: the answer that is to be found, in any case.
    """

    name: Literal["f1"] = "f1"
    positive: str

    def weighed(self, rows: Sequence[Scored]) -> tuple[int, Weighed]:
        positive, pairs = self.positive.lower(), [(_low(row.extracted), _low(row.question.answer)) for row in rows]
        found = np.array([said == positive for said, _ in pairs], float)
        there = np.array([wanted == positive for _, wanted in pairs], float)
        right = np.array([said == wanted for said, wanted in pairs], float)

        def of(weights: np.ndarray) -> dict[str, np.ndarray]:
            hits, said, wanted = weights @ (found * there), weights @ found, weights @ there
            precision, recall, f1 = (
                np.nan_to_num(share(part, whole))
                for part, whole in ((hits, said), (hits, wanted), (2 * hits, said + wanted))
            )
            told = {"f1": f1, "precision": precision, "recall": recall}
            return told | {"accuracy": mean(weights, right), "positive": mean(weights, found)}

        return len(rows), of


@hyperparameters
class Pearson(Aggregating):
    """The correlation of numbers that were read with the answers, `pearson`; rows without a number are left out."""

    name: Literal["pearson"] = "pearson"

    def weighed(self, rows: Sequence[Scored]) -> tuple[int, Weighed]:
        pairs = [(number, float(row.question.answer)) for row in rows if (number := _number(row.extracted)) is not None]
        x, y = np.array(pairs, float).reshape(-1, 2).T

        def of(weights: np.ndarray) -> dict[str, np.ndarray]:
            from_x, from_y = x - mean(weights, x)[:, None], y - mean(weights, y)[:, None]
            both, of_x, of_y = ((weights * one).sum(1) for one in (from_x * from_y, from_x**2, from_y**2))
            return {"pearson": share(both, np.sqrt(of_x * of_y))}

        return len(pairs), of


def _low(said: Any) -> str | None:
    return None if said is None else str(said).strip().lower()


def _number(said: Any) -> float | None:
    try:
        return float(said)
    except (TypeError, ValueError):
        return None
