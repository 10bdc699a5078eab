"""Options of a data set: where rows come from, their mapping, what to do with bad rows.

Every class here is checked when the configuration is read; nothing heavy is imported.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag, model_validator
from pydantic.dataclasses import dataclass

from aa_lightning.data.corruption.options import Corruption
from aa_lightning.data.multi_row import Album, MultiRow, Symbols
from aa_lightning.data.shapes import Shapes
from aa_lightning.data.template.schema import STRICT, TemplateOptions
from aa_lightning.media.options import MediaOptions
from aa_lightning.types import Algorithm, Check, Kind


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Table:
    """Rows of a file, of several files, of a folder, or of a data set of the hub."""

    path: str  # my.jsonl, rows/*.parquet, a folder, or a hub id such as openbmb/RLAIF-V-Dataset
    name: str | None = None  # the hub's configuration
    split: str = "train"  # of the hub
    files: list[str] | None = None  # of the hub repository, or of the folder
    data_dir: str | None = None  # of the hub repository
    revision: str | None = None  # of the hub repository: a branch, a tag or a commit
    root: str | None = None  # folder of relative media paths; null: the folder of the file
    below_root: bool = True  # whether media must lie below it, where it is given, or the source a folder or an archive


def _kind_of_source(given: Any) -> str:
    modality = "modality" in given if isinstance(given, dict) else isinstance(given, Shapes)
    return "<shapes>" if modality else "<table>"


SourceOptions = Annotated[
    Annotated[Shapes, Tag("<shapes>")] | Annotated[Table, Tag("<table>")], Discriminator(_kind_of_source)
]


Need = Literal["ranking", "steps", "tie", "ratings"]  # kinds of rows, and names of `Algorithm.wants`


def template_variant_for(algorithm: Algorithm, offered: Collection[Need]) -> Need | None:
    """Return the alternative template that an algorithm needs, or None for the usual one."""
    return next((need for need in (*algorithm.wants, algorithm.supervision) if need in offered), None)


@dataclass(frozen=True, kw_only=True, config=STRICT)
class DataOptions:
    """One file of `conf/data/`."""

    train: SourceOptions
    val: SourceOptions | None
    val_share: float | None = Field(gt=0, lt=1)
    template: TemplateOptions | None  # null: recognised from the columns
    templates: dict[Need, TemplateOptions]  # of the same rows, for algorithms that need another form
    check: Check | None  # how answers are compared with what a model says; null: as the template says
    on_bad_row: Literal["error", "skip"]
    max_characters: int = Field(default=1_000_000, ge=1)
    limit: int | None = Field(ge=1)
    multi_row: MultiRow | None
    corruption: Corruption | None
    media: MediaOptions
    verify_media: bool

    @model_validator(mode="after")
    def _holds_out_once(self) -> DataOptions:
        if self.val is not None and self.val_share is not None:
            raise ValueError(
                "give either `val`, a source of its own, or `val_share`, a share of train; not both: type "
                "data.val_share=null with data.val"
            )
        return self

    def serving(self, algorithm: Algorithm) -> DataOptions:
        """These rows as an algorithm needs them: by another mapping where there is one for it."""
        return self.with_template(template_variant_for(algorithm, self.templates))

    def with_template(self, need: Need | None) -> DataOptions:
        """These rows by another of their mappings; None: by the usual one."""
        return self if need is None else replace(self, template=self.templates[need], templates={})

    @property
    def kinds(self) -> dict[str, Kind]:
        """Of the rows, by whose they are; empty where only the columns will tell."""
        if self.multi_row is not None and self.multi_row.makes_pairs:
            return {"the data set": "preference"}
        return {} if self.template is None else {"the data set": self.template.kind}

    @property
    def holds_out(self) -> bool:
        """Tell whether there are rows that are measured and not trained on."""
        return self.val is not None or self.val_share is not None

    @property
    def skips_bad_rows(self) -> bool:
        """Tell whether bad rows are left out instead of stopping."""
        return self.on_bad_row == "skip"

    @property
    def origins(self) -> list[SourceOptions]:
        """Every source of rows."""
        return [origin for origin in (self.train, self.val) if origin is not None]

    @property
    def made_by(self) -> list[Album | Symbols]:
        """Makers of prompts that join several rows."""
        return [] if self.multi_row is None else [self.multi_row]

    @property
    def shown(self) -> frozenset[str] | None:
        """The media that the mapping puts into prompts; None where only the columns will tell."""
        if self.template is None:
            return None
        return frozenset(part.medium for part in self.template.prompt if part.medium is not None)

    @property
    def writes_media(self) -> bool:
        """Tell whether responses are known to hold media."""
        if self.template is None:
            return False
        written = [*(self.template.responses or ()), self.template.completion or ()]
        return any(part.medium is not None for response in written for part in response)

    @property
    def checks(self) -> frozenset[Check]:
        """Names of the checks that compare answers, where the mapping has any."""
        if self.template is None or self.template.answer is None:
            return frozenset()
        return frozenset({self.template.check or "exact"})

    @property
    def offers(self) -> frozenset[str]:
        """Things that rows are known to bring besides responses, by the names of `Algorithm.wants`."""
        made = self.multi_row is not None and self.multi_row.makes_pairs
        return frozenset() if self.template is None or made else self.template.offers
