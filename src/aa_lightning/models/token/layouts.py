"""Layouts of the K responses of a prompt in the rows that a model sees.

*Plain*: one row [prompt | response] for each response; the prompt and its media are repeated K times.
*Shared*: one row [prompt | response 1 | … | response K] for each prompt. A block mask keeps a response from seeing its
siblings and positions restart after the prompt, so that log-probabilities and gradients are those of the plain layout
(Prefix sharing; 2410.20305). The prompt and its media run once.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor

from aa_lightning.models.families.family import LAST, Family
from aa_lightning.types import Batch

# what configurations say of layers that carry a state from token to token: Mamba, convolutions, linear attention
_STATE = re.compile(
    r"mamba|ssm|^state_size|^conv_(L|kernel)|^linear_(attn|num|conv|key)|block_types?$|attn_layer|^lru_"
)


@dataclass
class Layout:
    """Inputs of the model, and where each response token stands in its hidden states.

    Attributes:
        inputs: keyword arguments of the backbone.
        rows: (P, K, T) the row that holds the token.
        own: (P, K, T) the column of the token itself.
        before: (P, K, T) the column whose hidden state predicts it.
        start: (P, K) the column at which its prompt begins.
    """

    inputs: dict[str, Tensor | dict[str, Tensor]]
    rows: Tensor
    own: Tensor
    before: Tensor
    start: Tensor


def plain(batch: Batch, family: Family, positions: Tensor) -> Layout:
    """One row for each response. `positions` are those of the prompts, (P, L) or (3, P, L)."""
    ids, mask = batch.response["input_ids"], batch.response["mask"]
    p, k, t = ids.shape
    inputs = repeat(batch, k)
    length = inputs["input_ids"].shape[1]
    append(inputs, family, ids.reshape(p * k, t), mask.reshape(p * k, t))
    inputs["position_ids"] = torch.cat(
        [positions.repeat_interleave(k, -2), continued(positions, t).repeat_interleave(k, -2)], -1
    )
    columns, _ = _flush_left(inputs, family)
    # behind the last token nothing is seen by it, so the causal kernel needs no mask
    inputs["attention_mask"] = torch.ones_like(inputs["attention_mask"])
    rows = torch.arange(p * k, device=ids.device).view(p, k, 1).expand(p, k, t)
    own = columns[:, length:].reshape(p, k, t)
    return Layout(inputs, rows, own, own - 1, torch.zeros_like(rows[..., 0]))


def shared(
    batch: Batch, family: Family, positions: Tensor, windows: Mapping[str, int | None] = MappingProxyType({"": None})
) -> Layout:
    """One row for each prompt, its responses one after another.

    Args:
        positions: (…, P, L) of the prompts' tokens.
        windows: those of `windows_of`.
    """
    ids, mask = batch.response["input_ids"], batch.response["mask"]
    p, k, t = ids.shape
    inputs = dict(batch.prompt)
    length = inputs["input_ids"].shape[1]
    end = inputs["attention_mask"].sum(-1) - 1  # (P,) where each prompt's last token will stand
    append(inputs, family, ids.reshape(p, k * t), mask.reshape(p, k * t))
    inputs["position_ids"] = torch.cat([positions, *[continued(positions, t)] * k], -1)
    columns, order = _flush_left(inputs, family)
    owner = torch.arange(1, k + 1, device=ids.device).repeat_interleave(t)
    owner = torch.nn.functional.pad(owner, (length, 0))[order]  # 0: the prompt
    owner = owner.where(inputs["attention_mask"].bool(), -1)
    pictures = None
    if family.sees_ahead is not None and family.sees_ahead in inputs:
        pictures = _pictures(inputs.pop(family.sees_ahead))  # the mask says it all
    inputs["attention_mask"] = _masks(owner, pictures, windows)
    rows = torch.arange(p, device=ids.device).view(p, 1, 1).expand(p, k, t)
    own = columns[:, length:].reshape(p, k, t)
    first = torch.arange(t, device=ids.device) == 0
    return Layout(inputs, rows, own, torch.where(first, end[:, None, None], own - 1), torch.zeros_like(rows[..., 0]))


def windows_of(config: Any) -> dict[str, int | None] | None:
    """Return how far back each kind of layer of the text model looks, in tokens; None where there is no limit.

    Returns:
        by the name of the layer type where a model mixes them and takes one mask for each; under "" for one mask in all
        layers. None: some layers are not attention (they carry a state through siblings), so rows cannot be shared.
    """
    text = config.get_text_config().to_dict()
    if any(_STATE.search(key) for key in text):
        return None
    window = text.get("sliding_window")
    kinds = set(text["layer_types"] or ()) if "layer_types" in text else None
    if kinds is None:
        return {"": window}
    if not kinds <= {"full_attention", "sliding_attention"}:
        return None
    return {"full_attention": None, "sliding_attention": window} if "sliding_attention" in kinds else {"": None}


def complete(batch: Batch, family: Family) -> Batch:
    """Make each response a part of its prompt: rows [prompt | response] with all padding at their left."""
    ids, mask = batch.response["input_ids"], batch.response["mask"]
    k, t = ids.shape[1:]
    inputs = repeat(batch, k)
    append(inputs, family, ids.reshape(-1, t), mask.reshape(-1, t))
    order = inputs["attention_mask"].bool().byte().argsort(dim=-1, stable=True)
    for key in ("input_ids", "attention_mask", *family.per_token):
        if key in inputs:
            inputs[key] = inputs[key][torch.arange(len(order), device=order.device)[:, None], order]
    blocks = {key: [rows for rows in counts for _ in range(k)] for key, counts in batch.blocks.items()}
    return replace(batch, prompt=inputs, blocks=blocks)


def repeat(batch: Batch, k: int) -> dict[str, Tensor]:
    """The prompts' tensors with each prompt (and its rows of media) k times in a row."""
    if k == 1:
        return dict(batch.prompt)
    return {key: value[row_index(batch, key, k).to(value.device)] for key, value in batch.prompt.items()}


def only(batch: Batch, row: int) -> dict[str, Tensor]:
    """The tensors of one prompt, with its padding."""
    taken = {}
    for key, value in batch.prompt.items():
        before = sum(batch.blocks[key][:row]) if key in batch.blocks else row
        taken[key] = value[before : before + (batch.blocks[key][row] if key in batch.blocks else 1)]
    return taken


def row_index(batch: Batch, key: str, k: int) -> Tensor:
    """Indices (N · k,) of the N rows of `batch.prompt[key]` that make up every prompt k times."""
    if key not in batch.blocks:
        return torch.arange(len(batch.prompt[key])).repeat_interleave(k)
    starts = [0, *itertools.accumulate(batch.blocks[key])]
    blocks = [torch.arange(a, b).repeat(k) for a, b in itertools.pairwise(starts)]
    return torch.cat(blocks)


def append(inputs: dict[str, Tensor], family: Family, ids: Tensor, mask: Tensor) -> None:
    """Grow every per-token key by response tokens (R, T) and their mask (R, T), in place."""
    inputs["input_ids"] = torch.cat([inputs["input_ids"], ids], 1)
    inputs["attention_mask"] = torch.cat([inputs["attention_mask"], mask.to(inputs["attention_mask"].dtype)], 1)
    for key, value in family.per_token.items():
        if key in inputs:
            last = inputs[key][:, -1:].expand(-1, ids.shape[1], *inputs[key].shape[2:])
            grown = last if value == LAST else torch.full_like(last, value)
            inputs[key] = torch.cat([inputs[key], grown], 1)


def continued(positions: Tensor, t: int) -> Tensor:
    """Positions (…, P, t) of t tokens after prompts that end (left padding) in a text token."""
    return positions[..., -1:] + 1 + torch.arange(t, device=positions.device)


def _flush_left(inputs: dict[str, Tensor], family: Family) -> tuple[Tensor, Tensor]:
    """Move the padding of every row to its end, and cut the columns that only padding would fill, in place.

    Returns:
        (R, before) the column at which each column's token stands now, and (R, after) the column that it came from.
    """
    valid = inputs["attention_mask"].bool()
    width = int(valid.sum(-1).max())
    order = (~valid).byte().argsort(dim=-1, stable=True)[:, :width]
    for key in ("input_ids", "attention_mask", *family.per_token):
        if key in inputs:
            inputs[key] = inputs[key][torch.arange(len(order), device=order.device)[:, None], order]
    positions = inputs["position_ids"]
    inputs["position_ids"] = positions.gather(-1, order.expand(*positions.shape[:-1], width))
    return (valid.cumsum(-1) - 1).clamp(min=0), order


def _masks(owner: Tensor, pictures: Tensor | None, windows: Mapping[str, int | None]) -> Tensor | dict[str, Tensor]:
    """The mask of each kind of layer, or the one of all."""
    allowed = _block_mask(owner, pictures)
    masks = {kind: allowed if far is None else allowed & _near(owner, far) for kind, far in windows.items()}
    return masks.get("", masks)


def _block_mask(owner: Tensor, pictures: Tensor | None = None) -> Tensor:
    """(P, 1, L, L) bool, True where a query may attend: causal, the prompt and its own response, not the siblings.

    Args:
        owner: (P, L) 0 for the prompt, 1 … K for the responses, −1 for padding.
        pictures: (P, L) 1, 2, … for tokens of the first, second, … picture, which see all of their picture; 0: text.
    """
    causal = torch.ones(owner.shape[1], owner.shape[1], dtype=torch.bool, device=owner.device).tril()
    allowed = causal & ((owner == 0)[:, None, :] | (owner[:, None, :] == owner[:, :, None]))
    if pictures is not None:
        allowed |= (pictures[:, None, :] == pictures[:, :, None]) & (pictures > 0)[:, None, :]
    return allowed[:, None]


def _pictures(marks: Tensor) -> Tensor:
    """(P, L) the number of the run of ones in which a token lies, from 1; 0 outside."""
    shown = marks == 1
    starts = shown & ~torch.nn.functional.pad(shown, (1, 0))[:, :-1]
    return starts.cumsum(-1) * shown


def _near(owner: Tensor, window: int) -> Tensor:
    """(P, 1, L, L) whether a key lies fewer than `window` tokens before the query, in a row without the siblings."""
    own = (owner[:, None, :] == owner[:, :, None]).tril(-1).sum(-1)
    steps = own + (owner > 0) * (owner == 0).sum(-1, keepdim=True)
    return (steps[:, None, :, None] - steps[:, None, None, :]) < window
