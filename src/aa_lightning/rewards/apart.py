"""Rewards in a process of their own, which ends where they crash or never return, and which the next call starts anew."""

from __future__ import annotations

import contextlib
import functools
import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from aa_lightning.configuration.rewards import how_called, named_reward
from aa_lightning.media import MediaError, guard
from aa_lightning.media.options import GuardOptions
from aa_lightning.rewards.calling import judging
from aa_lightning.rewards.drawn import Drawn, Fault, Partly, Told, prompt_by_prompt
from aa_lightning.types import Prompt, Response

_MEMORY = 2**37  # bytes, a bound that nothing reaches but by mistake
_LONGEST = 86_400.0  # seconds of a call without a limit
_LOADING = GuardOptions(seconds=600.0, bytes=_MEMORY)
_HOW = re.compile(r"\((SIG\w+|exit code -?\d+)\)")


def judging_apart(path: str, keys: Mapping[str, Any], seconds: float | None, at_once: bool) -> Callable[[Drawn], Any]:
    """Make a reward a function of what was drawn, called in a guarded process, where it is made when it is first called.

    Args:
        path: its key, for errors.
        keys: its `_target_` and arguments.
        seconds: of one call, which judges one response or all; None: no limit.
        at_once: whether the first fault ends a call.
    """
    said, target = json.dumps(keys), keys["_target_"]
    each = how_called(path, target, named_reward(path, target)) == "each"

    def judge(drawn: Drawn) -> Any:
        if not each:
            return _asked(path, said, drawn, seconds)
        most = None if seconds is None else seconds * drawn.shape[1]
        return prompt_by_prompt(
            len(drawn.prompts), lambda place: _asked(path, said, drawn.row(place), most)[0], at_once
        )

    return judge


def _asked(path: str, said: str, drawn: Drawn, seconds: float | None) -> np.ndarray:
    """Numbers (P, K) of the guarded process.

    Raises:
        TimeoutError: it took too long.
        Told: it has none, or ended.
    """
    limits = GuardOptions(seconds=seconds or _LONGEST, bytes=_MEMORY)
    lengths = None if drawn.lengths is None else drawn.lengths.tolist()
    given = (path, said, drawn.prompts, drawn.responses, lengths)
    try:
        guard.call(_ready, path, said, what="reward", limits=_LOADING, writes=True)  # a process that is new has yet to
        found = guard.call(_judged, *given, what="reward", limits=limits, within=limits.seconds, writes=True)
    except guard.TooSlow:
        raise TimeoutError(f"it took longer than {limits.seconds:g} s") from None
    except MediaError as error:
        how = _HOW.search(str(error))
        raise Told(f"it ended its process ({how[1]})" if how else str(error)) from None
    if "error" in found:
        raise Told(found["error"].tobytes().decode())
    return found["rewards"]


def _ready(path: str, said: str) -> guard.Arrays:
    """Make a reward, in the guarded process; what is wrong with it is said by the call that follows."""
    with contextlib.suppress(Exception, SystemExit):
        _made(path, said)
    return {}


def _judged(
    path: str, said: str, prompts: Sequence[Prompt], responses: Sequence[Sequence[Response]], lengths: Any
) -> guard.Arrays:
    """Judge, in the guarded process: numbers, or what went wrong first."""
    try:
        drawn = Drawn(prompts, responses, None if lengths is None else np.array(lengths))  # type: ignore[arg-type]
        given = _made(path, said)(drawn)
        if isinstance(given, Partly):
            if given.faults:
                return _error(next(iter(given.faults.values())).why)
            given = [given.values[place] for place in range(len(prompts))]
        return {"rewards": np.asarray(given, dtype=np.float64)}
    except (Exception, SystemExit) as error:
        return _error(Fault.of(error).why)


def _error(why: str) -> guard.Arrays:
    return {"error": np.frombuffer(why.encode(errors="replace"), np.uint8)}


@functools.cache
def _made(path: str, said: str) -> Callable[[Drawn], Any]:
    """A reward, made once in this process, whose time others watch."""
    return judging(path, json.loads(said), None, at_once=True)
