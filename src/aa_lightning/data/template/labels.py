"""Preference among several responses: label columns, scores, marks, ranks, ratings; pairs of n answers."""

from __future__ import annotations

from itertools import combinations, pairwise
from numbers import Real
from random import Random
from typing import Any

from aa_lightning.data.template.row_reader import Reader, name
from aa_lightning.data.template.schema import Preferred, Selector
from aa_lightning.data.template.selection import best_of_n


def as_label(value: Any) -> str:
    """A label as text: `1`, `1.0`, `"1"` and `True` are the same label."""
    if isinstance(value, Real) and float(value).is_integer():
        return str(int(value))
    if isinstance(value, str):
        stripped = value.strip()
        try:
            return as_label(float(stripped))
        except (ValueError, OverflowError):
            return stripped
    return str(value)


def chosen_index(reader: Reader, preferred: str | Preferred) -> int | None:
    """0 when the first of two responses is preferred, 1 when the second is, None for a tie that is kept.

    Raises:
        LeftOut: a tie or another label that the template wants dropped.
        BadRow: one that it does not.
    """
    if isinstance(preferred, str):
        return {"first": 0, "second": 1}[preferred]
    if preferred.column is not None:
        return _by_id(reader, preferred)
    scores, column = label_scores(reader, preferred)
    if len(scores) != 2:
        raise reader.bad(column, f"Two values were expected, one per response, and {len(scores)} found.")
    if preferred.tie == "keep" and scores[0] == scores[1]:
        return None
    return by_scores(reader, scores, column, dropped=preferred.tie == "drop")


def _by_id(reader: Reader, preferred: Preferred) -> int | None:
    value = reader.value(preferred.column)
    if preferred.both is not None and as_label(value) == as_label(preferred.both):
        return None
    labels = [as_label(preferred.first), as_label(preferred.second)]
    if as_label(value) in labels:
        return labels.index(as_label(value))
    raise reader.unwanted(
        "other_label",
        preferred.column,
        f"The label {value!r} is neither {labels[0]} (the first response) nor {labels[1]} (the second).",
        dropped=preferred.other == "drop",
    )


def label_scores(reader: Reader, preferred: Preferred) -> tuple[list[float], str]:
    """A number per response, the larger the better, and the column that it stands in."""
    if preferred.scores is not None:
        column = ", ".join(map(name, preferred.scores))
        return [reader.number(reader.value(s), name(s)) for s in preferred.scores], column
    if preferred.onehot is not None:
        column = preferred.onehot
        marks = [float(mark) if isinstance(mark, bool) else mark for mark in reader.elements(column)]
        return [reader.number(mark, column) for mark in marks], column
    column, sign = preferred.ranks, -1 if preferred.lower == "better" else 1
    return [sign * reader.number(rank, column) for rank in reader.elements(column)], column


def by_scores(reader: Reader, scores: list[float], column: str, dropped: bool = False) -> int:
    """The index of the larger of two scores."""
    if scores[0] == scores[1]:
        raise reader.unwanted("tie", column, f"It is a tie: both responses have {abs(scores[0]):g}.", dropped)
    return int(scores[1] > scores[0])


def read_ratings(
    reader: Reader, ratings: dict[str, list[Selector] | Selector], n: int
) -> dict[str, list[float | None]]:
    """Per dimension one number for each of n responses, None where there is none."""
    out = {}
    for dimension, selector in ratings.items():
        if isinstance(selector, list):
            values, column = [reader.value(s) for s in selector], ", ".join(map(name, selector))
        else:
            values, column = reader.elements(selector), name(selector)
        if len(values) != n:
            raise reader.bad(column, f"{n} ratings were expected, one per response, and {len(values)} found.")
        out[dimension] = [reader.rating(value, column) for value in values]
    return out


def means(reader: Reader, ratings: dict[str, list[float | None]]) -> list[float]:
    """The mean rating of each response over the dimensions in which it has one."""
    out = []
    for i, values in enumerate(zip(*ratings.values(), strict=True)):
        given = [value for value in values if value is not None]
        if not given:
            raise reader.bad(", ".join(ratings), f"Response {i} has no rating at all.")
        out.append(sum(given) / len(given))
    return out


def pair_up(scores: list[float], policy: str, rng: Random) -> list[tuple[int, int]]:
    """Pairs (better, worse) of n scored responses; equal scores never make a pair.

    Args:
        scores: one per response, the larger the better.
        policy: all, adjacent (neighbours in the ranking), best_vs_worst, best_vs_random, best_vs_each.
        rng: for best_vs_random.
    """
    ranking = sorted(range(len(scores)), key=lambda i: -scores[i])
    if policy == "best_vs_worst":
        best, worst = best_of_n(scores)
        return [(best, worst)] if scores[best] > scores[worst] else []
    pairs = list(pairwise(ranking)) if policy == "adjacent" else list(combinations(ranking, 2))
    unequal = [(better, worse) for better, worse in pairs if scores[better] > scores[worse]]
    from_best = [pair for pair in unequal if pair[0] == ranking[0]]
    if policy == "best_vs_random":
        return [rng.choice(from_best)] if from_best else []
    return from_best if policy == "best_vs_each" else unequal


def spread(scores: list[float], size: int | None) -> list[int]:
    """Answers from best to worst; of more than `size`, the best, the worst, and ranks evenly between them."""
    ranking = sorted(range(len(scores)), key=lambda i: -scores[i])
    if size is None or size >= len(ranking):
        return ranking
    return [ranking[round(place * (len(ranking) - 1) / (size - 1))] for place in range(size)]
