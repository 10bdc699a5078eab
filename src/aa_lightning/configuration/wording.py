"""The wording of mistakes: the nearest option or key, pydantic's errors as what was given, why not, what to type."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from difflib import SequenceMatcher
from typing import Any, Literal, get_args, get_origin, get_type_hints

from pydantic import TypeAdapter

from aa_lightning.configuration.elsewhere import ELSEWHERE, EPOCHS
from aa_lightning.configuration.schema import WHY
from aa_lightning.configuration.schema_words import sample

ALIKE = 0.6  # ratio of matching letters from which two words may be the same one
FEW = 12  # options that an error lists; of more it names the help page


class ConfigError(ValueError):
    """A mistake in the configuration that the user can fix; it is printed without a traceback."""


def nearest(word: str, options: Iterable[str]) -> str | None:
    """The option that a mistyped word most likely meant, or None."""
    given = _letters(word)
    near: list[tuple[tuple[int, bool, int, float], str]] = []
    for option in options:
        name = _letters(option)
        if not (_alike(given, name) or _begins(name, given)):
            continue
        typos = mistypings(given, name)
        near.append(((min(typos, 3), not _begins(name, given), typos, -_ratio(given, name)), option))
    return min(near)[1] if near else None


def nearest_key(key: str, known: Iterable[str]) -> str | None:
    """The dotted key that was most likely meant: mistyped, without the sections it lies in, or called as elsewhere."""
    others = [name for name in known if name != key]
    if "." in key and (slip := [name for name in others if is_slip(key, name)]):
        return slip[0]
    last = _last(key)
    if key.startswith(("rollout.", "algo.")) and last == "num_generations":
        return "rollout.responses"  # and not that of evaluations
    if called := [name for name in others if _last(name) == last]:
        return min(called, key=lambda name: (mistypings(key, name), name))
    meant = [ours for ours, theirs in ELSEWHERE.items() if _letters(last) in theirs and ours in others]
    if meant:
        return min(meant, key=lambda ours: ours.partition(".")[0] != key.partition(".")[0])
    lasts = {_last(name): name for name in sorted(others, key=len, reverse=True)}
    return nearest(key, others) or lasts.get(nearest(last, lasts) or "")


def is_slip(one: str, other: str) -> bool:
    """Tell whether two words are a single mistyping apart."""
    return abs(len(one) - len(other)) <= 1 and mistypings(one, other) == 1


def mistypings(one: str, other: str) -> int:
    """Count letters left out, added, exchanged for others or for their neighbours (optimal string alignment)."""
    before, above = [], list(range(len(other) + 1))
    for i, letter in enumerate(one, 1):
        row = [i]
        for j, wanted in enumerate(other, 1):
            cost = min(above[j] + 1, row[j - 1] + 1, above[j - 1] + (letter != wanted))
            if i > 1 and j > 1 and letter == other[j - 2] and one[i - 2] == wanted:
                cost = min(cost, before[j - 2] + 1)
            row.append(cost)
        before, above = above, row
    return above[-1]


def show(value: Any) -> str:
    """A value as it is typed on the command line."""
    if value is None:
        return "null"
    return str(value).lower() if isinstance(value, bool) else str(value).replace(" ", "")


def typed_value(value: Any) -> str:
    """A value as Hydra reads it, mappings and lists too."""
    if isinstance(value, Mapping):
        return f"{{{','.join(f'{key}:{typed_value(inner)}' for key, inner in value.items())}}}"
    if isinstance(value, list | tuple):
        return f"[{','.join(map(typed_value, value))}]"
    return show(value) if not isinstance(value, str) else value


def shell_word(item: str) -> str:
    """An override as a shell takes it."""
    return f"'{item}'" if set(item) & set('{}[]<>|&;()$ *?"') else item


def is_base(group: str, option: str) -> bool:
    """Tell a file that options of its group build on from one that people choose."""
    return option == "default" and group in ("data", "model")


def some(names: Iterable[str], group: str) -> str:
    """All names there are, or where to read them."""
    listed = sorted(name for name in names if not is_base(group, name))
    return f"there is: {', '.join(listed)}" if len(listed) <= FEW else f"there are {len(listed)}: --help {group}"


@dataclass(frozen=True)
class Everywhere:
    """All that a mistyped key may have meant: dotted keys of the whole configuration, and groups with their options."""

    keys: Sequence[str] = ()
    groups: Mapping[str, Collection[str]] = field(default_factory=dict)


def unknown(path: str, key: str, value: Any, known: Iterable[str], everywhere: Everywhere | None = None) -> str:
    """A key that there is not.

    Args:
        path: the section that it was given in; "": none.
        key: its name there.
        value: what was given to it; of a mapping of single keys the one at its end.
        known: the keys of that section.
        everywhere: the rest of the configuration; None: nothing else is looked at.
    """
    everywhere = everywhere or Everywhere()
    steps, value = _single(value)
    given = ".".join([*filter(None, [path]), key, *steps])
    refused = f"{given}={show(value)} cannot be used: there is no key {_below(path, key)}"
    if _letters(key) in EPOCHS:
        return f"{refused}\nruns are counted in steps of loader.batch_size prompts: type trainer.max_steps=<steps>"
    beside = [".".join([_below(path, name), *steps]) for name in known]
    close = nearest_key(given, [*beside, *everywhere.keys, *everywhere.groups])
    if close and isinstance(value, Mapping):
        return f"{refused}\ndid you mean {close}?"
    if close in everywhere.groups:
        options = everywhere.groups[close]
        option = value if value in options else nearest(str(value), options)
        return f"{refused}\n" + (
            f"did you mean {close}={option}?" if option else f"type: {close}=<option>; --help {close}"
        )
    if close:
        return f"{refused}\ndid you mean {close}={show(value)}?"
    return f"{refused}\nthere is: {', '.join(sorted(known))}"


def explain_invalid(section: str, schema: type, details: Mapping[str, Any], everywhere: Everywhere) -> str:
    """One of pydantic's errors about a section, in words; `everywhere` as in `unknown`."""
    if not details["loc"]:
        return f"{section}: {details['msg'].removeprefix('Value error, ')}"
    *parents, last = details["loc"]
    holder, path = walk(schema, section, parents)
    if last == "[key]":  # of a mapping with names of its own
        above, _, name = path.rpartition(".")
        return unknown(above, name, details["input"], _literals(details))
    if details["type"] in ("unexpected_keyword_argument", "extra_forbidden"):
        if any(last in get_type_hints(one) for one in _alternatives(schema, parents)):
            given = f"{_below(path, last)}={show(details['input'])}"
            return (
                f"{given} cannot be used: {path}.name={_name(holder)} has no such option\n{_whole_part(path, holder)}"
            )
        return unknown(path, last, details["input"], [one.name.rstrip("_") for one in fields(holder)], everywhere)
    if details["type"] in ("missing", "missing_argument"):
        missing = _below(path, last)
        advice = _whole_part(path, holder) if _name(holder) else f"type: +{missing}=<value>"
        return f"{missing} is missing from the configuration\n{advice}"
    _, key = walk(schema, section, details["loc"])
    if details["type"] == "union_tag_invalid":
        return _unknown_tag(key, details["ctx"]["tag"], details["ctx"]["expected_tags"])
    if details["type"] == "union_tag_not_found":
        return f"{key} has no name, which says what it is\ntype: {key}.name=<name>; --help {key} lists the names"
    if details["type"] in _OF_MAPPINGS and last in (hints := get_type_hints(holder)):
        return _no_mapping(key, details["input"], hints[last])
    reason = details["msg"].removeprefix("Value error, ").replace("Input should", "it should")
    if details["type"] in BOUNDS and (why := WHY.get(key.partition("[")[0])):
        reason += f", since {why}"
    if isinstance(details["input"], Mapping):
        return f"{key}: {reason}"
    return f"{key}={show(details['input'])} cannot be used: {reason}\n{_advice(key, details)}"


def explain_choice(section: str, schema: type, tried: Sequence[Mapping[str, Any]], everywhere: Everywhere) -> str:
    """pydantic's errors about one value that fits none of several types; one that fits but for its size is told alone."""
    bounds = [one for one in tried if one["type"] not in TYPES]
    if bounds or len(tried) == 1:
        return explain_invalid(section, schema, (bounds or tried)[0], everywhere)
    options = [option for one in tried for option in (_literals(one) if "ctx" in one else [_EXPECTED[one["type"]]])]
    options, (_, key) = [option.replace("False", "false") for option in options], walk(schema, section, tried[0]["loc"])
    refused = f"{key}={show(tried[0]['input'])} cannot be used: it should be {', '.join(options[:-1])} or {options[-1]}"
    return f"{refused}\ntype: {key}={options[0]}"


def walk(schema: type, path: str, steps: Sequence[str | int]) -> tuple[type, str]:
    """The dataclass that holds the last step, and the dotted key. Steps that name a branch of a union are no keys."""
    *_, (schemas, path) = _walked(schema, path, steps)
    return next((one for one in schemas if is_dataclass(one)), schema), path


def _walked(schema: type, path: str, steps: Sequence[str | int]) -> Iterator[tuple[list[type], str]]:
    """At each step the dataclasses that may stand there, of a named part that one alone, and the dotted key."""
    schemas, hint = [schema], None
    yield schemas, path
    for step in steps:
        holder = next((one for one in schemas if step in get_type_hints(one)), None)
        if isinstance(step, int):
            path = f"{path}[{step}]"
        elif get_origin(hint) is dict:  # a key that the user chose
            path, hint = _below(path, step), None
        elif holder is not None:
            path, hint = _below(path, step), get_type_hints(holder)[step]
            schemas = dataclasses_in(hint) or [holder]
        else:
            schemas = [one for one in schemas if _name(one) == step] or schemas
        yield schemas, path


def _alternatives(schema: type, steps: Sequence[str | int]) -> list[type]:
    """The parts among which one was chosen by its name at the last step; none where there was no choice."""
    *_, before, (chosen, _) = [([], ""), *_walked(schema, "", steps)]
    return before[0] if len(before[0]) > 1 and len(chosen) == 1 and _name(chosen[0]) else []


def _name(part: type) -> str | None:
    """The name by which a part is chosen."""
    hint = get_type_hints(part).get("name") if is_dataclass(part) else None
    return get_args(hint)[0] if get_origin(hint) is Literal and len(get_args(hint)) == 1 else None


def _whole_part(path: str, part: type) -> str:
    schema = TypeAdapter(part).json_schema()
    example = typed_value(sample(schema, schema.get("$defs", {})))
    return f"type: {shell_word(f'{path}={example}')}"


def _no_mapping(key: str, value: Any, hint: Any) -> str:
    """A single value where there are keys: it is put to the first of them that takes one of its kind."""
    part, *others = dataclasses_in(hint)
    schema = TypeAdapter(part).json_schema()
    kinds = ("string",) if isinstance(value, str) else () if isinstance(value, bool) else ("number", "integer")
    meant = next((name for name, told in schema["properties"].items() if _takes(told, kinds)), None)
    refused = f"{key}={show(value)} cannot be used: it has keys of its own"
    if type(None) not in get_args(hint):  # they are all there
        return (
            f"{refused}\ntype: {key}.{meant or '<key>'}={show(value) if meant else '<value>'}; --help {key} lists them"
        )
    example = {**sample(schema, schema.get("$defs", {})), **({meant: value} if meant else {})}
    named = f"; or another name: {', '.join(filter(None, map(_name, others)))}" if others else ""
    return f"{refused}\ntype: {shell_word(f'{key}={typed_value(example)}')}{named}"


def _takes(schema: Mapping[str, Any], kinds: Collection[str]) -> bool:
    """Tell whether a JSON schema allows any value of some kinds."""
    return any(one.get("type") in kinds and not {"enum", "const"} & set(one) for one in schema.get("anyOf", [schema]))


def dataclasses_in(hint: Any) -> list[type]:
    """The dataclasses that an annotation allows, inside unions and Annotated too."""
    if isinstance(hint, type) and is_dataclass(hint):
        return [hint]
    return [found for part in get_args(hint) for found in dataclasses_in(part)]


# ---------------------------------------------------------------- words and values


def _letters(word: str) -> str:
    """A word without what people write differently."""
    return word.lower().replace("-", "_").replace(".", "_").lstrip("+~")


def _below(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _last(key: str) -> str:
    return key.rpartition(".")[2]


def _ratio(one: str, other: str) -> float:
    return SequenceMatcher(None, one, other).ratio()


def _alike(one: str, other: str) -> bool:
    if min(len(one), len(other)) > 1 and is_slip(one, other):
        return True
    return SequenceMatcher(None, one, other).quick_ratio() >= ALIKE and _ratio(one, other) >= ALIKE


def _begins(option: str, word: str) -> bool:
    return len(word) > 2 and option.startswith(word)


def _single(value: Any) -> tuple[list[str], Any]:
    """The steps into mappings of a single key, and what lies there: what was typed with dots."""
    steps = []
    while isinstance(value, Mapping) and len(value) == 1:
        ((step, value),) = value.items()
        steps.append(str(step))
    return steps, value


BOUNDS = ("greater_than", "greater_than_equal", "less_than", "less_than_equal")
_EXPECTED = {
    "float_parsing": "<number>",
    "float_type": "<number>",
    "int_parsing": "<whole number>",
    "int_type": "<whole number>",
    "int_from_float": "<whole number>",
    "bool_parsing": "true or =false",
    "bool_type": "true or =false",
}
TYPES = (*_EXPECTED, "literal_error")
_OF_MAPPINGS = ("dataclass_type", "model_attributes_type")


def _unknown_tag(key: str, given: str, expected: str) -> str:
    names = [name.strip(" '") for name in expected.split(",")]
    close = nearest(given, names)
    hint = f"did you mean {key}.name={close}? " if close else ""
    return f"{key}.name={given} cannot be used: there is no such name\n{hint}there is: {', '.join(names)}"


def _literals(details: Mapping[str, Any]) -> list[str]:
    """List what might have been typed."""
    return [option.strip("'") for option in details["ctx"]["expected"].replace(" or ", ", ").split(", ")]


def _advice(key: str, details: Mapping[str, Any]) -> str:
    given = show(details["input"])
    if details["type"] == "literal_error":
        options = _literals(details)
        return f"did you mean {key}={nearest(given, options) or options[0]}?"
    if details["type"] == "string_type" and isinstance(details["input"], bool | int | float):
        return f"type: '{key}=\"{given}\"' (quotes inside quotes make it a text)"
    if "[" in key:  # of a list, which is typed as a whole
        return f"type: {shell_word(key.partition('[')[0] + '=[<value>,…]')}"
    return f"type: {key}={_EXPECTED.get(details['type'], '<value>')}"
