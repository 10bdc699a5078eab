"""From answers to the numbers of a benchmark."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from aa_lightning.benchmarks.kept import Row
from aa_lightning.benchmarks.options import Benchmark
from aa_lightning.benchmarks.questions import Questions
from aa_lightning.rewards.rules import final
from aa_lightning.scoring.bootstrap import intervals
from aa_lightning.scoring.question import Question, Scored

Result = dict[str, Any]


def scored(options: Benchmark, question: Question, row: Row) -> Scored:
    """Read and score an answer; what a model thinks before it answers is none. Of a picture or a sound it is known already
    whether it is right, and only whether there is one is read."""
    asked, said = question, final(row["said"])
    if options.answers_in != "text":
        asked = replace(question, meta={**question.meta, "right": row["right"]})
        said = f"<{options.answers_in}>" if row["files"] else ""
    extracted = options.extract(said, asked)
    return Scored(asked, row["said"], extracted, options.score(extracted, asked))


def measured(options: Benchmark, rows: Sequence[Scored]) -> dict[str, float]:
    """The numbers of all aggregates, by name.

    Raises:
        ValueError: the main one is not among them.
    """
    numbers = {name: value for aggregate in options.aggregate for name, value in aggregate(rows).items()}
    if options.main not in numbers:
        raise ValueError(f"main={options.main} is none of the numbers of aggregate: there is {', '.join(numbers)}")
    return numbers


def check(questions: Questions) -> None:
    """Score an empty answer to every question, so that a mistake in how is known before anything is asked.

    Raises:
        ValueError: the parts do not fit each other or the rows.
    """
    said: Row = {"said": "", "right": False, "files": []}
    measured(questions.options, [scored(questions.options, questions.question(i), said) for i in range(len(questions))])


def result(questions: Questions, answers: Mapping[str, Row]) -> tuple[Result, list[Row]]:
    """The numbers of a benchmark, and its rows in their order.

    Args:
        answers: by the ids of questions.

    Raises:
        ValueError: no question was answered.
    """
    options, rows, table = questions.options, [], []
    for index in range(len(questions)):
        question = questions.question(index)
        row = answers.get(question.id)
        if row is None or "missing" in row:
            rows.append({"id": question.id, "missing": "it was not asked" if row is None else row["missing"]})
            continue
        one = scored(options, question, row)
        table.append(one)
        rows.append({**row, "answer": question.answer, "extracted": one.extracted, "scores": dict(one.scores)})
    rows += [{"id": dropped.row, "missing": dropped.reason} for dropped in questions.dropped]
    if not table:
        raise ValueError("no question could be asked: the rows say why under `missing`")
    return _told(options, table, len(rows) - len(table)), rows


def _told(options: Benchmark, table: Sequence[Scored], missing: int) -> Result:
    numbers = measured(options, table)
    return {
        "main": options.main,
        "value": numbers[options.main],
        "interval": interval(options, table),
        "direction": options.direction,
        "chance": options.chance,
        "n": len(table),
        "n_missing": missing,
        "n_unparsed": _unparsed(table),
        "extractor": options.extract.name,
        "metrics": numbers,
        "groups": {column: _groups(options, table, column) for column in options.group_by},
    }


def _groups(options: Benchmark, table: Sequence[Scored], column: str) -> dict[str, Any]:
    several: dict[str, list[Scored]] = {}
    for row in table:
        several.setdefault(str(row.question.meta[column]), []).append(row)
    return {
        name: {**measured(options, rows), "n": len(rows), "n_unparsed": _unparsed(rows)}
        for name, rows in sorted(several.items())
    }


def interval(options: Benchmark, table: Sequence[Scored]) -> tuple[float, float]:
    """The 95 % interval of the main number, of a seeded bootstrap over rows, or over the groups that count together."""
    aggregate = next(one for one in options.aggregate if options.main in one(table))
    return intervals(aggregate, table)[options.main]


def _unparsed(rows: Sequence[Scored]) -> int:
    return sum(row.extracted is None for row in rows)
