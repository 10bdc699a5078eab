"""Options of a benchmark, one file of `conf/benchmark/`: checked when the configuration is read."""

from __future__ import annotations

from typing import Annotated, Literal, get_args

from pydantic import Field, PositiveInt, model_validator
from pydantic.dataclasses import dataclass

from aa_lightning.configuration.schema import STRICT
from aa_lightning.data.corruption.options import Corruption
from aa_lightning.data.options import DataOptions, SourceOptions
from aa_lightning.data.template.schema import TemplateOptions
from aa_lightning.media.options import MediaOptions
from aa_lightning.rewards.rules import Medium
from aa_lightning.scoring.aggregates import Aggregate
from aa_lightning.scoring.extractors import Extractor
from aa_lightning.scoring.scorers import Scorer

Dimension = Literal["general", "text", "hallucination", "safety", "dialogue", "reward", "video", "audio", "generation"]
DIMENSIONS: tuple[str, ...] = get_args(Dimension)


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Benchmark:
    """Questions, how they are asked, and how answers are read and scored."""

    dimension: Dimension
    modality: Annotated[str, Field(pattern=r"^(any|[tiav]+)2[tiav]+$")]  # what is read 2 what is written
    source: str  # who made it: arXiv and a number
    data: SourceOptions
    template: TemplateOptions
    answers_in: Medium
    answer_is: Literal["value", "letter", "index", "text"]
    media: MediaOptions
    corruption: Corruption | None
    on_bad_row: Literal["error", "skip"]
    limit: PositiveInt | None
    max_new_tokens: PositiveInt
    extract: Extractor
    score: Scorer
    aggregate: Annotated[list[Aggregate], Field(min_length=1)]
    main: str  # the number that is told first, among those of the aggregates
    group_by: list[str]
    direction: Literal["higher", "lower"]
    chance: float | None

    @model_validator(mode="after")
    def _has_what_it_reads(self) -> Benchmark:
        kept = self.template.keep
        if self.template.kind != "prompt":
            raise ValueError("the template of a benchmark has kind: prompt")
        if "answer" not in kept and self.template.answer is None:
            raise ValueError("the right answer is missing: write template.keep.answer: <column>")
        if self.answer_is in ("index", "text") and "options" not in kept:
            raise ValueError(f"answer_is={self.answer_is} needs options: write template.keep.options: <column>")
        for column in self.group_by:
            if column not in kept:
                raise ValueError(
                    f"group_by names {column}, which template.keep does not: write there {column}: <column>"
                )
        return self

    @property
    def rows(self) -> DataOptions:
        """The rows, as a data set that nothing is held out of."""
        return DataOptions(
            train=self.data,
            val=None,
            val_share=None,
            template=self.template,
            templates={},
            check=None,
            on_bad_row=self.on_bad_row,
            limit=self.limit,
            multi_row=None,
            corruption=self.corruption,
            media=self.media,
            verify_media=False,
        )
