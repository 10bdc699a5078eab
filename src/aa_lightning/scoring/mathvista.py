"""Answers of MathVista (2310.02255) without a model that extracts them: rules find what is said, and it is then brought into
the form of its question as the official code does."""

from __future__ import annotations

import re
from typing import Any, Literal

from aa_lightning.configuration.schema import hyperparameters
from aa_lightning.rewards.nearness import edits
from aa_lightning.scoring.letters import LetterInfer
from aa_lightning.scoring.question import Extracting, Question
from aa_lightning.scoring.texts import LastNumber

_QUOTED = re.compile(r'The answer is "(.*)"\.')
_LETTER = re.compile(r"\(([a-zA-Z])\)")
_LIST = re.compile(r"\[[^\[\]]*\]")


@hyperparameters
class MathVista(Extracting):
    """An option, or a number or list in the form that a question asks for.

    Found by a rule: the text of an option, a number that is all, what is quoted behind `The answer is`; else an option as by
    letter_infer, the last number, or the last list. Questions have the columns `answer_type` (integer, float, list, text)
    and `precision`.
    """

    name: Literal["mathvista"] = "mathvista"

    def __call__(self, said: str, question: Question) -> str | None:
        found = _found(said.strip(), question)
        return None if found is None else in_form(found, question)


def in_form(found: str, question: Question) -> str | None:
    """Bring what was found into the form of the answer: the text of an option, the nearest one where there is no letter; a
    whole number; a number with the places that are asked for. None: it is none."""
    if question.options:
        return _option(found.strip(), question)
    kind = question.meta["answer_type"]
    try:
        if kind == "integer":
            return str(int(float(found)))
        if kind == "float":
            return str(round(float(found), int(question.meta["precision"])))
    except (ValueError, OverflowError):
        return None
    return found


def _option(found: str, question: Question) -> str:
    lettered = _LETTER.search(found)
    letter = lettered[1].upper() if lettered else found
    if letter in question.options:
        return question.options[letter]
    texts = list(question.options.values())
    return min(texts, key=lambda text: edits(text, letter))


def _found(said: str, question: Question) -> Any | None:
    kind = question.meta["answer_type"]
    if said in question.options.values():
        return said
    if not question.options and kind in ("integer", "float") and in_form(said, question) is not None:
        return said
    if quoted := _QUOTED.search(said):
        return quoted[1]
    if question.options:
        letter = LetterInfer()(said, question)
        return letter if letter in question.options else None
    if kind in ("integer", "float"):
        return LastNumber()(said, question)
    if kind == "list":
        return next(iter(reversed(_LIST.findall(said))), None)
    return said or None
