"""Nested mappings as dotted keys."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any


def leaves(value: Any, path: str = "", elements: bool = False) -> Iterator[tuple[str, Any]]:
    """Dotted key and value of all that is no section itself; an empty section is a value.

    Args:
        elements: whether those of lists stand by themselves, as `trainer.devices[0]`.
    """
    if isinstance(value, Mapping) and value:
        for key, inner in value.items():
            yield from leaves(inner, f"{path}.{key}" if path else str(key), elements)
    elif elements and isinstance(value, list) and value:
        for place, inner in enumerate(value):
            yield from leaves(inner, f"{path}[{place}]", elements)
    else:
        yield path, value


def dotted_keys(plain: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """Every key of a configuration with the sections that it lies in, but those that `_target_`s are."""
    for key, value in plain.items():
        if key != "_target_":
            yield f"{prefix}{key}"
        if isinstance(value, Mapping):
            yield from dotted_keys(value, f"{prefix}{key}.")
