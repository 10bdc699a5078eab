"""Several heads over one row of tokens: words and the codes of pictures, words and the codec tokens of speech.

Each place has the head of the kind of token that stands there, which is fixed by the spelling, so that a response of several
kinds has an exact likelihood.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from aa_lightning.models.token.logprobs import token_logprobs

_NEVER = -1e4  # nats: no float tells its probability from 0, and its product with 0 is 0


class KindHeads:
    """A head for each kind of token. States carry the number of their kind in a last column.

    Args:
        heads: by kind; each has `in_features` and `out_features`.
        firsts: by kind, the id of the head's first token.
    """

    def __init__(self, heads: Sequence[nn.Module], firsts: Sequence[int]):
        self.heads, self.firsts = heads, firsts
        self.out_features = max(first + head.out_features for first, head in zip(firsts, heads, strict=True))

    def __call__(self, marked: Tensor) -> Tensor:
        """(N, V) logits over the ids of all kinds, of which only those of a place's own kind have a probability."""
        kinds, parts = marked[:, -1].long(), []
        for kind, (head, first) in enumerate(zip(self.heads, self.firsts, strict=True)):
            logits = head(marked[kinds == kind, : head.in_features]).float()
            rest = (first, self.out_features - first - head.out_features)
            parts.append(nn.functional.pad(logits, rest, value=_NEVER))
        return in_place(parts, kinds)

    def logprobs(self, marked: Tensor, ids: Tensor, temperature: float) -> Tensor:
        """(N,) log-probabilities of tokens, each among those of its kind alone."""
        kinds = marked[:, -1].long()
        places = [kinds == kind for kind in range(len(self.heads))]
        parts = [
            token_logprobs(marked[place, : head.in_features], head, ids[place] - first, temperature)
            for place, head, first in zip(places, self.heads, self.firsts, strict=True)
        ]
        return in_place(parts, kinds)


def marked(states: Tensor, kinds: Tensor) -> Tensor:
    """(N, H + 1) states (N, H) with the kinds (N,) of their places."""
    return torch.cat([states, kinds[:, None].to(states.dtype)], -1)


def in_place(parts: Sequence[Tensor], kinds: Tensor) -> Tensor:
    """(N, …) rows of several kinds, given kind by kind, in the order that `kinds` (N,) tells."""
    order = torch.cat([(kinds == kind).nonzero()[:, 0] for kind in range(len(parts))]).argsort()
    return torch.cat(list(parts))[order]
