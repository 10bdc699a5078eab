"""Rewards as they are named: functions and classes, of one response or of all, with or without lengths. Imports no torch."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from aa_lightning.configuration.rewards import TAKES, how_called, named_reward
from aa_lightning.rewards.drawn import Drawn
from aa_lightning.rewards.models import OfModel


def judging(path: str, keys: Mapping[str, Any]) -> Callable[[Drawn], Any]:
    """Make a reward a function of what was drawn.

    Args:
        path: its key, for errors.
        keys: its `_target_` and arguments.

    Raises:
        ValueError: it cannot be made.
    """
    target = keys["_target_"]
    named = named_reward(path, target)
    own = {key: value for key, value in keys.items() if key != "_target_"}
    how = how_called(path, target, named)
    judge, given = (_made(path, named, own), {}) if inspect.isclass(named) else (named, own)
    last = TAKES[how][2]
    wants = inspect.signature(judge).parameters.get(last)
    optional = wants is not None and wants.default is None

    def length(drawn: Drawn, p: int, k: int) -> dict[str, Any]:
        if wants is None or (optional and drawn.lengths is None):
            return {}
        return {last: int(drawn.known_lengths[p, k])}

    def one_by_one(drawn: Drawn) -> Any:
        return [
            [
                judge(prompt=prompt, response=response, **length(drawn, p, k), **given)
                for k, response in enumerate(responses)
            ]
            for p, (prompt, responses) in enumerate(zip(drawn.prompts, drawn.responses, strict=True))
        ]

    def together(drawn: Drawn) -> Any:
        more = {} if wants is None else {last: drawn.lengths if optional else drawn.known_lengths}
        return judge(prompts=drawn.prompts, responses=drawn.responses, **more, **given)

    return one_by_one if how == "each" else together


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
