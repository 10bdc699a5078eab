"""Keys and values while responses are drawn: those of a prompt are kept once, whatever the number of its responses.

A new token attends to its prompt and to what its own response has said. All queries of a prompt read its keys in one
call; a softmax over the keys of both parts is the mean of the softmaxes over either, weighted by the sums that they divide
by (2205.14135 algorithm 1; for shared prompts, 2402.05099).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar

import torch
from torch import Tensor
from transformers.cache_utils import Cache

from aa_lightning.models.token.kernels import attend, attend_padded

MARK = torch.uint8  # the dtype of the attention mask, of which nothing is read, by which this attention is known
_BLOCK = 64  # tokens by which the room for responses grows, at least

Pair = tuple[Tensor, Tensor]  # keys and values
_read: ContextVar[SharedCache] = ContextVar("the cache that the model reads now")


class SharedCache(Cache):
    """The cache of prompts, and of responses that go on from them token by token.

    Args:
        prompts: keys and values (P, key-value heads, L, D) of each layer.
        valid: (P, L) bool, which of them belong to tokens; None: all.
        owner: (R,) the prompt of each response, in rising order.
    """

    def __init__(self, prompts: Sequence[Pair], valid: Tensor | None, owner: Tensor):
        super().__init__(layers=[])
        self._prompts, self._valid = list(prompts), valid
        self._own: list[Pair] = [_room(keys, values, len(owner), _BLOCK) for keys, values in prompts]
        self._said = 0
        self._bias = None if valid is None else _additive(valid, prompts[0][0].dtype)
        self._seat(owner)

    def _seat(self, owner: Tensor) -> None:
        """Give each response a place among those of its prompt."""
        counts = owner.bincount(minlength=len(self._prompts[0][0]))
        first = counts.cumsum(0) - counts
        self._owner, self._seats = owner, int(counts.max())
        self._places = owner * self._seats + torch.arange(len(owner), device=owner.device) - first[owner]
        self._full = len(owner) == len(counts) * self._seats

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """The number of tokens that a row with the longest prompt has read."""
        return self._prompts[0][0].shape[2] + self._said

    @contextmanager
    def reading(self) -> Iterator[Tensor]:
        """Read one more token of each response, while the context lasts.

        Yields:
            The attention mask to give, (1, 1, 1, 1).
        """
        capacity = self._own[0][0].shape[2]
        if self._said == capacity:
            self._own = [
                tuple(_longer(part, capacity + max(_BLOCK, capacity // 2)) for part in own) for own in self._own
            ]
        token = _read.set(self)
        try:
            yield torch.zeros(1, 1, 1, 1, dtype=MARK, device=self._owner.device)
        finally:
            _read.reset(token)
        self._said += 1

    def update(self, key_states: Tensor, value_states: Tensor, layer_idx: int, *args, **kwargs) -> Pair:
        """Put down the keys and values (R, heads, 1, D) of the new tokens, and give all of the responses'."""
        self._layer = layer_idx
        room = self._own[layer_idx]
        for part, new in zip(room, (key_states, value_states), strict=True):
            part[:, :, self._said] = new[:, :, 0]
        keys, values = (part[:, :, : self._said + 1] for part in room)
        return keys, values

    def keep(self, rows: Tensor) -> None:
        """Go on with some of the responses, (N,) places in rising order."""
        self._own = [tuple(part[rows] for part in own) for own in self._own]
        prompts, owner = self._owner[rows].unique(return_inverse=True)
        if len(prompts) < len(self._prompts[0][0]):
            self._prompts = [(keys[prompts], values[prompts]) for keys, values in self._prompts]
            self._bias = None if self._bias is None else self._bias[prompts]
        self._seat(owner)

    def attend(self, query: Tensor, key: Tensor, value: Tensor, scale: float | None) -> Tensor:
        """(R, heads, 1, D) of queries of this shape and what `update` gave."""
        rows, heads, _, width = query.shape
        query = query.to(key.dtype).reshape(rows, key.shape[1], -1, width)
        near, near_lse = attend(query, key, value, False, scale)
        far, far_lse = self._over_prompts(query, scale)
        near.lerp_(far, (far_lse - near_lse).sigmoid_()[..., None].to(far.dtype))
        return near.reshape(rows, heads, 1, width)

    def _over_prompts(self, query: Tensor, scale: float | None) -> Pair:
        """Output and log-sum-exp over the prompts' keys, of queries (R, key-value heads, queries of each, D)."""
        keys, values = self._prompts[self._layer]
        grid = (len(keys), self._seats, *query.shape[1:])
        if not self._full:
            query = query.new_zeros(grid).flatten(0, 1).index_copy(0, self._places, query)
        together = query.view(grid).transpose(1, 2).flatten(2, 3)
        found = attend_padded(together, keys, values, self._bias, scale)
        out, lse = (part.unflatten(2, (self._seats, -1)).transpose(1, 2).flatten(0, 1) for part in found)
        return (out, lse) if self._full else (out[self._places], lse[self._places])


def attention(query: Tensor, key: Tensor, value: Tensor, scale: float | None) -> Tensor:
    """Attention (R, heads, 1, D) of new tokens, to prompts and to what responses have said, by the cache that is read now."""
    return _read.get().attend(query, key, value, scale)


def _room(keys: Tensor, values: Tensor, rows: int, length: int) -> Pair:
    """Empty keys and values of so many rows and tokens, of the shape and kind of others."""
    return tuple(part.new_empty(rows, part.shape[1], length, part.shape[3]) for part in (keys, values))


def _longer(part: Tensor, length: int) -> Tensor:
    longer = part.new_empty(*part.shape[:2], length, part.shape[3])
    longer[:, :, : part.shape[2]] = part
    return longer


def _additive(valid: Tensor, dtype: torch.dtype) -> Tensor:
    """(P, 1, 1, L): 0 for tokens, −∞ for padding."""
    bias = torch.zeros(valid.shape, dtype=dtype, device=valid.device)
    return bias.masked_fill_(~valid, -torch.inf)[:, None, None]
