"""One small batch, read in several ways, before a model trains whose kind stands in no row of the table of families."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from aa_lightning.models.families.family import LAST, Family
from aa_lightning.models.families.table import FAMILIES, is_listed
from aa_lightning.models.token import processor_inputs
from aa_lightning.models.token.encoder import Encoded, TokenEncoder
from aa_lightning.models.token.network import TokenNetwork
from aa_lightning.system.console import say
from aa_lightning.types import Prompt, text

_QUESTIONS = ("Which?", "How many of them are there, and where do they stand?")
_ANSWERS = ("Two.", "There are three of them, side by side.")
_MOST = {torch.float32: 1e-3, torch.float64: 1e-3}  # nats between two ways to read a token, in the mean
_MOST_ROUNDED = 0.1  # the same where weights are of 16 bits


def tried(model: nn.Module, processor: Any, family: Family, prefix_sharing: str = "auto") -> Family:
    """The family of a model, proved on a small batch where the table does not know it.

    Args:
        family: what its configuration says.
        prefix_sharing: `model.prefix_sharing`.

    Returns:
        The same family; without shared rows where these give other numbers.

    Raises:
        ValueError: its numbers in a padded batch are not those that it gives each row alone.
    """
    if is_listed(model.config):
        return family
    encoder = TokenEncoder(processor, family)
    rows = [encoder.encode(prompt, [[text(answer)] for answer in _ANSWERS]) for prompt in _prompts(encoder)]
    with torch.no_grad(), _able(model):
        trouble = _trouble(model, encoder, rows, "never")
        if trouble is not None:
            raise ValueError(
                f"{_named(model)}, and in a padded batch {trouble}. Choose another model=, one of {', '.join(FAMILIES)}, or "
                "add a row to models/families/table.py (docs/models.md)"
            )
        if not family.shares_prefix or TokenNetwork(model, family).windows is None or prefix_sharing == "never":
            return family
        trouble = _trouble(model, encoder, rows, "always")
    if trouble is None:
        return family
    if prefix_sharing == "always":
        raise ValueError(f"{_named(model)}, and where responses share a row {trouble}: type model.prefix_sharing=never")
    say(f"{_named(model)}: each response gets a row of its own, since in shared rows {trouble}")
    return replace(family, shares_prefix=False)


def _named(model: nn.Module) -> str:
    kind, language = model.config.model_type, model.config.get_text_config().model_type
    inside = "" if kind == language else f" with a language model of type {language!r}"
    return f"models of type {kind!r}{inside} are in no row of models/families/table.py"


def _prompts(encoder: TokenEncoder) -> list[Prompt]:
    """A short prompt, and a longer one that shows a medium of each kind."""
    media = encoder.family.media[:1] if encoder.family.one_medium else encoder.family.media
    shown = [[], [processor_inputs.stand_in(medium, encoder.processor, encoder.frames) for medium in media]]
    return [
        Prompt(id=f"trial {i}", messages=[{"role": "user", "content": [*parts, text(question)]}])
        for i, (parts, question) in enumerate(zip(shown, _QUESTIONS, strict=True))
    ]


def _trouble(model: nn.Module, encoder: TokenEncoder, rows: list[Encoded], prefix_sharing: str) -> str | None:
    """The fault of a batch, with or without prefix sharing, against the model's own logits of each row alone; None: none."""
    try:
        alone = torch.cat([_alone(model, encoder.family, row, answer) for row in rows for answer in row.responses])
        found = TokenNetwork(model, encoder.family, prefix_sharing)(encoder.collate(rows).to(model.device))
    except Exception as error:  # whatever a foreign forward pass may raise
        return f"it cannot be read ({type(error).__name__}: {error})"
    apart = (found.terms[found.mask.bool()] - alone).abs().mean().item()
    if apart <= _MOST.get(model.dtype, _MOST_ROUNDED):
        return None
    return f"its log-probabilities are {apart:.2g} nats off those that it gives each row alone"


def _alone(model: nn.Module, family: Family, row: Encoded, answer: Tensor) -> Tensor:
    """(T,) log-probabilities of an answer by the library's own forward pass over one row without padding."""
    given = {name: value.to(model.device) for name, value in row.prompt.items()}
    answer = answer.to(model.device)
    given["input_ids"] = torch.cat([given["input_ids"], answer[None]], 1)
    given["attention_mask"] = torch.ones_like(given["input_ids"])
    for key, value in family.per_token.items():
        if key in given:
            last = given[key][:, -1:].expand(-1, len(answer), *given[key].shape[2:])
            given[key] = torch.cat([given[key], last if value == LAST else torch.full_like(last, value)], 1)
    logits = model(**given, use_cache=False).logits[0, -len(answer) - 1 : -1].float()
    return logits.log_softmax(-1).gather(-1, answer[:, None])[:, 0]


@contextmanager
def _able(model: nn.Module) -> Iterator[None]:
    """Attention that runs wherever the model lies, while the context lasts: flash attention needs an accelerator."""
    wanted = model.config._attn_implementation
    if not wanted.startswith("flash"):
        yield
        return
    model.set_attn_implementation("sdpa")
    try:
        yield
    finally:
        model.set_attn_implementation(wanted)
