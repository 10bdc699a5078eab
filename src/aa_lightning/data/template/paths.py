"""Paths into a row: `question`, `video_0.video_path`, `turns[-1].value`, `messages[:-1]`, `completions.response`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from aa_lightning.data.sources.cells import written_list

_STEP = re.compile(r"\[(-?\d*)(:?)(-?\d*)\]|([^.\[\]]+)")


def has(row: Mapping[str, Any], path: str) -> bool:
    """Tell whether a row has the column that a path starts from."""
    return path in row or _steps(path)[0] in row


def look_up(row: Mapping[str, Any], path: str) -> Any:
    """The value at a path. A name applied to a list is applied to each element.

    Raises:
        KeyError: a name is not there; the argument is a sentence.
    """
    if path in row:  # a column may have dots in its name
        return row[path]
    value: Any = row
    for step in _steps(path):
        value = _follow(value, step)
    return value


def _steps(path: str) -> list[str | int | slice]:
    steps: list[str | int | slice] = []
    for start, colon, stop, name in _STEP.findall(path):
        if name:
            steps.append(name)
        elif colon:
            steps.append(slice(int(start) if start else None, int(stop) if stop else None))
        else:
            steps.append(int(start))
    return steps


def _follow(value: Any, step: str | int | slice) -> Any:
    if isinstance(step, str):
        if isinstance(value, list):
            return [_follow(element, step) for element in value]
        if isinstance(value, Mapping):
            if step in value:
                return value[step]
            raise KeyError(f"There is no {step!r}; there is {', '.join(map(str, value)) or 'nothing'}.")
        raise KeyError(f"There is no {step!r} in a value of type {type(value).__name__}.")
    value = written_list(value)
    if not isinstance(value, list):
        raise KeyError(f"A list was expected, and a value of type {type(value).__name__} found.")
    if isinstance(step, int) and not -len(value) <= step < len(value):
        raise KeyError(f"There is no element {step} in a list of {len(value)}.")
    return value[step]
