"""The one log-probability operation: hidden states to log p of given tokens, logits made in chunks and kept once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

Reduction = Callable[[Tensor, slice], Tensor]  # of log-probabilities (n, V), and which of all rows they are
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
    rows = _chunk(head)
    if len(ids) <= rows:
        return _logprobs(hidden, head, ids, temperature, cap)
    pieces = zip(hidden.split(rows), ids.split(rows), strict=True)
    return torch.cat([checkpoint(_logprobs, h, head, i, temperature, cap, use_reentrant=False) for h, i in pieces])


def reduce_distribution(hidden: Tensor, head: nn.Linear, of: Reduction, cap: float | None = None) -> Tensor:
    """A function of the whole distribution at each token.

    Args:
        hidden, head, cap: as in `token_logprobs`.
        of: (log-probabilities (n, V), which of the N rows they are) → (n, …).

    Returns:
        (N, …).
    """
    rows = _chunk(head)

    def piece(states: Tensor, start: int) -> Tensor:
        return of(logits(states, head, cap).log_softmax(-1), slice(start, start + len(states)))

    starts = range(0, max(1, len(hidden)), rows)
    if len(starts) == 1:
        return piece(hidden, 0)
    return torch.cat([checkpoint(piece, hidden[k : k + rows], k, use_reentrant=False) for k in starts])


def collision(logprobs: Tensor, rows: slice) -> Tensor:
    """(n,) log Σ_v p_v², the chance in nats that two draws are the same token, as a constant."""
    return (2 * logprobs).logsumexp(-1).detach()


def entropy_and_highest(logprobs: Tensor, rows: slice) -> Tensor:
    """(n, 2) −Σ_v p_v log p_v and max_v log p_v, in nats."""
    return torch.stack([entropy(logprobs, rows), logprobs.amax(-1)], -1)


def argmax(logprobs: Tensor, rows: slice) -> Tensor:
    """(n,) the likeliest token."""
    return logprobs.argmax(-1)


def distribution(logprobs: Tensor, rows: slice) -> Tensor:
    """(n, V) everything."""
    return logprobs


def entropy(logprobs: Tensor, rows: slice) -> Tensor:
    """(n,) −Σ_v p_v log p_v in nats, with gradients."""
    return torch.special.entr(logprobs.exp()).sum(-1)


STATISTICS: dict[str, Reduction] = {
    "entropy": entropy,
    "collision": collision,
    "argmax": argmax,
    "distribution": distribution,
}


def divergence_from(reference: Tensor) -> Reduction:
    """(n,) KL(reference ‖ these) in nats, with the reference's log-probabilities (N, V) as constants."""

    def of(logprobs: Tensor, rows: slice) -> Tensor:
        return torch.nn.functional.kl_div(logprobs, reference[rows], reduction="none", log_target=True).sum(-1)

    return of


def _chunk(head: nn.Linear) -> int:
    """Number of rows of logits that are made at once."""
    return max(1, _CHUNK_BYTES // (4 * head.out_features))


def _logprobs(hidden: Tensor, head: nn.Linear, ids: Tensor, temperature: float, cap: float | None) -> Tensor:
    found = logits(hidden, head, cap)
    return _Selected.apply(found if temperature == 1.0 else found / temperature, ids)


def logits(hidden: Tensor, head: nn.Module, cap: float | None) -> Tensor:
    """(N, V) logits of states (N, H), in float32 at least."""
    found = head(hidden)
    found = found.to(torch.promote_types(found.dtype, torch.float32))
    return found if cap is None else torch.tanh(found / cap) * cap


def logit_cap(config: Any) -> float | None:
    """Bound that the head's logits approach and never pass (Gemma 2); None: no cap."""
    text = config.get_text_config().to_dict()
    return text.get("final_logit_softcapping")
