"""The choice of a token by a random number."""

from __future__ import annotations

import torch
from torch import Tensor

_BLOCK = 64  # tokens that are first chosen together


def choose(
    logits: Tensor, banned: Tensor, renormalise: bool, temperature: float, chances: Tensor
) -> tuple[Tensor, Tensor]:
    """Choose a token for each row, and give its log-probability.

    Args:
        logits: (R, V) float32; they are overwritten.
        banned: tokens that are not chosen, (N,) of them, or (V,) or (R, V) bool.
        renormalise: whether the log-probability is among the others alone.
        temperature: divides the logits; 0 takes the likeliest.
        chances: (R,) float64 numbers from 0 to below 1: where in the distribution function of its row a token lies.

    Returns:
        (R,) tokens and (R,) nats.
    """
    if temperature not in (0.0, 1.0):
        logits = logits.div_(temperature)
    banned_mass = None if renormalise else _mass(logits, banned)
    logits = _without(logits, banned)
    top = logits.amax(-1, keepdim=True)
    if temperature == 0:
        token = logits.argmax(-1)
    weights = logits.sub_(top).exp_()
    total = weights.sum(-1).log_()
    if temperature > 0:
        token = drawn(weights, chances)
    if banned_mass is not None:
        total = torch.logaddexp(total, banned_mass - top[:, 0])
    return token, weights.gather(-1, token[:, None])[:, 0].log_() - total


def drawn(weights: Tensor, chances: Tensor) -> Tensor:
    """Draw one place of each row, with a chance in proportion to its weight; one without weight is never drawn.

    The distribution function is inverted in two steps, over blocks and within one: sums of 150,000 float32 in a row would
    not tell unlikely tokens from each other.

    Args:
        weights: (R, V), not below 0, with some above.
        chances: (R,) float64 numbers from 0 to below 1.

    Returns:
        (R,) places.
    """
    short = -weights.shape[-1] % _BLOCK
    blocks = (torch.nn.functional.pad(weights, (0, short)) if short else weights).unflatten(-1, (-1, _BLOCK))
    over = blocks.sum(-1).double().cumsum(-1)
    block, left = _found(over, chances[:, None] * over[:, -1:])
    within = blocks[torch.arange(len(block), device=block.device), block[:, 0]].double().cumsum(-1)
    place, _ = _found(within, left)
    return (block * _BLOCK + place)[:, 0].clamp(max=weights.shape[-1] - 1)


def _found(function: Tensor, points: Tensor) -> tuple[Tensor, Tensor]:
    """(R, 1) the first places at which a distribution function (R, N) is above points (R, 1), the last that adds to it at
    most, and how far behind their beginning the points lie."""
    last = torch.searchsorted(function, function[:, -1:].contiguous())
    place = torch.searchsorted(function, points, right=True).minimum(last)
    place = place.clamp(max=function.shape[-1] - 1)  # NaN is behind all
    below = function.gather(-1, (place - 1).clamp(min=0)).where(place > 0, 0.0)
    return place, points - below


def _without(logits: Tensor, banned: Tensor) -> Tensor:
    if banned.dtype == torch.bool:
        return logits.masked_fill_(banned, -torch.inf)
    return logits.index_fill_(-1, banned, -torch.inf)


def _mass(logits: Tensor, banned: Tensor) -> Tensor:
    """(R,) log-sum-exp of the banned tokens' logits."""
    if banned.dtype == torch.bool:
        return logits.masked_fill(~banned, -torch.inf).logsumexp(-1)
    return logits[:, banned].logsumexp(-1)
