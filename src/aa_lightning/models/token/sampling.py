"""Sampling token by token: prompts and their media are read once for all responses, and no logits are kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from aa_lightning.models.token.choice import choose
from aa_lightning.models.token.encoder import TokenEncoder
from aa_lightning.models.token.network import TokenNetwork
from aa_lightning.models.token.rows import begun
from aa_lightning.types import Batch, Sampling

FREE = -1  # no token must stand here
_LOOK = 8  # tokens between two looks at which responses have ended, where looking waits for a device


class Rules(Protocol):
    """The tokens that may follow others.

    Attributes:
        renormalise: whether log-probabilities are among the allowed tokens alone.
    """

    renormalise: bool

    def next(self, tokens: Tensor) -> tuple[Tensor, Tensor | None]:
        """For the place behind tokens (R, T): those banned there, as `choose` takes them, and the one that must stand there,
        (R,), or FREE; None: all are free."""


class Except(Rules):
    """Any token but a few, which keep their share of the probability.

    Args:
        tokens: that are never drawn, such as placeholders of media.
    """

    renormalise = False

    def __init__(self, tokens: Sequence[int]):
        self._banned = torch.tensor(sorted(tokens), dtype=torch.long)

    def next(self, tokens: Tensor) -> tuple[Tensor, None]:
        return self._banned.to(tokens.device), None


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

    Temperature 0 takes the likeliest token and gives its probability at temperature 1. Each step takes one random number
    for each response from the device's global generator, whether the response has ended or not: what is said does not depend
    on how rows are laid out, or on when they leave the batch.

    Args:
        rules: which tokens may follow others.
        encoder: says which token ends a response, and which one pads.
        batch: P prompts; responses in it are not looked at.
    """
    rows, most = begun(network, batch, n, sampling.max_new_tokens), sampling.max_new_tokens
    count, device = len(rows.live), rows.live.device
    tokens = torch.full((count, most), encoder.pad, device=device)
    logprobs = torch.zeros(count, most, device=device)
    said, chosen = (torch.zeros(count, most, dtype=torch.bool, device=device) for _ in range(2))
    ended = torch.zeros(count, dtype=torch.bool, device=device)
    for step in range(most):
        live, open_ = rows.live, ~ended[rows.live]
        chances = torch.rand(count, dtype=torch.float64, device=device)[live]
        banned, must = rules.next(tokens[live, :step])
        token, logprob = choose(
            network.next_logits(rows.states), banned, rules.renormalise, sampling.temperature, chances
        )
        free = open_ if must is None else open_ & (must == FREE)
        token = token if must is None else token.where(must == FREE, must)
        tokens[live, step] = token.where(open_, encoder.pad)
        logprobs[live, step], said[live, step], chosen[live, step] = logprob * free, open_, free
        ended[live] |= open_ & (token == encoder.end)
        if step + 1 == most:
            break
        if device.type == "cpu" or step % _LOOK == _LOOK - 1:
            going = (~ended[live]).nonzero()[:, 0]
            if not len(going):
                break
            if len(going) < len(live):
                rows.keep(going)
        rows.append(tokens[:, : step + 1])
    width = int(said.any(0).sum())
    drawn = tokens[:, :width], logprobs[:, :width], said[:, :width].float(), chosen[:, :width].float(), ended
    return Drawn(*(value.unflatten(0, (-1, n)) for value in drawn))
