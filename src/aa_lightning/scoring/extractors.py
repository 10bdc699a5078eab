"""Extractors by name: `extract: letter_infer`, or `extract: {name: regex, pattern: …}`."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from aa_lightning.configuration.schema import BY_NAME, hyperparameters
from aa_lightning.scoring.letters import LetterInfer, LetterOrText, LetterPrefix, LetterStrict, MmmuChoice
from aa_lightning.scoring.mathvista import MathVista
from aa_lightning.scoring.mmmu import MmmuOpen
from aa_lightning.scoring.question import Extracting, Question
from aa_lightning.scoring.texts import Boxed, Identity, LastNumber, Literally, Normalised, Objects, Regex
from aa_lightning.scoring.yesno import YesNoPope, YesNoPrefix, YesNoWords

_Letters = LetterInfer | LetterOrText | LetterPrefix | LetterStrict | MmmuChoice
_Texts = Boxed | Identity | LastNumber | Literally | MathVista | MmmuOpen | Normalised | Objects | Regex
_YesNo = YesNoPope | YesNoPrefix | YesNoWords


@hyperparameters
class Either(Extracting):
    """One extractor for questions with options, another for open ones, where a benchmark has both."""

    name: Literal["either"] = "either"
    options: Annotated[_Letters | _Texts, Field(discriminator="name"), BY_NAME]
    open: Annotated[_Texts, Field(discriminator="name"), BY_NAME]

    def __call__(self, said: str, question: Question) -> Any | None:
        return (self.options if question.options else self.open)(said, question)


Extractor = Annotated[_Letters | _Texts | _YesNo | Either, Field(discriminator="name"), BY_NAME]
