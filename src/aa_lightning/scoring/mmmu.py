"""Open answers of MMMU (2311.16502): all numbers and phrases that might be the answer are read, and one must be right."""

from __future__ import annotations

import re
from typing import Any, Literal

from aa_lightning.configuration.schema import hyperparameters
from aa_lightning.scoring.question import Extracting, Question, Scoring

_LONGEST = 20_000  # characters at the end of a text that are read
_STATES = ("could be ", "so ", "is ", "thus ", "therefore ", "final ", "answer ", "result ")
_SIGNS = set(":,.!?;'")
_NUMBERS = (
    re.compile(r"-?\b\d{1,3}(?:,\d{3})+\b"),
    re.compile(r"-?\d+(?:\.\d+)?[eE][+-]?\d+"),
    re.compile(r"-?(?:\d+\.\d+|\.\d+|\d+\b)(?![eE][+-]?\d+)(?![,\d])"),
)
Value = float | str


@hyperparameters
class MmmuOpen(Extracting):
    """The phrases behind words that state something, and the numbers in them."""

    name: Literal["mmmu_open"] = "mmmu_open"

    def __call__(self, said: str, question: Question) -> list[Value] | None:
        said = said[-_LONGEST:].strip().strip(".").lower()
        *pieces, last = said.split("\n")  # sentences begin with capitals, and there are none
        phrases = [_stated(piece, _STATES) for piece in pieces] + [_stated(last, (*_STATES, "="))]
        kept = [phrase for phrase in phrases if phrase and phrase not in _SIGNS] or [said]
        numbers = [number for phrase in kept for pattern in _NUMBERS for number in pattern.findall(phrase)]
        return list(dict.fromkeys(value for one in (*kept, *numbers) for value in _values(one))) if said else None


@hyperparameters
class Mmmu(Scoring):
    """Right is the letter of a question with options; of an open one, any value that was read and is or contains an answer:
    `score`."""

    name: Literal["mmmu"] = "mmmu"

    def __call__(self, extracted: Any | None, question: Question) -> dict[str, float]:
        if question.options:
            return {"score": float(extracted == question.answer)}
        values = [value for one in question.answers for value in _values(str(one))]
        texts = [value for value in values if isinstance(value, str)]
        right = (
            any(text in one for text in texts) if isinstance(one, str) else one in values for one in extracted or []
        )
        return {"score": float(any(right))}


def _stated(piece: str, states: tuple[str, ...]) -> str:
    """The shortest of the texts behind the last of each word that states something; empty: there is none."""
    shortest = ""
    for word in states:
        if word in piece:
            behind = piece.rpartition(word)[2].strip()
            shortest = behind if not shortest or len(behind) < len(shortest) else shortest
    return shortest


def _values(text: str) -> list[Value]:
    """A number to two places; else a text in small letters, one of a single character with a space on either side."""
    text = text.strip()
    try:
        return [round(float(text.replace(",", "")), 2)]
    except ValueError:
        low = text.lower()
        return [f" {low}", f"{low} "] if len(low) == 1 else [low]
