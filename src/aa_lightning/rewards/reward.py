"""Rewards by name: called so that a fault of one is named, tried again or left out, and hangs nothing."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from aa_lightning.configuration.schema import RewardSettings
from aa_lightning.rewards.beside import Beside, done
from aa_lightning.rewards.drawn import Drawn, Fault, Partly, Told, prompt_by_prompt
from aa_lightning.system.console import say
from aa_lightning.system.random_state import kept_draws
from aa_lightning.system.shown import one_line
from aa_lightning.system.signals import Stopped
from aa_lightning.types import Prompt, Response

_PAUSE, _LONGEST_PAUSE = 0.5, 8.0  # seconds before the first try again; each next one takes twice as long
_ALL_FAILED = 3  # calls in a row in which no prompt got a reward
_SAID = 3  # prompts that are left out aloud; all of them are counted
_SHOWN = 300  # characters of what others say


class Reward(Protocol):
    """A judge of responses: numbers (P, K), the larger the better."""

    def __call__(self, prompts: Sequence[Prompt], responses: Sequence[Sequence[Response]]) -> Any: ...


class RewardFault(ValueError):
    """A reward gave no finite number; the message names the reward, the prompt, and what to do."""


class NamedReward:
    """A reward with its name and settings.

    Args:
        name: below `reward` in the configuration.
        function: of what was drawn, to numbers (P, K).
        settings: its weight, its time, and what happens after a fault.
        waits: whether others judge, a server or another process, so that this one may go on.
    """

    def __init__(self, name: str, function: Callable[[Drawn], Any], settings: RewardSettings, waits: bool):
        self.name, self.settings, self.waits, self._function = name, settings, waits, function
        self.skipped = 0
        self._failed = 0

    def __call__(self, drawn: Drawn) -> Tensor:
        """(P, K) rewards; NaN for all responses of a prompt that is left out.

        Raises:
            RewardFault: a prompt has no reward, and faults are errors, or it has none after the last try.
        """
        values = torch.full(drawn.shape, math.nan)
        if not values.numel():
            return values
        faults = self._attempt(drawn, range(len(drawn.prompts)), values)
        for number in range(self.settings.retries if self.settings.on_fault == "retry" else 0):
            if faults:
                time.sleep(min(_PAUSE * 2**number, _LONGEST_PAUSE))
                faults = self._attempt(drawn, sorted(faults), values)
        self._failed = self._failed + 1 if len(faults) == len(drawn.prompts) else 0
        if faults and (self.settings.on_fault != "skip" or self._failed >= _ALL_FAILED):
            first = min(faults)
            raise RewardFault(self._told(drawn.prompts[first].id, len(faults), faults[first])) from faults[first].cause
        values[sorted(faults)] = math.nan
        for row in sorted(faults)[: max(_SAID - self.skipped, 0)]:
            why = one_line(faults[row].why)[:_SHOWN]
            say(f"reward.{self.name} leaves out prompt {one_line(drawn.prompts[row].id)}: {why}")
        self.skipped += len(faults)
        return values

    def _attempt(self, drawn: Drawn, rows: Sequence[int], values: Tensor) -> dict[int, Fault]:
        """Fill in the rewards of some prompts, together, and one by one where that fails; the faults that are left."""
        at_once = self.settings.on_fault == "error"
        try:
            given = self._called(drawn.rows(rows))
        except Exception as error:
            if len(rows) == 1:
                return {rows[0]: Fault.of(error)}
            given = prompt_by_prompt(len(rows), lambda place: self._alone(drawn.row(rows[place])), at_once)
            if at_once and not given.faults:
                why = f"{Fault.of(error).why} (of {len(rows)} prompts together; alone, each has one)"
                return {rows[0]: Fault(why, error)}
        for place, value in given.values.items():
            values[rows[place]] = value
        faults = {place: given.faults.get(place) or _of_values(values[row]) for place, row in enumerate(rows)}
        return {rows[place]: fault for place, fault in faults.items() if fault is not None}

    def _alone(self, drawn: Drawn) -> Tensor:
        """(K,) of one prompt."""
        given = self._called(drawn)
        if 0 in given.faults:
            raise Told(given.faults[0].why) from given.faults[0].cause
        return given.values[0]

    def _called(self, drawn: Drawn) -> Partly:
        """Rewards (K,) of prompts by their places, and the faults of others.

        Raises:
            Exception: whatever the reward raises for all prompts together.
            Told: it gave something else than numbers (P, K).
        """
        try:
            with torch.no_grad():
                given = self._function(drawn)
        except SystemExit as error:
            if isinstance(error, Stopped):
                raise
            raise Told(f"SystemExit: {error}") from error
        if isinstance(given, Partly):
            count = drawn.shape[1]
            numbers = {place: _numbers([row], (1, count))[0] for place, row in given.values.items()}
            return Partly(numbers, given.faults)
        return Partly(dict(enumerate(_numbers(given, drawn.shape))), {})

    def _told(self, prompt: str, count: int, fault: Fault) -> str:
        others = f", and {count - 1} more of this call" if count > 1 else ""
        key, why = f"reward.{self.name}", one_line(fault.why)
        if isinstance(fault.cause, TimeoutError):
            advice = f"type a larger {key}.seconds, or {key}.on_fault=skip"
        elif self.settings.on_fault == "skip":
            advice = (
                f"no prompt of {_ALL_FAILED} calls in a row got a reward, so that nothing would be learned: mend it"
            )
        else:
            advice = f"mend it, or type {key}.on_fault=skip to leave such prompts out, or =retry to try again"
        shown = why if len(why) <= _SHOWN else f"{why[:_SHOWN]}…"
        return f"{key} gives no reward for prompt {one_line(prompt)}{others}: {shown}\n{advice}"


class Rewards:
    """Several rewards: those that wait for others at the same time as the rest, which come one after another.

    Args:
        named: each with its name.
    """

    def __init__(self, named: Iterable[NamedReward]):
        self._named = {reward.name: reward for reward in named}
        waiting = [name for name, reward in self._named.items() if reward.waits and len(self._named) > 1]
        self._beside = {name: Beside(f"reward.{name}") for name in waiting}

    @property
    def weights(self) -> dict[str, float]:
        """Name → weight in the sum of all."""
        return {name: reward.settings.weight for name, reward in self._named.items()}

    @property
    def skipped(self) -> dict[str, int]:
        """Name → how many prompts it has left out so far."""
        return {name: reward.skipped for name, reward in self._named.items()}

    def __call__(
        self,
        prompts: Sequence[Prompt],
        responses: Sequence[Sequence[Response]],
        lengths: Tensor | None = None,
        ask: Callable[..., list[list[Response]]] | None = None,
    ) -> dict[str, Tensor]:
        """Judge responses by every reward.

        Args:
            prompts: P of them, with media decoded.
            responses: K of each, decoded.
            lengths: (P, K) how many tokens or steps each one took; None: it is not known.
            ask: draws n answers of the policy to prompts, by `Sampling`; None: it cannot be asked.

        Returns:
            Name → (P, K) rewards, without weights; NaN for all responses of a prompt that is left out. Random generators are
            as they were.

        Raises:
            RewardFault: a prompt has no reward, and faults are errors.
        """
        drawn = Drawn(prompts, responses, lengths, ask)
        given = {name: beside.begun(partial(self._named[name], drawn)) for name, beside in self._beside.items()}
        for name in [name for name in self._named if name not in given]:
            with kept_draws():
                given[name] = done(partial(self._named[name], drawn))
        return {name: given[name].result() for name in self._named}


def _numbers(given: Any, shape: tuple[int, int]) -> Tensor:
    """(P, K) what a reward gave; None inside becomes NaN."""
    if isinstance(given, Tensor):
        found = given.detach().float().cpu()
    else:
        try:
            found = torch.from_numpy(np.asarray(given, dtype=np.float64)).float()
        except (TypeError, ValueError) as error:
            raise Told(f"it gave {_glimpse(given)}, which is no list of numbers for each prompt ({error})") from error
    if found.shape != shape:
        raise Told(
            f"it gave numbers of shape {tuple(found.shape)}, and {shape[0]} prompts with {shape[1]} responses each need "
            f"{shape}"
        )
    return found


def _of_values(rewards: Tensor) -> Fault | None:
    """The fault of the rewards (K,) of a prompt; None: all are finite."""
    wrong = (~rewards.isfinite()).nonzero()
    if not len(wrong):
        return None
    place = int(wrong[0])
    return Fault(f"it gave {rewards[place]:g} for response {place + 1} of {len(rewards)}")


def _glimpse(given: Any) -> str:
    return f"{type(given).__name__} {given!r:.60}"
