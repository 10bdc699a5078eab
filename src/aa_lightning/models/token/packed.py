"""The packed layout: a batch in one row, all prompts and then all responses, without padding.

    [prompt 1 | prompt 2 | … | responses of one prompt | responses of another | … ]

or, where each prompt has one response, which is then a part of it, [prompt 1, response | prompt 2, response | … ]. Every
prompt and every response is causal on itself, all responses of a prompt see all of it (`two_part.py`), and positions go on
from it, so that log-probabilities and gradients are those of the plain layout. Responses stand in the order in which pieces
of one length are neighbours, which are then read in one call.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from aa_lightning.models.families.family import Family
from aa_lightning.models.token.layouts import Layout, append, continued
from aa_lightning.types import Batch

Lengths = tuple[tuple[int, ...], ...]  # of each prompt, followed by those of its responses


class Run(NamedTuple):
    """`count` pieces of `length` tokens each, one behind another from column `start` on."""

    start: int
    count: int
    length: int


class Over(NamedTuple):
    """All responses of some prompts, and these prompts.

    Attributes:
        responses: one piece for each prompt.
        prompts: as many, of one length; their columns where they are no neighbours.
    """

    responses: Run
    prompts: Run | Tensor


class Pieces(NamedTuple):
    """A packed row.

    Attributes:
        own: runs that together are the row; each piece is causal on itself.
        over: which of them also see a prompt.
    """

    own: list[Run]
    over: list[Over]


def order_of(lengths: Lengths) -> list[int]:
    """The prompts in the order in which their responses stand in a packed row."""
    return sorted(range(len(lengths)), key=lambda i: (lengths[i][1:], lengths[i][0]))


@functools.lru_cache(maxsize=64)
def pieces_of(lengths: Lengths) -> Pieces:
    """The pieces of a packed row."""
    order, prompts = order_of(lengths), [row[0] for row in lengths]
    starts = list(itertools.accumulate(prompts, initial=0))
    own = runs([*prompts, *(length for i in order for length in lengths[i][1:])])
    over, start = [], starts[-1]
    for (length, prompt), group in itertools.groupby(order, key=lambda i: (sum(lengths[i][1:]), prompts[i])):
        members = list(group)
        over.append(Over(Run(start, len(members), length), _together([starts[i] for i in members], prompt)))
        start += len(members) * length
    return Pieces(own, [one for one in over if one.responses.length])


def _together(starts: Sequence[int], length: int) -> Run | Tensor:
    """Pieces of one length that begin at these columns."""
    if list(starts) == [starts[0] + length * i for i in range(len(starts))]:
        return Run(starts[0], len(starts), length)
    return torch.cat([torch.arange(start, start + length) for start in starts])


def runs(lengths: Iterable[int]) -> list[Run]:
    """Pieces of these lengths, equal neighbours together and empty ones left out."""
    found, start = [], 0
    for length, group in itertools.groupby(lengths):
        count = len(list(group))
        if length:
            found.append(Run(start, count, length))
        start += count * length
    return found


def packed(batch: Batch, family: Family, positions: Tensor) -> Layout:
    """One row for the batch; its `attention_mask` (1, 1, P, 1 + K), or
    (1, 1, P, 1) where a single response is a part of its prompt, has the lengths of the pieces.

    Args:
        positions: (…, P, L) of the prompts' tokens.
    """
    ids, mask = batch.response["input_ids"], batch.response["mask"]
    p, k, t = ids.shape
    inputs = dict(batch.prompt)
    length = inputs["input_ids"].shape[1]
    append(inputs, family, ids.reshape(p, k * t), mask.reshape(p, k * t))
    positions = torch.cat([positions, *[continued(positions, t)] * k], -1)
    valid = inputs["attention_mask"].bool()
    inside = length if k > 1 else length + t  # columns of prompts
    sizes = torch.cat([valid[:, :inside].sum(-1, keepdim=True), valid[:, inside:].unflatten(-1, (-1, t)).sum(-1)], -1)
    sizes = sizes.cpu()  # where attention can read it without waiting for a device
    kept = _kept(valid, inside, order_of(as_lengths(sizes)))
    for key in ("input_ids", *family.per_token):
        if key in inputs:
            inputs[key] = inputs[key].flatten(0, 1)[kept][None]
    inputs["position_ids"] = positions.flatten(-2)[..., kept].unsqueeze(-2)
    inputs["attention_mask"] = sizes[None, None]
    columns = torch.zeros_like(valid, dtype=torch.long).flatten()
    columns[kept] = torch.arange(len(kept), device=kept.device)
    columns = columns.view(valid.shape)
    own, last = columns[:, length:].reshape(p, k, t), columns[:, length - 1, None]
    first = torch.arange(t, device=ids.device) == 0
    start = last + 1 - valid[:, :length].sum(-1, keepdim=True)
    return Layout(inputs, torch.zeros_like(own), own, torch.where(first, last[..., None], own - 1), start.expand(p, k))


def as_lengths(sizes: Tensor) -> Lengths:
    """The numbers (P, 1 + K) of a packed row's `attention_mask`."""
    return tuple(map(tuple, sizes.tolist()))


def _kept(valid: Tensor, length: int, order: Sequence[int]) -> Tensor:
    """(L,) the tokens of a packed row, as places in the flattened rows of prompts and responses, valid (P, W), whose first
    columns, `length` of them, are prompts."""
    places = torch.arange(valid.numel(), device=valid.device).view(valid.shape)
    order = torch.tensor(order, device=valid.device)
    prompts = places[:, :length][valid[:, :length]]
    return torch.cat([prompts, places[order, length:][valid[order, length:]]])
