"""Rows of a benchmark as prompts, and as questions with their answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from aa_lightning.benchmarks.options import Benchmark
from aa_lightning.data.errors import BadRow
from aa_lightning.data.examples import Examples, load_examples
from aa_lightning.data.scan import Dropped
from aa_lightning.scoring.question import Question


class Questions:
    """The questions of a benchmark. Media are decoded when a prompt is asked for, and not before.

    Args:
        options: of the benchmark.

    Raises:
        FileNotFoundError, ValueError, BadRow: rows that cannot be read, with what to type.
    """

    def __init__(self, options: Benchmark):
        self.options = options
        self.prompts: Examples = load_examples(options.rows, "train", "prompt")

    def __len__(self) -> int:
        return len(self.prompts)

    @property
    def dropped(self) -> Sequence[Dropped]:
        """Rows that have a fault."""
        return [row for row in self.prompts.dropped if not row.declared]

    def question(self, index: int) -> Question:
        """The question at a place, with its answer.

        Raises:
            BadRow: an answer that is none of the options.
        """
        prompt = self.prompts.undecoded(index)
        kept = {"answer": prompt.answer, **prompt.keep}
        options, answer = dict(kept.pop("options", None) or {}), kept.pop("answer")
        try:
            answer = _answer(answer, options, self.options.answer_is)
        except (LookupError, TypeError, ValueError) as error:
            what = f"The answer {answer!r} is no {self.options.answer_is} of the options {', '.join(options)}."
            raise BadRow(prompt.id, "answer", what) from error
        return Question(prompt.id, answer, options, {"check": prompt.check, **kept})


def _answer(given: Any, options: Mapping[str, str], form: str) -> Any:
    """The answer as scorers read it: of options, their letter."""
    letters = list(options)
    if form == "letter":
        letter = str(given).strip().strip("().").upper()
        if options and letter not in options:
            raise LookupError(letter)
        return letter
    if form == "index":
        place = int(given)
        if place < 0:
            raise LookupError(place)
        return letters[place]
    if form == "text":
        texts = [str(text).strip().lower() for text in options.values()]
        return letters[texts.index(str(given).strip().lower())]
    return given
