"""JSON as rows hold it, and what no text may hold."""

from __future__ import annotations

import json
from collections.abc import Mapping
from math import isfinite
from typing import Any

_DEEPEST = 100  # levels of lists and mappings
_LARGEST = 2**26  # bytes or characters of one value of JSON
# elements, lists and keys take more memory and time than the letters that spell them
_MOST = {",": 2_000_000, "[": 500_000, ":": 100_000}
_NUMBERS = {int, float, bool, type(None)}


class Doubled(dict[str, Any]):
    """A mapping in which a key stood twice, so that nobody knows which value was meant."""

    def __init__(self, pairs: list[tuple[str, Any]], key: str):
        super().__init__(pairs)
        self.key = key


def parse(content: str | bytes) -> Any:
    """Parse JSON; a mapping with a key that stands twice becomes a `Doubled`.

    Raises:
        ValueError: it is no JSON, or too large or too deep to be a row; the message is the reason.
    """
    if len(content) > _LARGEST:
        raise ValueError(f"it has {len(content)} letters, and {_LARGEST} are read at most: keep media in files")
    for mark, most in _MOST.items():
        if content.count(mark if isinstance(content, str) else mark.encode()) > most:
            raise ValueError(f"it has more than {most} of {mark!r}: keep media in files")
    return parse_all(content)


def parse_all(content: str | bytes) -> Any:
    """Parse a JSON file of any size.

    Raises:
        ValueError: it is no JSON, or too deep to be rows.
    """
    try:
        return json.loads(content, object_pairs_hook=_mapping)
    except RecursionError:
        raise ValueError(f"it is nested more than {_DEEPEST} levels deep") from None


def fault_of(value: Any) -> str | None:
    """Why a value cannot be learnt from, whatever it means, as a sentence; None where nothing is wrong."""
    if isinstance(value, str):
        return _fault_of_text(value)
    left = [(value, 0)]
    while left:
        one, depth = left.pop()
        if isinstance(one, str):
            if (fault := _fault_of_text(one)) is not None:
                return fault
        elif isinstance(one, Mapping | list | tuple):
            if depth >= _DEEPEST:
                return f"It is nested more than {_DEEPEST} levels deep."
            if isinstance(one, Doubled):
                return f"It has the key {one.key!r} twice."
            left += [(inner, depth + 1) for inner in _inside(one)]
    return None


def is_finite(value: Any) -> bool:
    """Tell whether all numbers of a value are, at any depth."""
    left = [value]
    while left:
        one = left.pop()
        if isinstance(one, float) and not isfinite(one):
            return False
        if isinstance(one, Mapping):
            left += one.values()
        elif isinstance(one, list | tuple):
            left += one
    return True


def _inside(value: Mapping[Any, Any] | list[Any] | tuple[Any, ...]) -> list[Any]:
    if isinstance(value, Mapping):
        return [*value, *value.values()]
    return [] if set(map(type, value)) <= _NUMBERS else list(value)


def _fault_of_text(said: str) -> str | None:
    if "\0" in said:
        return "The text holds a null character."
    if said.isascii():
        return None
    try:
        said.encode()
    except UnicodeEncodeError as error:
        return f"The text holds {said[error.start]!a}, which is no character: it is cut, or was no UTF-8."
    return None


def _mapping(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) == len(pairs):
        return found
    seen: set[str] = set()
    return Doubled(pairs, next(key for key, _ in pairs if key in seen or seen.add(key)))
