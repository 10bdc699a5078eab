"""Prompts for engines that take tokens, and the tensors of what they answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch

from aa_lightning.models.token.sampling import Drawn
from aa_lightning.types import Batch


class Answer(NamedTuple):
    """One response: its tokens, their log-probabilities (empty: not known), and whether it said its end."""

    tokens: Sequence[int]
    logprobs: Sequence[float]
    ended: bool


def prompt_tokens(batch: Batch) -> list[list[int]]:
    """The tokens of each prompt of a batch (P, L), without padding."""
    ids, valid = (batch.prompt[key].cpu() for key in ("input_ids", "attention_mask"))
    return [row[mask.bool()].tolist() for row, mask in zip(ids, valid, strict=True)]


def drawn(answers: Sequence[Sequence[Answer]], pad: int, device: torch.device) -> Drawn:
    """n answers to each of P prompts as tensors (P, n, A).

    Args:
        answers: P lists of n.
        pad: the token that pads.
    """
    shape = (len(answers), len(answers[0]), max(len(one.tokens) for row in answers for one in row))
    tokens, logprobs, said = torch.full(shape, pad), torch.zeros(shape), torch.zeros(shape)
    for p, row in enumerate(answers):
        for k, one in enumerate(row):
            length = len(one.tokens)
            tokens[p, k, :length], said[p, k, :length] = torch.tensor(one.tokens), 1.0
            logprobs[p, k, : len(one.logprobs)] = torch.tensor(one.logprobs)
    ended = torch.tensor([[one.ended for one in row] for row in answers])
    return Drawn(*(part.to(device) for part in (tokens, logprobs, said, said, ended)))
