"""Attention over packed rows in two parts: each piece of a row on itself, and all responses of a prompt on the prompt.

A softmax over the keys of two parts is the mean of the softmaxes over either, weighted by the sums that they divide by
(2205.14135 algorithm 1; for shared prompts, 2402.05099). No pair of tokens is computed of which one does not see the other's
piece, and there is neither mask nor padding. The backward pass calls the kernel's own on each part, with the output and
the log-sum-exp of both: probabilities are then those of the whole softmax, and gradients exact.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from aa_lightning.models.token import shared_cache
from aa_lightning.models.token.kernels import attend, attend_backward, serve
from aa_lightning.models.token.packed import Pieces, Run, as_lengths, pieces_of

NAME = "aa_two_part"


def given_to(decoder: nn.Module) -> bool:
    """Let a decoder attend in two parts where its rows are packed, and tell whether its kind of attention allows that.

    Args:
        decoder: transformers' model of text alone, whose attention modules look their function up in its configuration.
    """
    config = decoder.config
    dropout = config.to_dict().get("attention_dropout")  # which no such kernel has
    if decoder.is_backend_compatible() and config._attn_implementation == "sdpa" and not dropout:
        config._attn_implementation = NAME
    return config._attn_implementation == NAME


def serves(model: nn.Module) -> bool:
    """Tell whether there is a kernel where a model lies, in the precision in which it runs now."""
    return serve(model.device, precision(model.device, model.dtype))


def precision(device: torch.device, dtype: torch.dtype) -> torch.dtype:
    """The precision of attention: autocast's, inside of it."""
    return torch.get_autocast_dtype(device.type) if torch.is_autocast_enabled(device.type) else dtype


def attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """transformers' interface of an attention function: (1, heads, L, D) → (1, L, heads, D).

    Args:
        attention_mask: whole numbers (1, 1, P, 1 + K): a packed row of prompts and responses of these lengths. Bytes: the
            next tokens of responses that are drawn, whose cache is read. Any other mask, or none: rows that are neither,
            which `scaled_dot_product_attention` reads.
    """
    if attention_mask is not None and attention_mask.dtype == shared_cache.MARK:
        return shared_cache.attention(query, key, value, scaling).transpose(1, 2), None
    if attention_mask is None or attention_mask.dtype != torch.long:
        return sdpa_attention_forward(module, query, key, value, attention_mask, dropout, scaling, **kwargs)
    dtype = precision(query.device, query.dtype)
    query, key, value = query.to(dtype), key.to(dtype), value.to(dtype)
    pieces = pieces_of(as_lengths(attention_mask[0, 0]))
    return _TwoPart.apply(query, key, value, pieces, scaling).transpose(1, 2), None


class _TwoPart(torch.autograd.Function):
    """(1, heads, L, D) of a query of this shape, keys and values (1, key-value heads, L, D), and the pieces of the row."""

    @staticmethod
    def forward(ctx, query: Tensor, key: Tensor, value: Tensor, pieces: Pieces, scale: float | None) -> Tensor:
        _, heads, length, width = query.shape
        out = query.new_empty(1, length, heads, width).transpose(1, 2)
        precise = torch.promote_types(query.dtype, torch.float32)
        lse = query.new_empty(1, length, heads, dtype=precise).transpose(1, 2)
        for run in pieces.own:
            found, norm = attend(_of(query, run), _of(key, run), _of(value, run), True, scale)
            _of(out, run).copy_(found)
            _of(lse, run).copy_(norm)
        for run, prompts in pieces.over:
            k, v = _at(key, prompts, run.count), _at(value, prompts, run.count)
            far, far_lse = attend(_of(query, run), k, v, False, scale)
            near, near_lse = _of(out, run), _of(lse, run)
            near.lerp_(far, (far_lse - near_lse).sigmoid_()[..., None].to(far.dtype))
            torch.logaddexp(near_lse, far_lse, out=near_lse)
        ctx.save_for_backward(query, key, value, out, lse)
        ctx.pieces, ctx.scale = pieces, scale
        return out

    @staticmethod
    def backward(ctx, grad: Tensor):
        query, key, value, out, lse = ctx.saved_tensors
        to_query, to_key, to_value = (torch.empty_like(tensor) for tensor in (query, key, value))
        for run in ctx.pieces.own:
            g, q, k, v, o, norm = (_of(tensor, run) for tensor in (grad, query, key, value, out, lse))
            found = attend_backward(g, q, k, v, o, norm, True, ctx.scale)
            for gradient, own in zip((to_query, to_key, to_value), found, strict=True):
                _of(gradient, run).copy_(own)
        for run, prompts in ctx.pieces.over:
            g, q, o, norm = (_of(tensor, run) for tensor in (grad, query, out, lse))
            k, v = _at(key, prompts, run.count), _at(value, prompts, run.count)
            more_query, more_key, more_value = attend_backward(g, q, k, v, o, norm, False, ctx.scale)
            _of(to_query, run).add_(more_query)
            _add(to_key, prompts, more_key)
            _add(to_value, prompts, more_value)
        return to_query, to_key, to_value, None, None


def _of(tensor: Tensor, run: Run) -> Tensor:
    """(count, heads, length, …) the pieces of a run, of a row (1, heads, L, …)."""
    start, count, length = run
    if count == 1:
        return tensor[:, :, start : start + length]
    return tensor[0, :, start : start + count * length].unflatten(1, (count, length)).transpose(0, 1)


def _at(tensor: Tensor, places: Run | Tensor, count: int) -> Tensor:
    """(count, heads, length, D) pieces of a row (1, heads, L, D), wherever they stand."""
    if isinstance(places, Run):
        return _of(tensor, places)
    return tensor[0].index_select(1, places.to(tensor.device)).unflatten(1, (count, -1)).transpose(0, 1)


def _add(tensor: Tensor, places: Run | Tensor, pieces: Tensor) -> None:
    """Add pieces (count, heads, length, D) to a row (1, heads, L, D), wherever they stand in it."""
    if isinstance(places, Run):
        _of(tensor, places).add_(pieces)
    else:
        tensor[0].index_add_(1, places.to(tensor.device), pieces.transpose(0, 1).flatten(1, 2))


AttentionInterface.register(NAME, attention)
AttentionMaskInterface.register(NAME, sdpa_mask)
