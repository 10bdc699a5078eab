"""Extractors of option letters, as different benchmarks read them."""

from __future__ import annotations

import re
from typing import Literal

from aa_lightning.configuration.schema import hyperparameters
from aa_lightning.scoring.question import Extracting, Question

REFUSED = "Z"  # no option: wrong, and yet an answer
_FAILED = "Failed to obtain answer via API"
_REFUSALS = (
    "Sorry, I can't help with images of people yet.",
    "I can't process this file.",
    "I'm sorry, but without the image provided",
    "Cannot determine the answer",
)
_APART = str.maketrans(dict.fromkeys(".()[],:;!*#{}", " "))
_STATED = re.compile(r"(?:correct\s+)?answer\s+is\s+\**([ABCD])\**", re.IGNORECASE)


@hyperparameters
class LetterInfer(Extracting):
    """The one option letter that stands alone near the end, else the one option whose text is said (VLMEvalKit's rule).

    A refusal gives Z, which is no option.
    """

    name: Literal["letter_infer"] = "letter_infer"

    def __call__(self, said: str, question: Question) -> str | None:
        if _FAILED in said:
            return None
        if any(refusal in said for refusal in _REFUSALS):
            return REFUSED
        tokens = said.translate(_APART).split()
        there = [letter for letter in question.options if letter in tokens]
        if len(there) == 1 and tokens.index(there[0]) >= len(tokens) - 4:
            return there[0]
        if not there and REFUSED in tokens:
            return REFUSED
        if stated := _STATED.search(said):
            return stated[1].upper()
        return _by_text(said, question)


def _by_text(said: str, question: Question) -> str | None:
    texts = {letter: text.lower() for letter, text in question.options.items()}
    if len(said) > 2 * sum(map(len, texts.values())):
        return None
    there = [letter for letter, text in texts.items() if text in said.lower()]
    return there[0] if len(there) == 1 else None
