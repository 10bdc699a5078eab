"""What would be trained: supervised tokens, lengths, dropped rows, and what a step would cost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import quantiles
from typing import Any

from rich.text import Text

from aa_lightning.models.encoding import Encoded, TokenEncoder
from aa_lightning.types import Example

_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}


def painted(encoder: TokenEncoder, example: Example) -> Text:
    """An example as the model reads it: supervised tokens in green, media placeholders counted."""
    encoded = encoder.encode(example, example.responses)
    text = Text(f"row {example.id}\n", style="bold")
    text.append(_folded(encoder, encoded), style="dim")
    for number, tokens in enumerate(encoded.responses):
        text.append(f"\n  response {number}: ", style="bold")
        text.append(encoder.tokenizer.decode(tokens), style="green")
    return text


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


def measure(encoder: TokenEncoder, examples: Sequence[Example]) -> Lengths:
    """The lengths of examples, by the encoder that training uses."""
    prompts, responses = [], []
    for example in examples:
        encoded = encoder.encode(example, example.responses)
        prompts.append(encoded.prompt["input_ids"].shape[1])
        responses += [len(tokens) for tokens in encoded.responses]
    return Lengths(prompts, responses)


def _spread(values: list[int]) -> list[str]:
    if len(values) < 2:
        return [str(v) for v in values * 3] or ["", "", ""]
    cuts = quantiles(values, n=20)
    return [f"{cuts[9]:.0f}", f"{cuts[18]:.0f}", str(max(values))]


def reasons(dropped: Sequence[Any]) -> list[list[str]]:
    """How many rows were dropped for which reason, most frequent first, with the first rows' names."""
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
