"""The last layer of a decoder, on the tokens of a packed row whose states are read: responses, and the end of each prompt.

All others are keys and values there and nothing more, so what follows attention is left out for them. Their states are no
states of the model.
"""

from __future__ import annotations

import functools
import itertools
from types import MethodType
from typing import Any

import torch
from torch import Tensor, nn

from aa_lightning.models.token.packed import Lengths, as_lengths

_BEHIND_ATTENTION = ("self_attn.o_proj", "mlp")
_DENSE = {"gate_proj", "up_proj", "down_proj", "act_fn"}


def shorten(decoder: nn.Module) -> None:
    """Let the last layer of a decoder leave out what nobody reads, where it has the usual parts.

    Its attention says which tokens those are whenever it is called: in a checkpointed layer again in the backward pass.
    """
    parts = dict(decoder.layers[-1].named_modules())
    if not {*_BEHIND_ATTENTION} <= parts.keys() or dict(parts["mlp"].named_children()).keys() != _DENSE:
        return
    for part in (parts[name] for name in _BEHIND_ATTENTION):
        parts["self_attn"].register_forward_pre_hook(MethodType(_note, part), with_kwargs=True)
        part.whole, part.read = part.forward, None
        part.forward = MethodType(_of_read, part)


def _note(part: nn.Module, attention: nn.Module, args: tuple, given: dict[str, Any]) -> None:
    mask = given.get("attention_mask")
    packed = isinstance(mask, Tensor) and mask.dtype == torch.long and mask.shape[-1] > 1
    part.read = columns_read(as_lengths(mask[0, 0])) if packed else None


def _of_read(self: nn.Module, states: Tensor) -> Tensor:
    if self.read is None:
        return self.whole(states)
    read = self.read.to(states.device)
    found = self.whole(states.index_select(1, read))
    return found.new_zeros(1, states.shape[1], found.shape[-1]).index_copy(1, read, found)


@functools.lru_cache(maxsize=64)
def columns_read(lengths: Lengths) -> Tensor:
    """(N,) the columns of a packed row at which prompts end, and those of responses."""
    ends = list(itertools.accumulate(row[0] for row in lengths))
    total = sum(map(sum, lengths))
    return torch.tensor([*(end - 1 for end in ends), *range(ends[-1], total)])
