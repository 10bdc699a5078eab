"""Sampling token by token: prompts and their media are read once for all responses, and no logits are kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor

from aa_lightning.models.families.family import LAST
from aa_lightning.models.token.encoder import TokenEncoder
from aa_lightning.models.token.network import TokenNetwork
from aa_lightning.types import Batch, Sampling

FREE = -1  # no token must stand here


class Rules(Protocol):
    """The tokens that may follow others.

    Attributes:
        renormalise: whether log-probabilities are among the allowed tokens alone.
    """

    renormalise: bool

    def next(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """For the place behind tokens (R, T): those banned there, bool (V,) or (R, V), and the one that must stand there,
        (R,), or FREE."""


class Except(Rules):
    """Any token but a few, which keep their share of the probability.

    Args:
        tokens: that are never drawn, such as placeholders of media.
        vocabulary: how many logits there are.
    """

    renormalise = False

    def __init__(self, tokens: Sequence[int], vocabulary: int):
        self._banned = torch.zeros(vocabulary, dtype=torch.bool)
        self._banned[list(tokens)] = True

    def next(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        return self._banned.to(tokens.device), tokens.new_full((len(tokens),), FREE)


@dataclass
class Drawn:
    """P × n drawn responses of at most A tokens.

    Attributes:
        tokens: (P, n, A), padded.
        logprobs: (P, n, A) of each token under the distribution that it was drawn from; 0 where there was no choice.
        said: (P, n, A) 1 for tokens of the response, up to and including its end.
        chosen: (P, n, A) 1 for those of them at which there was a choice.
        ended: (P, n) bool, whether a response said its end.
    """

    tokens: Tensor
    logprobs: Tensor
    said: Tensor
    chosen: Tensor
    ended: Tensor


@torch.no_grad()
def draw(network: TokenNetwork, rules: Rules, encoder: TokenEncoder, batch: Batch, n: int, sampling: Sampling) -> Drawn:
    """Draw n responses to each prompt from softmax(logits / temperature) over the tokens that the rules allow.

    Temperature 0 takes the likeliest token and gives its probability at temperature 1.

    Args:
        rules: which tokens may follow others.
        encoder: says which token ends a response, and which one pads.
        batch: P prompts; responses in it are not looked at.
    """
    rows = _Rows(network, batch, n)
    tokens = rows.valid.new_empty(len(rows.valid), 0)
    ended = torch.zeros(len(tokens), dtype=torch.bool, device=tokens.device)
    columns = []
    for step in range(sampling.max_new_tokens):
        banned, must = rules.next(tokens)
        token, logprob = choose(network.next_logits(rows.states), banned, rules.renormalise, sampling.temperature)
        free, said = must == FREE, ~ended
        token = token.where(free, must).where(said, encoder.pad)
        columns.append((logprob * (free & said), said, said & free))
        tokens = torch.cat([tokens, token[:, None]], 1)
        ended = ended | (token == encoder.end)
        if ended.all() or step + 1 == sampling.max_new_tokens:
            break
        rows.append(tokens)
    logprobs, said, chosen = (torch.stack(column, 1) for column in zip(*columns, strict=True))
    columns = tokens, logprobs, said.float(), chosen.float(), ended
    return Drawn(*(value.unflatten(0, (-1, n)) for value in columns))


def choose(logits: Tensor, banned: Tensor, renormalise: bool, temperature: float) -> tuple[Tensor, Tensor]:
    """Choose a token for each row, and give its log-probability.

    Args:
        logits: (R, V) float32; they are overwritten.
        banned: (V,) or (R, V) bool, tokens that are not chosen.
        renormalise: whether the log-probability is among the others alone.
        temperature: divides the logits; 0 takes the likeliest.

    Returns:
        (R,) tokens and (R,) nats.
    """
    logits = logits.div_(temperature or 1.0)
    norm = logits.logsumexp(-1)
    logits = logits.masked_fill_(banned, -torch.inf)
    if renormalise:
        norm = logits.logsumexp(-1)
    token = torch.multinomial(logits.softmax(-1), 1) if temperature > 0 else logits.argmax(-1, keepdim=True)
    return token[:, 0], logits.gather(-1, token)[:, 0] - norm


class _Rows:
    """Prompts that were read once, and n continuations of each.

    Attributes:
        valid: (R, W) 1 for tokens, 0 for padding.
        states: (R, H) those that predict the next token.
    """

    def __init__(self, network: TokenNetwork, batch: Batch, n: int):
        self._network, self._batch, self._n = network, batch, n
        valid, positions = batch.prompt["attention_mask"], network.prompt_positions(batch)
        output = self._run({**batch.prompt, "position_ids": positions})
        copies = torch.arange(len(valid), device=valid.device).repeat_interleave(n)
        self._cache = output.get("past_key_values")
        if self._cache is not None and n > 1:
            self._cache.reorder_cache(copies)
        self.valid, self.states = valid[copies], output.last_hidden_state[:, -1][copies]
        self._position = positions[..., copies, -1:]
        grows = [key for key, value in network.family.per_token.items() if value == LAST and key in batch.prompt]
        self._beside = {key: batch.prompt[key][copies, -1:] for key in grows}

    def append(self, tokens: Tensor) -> None:
        """Read the last of the tokens (R, T) drawn so far."""
        if self._cache is None:
            self.states = self._read_again(tokens)
            return
        self.valid = torch.cat([self.valid, torch.ones_like(self.valid[:, :1])], 1)
        self._position = self._position + 1
        given = {"input_ids": tokens[:, -1:], "attention_mask": self.valid, "position_ids": self._position}
        self.states = self._run({**given, **self._beside, "past_key_values": self._cache}).last_hidden_state[:, -1]

    def _run(self, inputs: dict[str, Tensor]):
        return self._network.family.forward(self._network.backbone, {**inputs, "use_cache": True})

    def _read_again(self, tokens: Tensor) -> Tensor:
        """Whole rows, for models that keep what they have read in a form of their own."""
        ids = tokens.unflatten(0, (-1, self._n))
        response = {"input_ids": ids, "mask": torch.ones_like(ids, dtype=torch.float32)}
        hidden, layout = self._network.hidden(replace(self._batch, response=response))
        return hidden[layout.rows[..., -1], layout.own[..., -1]].flatten(0, 1)
