"""Codebooks from data: k-means, the same from the same random state, and embeddings that begin as codes."""

from __future__ import annotations

import torch
from torch import Tensor, nn

_ROUNDS = 15


def clusters(points: Tensor, count: int) -> Tensor:
    """(count, D) centres of points (N, D).

    Starts from points drawn in proportion to their squared distance from those drawn before, so that rare points get a
    centre too.
    """
    centres = points.mode(0, keepdim=True).values
    away = (points - centres).square().sum(-1)
    while len(centres) < count:
        drawn = points[torch.multinomial(away + 1e-9, 1)]
        centres = torch.cat([centres, drawn])
        away = torch.minimum(away, (points - drawn).square().sum(-1))
    for _ in range(_ROUNDS):
        nearest = torch.cdist(points, centres).argmin(1)
        sums = torch.zeros_like(centres).index_add(0, nearest, points)
        sizes = torch.bincount(nearest, minlength=count)[:, None]
        centres = torch.where(sizes > 0, sums / sizes.clamp(min=1), centres)
    return centres


@torch.no_grad()
def start_from_codes(model: nn.Module, codes: Tensor, tokens: list[int], spread: float = 0.4) -> None:
    """Let the embeddings of picture tokens begin as projections of their codes, so that codes which look alike are alike.

    From random embeddings, a model of this size learns pictures by heart before it sees that two codes share a colour.

    Args:
        codes: (C, D) of the VQ model.
        tokens: C, the token of each code.
        spread: standard deviation of what is added.
    """
    alike = (codes - codes.mean(0)) / codes.std()
    for table in (model.get_input_embeddings().weight, model.get_output_embeddings().weight):
        projected = alike @ torch.randn(codes.shape[1], table.shape[1])
        table[tokens] += spread * projected / projected.std()
