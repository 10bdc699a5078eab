"""Extractors by name: `extract: letter_infer`, or `extract: {name: regex, pattern: …}`."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from aa_lightning.configuration.schema import BY_NAME
from aa_lightning.scoring.letters import LetterInfer
from aa_lightning.scoring.texts import Identity

Extractor = Annotated[Identity | LetterInfer, Field(discriminator="name"), BY_NAME]
