"""A section of a configuration against the class of what it may say."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import TypeAdapter, ValidationError

from aa_lightning.configuration.wording import BOUNDS, TYPES, Everywhere, explain_choice, walk

_OF_TEXTS = ("string_type", "literal_error")  # said of a mapping where a text may stand too


def mistakes_in(path: str, section: Mapping[str, Any], schema: type, everywhere: Everywhere) -> list[str]:
    """List what a section says that its class refuses.

    Args:
        path: the section's dotted key.
        section: what it says.
        schema: its class, a dataclass of pydantic.
        everywhere: what a mistyped key may have meant.
    """
    given = {key: value for key, value in section.items() if key != "_target_"}
    try:
        TypeAdapter(schema).validate_python(given)
    except ValidationError as error:
        errors = error.errors()
        told = [one for one in errors if one["type"] not in _OF_TEXTS or not isinstance(one["input"], Mapping)]
        tried: dict[Any, list[Any]] = {}  # by key: a value may be refused by each of several types
        for one in told or errors:
            of_value = one["loc"] and one["type"] in (*TYPES, *BOUNDS)
            tried.setdefault(walk(schema, path, one["loc"])[1] if of_value else one["loc"], []).append(one)
        return [explain_choice(path, schema, together, everywhere) for together in tried.values()]
    return []
