"""Prompts that were read once, and responses that go on from them token by token."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache

from aa_lightning.models.families.family import LAST
from aa_lightning.models.families.table import is_listed
from aa_lightning.models.token import two_part
from aa_lightning.models.token.network import TokenNetwork
from aa_lightning.models.token.packed import packed
from aa_lightning.models.token.shared_cache import SharedCache
from aa_lightning.types import Batch


class Rows(ABC):
    """Responses that are being drawn, n for each of P prompts.

    Attributes:
        states: (R, H) those that predict the next token of each response that goes on.
        live: (R,) which of the P · n responses those are.
    """

    states: Tensor
    live: Tensor

    def __init__(self, network: TokenNetwork, batch: Batch, n: int):
        self.network, self.batch, self.n = network, batch, n
        valid = batch.prompt["attention_mask"]
        self.owner = torch.arange(len(valid), device=valid.device).repeat_interleave(n)
        self.live = torch.arange(len(self.owner), device=valid.device)

    @abstractmethod
    def append(self, tokens: Tensor) -> None:
        """Read the last of the tokens (P · n, T) that were drawn so far, where a response goes on."""

    def keep(self, rows: Tensor) -> None:
        """Go on with some of the responses that go on, (N,) places in rising order."""
        self.live = self.live[rows]

    def logits(self) -> Tensor:
        """(R, V) float32 of the next token of each response that goes on."""
        return self.network.next_logits(self.states)

    @property
    def networks(self) -> list[TokenNetwork]:
        """Those that read the responses."""
        return [self.network]

    def run(self, inputs: dict[str, Any]) -> Any:
        return self.network.family.forward(self.network.backbone, {**inputs, "use_cache": True})


def begun(network: TokenNetwork, batch: Batch, n: int, most: int) -> Rows:
    """Read the prompts of a batch (P, L), for n responses of at most so many tokens to each of them."""
    return Sharing(network, batch, n) if shares(network, batch, most) else Repeating(network, batch, n)


def shares(network: TokenNetwork, batch: Batch, most: int) -> bool:
    """Tell whether responses can read the keys and values of their prompts where these are kept once.

    It takes attention that is given in two parts, no window in which a prompt ends to be seen, and a kind of model that is
    known: what is behind the keys of others is not.
    """
    model = network.writer
    if network.prefix_sharing == "never" or not network.packs or network.windows is None:
        return False
    if model.device.type != "cpu" or not two_part.serves(model) or not is_listed(network.model.config):
        return False
    limits = [window for window in network.windows.values() if window is not None]
    return not limits or int(batch.prompt["attention_mask"].sum(-1).max()) + most <= min(limits)


class Sharing(Rows):
    """Keys and values of a prompt are kept once, and no row is padded but in attention to prompts."""

    def __init__(self, network: TokenNetwork, batch: Batch, n: int):
        super().__init__(network, batch, n)
        positions = network.prompt_positions(batch)
        self._positions = positions[..., self.owner, -1:]
        nothing = batch.prompt["input_ids"].new_zeros(len(batch.prompt["input_ids"]), 2, 1)
        alone = replace(
            batch, response={"input_ids": nothing, "mask": torch.zeros(nothing.shape, device=nothing.device)}
        )
        read = self._packed(alone, positions) if network.reads_packed(alone) else self._padded(positions)
        ends, prompts, valid = read
        self.states = ends[self.owner]
        dtype = two_part.precision(self.states.device, self.states.dtype)
        prompts = [(keys.to(dtype), values.to(dtype)) for keys, values in prompts]
        self._cache = SharedCache(prompts, valid, self.owner)

    def _packed(self, batch: Batch, positions: Tensor):
        """All prompts in one row without padding, the last layer at their ends alone."""
        layout = packed(batch, self.network.family, positions)
        output = self.run({**layout.inputs, "past_key_values": DynamicCache()})
        valid = batch.prompt["attention_mask"].bool()
        width = int(valid.sum(-1).max())
        prompts = [
            (_rows(layer.keys, valid, width), _rows(layer.values, valid, width))
            for layer in output.past_key_values.layers
        ]
        valid = valid[:, -width:]
        return output.last_hidden_state[0, layout.before[:, 0, 0]], prompts, None if valid.all() else valid

    def _padded(self, positions: Tensor):
        output = self.run({**self.batch.prompt, "position_ids": positions, "past_key_values": DynamicCache()})
        prompts = [(layer.keys, layer.values) for layer in output.past_key_values.layers]
        valid = self.batch.prompt["attention_mask"].bool()
        return output.last_hidden_state[:, -1], prompts, None if valid.all() else valid

    def append(self, tokens: Tensor) -> None:
        self._positions = self._positions + 1
        given = {"input_ids": tokens[self.live, -1:], "position_ids": self._positions, "past_key_values": self._cache}
        with self._cache.reading() as mask:
            self.states = self.run({**given, "attention_mask": mask}).last_hidden_state[:, -1]

    def keep(self, rows: Tensor) -> None:
        super().keep(rows)
        self._positions = self._positions[..., rows, :]
        self._cache.keep(rows)


class Repeating(Rows):
    """Each response has keys and values of its prompt to itself, in the cache that the model makes; models without one read
    whole rows again."""

    def __init__(self, network: TokenNetwork, batch: Batch, n: int):
        super().__init__(network, batch, n)
        valid, positions = batch.prompt["attention_mask"], network.prompt_positions(batch)
        output = self.run({**batch.prompt, "position_ids": positions})
        self._cache = output.get("past_key_values")
        if self._cache is not None and n > 1:
            self._cache.reorder_cache(self.owner)
        self._valid, self.states = valid[self.owner], output.last_hidden_state[:, -1][self.owner]
        self._positions = positions[..., self.owner, -1:]
        grows = [key for key, value in network.family.per_token.items() if value == LAST and key in batch.prompt]
        self._beside = {key: batch.prompt[key][self.owner, -1:] for key in grows}

    def append(self, tokens: Tensor) -> None:
        if self._cache is None:
            self.states = self._read_again(tokens)[self.live]
            return
        self._valid = torch.cat([self._valid, torch.ones_like(self._valid[:, :1])], 1)
        self._positions = self._positions + 1
        given = {"input_ids": tokens[self.live, -1:], "attention_mask": self._valid, "position_ids": self._positions}
        self.states = self.run({**given, **self._beside, "past_key_values": self._cache}).last_hidden_state[:, -1]

    def keep(self, rows: Tensor) -> None:
        super().keep(rows)
        if self._cache is None:
            return
        self._cache.reorder_cache(rows)
        self._valid, self._positions = self._valid[rows], self._positions[..., rows, :]
        self._beside = {key: value[rows] for key, value in self._beside.items()}

    def _read_again(self, tokens: Tensor) -> Tensor:
        """Whole rows, for models that keep what they have read in a form of their own."""
        ids = tokens.unflatten(0, (-1, self.n))
        response = {"input_ids": ids, "mask": torch.ones_like(ids, dtype=torch.float32)}
        hidden, layout = self.network.hidden(replace(self.batch, response=response))
        return hidden[layout.rows[..., -1], layout.own[..., -1]].flatten(0, 1)


class Mixed(Rows):
    """Responses that two networks read, drawn from the geometric mixture π^(1−share) π_other^share of what they would say
    next (Nash-MD, 2312.00886 section 7).

    Args:
        ours: as the first network reads them; nothing has been appended yet.
        other: gives the second network, which may be the first one with its adapter off.
        share: of the second.
        most: tokens of a response at most.
    """

    def __init__(self, ours: Rows, other: Callable[[], AbstractContextManager[TokenNetwork]], share: float, most: int):
        self._ours, self._other, self._share = ours, other, share
        with other() as network:
            self._theirs = begun(network, ours.batch, ours.n, most)

    @property
    def live(self) -> Tensor:
        """(R,) as of both."""
        return self._ours.live

    @property
    def networks(self) -> list[TokenNetwork]:
        """Both."""
        return [self._ours.network, self._theirs.network]

    def logits(self) -> Tensor:
        with self._other():
            theirs = self._theirs.logits()
        return (1 - self._share) * self._ours.logits() + self._share * theirs

    def append(self, tokens: Tensor) -> None:
        self._ours.append(tokens)
        with self._other():
            self._theirs.append(tokens)

    def keep(self, rows: Tensor) -> None:
        self._ours.keep(rows)
        self._theirs.keep(rows)


def _rows(packed_row: Tensor, valid: Tensor, width: int) -> Tensor:
    """(P, heads, width, D) prompts with padding at their left, of a packed row (1, heads, L, D).

    Args:
        valid: (P, W) bool, which places are tokens.
    """
    if len(valid) == 1:
        return packed_row
    rows = packed_row.new_zeros(len(valid), width, *packed_row.shape[1::2])
    rows[valid[:, -width:]] = packed_row[0].transpose(0, 1)
    return rows.transpose(1, 2).contiguous()
