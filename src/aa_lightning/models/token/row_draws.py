"""Random numbers of rows that have seeds of their own: whatever stands beside a row, its numbers are the same."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from zlib import crc32

import torch
from torch import Tensor

_BLOCK = 64  # chances of a row that are made at a time


def seeds_of(given: Sequence[int], count: int) -> Sequence[int]:
    """As many seeds as are asked for: the given ones, or, where none are, new ones of the global generator."""
    assert len(given) in (0, count), "one seed for each prompt"
    return given or torch.randint(2**31, (count,)).tolist()


class RowDraws:
    """Random numbers for n rows of each of P prompts, made on the CPU.

    Args:
        seeds: (P) of the prompts.
        n: rows of each.
        device: where the numbers are wanted.
        stream: numbers of one stream of a seed say nothing about those of another.
    """

    def __init__(self, seeds: Sequence[int], n: int, device: torch.device, stream: str = ""):
        self._generators = [torch.Generator().manual_seed(crc32(f"{seed}/{stream}".encode())) for seed in seeds]
        self._n, self._device = n, device

    def normal(self, *shape: int) -> Tensor:
        """(P · n, …) of a shape, of the standard normal distribution."""
        return torch.cat([torch.randn(self._n, *shape, generator=own) for own in self._generators]).to(self._device)

    def chances(self) -> Iterator[Tensor]:
        """(P · n,) float64 numbers from 0 to below 1, as often as they are asked for."""
        while True:
            blocks = [torch.rand(_BLOCK, self._n, dtype=torch.float64, generator=own) for own in self._generators]
            yield from torch.cat(blocks, 1).to(self._device)
