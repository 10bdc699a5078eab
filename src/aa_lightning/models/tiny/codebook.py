"""Codebooks from data: k-means, the same from the same random state."""

from __future__ import annotations

import torch
from torch import Tensor

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
