"""Worked cases, and questions made of them."""

import json

from pydantic import TypeAdapter

from aa_lightning.scoring.aggregates import Aggregate
from aa_lightning.scoring.extractors import Extractor
from aa_lightning.scoring.question import Question, Scored
from aa_lightning.scoring.scorers import Scorer
from tests.vectors.support import ROOT

TABLES = json.loads((ROOT / "tests" / "vectors" / "scoring.json").read_text())["tables"]
_KINDS = {"extract": Extractor, "score": Scorer, "aggregate": Aggregate}


def cases(name: str) -> list[tuple[dict, dict, dict]]:
    """(context, input, expected) of the cases of a table whose official results are no accidents."""
    table = TABLES[name]
    return [(table["context"], c["input"], c["expected"]) for c in table["cases"] if not c.get("accident")]


def part(kind: str, said):
    """An extractor, scorer or aggregate, as a configuration names it."""
    return TypeAdapter(_KINDS[kind]).validate_python(said)


def asked(answer="A", options=None, id="q", **meta) -> Question:
    return Question(id, answer, options or {}, meta)


def row(score: float = 1.0, extracted="x", answer="x", id="q", scores=None, **meta) -> Scored:
    return Scored(Question(id, answer, {}, meta), str(extracted), extracted, scores or {"score": score})
