"""Extractors of texts."""

from __future__ import annotations

from typing import Literal

from aa_lightning.configuration.schema import hyperparameters
from aa_lightning.scoring.question import Extracting, Question


@hyperparameters
class Identity(Extracting):
    """All that was said, without white space around it."""

    name: Literal["identity"] = "identity"

    def __call__(self, said: str, question: Question) -> str | None:
        return said.strip() or None
