"""Supervised tokens, lengths, and dropped rows, as `check` and the first lines of a run show them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import quantiles
from typing import Any

from aa_lightning.data.sources.open import open_source
from aa_lightning.data.template.schema import columns_read
from aa_lightning.models.token.encoder import Encoded, TokenEncoder
from aa_lightning.system.shown import one_line
from aa_lightning.types import Example


def painted(encoder: Any, example: Example) -> list[tuple[str, str]]:
    """An example as the model reads it, in pieces with a style: supervised tokens in green, media placeholders counted. For
    models that read no tokens, its text alone."""
    if not isinstance(encoder, TokenEncoder):
        return [(f"row {one_line(example.id)}: {encoder.render(example.messages)}", "")]
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
        """Name, median, 95th percentile, longest; of responses where rows have some."""
        prompts = [["prompt", *_spread(self.prompts)]]
        return [*prompts, ["response", *_spread(self.responses)]] if self.responses else prompts


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
