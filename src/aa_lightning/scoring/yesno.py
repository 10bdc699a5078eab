"""Extractors of yes and no, by the rules of three benchmarks, which differ on all but plain answers."""

from __future__ import annotations

from typing import Literal

from aa_lightning.configuration.schema import hyperparameters
from aa_lightning.scoring.normalising import without_punctuation
from aa_lightning.scoring.question import Extracting, Question

YesNo = Literal["yes", "no"]


@hyperparameters
class YesNoPope(Extracting):
    """POPE's rule (2305.10355): no, where the first sentence has the word No, no or not; all else is yes, silence too."""

    name: Literal["yesno_pope"] = "yesno_pope"

    def __call__(self, said: str, question: Question) -> YesNo:
        words = said.partition(".")[0].replace(",", "").split(" ")
        return "no" if {"No", "not", "no"} & set(words) else "yes"


@hyperparameters
class YesNoWords(Extracting):
    """VLMEvalKit's rule: the one of the words yes and no that is said."""

    name: Literal["yesno_words"] = "yesno_words"

    def __call__(self, said: str, question: Question) -> YesNo | None:
        words = without_punctuation(said.lower(), r"(?<!\d)\.(?!\d)").split()
        if ("yes" in words) == ("no" in words):
            return None
        return "yes" if "yes" in words else "no"


@hyperparameters
class YesNoPrefix(Extracting):
    """MME's rule (2306.13394): yes or no within the first four characters, or y or n alone."""

    name: Literal["yesno_prefix"] = "yesno_prefix"

    def __call__(self, said: str, question: Question) -> YesNo | None:
        said = said.lower().strip().replace(".", "")
        if len(said) == 1:
            return {"y": "yes", "n": "no"}.get(said)  # type: ignore[return-value]
        if "yes" in said[:4]:
            return "yes"
        return "no" if "no" in said[:4] else None
