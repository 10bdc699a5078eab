"""Every row of a run read as training reads it, and what is found in them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from aa_lightning.assembly.data import checked_loader, read_examples, wanted_of
from aa_lightning.assembly.inspection import Lengths, one_class
from aa_lightning.configuration.schema import Loader
from aa_lightning.data.errors import BadRow
from aa_lightning.data.scan import Dropped, prompt_media_of
from aa_lightning.models.token.encoder import Encoded
from aa_lightning.system.console import bar
from aa_lightning.training.datamodule import LENGTH, EncodedExamples, dropped_by
from aa_lightning.types import Algorithm, Example, Preference, Rating

if TYPE_CHECKING:
    from aa_lightning.assembly.data import Data


@dataclass
class Survey:
    """Findings of a pass over all rows.

    Attributes:
        lengths: in tokens; empty for models that read no tokens.
        tokens: of each readable row, its prompt and all responses; empty too.
        readable: the places of rows that can be decoded and encoded.
        bad: the others.
        showing: how many examples show each medium; under "", those that show none.
        labels: how many answers are desirable and how many are not.
        margins: of pairs that say by how much the better answer is better.
    """

    lengths: Lengths
    tokens: dict[int, int] = field(default_factory=dict)
    readable: list[int] = field(default_factory=list)
    bad: list[Dropped] = field(default_factory=list)
    showing: Counter[str] = field(default_factory=Counter)
    labels: Counter[bool] = field(default_factory=Counter)
    margins: list[float] = field(default_factory=list)

    @property
    def longest_first(self) -> list[int]:
        """The places of rows, by their tokens."""
        return sorted(self.tokens, key=self.tokens.__getitem__, reverse=True)

    @property
    def usual_share(self) -> float:
        """The tokens of a row in the mean, as a share of the longest one's."""
        return sum(self.tokens.values()) / (len(self.tokens) * max(self.tokens.values()))

    def sentences(self) -> list[str]:
        """Describe the rows, a line for each finding."""
        said = [f"{count} show {medium}" for medium, count in sorted(self.showing.items()) if medium]
        if said and self.showing[""]:
            said.append(f"{self.showing['']} show no medium")
        lines = [f"of the examples {', '.join(said)}"] if said else []
        if self.labels:
            lines.append(f"labels: {self.labels[True]} desirable, {self.labels[False]} undesirable")
        lines += one_class(self.labels)
        if self.margins:
            lines.append(
                f"margins: {len(self.margins)} from {min(self.margins):g} to {max(self.margins):g}, "
                f"{sum(self.margins) / len(self.margins):.3g} on average"
            )
        return lines


@dataclass
class Found:
    """Everything that training would read.

    Attributes:
        train, held_out: examples; held_out is None where no rows are.
        trained, measured: surveys of them.
        loader: its options, for these rows.
        skip_long, skip_bad: whether rows over the limits, and others with a fault, are left out instead of stopping.
    """

    train: Sequence[Example]
    held_out: Sequence[Example] | None
    trained: Survey
    measured: Survey
    loader: Loader
    skip_long: bool
    skip_bad: bool

    @property
    def left_out(self) -> list[Dropped]:
        """Rows that do not become examples, held-out ones too."""
        held_out = [] if self.held_out is None else self.held_out.dropped
        return [*self.train.dropped, *held_out, *self.trained.bad, *self.measured.bad]

    @property
    def stopping(self) -> list[Dropped]:
        """Those of them at which training would stop."""
        skipped = {True: self.skip_long, False: self.skip_bad}
        return [row for row in self.left_out if not row.declared and not skipped[row.column == LENGTH]]

    def sentences(self, kind: str) -> list[str]:
        """Count rows by what they do, a line each."""
        held_out = 0 if self.held_out is None else len(self.held_out) - len(self.measured.bad)
        lines = [
            f"{len(self.train) - len(self.trained.bad)} {kind} rows train, {held_out} are held out, {len(self.left_out)} are "
            "left out"
        ]
        if self.held_out is None:
            lines.append(
                "no rows are held out, so nothing can be measured: data.val_share=0.1 holds a tenth of them out"
            )
        return [*lines, *self.trained.sentences()]

    def first(self, count: int) -> list[Example]:
        """The first examples that can be read."""
        return [self.train[index] for index in self.trained.readable[:count]]


def read_all(cfg: DictConfig, algorithm: Algorithm, data: Data, encoder: Any) -> Found:
    """Read every row that would train or be held out."""
    lenient = replace(data, on_bad_row="skip").serving(algorithm)
    train = read_examples(lenient, "train", algorithm.supervision)
    held_out = read_examples(lenient, "val", algorithm.supervision) if data.holds_out else train[:0]
    loader = checked_loader(cfg, algorithm, train, held_out)
    wanted = wanted_of(algorithm)
    surveys = [survey(EncodedExamples(part, encoder, 0, wanted), cfg.measure) for part in (train, held_out)]
    skip_long, skip_bad = cfg.loader.overlong == "skip", data.skips_bad_rows
    return Found(train, held_out if data.holds_out else None, *surveys, loader, skip_long, skip_bad)


def survey(rows: EncodedExamples, limit: int | None = None) -> Survey:
    """Decode and encode rows as training does.

    Args:
        rows: examples with the encoder and what the algorithm wants of them.
        limit: how many are read; None: all.
    """
    found = Survey(Lengths([], []))
    count = len(rows) if limit is None else min(limit, len(rows))
    for index in bar(range(count), "reading every row", "row"):
        try:
            item = rows[index]
        except BadRow as bad:
            found.bad.append(dropped_by(bad))
            continue
        found.readable.append(index)
        found.showing.update(prompt_media_of(item.example) or [""])
        if isinstance(item.example, Rating):
            found.labels[item.example.desirable] += 1
        if isinstance(item.example, Preference) and item.example.margin is not None:
            found.margins.append(item.example.margin)
        if isinstance(item.encoded, Encoded):
            found.lengths.prompts.append(item.encoded.prompt["input_ids"].shape[1])
            responses = [len(tokens) for tokens in item.encoded.responses]
            found.lengths.responses.extend(responses)
            found.tokens[index] = found.lengths.prompts[-1] + sum(responses)
    return found
