"""Questions of benchmarks and what came of them; the three kinds of parts that a benchmark is scored with."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Question:
    """A row of a benchmark.

    Attributes:
        id: unique in its benchmark.
        answer: the right one: an option letter, a text, or a list of texts.
        options: letter → text, in their order; none where the question is open.
        meta: columns that extractors, scorers and aggregates read.
    """

    id: str
    answer: Any
    options: Mapping[str, str] = field(default_factory=dict)
    meta: Mapping[str, Any] = field(default_factory=dict)

    @property
    def answers(self) -> list[Any]:
        """All right answers."""
        return self.answer if isinstance(self.answer, list) else [self.answer]


@dataclass(frozen=True)
class Scored:
    """A question, what was said to it, what was read out of that (None: nothing), and the scores of it by name."""

    question: Question
    said: str
    extracted: Any | None
    scores: Mapping[str, float]


class Extracting:
    """From a text to what it gives as the answer."""

    def __call__(self, said: str, question: Question) -> Any | None:
        """Return the answer that a text gives; None: none can be read out of it."""
        raise NotImplementedError


class Scoring:
    """From what was read out of a text to numbers."""

    def __call__(self, extracted: Any | None, question: Question) -> dict[str, float]:
        """Return scores by name; what could not be read is wrong."""
        raise NotImplementedError


# (B, U) how often each of U units counts in each of B tables → (B,) of each number, by its name
Weighed = Callable[[np.ndarray], dict[str, np.ndarray]]


class Aggregating:
    """From a table of scored rows to numbers.

    A unit is what is drawn again by a bootstrap: a row, or rows that count together.
    """

    def weighed(self, rows: Sequence[Scored]) -> tuple[int, Weighed]:
        """Return how many units there are, and the numbers as a function of how often each counts."""
        raise NotImplementedError

    def __call__(self, rows: Sequence[Scored]) -> dict[str, float]:
        """Return numbers by name.

        Raises:
            ValueError: there are no rows.
        """
        if not rows:
            raise ValueError("there are no scored rows, and no number is known of none")
        units, of = self.weighed(rows)
        return {name: float(value[0]) for name, value in of(np.ones((1, units))).items()}
