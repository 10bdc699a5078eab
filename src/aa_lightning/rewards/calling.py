"""Rewards as they are named: functions and classes, of one response or of all, with or without lengths. Imports no torch."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from aa_lightning.configuration.rewards import ASK, TAKES, columns_of, how_called, named_reward
from aa_lightning.rewards.answers import spoken
from aa_lightning.rewards.drawn import Drawn, Told, prompt_by_prompt
from aa_lightning.rewards.limits import within
from aa_lightning.rewards.models import OfModel
from aa_lightning.types import Prompt


def judging(path: str, keys: Mapping[str, Any], seconds: float | None, at_once: bool) -> Callable[[Drawn], Any]:
    """Make a reward a function of what was drawn.

    Args:
        path: its key, for errors.
        keys: its `_target_` and arguments.
        seconds: of one call, which judges one response or all; None: no limit.
        at_once: whether the first fault ends a call.

    Raises:
        ValueError: it cannot be made.
    """
    target = keys["_target_"]
    named = named_reward(path, target)
    own = {key: value for key, value in keys.items() if key != "_target_"}
    how = how_called(path, target, named)
    judge, given = (_made(path, named, own), {}) if inspect.isclass(named) else (named, own)
    if how == "flat":
        return lambda drawn: within(seconds, _flat, judge, given, drawn)
    last = TAKES[how][2]
    wants = inspect.signature(judge).parameters.get(last)
    asks = Asks(judge, given, None if wants is None else last, wants is not None and wants.default is None, seconds)
    if how == "all":
        return asks.together
    return lambda drawn: prompt_by_prompt(len(drawn.prompts), lambda place: asks.each(drawn, place), at_once)


@dataclass(frozen=True)
class Asks:
    """A function that judges one response, or all.

    Attributes:
        judge: the function.
        given: its options.
        length: the argument by which it is told lengths; None: it has none.
        optional: whether it can do without.
        seconds: of one call.
    """

    judge: Callable[..., Any]
    given: Mapping[str, Any]
    length: str | None
    optional: bool
    seconds: float | None

    def together(self, drawn: Drawn) -> Any:
        """Return what it gives for all responses."""
        told = drawn.lengths if self.optional or self.length is None else drawn.known_lengths
        more: dict[str, Any] = {} if self.length is None else {self.length: told}
        if ASK in inspect.signature(self.judge).parameters:
            more[ASK] = drawn.ask
        call = partial(self.judge, prompts=drawn.prompts, responses=drawn.responses, **more, **self.given)
        return within(self.seconds, call)

    def each(self, drawn: Drawn, place: int) -> list[float]:
        """Return what it gives for each response to one prompt, one after another."""
        more: dict[str, Any] = {}
        found = []
        for k, response in enumerate(drawn.responses[place]):
            if self.length is not None and not (self.optional and drawn.lengths is None):
                more = {self.length: int(drawn.known_lengths[place, k])}
            call = partial(self.judge, prompt=drawn.prompts[place], response=response, **more, **self.given)
            found.append(_number(within(self.seconds, call)))
        return found


def _number(given: Any) -> float:
    try:
        return math.nan if given is None else float(given)
    except (TypeError, ValueError) as error:
        raise Told(f"it gave {type(given).__name__} {given!r:.60}, which is no number") from error


def _flat(judge: Callable[..., Any], given: Mapping[str, Any], drawn: Drawn) -> Any:
    """Call a function as TRL does: each prompt stands in the list as often as it has responses, and so do its columns."""
    asked = [prompt for prompt, group in zip(drawn.prompts, drawn.responses, strict=True) for _ in group]
    said = [[{"role": "assistant", "content": spoken(one)}] for group in drawn.responses for one in group]
    parameters, names = inspect.signature(judge).parameters, columns_of(judge)
    if any(one.kind is one.VAR_KEYWORD for one in parameters.values()):
        names = [*dict.fromkeys([*names, *(name for prompt in drawn.prompts for name in prompt.keep), "answer"])]
    columns = {name: [_column(prompt, name) for prompt in asked] for name in names if name not in given}
    if "prompts" in parameters:
        columns["prompts"] = [prompt.messages for prompt in asked]
    told = judge(completions=said, **columns, **given)
    if not isinstance(told, list) or len(told) != len(said):
        return told
    rest = iter(told)
    return [[next(rest) for _ in group] for group in drawn.responses]


def _column(prompt: Prompt, name: str) -> Any:
    """A column of a prompt's row."""
    if name in prompt.keep:
        return prompt.keep[name]
    if name in ("answer", "solution"):
        return prompt.answer
    kept = ", ".join(prompt.keep) or "none"
    raise Told(f"it asks for the column {name}, and rows keep {kept}: type +data.template.keep.{name}=<column>")


def _made(path: str, named: Callable[..., Any], keys: Mapping[str, Any]) -> Any:
    """A reward of its class.

    Raises:
        ValueError: it cannot be made, with the name of the reward.
    """
    try:
        judge = named(**keys)
        if isinstance(judge, OfModel):
            judge.load()
        return judge
    except Exception as error:
        said = str(error).replace("model.path=", f"{path}.path=") or type(error).__name__
        raise ValueError(f"{path} cannot be made: {said}") from error
