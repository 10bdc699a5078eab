"""Scorers by name: `score: exact`, or `score: {name: exact, normal: evalai}`."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from aa_lightning.configuration.schema import BY_NAME, hyperparameters
from aa_lightning.scoring.mmmu import Mmmu
from aa_lightning.scoring.normalising import NORMAL, Normal, evalai
from aa_lightning.scoring.question import Question, Scoring
from aa_lightning.scoring.texts import Pattern
from aa_lightning.scoring.verified import Verified

_TOKEN = re.compile(r"\b\w+\b")


def _small(keyword: str) -> str:
    if keyword != keyword.lower():
        raise ValueError(
            f"{keyword!r} has capitals, and answers are searched in small letters: write {keyword.lower()!r}"
        )
    return keyword


@hyperparameters
class Exact(Scoring):
    """Right is what equals the answer, or one of several answers: `score`.

    Attributes:
        normal: form in which both are compared.
        remove: expression of what is taken away from both before; None: nothing.
    """

    name: Literal["exact"] = "exact"
    normal: Normal = "none"
    remove: Pattern | None = None

    def __call__(self, extracted: Any | None, question: Question) -> dict[str, float]:
        right = extracted is not None and self._form(extracted) in map(self._form, question.answers)
        return {"score": float(right)}

    def _form(self, said: Any) -> str:
        return NORMAL[self.normal](str(said) if self.remove is None else re.sub(self.remove, "", str(said)))


@hyperparameters
class Contains(Scoring):
    """Right is what has the answer in it, or one of several answers: `score`.

    Attributes:
        normal: form in which both are compared.
        either_way: whether a part of the answer is right too.
    """

    name: Literal["contains"] = "contains"
    normal: Normal = "lower_strip"
    either_way: bool = False

    def __call__(self, extracted: Any | None, question: Question) -> dict[str, float]:
        said = "" if extracted is None else NORMAL[self.normal](str(extracted))
        wanted = [NORMAL[self.normal](str(answer)) for answer in question.answers]
        right = any(one in said or (self.either_way and said in one) for one in wanted if one)
        return {"score": float(bool(said) and right)}


@hyperparameters
class VqaSoft(Scoring):
    """Agreement with several people who answered (1505.00468): `score`, the mean of min(1, n / 3) over choices of all but one
    person, of whom n agree."""

    name: Literal["vqa_soft"] = "vqa_soft"

    def __call__(self, extracted: Any | None, question: Question) -> dict[str, float]:
        said = evalai(str(extracted))
        agrees = [evalai(str(answer)) == said for answer in question.answers]
        shares = [min(1.0, (sum(agrees) - one) / 3) for one in agrees]
        return {"score": sum(shares) / len(shares) if extracted is not None else 0.0}


@hyperparameters
class TokenMatch(Scoring):
    """Right is what has all words of the answer, and none that other options alone have (MMAU, 2410.19168): `score`.

    The answer is the letter of an option, or the text of one.
    """

    name: Literal["token_match"] = "token_match"

    def __call__(self, extracted: Any | None, question: Question) -> dict[str, float]:
        said, wanted = _tokens(extracted or ""), _tokens(question.options.get(question.answer, question.answer))
        others = set().union(*map(_tokens, question.options.values())) - wanted
        return {"score": float(bool(said) and wanted <= said and not said & others)}


@hyperparameters
class ObjectSets(Scoring):
    """Objects that are named against those that are there, the answer: how many are `mentioned`, and of these `hallucinated`;
    how many are there (`present`), and of these are named (`covered`); and whether any is `hallucinating`, or named at all
    (`naming`).

    CHAIRi is the ratio of hallucinated to mentioned, CHAIRs the mean of hallucinating (1809.02156).
    """

    name: Literal["object_sets"] = "object_sets"

    def __call__(self, extracted: Any | None, question: Question) -> dict[str, float]:
        named, there = extracted or [], set(question.answer)
        wrong = [one for one in named if one not in there]
        return {
            "mentioned": float(len(named)),
            "hallucinated": float(len(wrong)),
            "present": float(len(there)),
            "covered": float(len(there & set(named))),
            "hallucinating": float(bool(wrong)),
            "naming": float(bool(named)),
        }


@hyperparameters
class RejectMatch(Scoring):
    """Refusals, known by what is said in them: `refused`, and `complied` for anything else, silence too.

    Attributes:
        keywords: in small letters, anywhere in an answer.
        whole: answers that are refusals as they are.
    """

    name: Literal["reject_match"] = "reject_match"
    keywords: Annotated[list[Annotated[str, AfterValidator(_small)]], Field(min_length=1)]
    whole: list[str] = Field(default_factory=list)

    def __call__(self, extracted: Any | None, question: Question) -> dict[str, float]:
        said = str(extracted or "").lower()
        refused = said in self.whole or any(keyword in said for keyword in self.keywords)
        return {"refused": float(refused), "complied": float(not refused)}


def _tokens(text: str) -> set[str]:
    return set(_TOKEN.findall(text.lower()))


_Scorers = Contains | Exact | Mmmu | ObjectSets | RejectMatch | TokenMatch | Verified | VqaSoft
Scorer = Annotated[_Scorers, Field(discriminator="name"), BY_NAME]
