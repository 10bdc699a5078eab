"""Prompts and responses as rewards are given them, and numbers as they may give them back. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from aa_lightning.types import Prompt, Response

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Drawn:
    """P prompts with K responses each, and the number of tokens or steps of each, (P, K), where it is known."""

    prompts: Sequence[Prompt]
    responses: Sequence[Sequence[Response]]
    lengths: Tensor | None = None

    def row(self, number: int) -> Drawn:
        """One prompt alone."""
        one = slice(number, number + 1)
        return Drawn(self.prompts[one], self.responses[one], None if self.lengths is None else self.lengths[one])

    def rows(self, numbers: Sequence[int]) -> Drawn:
        """Some of the prompts."""
        lengths = None if self.lengths is None else self.lengths[list(numbers)]
        return Drawn([self.prompts[n] for n in numbers], [self.responses[n] for n in numbers], lengths)

    @property
    def known_lengths(self) -> Tensor:
        """(P, K).

        Raises:
            ValueError: they are not known.
        """
        if self.lengths is None:
            raise ValueError("it asks for the lengths of responses, and they are not known here")
        return self.lengths

    @property
    def shape(self) -> tuple[int, int]:
        """(P, K)."""
        return len(self.prompts), len(self.responses[0]) if self.responses else 0


@dataclass(frozen=True)
class Partly:
    """Numbers (P, K) of a reward, NaN where it has none, and by the place of a prompt why."""

    values: Any
    why: Mapping[int, str]


class Told(Exception):
    """A fault of a reward in words, of which the kind of the exception says nothing more."""
