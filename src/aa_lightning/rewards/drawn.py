"""Prompts and responses as rewards are given them, and numbers as they may give them back. Imports no torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from aa_lightning.system.signals import Stopped
from aa_lightning.types import Prompt, Response

if TYPE_CHECKING:
    from torch import Tensor

HUNG = 3  # prompts that are waited for in vain; the others are not asked for then


@dataclass(frozen=True)
class Drawn:
    """P prompts with K responses each, the number of tokens or steps of each, (P, K), where it is known, and what draws n
    answers of the policy to other prompts, where it can be asked."""

    prompts: Sequence[Prompt]
    responses: Sequence[Sequence[Response]]
    lengths: Tensor | None = None
    ask: Callable[..., list[list[Response]]] | None = None

    def row(self, number: int) -> Drawn:
        """One prompt alone."""
        one = slice(number, number + 1)
        lengths = None if self.lengths is None else self.lengths[one]
        return Drawn(self.prompts[one], self.responses[one], lengths, self.ask)

    def rows(self, numbers: Sequence[int]) -> Drawn:
        """Some of the prompts."""
        lengths = None if self.lengths is None else self.lengths[list(numbers)]
        return Drawn([self.prompts[n] for n in numbers], [self.responses[n] for n in numbers], lengths, self.ask)

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
class Fault:
    """Reason why a prompt has no reward, and the exception, if there was one."""

    why: str
    cause: BaseException | None = None

    @classmethod
    def of(cls, error: BaseException) -> Fault:
        """A fault that an exception tells."""
        try:
            said = str(error)
        except Exception:  # of one that cannot say what it is
            said = ""
        kind = "" if isinstance(error, TimeoutError | Told) else f"{type(error).__name__}: "
        return cls(f"{kind}{said}", error)


@dataclass(frozen=True)
class Partly:
    """Numbers of a reward, (P, K) or by the place of a prompt, and why the other prompts have none."""

    values: Any
    faults: Mapping[int, Fault]


def partly(found: Sequence[float | str], responses: Sequence[Sequence[Response]]) -> Partly:
    """Rewards of prompts that have one for each response, and for each other prompt the reason."""
    told = iter(found)
    rows = [[next(told) for _ in group] for group in responses]
    faults = {row: Fault(why) for row, group in enumerate(rows) for why in reversed(group) if isinstance(why, str)}
    return Partly({row: group for row, group in enumerate(rows) if row not in faults}, faults)


class Told(Exception):
    """A fault of a reward in words, of which the kind of the exception says nothing more."""


def prompt_by_prompt(count: int, judge: Callable[[int], Sequence[float]], at_once: bool) -> Partly:
    """Judge one prompt after another, each with its own faults. After some that took too long no more are asked.

    Args:
        count: of prompts.
        judge: gives the rewards (K,) of a prompt.
        at_once: whether the first fault ends it.
    """
    values: dict[int, Sequence[float]] = {}
    faults: dict[int, Fault] = {}
    for place in range(count):
        hung = sum(isinstance(fault.cause, TimeoutError) for fault in faults.values())
        if hung >= HUNG:
            faults[place] = Fault(f"it was not asked for, since {hung} prompts before took too long")
            continue
        try:
            values[place] = judge(place)
        except (Exception, SystemExit) as error:
            if isinstance(error, Stopped):
                raise
            faults[place] = Fault.of(error)
            if at_once:
                break
    return Partly(values, faults)
