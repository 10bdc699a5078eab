"""The one log-probability operation: hidden states to log p of given tokens, logits made in chunks and kept once."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

_CHUNK_BYTES = 512 * 2**20  # logits above this are made in pieces and again in the backward pass


class _Selected(torch.autograd.Function):
    """log softmax(logits)[ids] that keeps the logits alone and turns them into their own gradient."""

    @staticmethod
    def forward(ctx, logits: Tensor, ids: Tensor) -> Tensor:
        norm = torch.logsumexp(logits, -1)
        ctx.save_for_backward(logits, ids, norm)
        return logits.gather(-1, ids[:, None])[:, 0] - norm

    @staticmethod
    def backward(ctx, grad: Tensor):
        logits, ids, norm = ctx.saved_tensors
        gradient = (logits - norm[:, None]).exp_().mul_(-grad[:, None])
        gradient.scatter_add_(1, ids[:, None], grad[:, None])
        return gradient, None


def token_logprobs(
    hidden: Tensor, head: nn.Linear, ids: Tensor, temperature: float = 1.0, cap: float | None = None
) -> Tensor:
    """Log-probabilities of tokens, in float32.

    Args:
        hidden: (N, H) hidden states that predict the tokens.
        head: the output embedding, called as a module so that sharded weights are gathered.
        ids: (N,) the tokens.
        temperature: divides the logits.
        cap: what logits approach and never pass, as in Gemma 2 (2408.00118 section 2); None: no cap.

    Returns:
        (N,) nats.
    """
    rows = max(1, _CHUNK_BYTES // (4 * head.out_features))
    if len(ids) <= rows:
        return _logprobs(hidden, head, ids, temperature, cap)
    pieces = zip(hidden.split(rows), ids.split(rows), strict=True)
    return torch.cat([checkpoint(_logprobs, h, head, i, temperature, cap, use_reentrant=False) for h, i in pieces])


def _logprobs(hidden: Tensor, head: nn.Linear, ids: Tensor, temperature: float, cap: float | None) -> Tensor:
    logits = head(hidden)
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    if cap is not None:
        logits = torch.tanh(logits / cap) * cap
    return _Selected.apply(logits if temperature == 1.0 else logits / temperature, ids)
