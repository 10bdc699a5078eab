"""Extractors of option letters, as the code of different benchmarks reads them. They give a letter, or nothing."""

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
_LEADING = re.compile(r"\(?([A-Z])[.)]")
_PHRASES = (
    *("The best answer is", "The correct answer is", "The answer is", "The answer"),
    *("The best option is", "The correct option is", "Best answer:", "Best option:"),
)
_BY_ITSELF = re.compile(r"\(?([a-e])\)?")
_ANNOUNCES = "The correct answer is:"


@hyperparameters
class LetterStrict(Extracting):
    """A letter that is all that was said, or stands in front as `X.`, `X)` or `(X)` (ScienceQA's rule, with brackets)."""

    name: Literal["letter_strict"] = "letter_strict"

    def __call__(self, said: str, question: Question) -> str | None:
        said = said.strip()
        leading = _LEADING.match(said)
        letter = leading[1] if leading else said.upper()
        return letter if letter in question.options else None


@hyperparameters
class LetterPrefix(Extracting):
    """The first capital A to E behind phrases that announce an answer (MME-RealWorld's rule, 2408.13257).

    A capital of a word counts, and nothing is no answer, which the official code takes for A.
    """

    name: Literal["letter_prefix"] = "letter_prefix"

    def __call__(self, said: str, question: Question) -> str | None:
        said = said.strip()
        for phrase in _PHRASES:
            said = said.replace(phrase, "")
        if capital := re.search("[A-E]", said):
            return capital[0]
        small = _BY_ITSELF.fullmatch(said.lower())
        return small[1].upper() if small else None


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
        if len(said) > 2 * sum(map(len, question.options.values())):
            return None
        texts = _options_in(said, question)
        return texts[0] if len(texts) == 1 else None


@hyperparameters
class LetterOrText(Extracting):
    """The one option letter that is said, else the first option whose text is said (MuChoMusic's rule, 2408.01337).

    Letters are words here; the official code takes capitals inside words for letters too.
    """

    name: Literal["letter_or_text"] = "letter_or_text"

    def __call__(self, said: str, question: Question) -> str | None:
        said = said.rpartition(_ANNOUNCES)[2]
        letters = set(re.findall(r"\b[A-Z]\b", said)) & set(question.options)
        if len(letters) == 1:
            return letters.pop()
        return next(iter(_options_in(said, question)), None)


@hyperparameters
class MmmuChoice(Extracting):
    """MMMU's rule for options (2311.16502): `(X)`, else ` X `, else, in more than five words, the text of an option; of
    several the one that is said last."""

    name: Literal["mmmu_mc"] = "mmmu_mc"

    def __call__(self, said: str, question: Question) -> str | None:
        for mark in ",.!?;:'":
            said = said.strip(mark)
        said, options = f" {said} ", question.options
        places = {letter: said.rfind(f"({letter})") for letter in options}
        if max(places.values(), default=-1) < 0:
            places = {letter: said.rfind(f" {letter} ") for letter in options}
        if max(places.values(), default=-1) < 0 and len(said.split()) > 5:
            places = {letter: said.lower().rfind(text.lower()) for letter, text in options.items()}
        last = max(places, key=places.__getitem__, default=None)
        return None if last is None or places[last] < 0 else last


def _options_in(said: str, question: Question) -> list[str]:
    """Letters of the options whose texts are said, in any case."""
    low = said.lower()
    return [letter for letter, text in question.options.items() if text.strip().lower() in low]
