"""Preview of training: supervised tokens, lengths, dropped rows, and the cost of a step."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import quantiles
from typing import Any

from aa_lightning.configuration.check import Loader
from aa_lightning.data.errors import BadRow
from aa_lightning.data.examples import Dropped, prompt_media_of
from aa_lightning.data.sources.open import open_source
from aa_lightning.data.template.schema import columns_read
from aa_lightning.models.token.encoder import Encoded, TokenEncoder
from aa_lightning.system.console import bar
from aa_lightning.system.shown import one_line
from aa_lightning.training.datamodule import LENGTH, EncodedExamples, dropped_by
from aa_lightning.types import Example, Preference, Rating

_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}


def painted(encoder: TokenEncoder, example: Example) -> list[tuple[str, str]]:
    """An example as the model reads it, in pieces with a style: supervised tokens in green, media placeholders counted."""
    encoded = encoder.encode(example, example.responses)
    pieces = [(f"row {one_line(example.id)}\n", "bold"), (_folded(encoder, encoded), "dim")]
    for number, tokens in enumerate(encoded.responses):
        pieces += [(f"\n  response {number}: ", "bold"), (encoder.tokenizer.decode(tokens), "green")]
    return pieces


def _folded(encoder: TokenEncoder, encoded: Encoded) -> str:
    """The prompt's text; a run of the same special token is written once, with its length."""
    pieces: list[tuple[str, int]] = []
    for token in encoded.prompt["input_ids"][0].tolist():
        word = encoder.tokenizer.decode([token])
        if pieces and pieces[-1][0] == word and token in encoder.tokenizer.all_special_ids:
            pieces[-1] = (word, pieces[-1][1] + 1)
        else:
            pieces.append((word, 1))
    return "".join(word if count == 1 else f"{word}×{count}" for word, count in pieces)


@dataclass(frozen=True)
class Lengths:
    """Tokens of prompts (media included) and of responses."""

    prompts: list[int]
    responses: list[int]

    def rows(self) -> list[list[str]]:
        """Name, median, 95th percentile, longest."""
        return [["prompt", *_spread(self.prompts)], ["response", *_spread(self.responses)]]


@dataclass
class Survey:
    """Findings of a pass over all rows.

    Attributes:
        lengths: in tokens; empty for models that read no tokens.
        readable: the places of rows that can be decoded and encoded.
        bad: the others.
        showing: how many examples show each medium; under "", those that show none.
        labels: how many answers are desirable and how many are not.
        margins: of pairs that say by how much the better answer is better.
    """

    lengths: Lengths
    readable: list[int] = field(default_factory=list)
    bad: list[Dropped] = field(default_factory=list)
    showing: Counter[str] = field(default_factory=Counter)
    labels: Counter[bool] = field(default_factory=Counter)
    margins: list[float] = field(default_factory=list)

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


def columns(data: Any, written: Any) -> list[str]:
    """Name the columns that were recognised in each data set without a template."""
    parts = {"": (data, written)}
    if "parts" in written:
        parts = {name: (part.data, written.parts[name].data) for name, part in data.parts.items()}
    lines = []
    for name, (options, given) in parts.items():
        if given.template is None:
            read = columns_read(options.template)
            unread = [column for column in open_source(options.train).columns if column not in read]
            told = f"columns{f' of {name}' if name else ''}: {', '.join(sorted(read))}"
            lines.append(f"{told}; not read: {', '.join(unread)}" if unread else told)
    return lines


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
            found.lengths.responses.extend(len(tokens) for tokens in item.encoded.responses)
    return found


def _spread(values: list[int]) -> list[str]:
    if len(values) < 2:
        return [str(v) for v in values * 3] or ["", "", ""]
    cuts = quantiles(values, n=20, method="inclusive")
    return [f"{cuts[9]:.0f}", f"{cuts[18]:.0f}", str(max(values))]


def one_class(labels: Counter[bool]) -> list[str]:
    """A line where all answers have the same label."""
    if len(labels) != 1:
        return []
    only = "desirable" if labels[True] else "undesirable"
    return [f"every answer is {only}: there is nothing to tell it from. Is the label read rightly?"]


def left_out(dropped: Sequence[Any]) -> list[str]:
    """Rows that are left out, a line for each reason."""
    told = ([one_line(cell) for cell in row] for row in reasons(dropped))
    return [f"  left out {count} × {column}: {reason} (row {rows})" for column, reason, count, rows in told]


def reasons(dropped: Sequence[Any]) -> list[list[str]]:
    """Count dropped rows by reason, most frequent first, with the first rows' names."""
    counted = Counter((row.column, row.reason) for row in dropped)
    return [
        [column, reason, str(count), ", ".join(r.row for r in dropped if (r.column, r.reason) == (column, reason))[:60]]
        for (column, reason), count in counted.most_common()
    ]


@dataclass(frozen=True)
class Cost:
    """An estimate of memory (GiB) and arithmetic (TFLOP) of one optimiser step on one process."""

    weights: float
    gradients: float
    optimizer: float
    reference: float
    activations: float
    tflop: float

    @property
    def total(self) -> float:
        return self.weights + self.gradients + self.optimizer + self.reference + self.activations

    def rows(self) -> list[list[str]]:
        """Name and GiB."""
        parts = ("weights", "gradients", "optimizer", "reference", "activations", "total")
        numbers = (self.weights, self.gradients, self.optimizer, self.reference, self.activations, self.total)
        return [[part, f"{number:.2f}"] for part, number in zip(parts, numbers, strict=True)]


def estimate(model: Any, options: Any, lengths: Lengths, micro: int, responses: int, frozen_copy: bool) -> Cost:
    """Estimate a step from a model on the meta device (no weights needed).

    Weights and gradients in their own type, two float32 moments for each trained weight; activations of one micro-batch:
    about 34 × hidden bytes per token and layer in 16 bit (2205.05198 eq. 1, without attention scores), one layer's worth
    and the layer inputs with checkpointing; 6 FLOP per weight and token, 2 for the reference.
    """
    config = model.config.get_text_config()
    total = sum(p.numel() for p in model.parameters())
    trained = total if options.lora.rank == 0 else _adapter_size(model, options.lora.rank)
    width, gib = _BYTES[options.dtype], 2**30
    tokens = micro * (max(lengths.prompts, default=0) + responses * max(lengths.responses, default=0))
    per_layer = 34 * config.hidden_size * tokens * width / 2
    kept = per_layer + 2 * config.hidden_size * tokens * config.num_hidden_layers * width / 2
    activations = kept if options.gradient_checkpointing else per_layer * config.num_hidden_layers
    return Cost(
        weights=total * width / gib,
        gradients=trained * width / gib,
        optimizer=trained * 8 / gib,
        reference=total * width / gib if frozen_copy else 0.0,
        activations=activations / gib,
        tflop=(8 if frozen_copy or options.lora.rank else 6) * total * tokens / 1e12,
    )


def _adapter_size(model: Any, rank: int) -> int:
    from torch import nn

    return sum(rank * (m.in_features + m.out_features) for m in model.modules() if isinstance(m, nn.Linear))
