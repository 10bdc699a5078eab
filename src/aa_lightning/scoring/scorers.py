"""Scorers by name: `score: exact`, or `score: {name: exact, …}`. Each gives `score`, 1 for right and 0 for wrong."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import Field

from aa_lightning.configuration.schema import BY_NAME, hyperparameters
from aa_lightning.scoring.question import Question, Scoring

_TOKEN = re.compile(r"\b\w+\b")


@hyperparameters
class Exact(Scoring):
    """Right is what equals the answer, or one of several answers."""

    name: Literal["exact"] = "exact"

    def __call__(self, extracted: Any | None, question: Question) -> dict[str, float]:
        return {"score": float(extracted is not None and extracted in answers_of(question))}


@hyperparameters
class TokenMatch(Scoring):
    """Right is what has all words of the answer, and none that other options alone have (MMAU's rule)."""

    name: Literal["token_match"] = "token_match"

    def __call__(self, extracted: Any | None, question: Question) -> dict[str, float]:
        said, wanted = _tokens(extracted or ""), _tokens(question.answer)
        others = set().union(*map(_tokens, question.options.values())) - wanted
        return {"score": float(bool(said) and wanted <= said and not said & others)}


def answers_of(question: Question) -> list[Any]:
    """List the right answers."""
    return question.answer if isinstance(question.answer, list) else [question.answer]


def _tokens(text: str) -> set[str]:
    return set(_TOKEN.findall(text.lower()))


Scorer = Annotated[Exact | TokenMatch, Field(discriminator="name"), BY_NAME]
