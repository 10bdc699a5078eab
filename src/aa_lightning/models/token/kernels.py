"""Attention of pieces of one length, with the log-sum-exp of its scores: the kernels that PyTorch has on either device.

Queries, keys and values are (count, heads, length, D); keys and values may have fewer heads. Gradients are asked for with any
output and log-sum-exp, so that those of a part can be taken with what the whole gave.
"""

from __future__ import annotations

import torch
from torch import Tensor

_HALF = (torch.bfloat16, torch.float16)
_flash = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
_flash_backward = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward


def serve(device: torch.device, dtype: torch.dtype) -> bool:
    """Tell whether there is a kernel: on CPUs, and in 16 bits on graphics cards that have flash attention (2307.08691)."""
    if device.type == "cuda":
        return dtype in _HALF and torch.cuda.get_device_capability(device) >= (8, 0)
    return device.type == "cpu"


def attend(query: Tensor, key: Tensor, value: Tensor, causal: bool, scale: float | None) -> tuple[Tensor, Tensor]:
    """Attention of each piece.

    Args:
        query, key, value: (count, heads, length, D).
        causal: whether a query sees keys up to its own place alone.
        scale: of the scores; None: 1/√D.

    Returns:
        (count, heads, length, D), and (count, heads, length) log-sum-exp.
    """
    if query.is_cpu:
        return _flash(query, key, value, 0.0, causal, scale=scale)
    return varlen(query, key, value, causal, scale)


def attend_backward(
    grad: Tensor, query: Tensor, key: Tensor, value: Tensor, out: Tensor, lse: Tensor, causal: bool, scale: float | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of query, key and value (count, heads, length, D).

    Args:
        grad: (count, heads, length, D) of the output.
        out, lse: as `attend` gives them, or of more keys than these.
    """
    if query.is_cpu:
        return _flash_backward(grad, query, key, value, out, lse, 0.0, causal, scale=scale)
    return varlen_backward(grad, query, key, value, out, lse, causal, scale)


def varlen(query: Tensor, key: Tensor, value: Tensor, causal: bool, scale: float | None) -> tuple[Tensor, Tensor]:
    """`attend`, (count, heads, length, D), by the kernel of graphics cards for rows of any lengths."""
    from torch.nn.attention.varlen import _varlen_attn  # loads a compiler

    given = [*map(_rows, (query, key, value)), *_bounds(query, key)]
    out, lse, _ = _varlen_attn(*given, causal, scale, _window(causal), query.shape[1] != key.shape[1])
    return _pieces(out, query), _pieces(lse.t(), query)


def varlen_backward(
    grad: Tensor, query: Tensor, key: Tensor, value: Tensor, out: Tensor, lse: Tensor, causal: bool, scale: float | None
) -> tuple[Tensor, Tensor, Tensor]:
    """`attend_backward`, (count, heads, length, D), by the same kernel's."""
    from torch.nn.attention.varlen import _varlen_attn_backward

    given = [*map(_rows, (grad, query, key, value, out)), _rows(lse).t().contiguous(), *_bounds(query, key)]
    no_dropout = torch.zeros(2, dtype=torch.uint64, device=query.device)
    to_query, to_key, to_value = _varlen_attn_backward(*given, causal, no_dropout, scale, _window(causal))
    return _pieces(to_query, query), _pieces(to_key, key), _pieces(to_value, value)


def _window(causal: bool) -> list[int]:
    """The keys that a query sees before and behind its place; −1: all."""
    return [-1, 0 if causal else -1]


def _rows(pieces: Tensor) -> Tensor:
    """(count · length, heads, …) from pieces (count, heads, length, …)."""
    return pieces.transpose(1, 2).flatten(0, 1)


def _pieces(rows: Tensor, like: Tensor) -> Tensor:
    """(count, heads, length, …) from (count · length, heads, …)."""
    return rows.unflatten(0, (len(like), -1)).transpose(1, 2)


def _bounds(query: Tensor, key: Tensor) -> tuple[Tensor, Tensor, int, int]:
    """The first row of each piece, and the rows of a piece, of queries and of keys."""
    sizes = query.shape[2], key.shape[2]
    firsts = (torch.arange(len(query) + 1, dtype=torch.int32, device=query.device) * size for size in sizes)
    return *firsts, *sizes
