"""Sampling token by token under a grammar: the prompt and its media run once for all responses of a prompt."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from aa_lightning.models.image_tokens.grammar import DRAWN, FORCED, TEXT, Grammar
from aa_lightning.types import Batch


class Draws(Protocol):
    """What a network offers to sampling."""

    @property
    def backbone(self) -> nn.Module: ...

    def opening(self, batch: Batch) -> dict[str, Tensor]:
        """Inputs of the backbone for the prompts."""

    def following(self, tokens: Tensor) -> dict[str, Tensor]:
        """Inputs of the backbone for drawn tokens (R, 1)."""

    def logits(self, hidden: Tensor) -> Tensor:
        """(R, V) float32."""


@dataclass
class Drawn:
    """R drawn rows of at most T tokens.

    Attributes:
        tokens: (R, T), padded.
        logprobs: (R, T) of each token under the distribution that it was drawn from; 0 where there was no choice.
        said: (R, T) 1 for tokens of the response, up to and including its end.
        chosen: (R, T) 1 for those of them at which there was a choice.
    """

    tokens: Tensor
    logprobs: Tensor
    said: Tensor
    chosen: Tensor


@torch.no_grad()
def draw(
    network: Draws, grammar: Grammar, batch: Batch, n: int, length: int, temperature: float, end: int, pad: int
) -> Drawn:
    """Draw n responses of at most `length` tokens for each prompt.

    Each token comes from softmax(logits / temperature) over what the grammar allows at its place, renormalised;
    temperature 0 takes the likeliest and reports its probability at temperature 1.
    """
    valid = batch.prompt["attention_mask"]
    positions = (valid.cumsum(-1) - 1).clamp(min=0)
    output = network.backbone(**network.opening(batch), attention_mask=valid, position_ids=positions, use_cache=True)
    cache, states = output.past_key_values, output.last_hidden_state[:, -1].repeat_interleave(n, 0)
    cache.batch_repeat_interleave(n)
    valid, position = valid.repeat_interleave(n, 0), positions[:, -1:].repeat_interleave(n, 0)
    tokens = valid.new_empty(len(valid), 0)
    columns, ended = [], torch.zeros(len(valid), dtype=torch.bool, device=valid.device)
    for step in range(length):
        kind, must = grammar.next(tokens)
        token, logprob = _choose(network.logits(states), grammar, kind, must, temperature)
        token, said = token.where(~ended, pad), ~ended
        columns.append((logprob * said, said, said & (kind != FORCED)))
        tokens = torch.cat([tokens, token[:, None]], 1)
        ended = ended | (token == end)
        if ended.all() or step + 1 == length:
            break
        valid, position = torch.cat([valid, torch.ones_like(position)], 1), position + 1
        output = network.backbone(
            **network.following(token[:, None]),
            attention_mask=valid,
            position_ids=position,
            past_key_values=cache,
            use_cache=True,
        )
        states = output.last_hidden_state[:, -1]
    logprobs, said, chosen = (torch.stack(column, 1) for column in zip(*columns, strict=True))
    return Drawn(tokens, logprobs, said.float(), chosen.float())


def _choose(logits: Tensor, grammar: Grammar, kind: Tensor, must: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """One token for each row, and its log-probability."""
    banned = torch.stack([grammar.banned(k, logits.device) for k in (TEXT, DRAWN)])
    scores = (logits / (temperature or 1.0)).masked_fill(banned[kind.clamp(max=DRAWN)], -torch.inf)
    logprobs = scores.log_softmax(-1)
    token = torch.multinomial(logprobs.exp(), 1)[:, 0] if temperature > 0 else logprobs.argmax(-1)
    token = token.where(kind != FORCED, must)
    picked = logprobs.gather(-1, token[:, None])[:, 0]
    return token, picked.where(kind != FORCED, 0.0)
