"""Attention of pieces of one length, with the log-sum-exp of its scores: the kernels that PyTorch has on either device.

Queries, keys and values are (count, heads, length, D); keys and values may have fewer heads. Gradients are asked for with any
output and log-sum-exp, so that those of a part can be taken with what the whole gave.
"""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor

from aa_lightning.system.console import say

_CLOSE = 2e-2  # relative, in 16 bits
_HALF = (torch.bfloat16, torch.float16)
_flash = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
_flash_backward = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward


def serve(device: torch.device, dtype: torch.dtype) -> bool:
    """Tell whether there is a kernel: on CPUs, and in 16 bits on graphics cards that have flash attention (2307.08691), where
    it is asked for what is known before it is trusted."""
    if device.type == "cuda":
        return dtype in _HALF and torch.cuda.get_device_capability(device) >= (8, 0) and is_right(device, dtype)
    return device.type == "cpu"


@cache
def is_right(device: torch.device, dtype: torch.dtype) -> bool:
    """Tell whether a device's kernel gives what the formula gives, for outputs and gradients; say so where it does not."""
    try:
        wrong = [causal for causal in (True, False) if not _agrees(device, dtype, causal)]
        problem = f"gives other numbers than the formula (causal: {wrong})" if wrong else None
    except (
        RuntimeError,
        TypeError,
        ImportError,
        AttributeError,
    ) as error:  # of another release, or not built for this card
        problem = f"cannot be used ({type(error).__name__}: {error})"
    if problem is not None:
        say(f"the attention kernel of {device} {problem}: responses share their prompts by a mask instead")
    return problem is None


def _agrees(device: torch.device, dtype: torch.dtype, causal: bool) -> bool:
    """Two pieces of 40 queries on 40 or 56 keys, 4 heads on 2 of 64 numbers; gradients with a known output and norm."""
    draw = torch.Generator().manual_seed(0)
    sizes = ((4, 40), (2, 40 if causal else 56), (2, 40 if causal else 56), (4, 40))
    drawn = [torch.randn(2, heads, length, 64, generator=draw).to(device, dtype) for heads, length in sizes]
    *given, grad = drawn
    exact = [tensor.double().requires_grad_() for tensor in given]
    query, key, value = exact[0], *(tensor.repeat_interleave(2, 1) for tensor in exact[1:])
    scores = query @ key.mT / 8
    if causal:
        scores = scores.masked_fill(torch.ones(40, 40, dtype=torch.bool, device=device).triu(1), float("-inf"))
    out, lse = scores.softmax(-1) @ value, scores.logsumexp(-1)
    expected = [out, lse, *torch.autograd.grad((out * grad.double()).sum(), exact)]
    found = [
        *attend(*given, causal, None),
        *attend_backward(grad, *given, out.detach().to(dtype), lse.detach().float(), causal, None),
    ]
    pairs = zip(found, expected, strict=True)
    return all((ours.double() - theirs).norm() <= _CLOSE * theirs.norm() for ours, theirs in pairs)


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


def attend_padded(
    query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None, scale: float | None
) -> tuple[Tensor, Tensor]:
    """`attend` of keys among which there may be padding.

    Args:
        query, key, value: (count, heads, length, D), on a CPU.
        bias: (count, 1, 1, length of keys), what is added to the scores; None: nothing.
    """
    if bias is not None:
        bias = bias.expand(-1, -1, query.shape[2], -1)
    return _flash(query, key, value, 0.0, False, attn_mask=bias, scale=scale)


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
