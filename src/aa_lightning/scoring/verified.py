"""Answers that the project's own verifiers check."""

from __future__ import annotations

from typing import Any, Literal

from aa_lightning.configuration.schema import hyperparameters
from aa_lightning.rewards.answers import CHECKS
from aa_lightning.scoring.question import Question, Scoring


@hyperparameters
class Verified(Scoring):
    """Right is what a verifier takes for right (docs/data.md), as the column `check` says; of a picture or a sound that was
    drawn, what the column `right` says of it.

    Attributes:
        check: in place of what the data says.
    """

    name: Literal["verified"] = "verified"
    check: Literal["exact", "number", "choice", "contains", "math", "shapes"] | None = None

    def __call__(self, extracted: Any | None, question: Question) -> dict[str, float]:
        if (right := question.meta.get("right")) is not None:
            return {"score": float(right)}
        verify = CHECKS[self.check or question.meta["check"]]
        return {"score": float(extracted is not None and verify(str(question.answer), str(extracted)))}
