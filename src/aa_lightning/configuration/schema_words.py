"""JSON schemas in words, and by an example."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

SHOWN = 8  # names of a mapping that are listed
Schema = Mapping[str, Any]
_TYPES = {"number": "number", "integer": "whole number", "boolean": "true | false", "string": "text", "null": "null"}
_BOUNDS = {"exclusiveMinimum": ">", "minimum": "≥", "exclusiveMaximum": "<", "maximum": "≤"}


def in_words(schema: Schema, defs: Schema) -> str:
    """Say what a JSON schema allows."""
    if "$ref" in schema:
        return in_words(defs[schema["$ref"].rpartition("/")[2]], defs)
    if "const" in schema or "enum" in schema:
        return " | ".join(str(value) for value in schema.get("enum", [schema.get("const")]))
    alternatives = schema.get("anyOf") or schema.get("oneOf")
    if alternatives:
        return " | ".join(
            dict.fromkeys([*_named(alternatives, defs), *(in_words(one, defs) for one in _others(alternatives, defs))])
        )
    kind = schema.get("type")
    if kind == "array":
        inner = [in_words(one, defs) for one in schema.get("prefixItems", [schema.get("items", {})])]
        return f"[{', '.join(inner)}]" if "prefixItems" in schema else f"[{inner[0]}, …]"
    if kind == "object":
        return _mapping(schema, defs)
    bounds = [f"{sign} {schema[bound]:g}" for bound, sign in _BOUNDS.items() if bound in schema]
    return " ".join([_TYPES.get(kind, "anything"), ", ".join(bounds)]).strip()


def _mapping(schema: Schema, defs: Schema) -> str:
    names = list(schema.get("properties", {}))
    if names:
        return f"{{{', '.join(names[:SHOWN])}{', …' if len(names) > SHOWN else ''}}}"
    values = schema.get("additionalProperties")
    return f"{{<name>: {in_words(values, defs) if isinstance(values, Mapping) else 'anything'}, …}}"


def _name_of(schema: Schema, defs: Schema) -> str | None:
    """The name of a part; None: it is something else."""
    if "$ref" not in schema:
        return None
    return defs[schema["$ref"].rpartition("/")[2]].get("properties", {}).get("name", {}).get("const")


def _named(alternatives: Sequence[Schema], defs: Schema) -> list[str]:
    names = [name for name in (_name_of(one, defs) for one in alternatives) if name is not None]
    return [f"{{name: {' | '.join(names)}, …}}"] if names else []


def _others(alternatives: Sequence[Schema], defs: Schema) -> list[Schema]:
    return [one for one in alternatives if _name_of(one, defs) is None]


def values_of(schema: Schema) -> Schema:
    """Take the schema of a mapping's values."""
    mapping = next(one for one in (schema, *schema.get("anyOf", [])) if one.get("type") == "object")
    values = mapping.get("additionalProperties", {})
    return values if isinstance(values, Mapping) else {}


def sample(schema: Schema, defs: Schema) -> Any:
    """Make a value that a JSON schema allows."""
    if "$ref" in schema:
        return sample(defs[schema["$ref"].rpartition("/")[2]], defs)
    if "const" in schema or "enum" in schema:
        return schema.get("enum", [schema.get("const")])[-1]
    alternatives = schema.get("anyOf") or schema.get("oneOf")
    if alternatives:
        return sample(alternatives[0], defs)
    kind = schema.get("type")
    if kind == "array":
        return [sample(one, defs) for one in schema.get("prefixItems", [schema.get("items", {})])]
    if kind == "object":
        return {name: sample(schema["properties"][name], defs) for name in schema.get("required", [])}
    return _number(schema) if kind in ("number", "integer") else True if kind == "boolean" else "<text>"


def _number(schema: Schema) -> int | float:
    """In the middle of its bounds, or one above the lower one."""
    low = schema.get("minimum", schema.get("exclusiveMinimum", 0))
    high = schema.get("maximum", schema.get("exclusiveMaximum"))
    if schema["type"] == "integer":
        return low + 1
    return float(low + 1) if high is None else (low + high) / 2
